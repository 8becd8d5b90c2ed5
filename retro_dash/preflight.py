"""What a training run would do, worked out before it starts: rows, tokens, steps, memory, time, conflicts.

The rows, steps and refusals come from the very functions that training uses. Only lengths are estimated: text without
recorded token ids counts one token for every `CHARACTERS_PER_TOKEN` characters, since the hub has no tokenizer.
"""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from data.errors import BadInput, TrainingError
from data.store import Store
from data.types import Episode, Noun, Reflection, RunState, Trial
from retro_dash.datasets import Datasets
from retro_dash.memory import Room, judge_memory, training_bytes
from retro_dash.run_config import TrainRunConfig, parse_run_config
from retro_dash.serving.model import EMBEDDED_MODEL
from retro_dash.train_toml import as_toml
from training.config import Job, TrainConfig
from training.credit import rows_for_method
from training.samples import Sample, Segment, clean, demonstration_samples, sampled_samples
from training.schedule import plan_steps, step_tokens

CHARACTERS_PER_TOKEN = 4
GUESSED_TOKENS_PER_SECOND = 300.0
"""Where nothing was trained yet: a 135-million-parameter model on two busy cores."""
LARGEST_CHECK = 3000
"""Episodes that are read for a check; of more, this many are read and the numbers scaled."""

Level = Literal["ok", "note", "stop"]


class Finding(Noun):
    """One line of the check; `stop` means that the run would fail."""

    level: Level
    text: str


class Forecast(Noun):
    """What the run would do. Tokens, bytes and seconds are estimates."""

    episodes: int
    rows: dict[str, int]
    """Samples by role and kind, such as `planner imitation`."""
    tokens: int
    """Tokens of all rows, once."""
    trained_tokens: int
    """Of these, the ones that a loss acts on; the others are context."""
    steps: int
    step_tokens: int
    """Tokens of all steps over all epochs."""
    seconds: float
    tokens_per_second: float
    bytes: int | None
    """Peak memory; None while the model is not on this machine."""


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


def check_training(store: Store, home: Path, given: dict[str, JsonValue], chosen: Chosen, room: Room) -> Check:
    """Look at a train config, its episodes and the memory that it will find. Raises BadConfig."""
    config = parse_run_config(given, "train run")
    if not isinstance(config, TrainRunConfig):
        raise BadInput(f"A {config.kind} run cannot be checked as training.")
    episodes = chosen.episodes
    scale = chosen.total / len(episodes) if episodes else 1.0
    findings: list[Finding] = []
    jobs = config.train.jobs if episodes else ()
    plans = {job: _plan(config.train, job, episodes, findings) for job in jobs}
    rate, measured = _tokens_per_second(store, config.model)
    forecast = _forecast(config, home, plans, chosen.total, scale, rate)
    findings += _judge(config, home, forecast, episodes, scale, measured)
    findings.append(_memory_finding(config, forecast, room))
    return Check(
        config=config.model_dump(mode="json"),
        toml=as_toml(config),
        command=f"retro-dash train train.toml {chosen.flags}",
        forecast=forecast,
        findings=tuple(sorted(findings, key=lambda finding: ("stop", "note", "ok").index(finding.level))),
    )


# Rows and steps ---------------------------------------------------------------------------------------------------


def _plan(
    config: TrainConfig, job: Job, episodes: Sequence[Episode], findings: list[Finding]
) -> tuple[list[Sample], list[tuple[int, ...]]]:
    """The rows and optimiser steps of one job; a refusal becomes a finding and gives no rows."""
    mine = config if job == "both" else config.model_copy(update={"roles": (job,)})
    samples = [s for episode in episodes for s in demonstration_samples(episode, _estimate)]
    try:
        for episode in episodes:
            samples += sampled_samples(episode)
    except TrainingError as error:
        if config.method != "sft":
            findings.append(Finding(level="stop", text=str(error)))
    try:
        cleaned = clean(samples, config.batch.max_length, config.loss.tokens)
        rows = rows_for_method(cleaned.samples, mine)
    except TrainingError as error:
        findings.append(Finding(level="stop", text=str(error)))
        return [], []
    for count, what in (
        (cleaned.counts.oversize, "are longer than batch.max_length even without context and are left out"),
        (cleaned.counts.truncated, "lose context to fit into batch.max_length"),
    ):
        if count and job == config.jobs[0]:
            findings.append(Finding(level="note", text=f"{count} of {len(samples)} samples {what}."))
    return rows, plan_steps(rows, mine)


def _estimate(part: Trial | Reflection) -> list[Segment]:
    """Segments of the right shape and about the right length for text that has no token ids."""
    prompt = Segment(_tokens(part.prompt), is_policy=False)
    if isinstance(part, Reflection):
        return [prompt, Segment(_tokens(part.text), is_policy=bool(part.text))]
    segments = [prompt]
    for turn in part.turns:
        is_target = turn.is_valid and not turn.is_malformed
        segments.append(Segment(_tokens(turn.thought + turn.action), is_policy=is_target, turn=turn.index))
        segments.append(Segment(_tokens(turn.observation), is_policy=False, turn=turn.index))
    return segments


def _tokens(text: str) -> tuple[int, ...]:
    # Stand-ins that differ as the texts do, so that repeated samples are told from different ones.
    return (hash(text),) * (math.ceil(len(text) / CHARACTERS_PER_TOKEN) + 1)


def _forecast(
    config: TrainRunConfig,
    home: Path,
    plans: dict[Job, tuple[list[Sample], list[tuple[int, ...]]]],
    episodes: int,
    scale: float,
    rate: float,
) -> Forecast:
    rows = [row for samples, _ in plans.values() for row in samples]
    worked = sum(step_tokens(step, samples) for samples, steps in plans.values() for step in steps) * scale
    kinds: dict[str, int] = {}
    for row in rows:
        kind = f"{row.role} {'sampled' if row.rl_weight > 0 else 'imitation'}"
        kinds[kind] = kinds.get(kind, 0) + 1
    seconds = worked / rate
    limit = config.train.budget.max_seconds
    return Forecast(
        episodes=episodes,
        rows={kind: round(count * scale) for kind, count in sorted(kinds.items())},
        tokens=round(sum(len(row.input_ids) for row in rows) * scale),
        trained_tokens=round(sum(row.policy_tokens for row in rows) * scale),
        steps=round(sum(len(steps) for _, steps in plans.values()) * scale),
        step_tokens=round(worked),
        seconds=min(seconds, limit * len(plans)) if limit else seconds,
        tokens_per_second=rate,
        bytes=training_bytes(config, home),
    )


def _tokens_per_second(store: Store, model: str) -> tuple[float, str | None]:
    """The pace of the newest run with this model here, and the run's id; a guess and None where there is none."""
    for run in store.runs(
        kinds=("train",), states=(RunState.FINISHED, RunState.RUNNING, RunState.CANCELLED), limit=20
    ):
        if run.config.get("model") == model:
            for series in store.metrics(run.id, max_points=8):
                if series.name.endswith("/tokens_per_second"):
                    values = [point.value for point in series.points if point.value > 0]
                    if values:
                        return sum(values) / len(values), run.id
    return GUESSED_TOKENS_PER_SECOND, None


# Findings ---------------------------------------------------------------------------------------------------------


def _judge(
    config: TrainRunConfig,
    home: Path,
    forecast: Forecast,
    episodes: Sequence[Episode],
    scale: float,
    measured: str | None,
) -> list[Finding]:
    """Sentences about the dataset, memory, time and disk."""
    found: list[Finding] = []
    if not episodes:
        return [Finding(level="stop", text="The filter finds no episodes. Widen it, or collect some first.")]
    solved = sum(any(trial.success for trial in episode.trials) for episode in episodes)
    found.append(
        Finding(level="ok", text=f"{forecast.episodes} episodes, about {round(solved * scale)} of them solved.")
    )
    if scale > 1:
        found.append(Finding(level="note", text=f"Numbers are scaled up from the first {len(episodes)} episodes."))
    if sum(forecast.rows.values()) < 8 and forecast.rows:
        found.append(Finding(level="note", text="Fewer than 8 samples: the adapter will only repeat them."))
    if {episode.task.split for episode in episodes} & {"test", "valid", "valid_seen", "valid_unseen"}:
        found.append(Finding(level="note", text="Some episodes are of a held-out split: do not test on those tasks."))
    found.append(_time_finding(forecast, measured))
    if shutil.disk_usage(home).free < 2 * 2**30:
        found.append(Finding(level="note", text="Less than 2 GiB of disk is free; checkpoints may not fit."))
    if not config.train.start_adapters and config.train.method not in ("sft", "expert_iteration"):
        text = "RL starts from the base model. Name the adapters that sampled these episodes under start adapters."
        found.append(Finding(level="note", text=text))
    return found


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
        level, text = judge_memory(forecast.bytes, room, config.memory == "pause")
        return Finding(level=level, text=text)
    if config.model == EMBEDDED_MODEL:
        return Finding(level="note", text="The embedded model is prepared when the run starts.")
    text = f"There is no model folder {config.model!r}, here or in the home's models. Training needs its weights."
    return Finding(level="stop", text=text)
