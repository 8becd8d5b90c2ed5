"""What a training run would do, said before it starts: its data, its settings, memory, time and conflicts.

The numbers are those of `forecast.py`; here they are judged.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from data.errors import BadInput
from data.store import Store
from data.types import Episode, Noun
from retro_dash.datasets import Datasets
from retro_dash.forecast import Forecast, PastRuns, Plan, forecast_training, plan_training, tokens_per_second
from retro_dash.machine import MAIN_MEMORY
from retro_dash.memory import Room, judge_memory, model_folder_here
from retro_dash.run_config import TrainRunConfig, parse_run_config
from retro_dash.serving.model import EMBEDDED_MODEL
from retro_dash.train_toml import as_toml
from training.bases import check_base

HELD_OUT = frozenset({"test", "valid", "valid_seen", "valid_unseen"})
LARGEST_CHECK = 3000
"""Episodes that are read for a check; of more, this many are read and the numbers scaled."""

Level = Literal["ok", "note", "stop"]


class Finding(Noun):
    """One line of the check; `stop` means that the run would fail."""

    level: Level
    text: str


class Check(Noun):
    """A config looked at before it becomes a run."""

    config: dict[str, JsonValue]
    """Complete: presets and defaults filled in."""
    toml: str
    """What differs from the defaults of the method and preset, as `retro-dash train` reads it."""
    command: str
    forecast: Forecast
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Chosen:
    """What a run is to learn from."""

    total: int
    episodes: Sequence[Episode]
    """The first `LARGEST_CHECK` of them."""
    flags: str
    """How the command line names them."""


def chosen_by_filter(store: Store, filter_text: str) -> Chosen:
    """Stored episodes. Raises BadInput for a broken filter."""
    ids = store.episode_ids(filter_text)
    episodes = [store.episode(id_, with_tokens=True) for id_ in ids[:LARGEST_CHECK]]
    return Chosen(len(ids), episodes, f"--filter {shlex.quote(filter_text)}")


def chosen_by_dataset(datasets: Datasets, hash_: str) -> Chosen:
    """The training part of a frozen dataset, its labels applied. Raises UnknownName, BadFile, BadInput for none."""
    episodes = datasets.training_episodes(hash_)
    return Chosen(len(episodes), episodes[:LARGEST_CHECK], f"--dataset {shlex.quote(hash_)}")


def check_training(past: PastRuns, home: Path, given: dict[str, JsonValue], chosen: Chosen, room: Room) -> Check:
    """Look at a train config, its episodes and the memory that it will find. Raises BadConfig."""
    config = parse_run_config(given, "train run")
    if not isinstance(config, TrainRunConfig):
        raise BadInput(f"A {config.kind} run cannot be checked as training.")
    episodes = chosen.episodes
    scale = chosen.total / len(episodes) if episodes else 1.0
    plan = plan_training(config, episodes) if episodes else Plan({}, {}, ())
    rate, measured = tokens_per_second(past, config.model)
    forecast = forecast_training(config, home, plan, chosen.total, scale, rate)
    findings = [
        *_data_findings(forecast, plan, episodes, scale),
        *_config_findings(config, plan, forecast),
        *_start_findings(config, home),
        _memory_finding(config, forecast, room),
    ]
    if forecast.steps:
        findings.append(_time_finding(forecast, measured))
    if shutil.disk_usage(home).free < 2 * 2**30:
        findings.append(Finding(level="note", text="Less than 2 GiB of disk is free; checkpoints may not fit."))
    return Check(
        config=config.model_dump(mode="json"),
        toml=as_toml(config),
        command=f"retro-dash train train.toml {chosen.flags}",
        forecast=forecast,
        findings=tuple(sorted(findings, key=lambda finding: ("stop", "note", "ok").index(finding.level))),
    )


def _data_findings(forecast: Forecast, plan: Plan, episodes: Sequence[Episode], scale: float) -> Iterator[Finding]:
    """Sentences about the dataset."""
    if not episodes:
        yield Finding(level="stop", text="The filter finds no episodes. Widen it, or collect some first.")
        return
    solved = sum(any(trial.success for trial in episode.trials) for episode in episodes)
    yield Finding(level="ok", text=f"{forecast.episodes} episodes, about {round(solved * scale)} of them solved.")
    if scale > 1:
        yield Finding(level="note", text=f"Numbers are scaled up from the first {len(episodes)} episodes.")
    if sum(forecast.rows.values()) < 8 and forecast.rows:
        yield Finding(level="note", text="Fewer than 8 samples: the adapter will only repeat them.")
    if {episode.task.split for episode in episodes} & HELD_OUT:
        yield Finding(level="note", text="Some episodes are of a held-out split: do not test on those tasks.")
    for count, what in (
        (plan.count("oversize"), "are longer than batch.max_length even without context and are left out"),
        (plan.count("truncated"), "lose context to fit into batch.max_length"),
    ):
        if count:
            yield Finding(level="note", text=f"{count} of {len(plan.rows) + plan.count('oversize')} samples {what}.")


def _config_findings(config: TrainRunConfig, plan: Plan, forecast: Forecast) -> Iterator[Finding]:
    """Sentences about the method, and what it finds in the data."""
    yield from (Finding(level="stop", text=text) for text in plan.refusals)
    train, exploration = config.train, config.exploration
    if exploration is not None:
        tasks = "all tasks" if exploration.tasks is None else f"up to {exploration.tasks} tasks"
        yield Finding(
            level="note",
            text=f"Then, {exploration.iterations} times over, {tasks} are played with {exploration.repeats} x "
            f"{exploration.trials} trials, and trained on. Rows, steps and time of that are not in these numbers.",
        )
    elif not train.start_adapters and train.method not in ("sft", "expert_iteration"):
        text = "RL starts from the base model. Name the adapters that sampled these episodes under start adapters."
        yield Finding(level="note", text=text)
    processes, per_step = train.batch.processes, forecast.step_tokens / max(forecast.steps, 1)
    if processes > 1 and forecast.steps and per_step < processes * train.batch.tokens_per_pack / 2:
        yield Finding(
            level="note",
            text=f"A step has about {per_step:,.0f} tokens for {processes} processes: with a higher "
            "batch.tokens_per_step each of them has enough to do.",
        )


def _start_findings(config: TrainRunConfig, home: Path) -> Iterator[Finding]:
    """What is wrong with the adapters that the run starts from."""
    base = model_folder_here(config.model, home)
    for job, folder in config.train.start_adapters.items():
        if job not in config.train.jobs and config.exploration is None:
            text = f"start_adapters names one for {job}, and this run trains {' and '.join(config.train.jobs)}."
            yield Finding(level="note", text=text)
        if base is None:
            continue
        try:
            check_base(Path(folder), base)
        except BadInput as error:
            yield Finding(level="stop", text=str(error))


def _time_finding(forecast: Forecast, measured: str | None) -> Finding:
    pace = f"{forecast.tokens_per_second:,.0f} tokens/s"
    source = f"the pace of {measured} here" if measured else "a guess: no run with this model has been measured here"
    return Finding(
        level="ok" if measured else "note", text=f"About {_duration(forecast.seconds)} at {pace} ({source})."
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _memory_finding(config: TrainRunConfig, forecast: Forecast, room: Room) -> Finding:
    if forecast.bytes is not None:
        # Of accelerators every process has its own; the main memory has to hold them all.
        copies = config.train.batch.processes if room.device == MAIN_MEMORY else 1
        level, text = judge_memory(forecast.bytes * copies, room, config.memory == "pause")
        return Finding(level=level, text=text)
    if config.model == EMBEDDED_MODEL:
        return Finding(level="note", text="The embedded model is prepared when the run starts.")
    text = f"There is no model folder {config.model!r}, here or in the home's models. Training needs its weights."
    return Finding(level="stop", text=text)
