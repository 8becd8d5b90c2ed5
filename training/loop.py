"""The loop that every method trains with: steps, checkpoints, metrics, and how a run ends.

    prepare_rows → open the model → score what must be scored → check the ratio → step after step → publish

A run is resumed by calling it again with the same arguments: it goes on after the newest whole checkpoint and gives
the curve that it would have given without the break.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Protocol

import torch
from torch import nn

from data.errors import TrainingError
from training import heap
from training.checkpoint import Progress, resume, save_checkpoint
from training.config import Job, TrainConfig
from training.folders import keep_newest, problem_of
from training.lora import open_model, save_trained
from training.optimiser import MasterAdamW
from training.samples import Sample
from training.schedule import Step, learning_rate, plan_steps, step_tokens
from training.start import Prepared, check_samples, prepare_rows, score_rows
from training.step import Row, accumulate_gradients


class LogMetrics(Protocol):
    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record metrics of an optimiser step (from 1; 0 for what is known before the first)."""


ShouldStop = Callable[[], bool]
PACE: Mapping[str, set[str]] = {"budget": {"checkpoint_every", "max_seconds"}}
"""Settings that change nothing about the steps that are taken."""
LENGTH: Mapping[str, set[str]] = {"budget": {*PACE["budget"], "max_tokens"}, "batch": {"epochs"}}
"""The same, with those that only say how many steps there are."""


@dataclass(frozen=True)
class TrainOutcome:
    """How a run ended."""

    artefacts: Mapping[Job, Path] = field(default_factory=dict)
    """The published adapter (or full weights) of each finished job."""
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    was_stopped: bool = False
    """True when it was told to stop: call it again to go on."""


def train_jobs(
    config: TrainConfig,
    samples: Sequence[Sample],
    model_dir: Path,
    run_dir: Path,
    log: LogMetrics,
    should_stop: ShouldStop = lambda: False,
    last_logged: Mapping[Job, int] | None = None,
) -> TrainOutcome:
    """Train every job of the config on fixed samples and publish `run_dir/adapters/JOB`.

    `last_logged` says which step of each job was logged last before a crash: earlier ones, computed again after the
    checkpoint, are not logged twice. SIGTERM saves and ends like `should_stop`.
    Raises TrainingError (no data, ratio off, loss not a number, disk full), BadFile, BadInput, Refused.
    """
    prepared = {job: prepare_rows(samples, config, job) for job in config.jobs}
    outcome = TrainOutcome()
    with stop_on_sigterm(should_stop) as stopping:
        for job in config.jobs:
            one = train_job(
                config, job, prepared[job], model_dir, run_dir, log, stopping, (last_logged or {}).get(job, -1)
            )
            outcome = TrainOutcome(
                artefacts={**outcome.artefacts, **one.artefacts},
                steps=outcome.steps + one.steps,
                tokens=outcome.tokens + one.tokens,
                seconds=outcome.seconds + one.seconds,
                was_stopped=one.was_stopped,
            )
            if one.was_stopped:
                break
    return outcome


def train_job(
    config: TrainConfig,
    job: Job,
    prepared: Prepared,
    model_dir: Path,
    run_dir: Path,
    log: LogMetrics,
    should_stop: ShouldStop,
    last_logged: int = -1,
) -> TrainOutcome:
    """Train one adapter (or all weights) and publish it; a job that was published before is not run again.

    The last state of an adapter stays in `run_dir/checkpoints/JOB`, so that a longer run can go on from it; that of
    all weights, three times as large as they are, does not.
    """
    plan = plan_hash(config, prepared.samples)
    published = run_dir / "adapters" / job
    if problem_of(published) is None and json.loads((published / "training.json").read_text())["plan"] == plan:
        return TrainOutcome({job: published})
    torch.manual_seed(config.seed)
    start = config.start_adapters.get(job)
    model = open_model(model_dir, config, Path(start) if start else None)
    check_samples(model, prepared.samples, config)
    rows, start_metrics = score_rows(model, prepared.samples, config)
    optimiser = MasterAdamW(model, config.optimiser)
    progress = resume(run_dir / "checkpoints" / job, optimiser, plan, plan_hash(config, prepared.samples, LENGTH))
    if progress.step == 0 and last_logged < 0:
        first = {**prepared.metrics, **start_metrics}
        log(0, {_metric_name(job, name): value for name, value in first.items()})
    run = JobRun(
        config, job, model, optimiser, rows, plan_steps(prepared.samples, config), run_dir / "checkpoints" / job
    )
    write_plan(run_dir / "plan" / f"{job}.json", prepared.samples, run.steps)
    progress, was_stopped = run.go(progress, log, should_stop, last_logged)
    if was_stopped:
        return TrainOutcome({}, progress.step, progress.tokens, progress.seconds, was_stopped=True)
    if config.lora.enabled:
        save_checkpoint(run.checkpoints, optimiser, progress)
        keep_newest(run.checkpoints, "step", 1)
    save_trained(
        model, model_dir, published, {**asdict(progress), "job": job, "config": config.model_dump(mode="json")}
    )
    if not config.lora.enabled:
        shutil.rmtree(run.checkpoints, ignore_errors=True)
    return TrainOutcome({job: published}, progress.step, progress.tokens, progress.seconds)


@dataclass
class JobRun:
    """One job on its way through its steps."""

    config: TrainConfig
    job: Job
    model: nn.Module
    optimiser: MasterAdamW
    rows: Sequence[Row]
    steps: Sequence[Step]
    checkpoints: Path

    def go(
        self, progress: Progress, log: LogMetrics, should_stop: ShouldStop, last_logged: int = -1
    ) -> tuple[Progress, bool]:
        """Run the remaining steps; returns where it got to and whether it was told to stop."""
        budget = self.config.budget
        started, earlier = time.monotonic(), progress.seconds
        first = progress.step
        self.model.train()
        while progress.step < len(self.steps):
            if should_stop():
                save_checkpoint(self.checkpoints, self.optimiser, progress)
                return progress, True
            if budget.max_seconds is not None and progress.seconds >= budget.max_seconds:
                break
            metrics = self._take_step(progress)
            tokens = progress.tokens + step_tokens(self.steps[progress.step], [row.sample for row in self.rows])
            sitting = time.monotonic() - started
            speed = (tokens - progress.tokens) / max(earlier + sitting - progress.seconds, 1e-9)
            progress = replace(progress, step=progress.step + 1, tokens=tokens, seconds=earlier + sitting)
            left = (len(self.steps) - progress.step) * sitting / (progress.step - first)
            metrics |= {"tokens_per_second": speed, "tokens": tokens, "eta_seconds": left}
            if progress.step > last_logged:
                log(progress.step, {_metric_name(self.job, name): value for name, value in metrics.items()})
            if progress.step % heap.STEPS == 0:
                heap.return_freed_memory()
            if progress.step % budget.checkpoint_every == 0:
                save_checkpoint(self.checkpoints, self.optimiser, progress)
        return progress, False

    def _take_step(self, progress: Progress) -> dict[str, float]:
        number = progress.step
        # Each step has its own random stream, so that a resumed run draws the same dropout.
        torch.manual_seed(int.from_bytes(hashlib.sha256(f"{self.config.seed}/{number}".encode()).digest()[:7], "big"))
        rows = [self.rows[i] for i in self.steps[number]]
        rate = learning_rate(number, len(self.steps), self.config.optimiser)
        is_detailed = number % self.config.budget.diagnostics_every == 0
        try:
            metrics = accumulate_gradients(self.model, self.optimiser, rows, self.config, is_detailed=is_detailed)
            norm = self.optimiser.step(rate)
            if norm != norm or norm == float("inf"):
                raise TrainingError(
                    f"the gradient's norm is {norm} on samples {', '.join(r.sample.id for r in rows[:5])}"
                )
        except TrainingError as error:
            saved = save_checkpoint(self.checkpoints, self.optimiser, progress)
            raise TrainingError(
                f"Training stopped at step {number + 1} of {len(self.steps)}: {error}. The last good state is "
                f"{saved}. Look at these samples, or lower optimiser.learning_rate."
            ) from error
        metrics |= {"learning_rate": rate, "gradient_norm": norm}
        metrics["sample_age"] = sum(row.sample.age for row in rows) / len(rows)
        return metrics


def plan_hash(config: TrainConfig, samples: Sequence[Sample], ignored: Mapping[str, set[str]] = PACE) -> str:
    """Identity of a job: config, without the ignored keys, and samples."""
    digest = hashlib.sha256(
        config.model_dump_json(exclude={key: set(names) for key, names in ignored.items()}).encode()
    )
    for sample in samples:
        digest.update(repr((sample.id, sample.input_ids, sample.policy_mask, sample.advantages)).encode())
    return digest.hexdigest()


def write_plan(path: Path, samples: Sequence[Sample], steps: Sequence[Step]) -> None:
    """Note which samples every step is made of, so that a point of a curve leads to its episodes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"samples": [sample.id for sample in samples], "steps": steps}))


@contextmanager
def stop_on_sigterm(should_stop: ShouldStop) -> Iterator[ShouldStop]:
    """A `should_stop` that SIGTERM also turns on, while in the block (main thread only).

    The handler before it hears of the signal too: the caller has to know that it was told to stop.
    """
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield should_stop
        return
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        told.set()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield lambda: told.is_set() or should_stop()
    finally:
        signal.signal(signal.SIGTERM, before)


def _metric_name(job: Job, name: str) -> str:
    """`role/what` stays; anything else belongs to the job."""
    return name if name.startswith(("planner/", "reflector/")) else f"{job}/{name}"
