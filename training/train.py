"""The entry to training: one function for every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from training.config import Job, TrainConfig
from training.data_parallel import train_in_parallel
from training.loop import LogMetrics, ShouldStop, TrainOutcome, train_jobs
from training.retroformer import train_retroformer
from training.samples import Sample


def train(
    config: TrainConfig,
    samples: Sequence[Sample],
    model_dir: Path,
    run_dir: Path,
    log: LogMetrics,
    should_stop: ShouldStop = lambda: False,
    last_logged: Mapping[Job, int] | None = None,
) -> TrainOutcome:
    """Train on fixed samples; publish `run_dir/adapters/JOB`; resume when `run_dir` holds an unfinished run.

    `samples` hold both roles: demonstrations (il_weight > 0) and sampled rows (rl_weight > 0), as `samples.py` makes
    them; the config's method chooses among them. `log(step, metrics)` is called for every optimiser step, and with
    step 0 for facts about the data. `last_logged` names, for a resumed run, the last step that each job logged.
    Raises TrainingError, BadInput, BadFile, Refused or Unavailable, each with a sentence.
    """
    if config.method == "retroformer":
        last = (last_logged or {}).get("reflector", -1)
        return train_retroformer(config, samples, model_dir, run_dir, log, should_stop, last)
    if config.batch.processes > 1:
        return train_in_parallel(config, samples, model_dir, run_dir, log, should_stop, last_logged)
    return train_jobs(config, samples, model_dir, run_dir, log, should_stop, last_logged)
