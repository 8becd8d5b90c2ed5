"""What a training run would work on, as far as that is known before it: rows, tokens, steps, time, memory.

The rows, steps and refusals come from the very functions that training uses. Only lengths are estimated: text without
recorded token ids counts one token for every `CHARACTERS_PER_TOKEN` characters, since the hub has no tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data.errors import TrainingError
from data.rows import MetricSeries
from data.types import Episode, Noun, Reflection, Run, RunState, Trial
from retro_dash.memory import training_bytes
from retro_dash.run_config import TrainRunConfig
from training.config import Job, TrainConfig, imitation_of
from training.credit import rate_reflections
from training.episodes import demonstration_samples, sampled_samples
from training.prepare import Prepared, check_ratings, prepare_rows, select_rated
from training.samples import Sample, Segment
from training.schedule import Step, plan_steps, step_tokens

CHARACTERS_PER_TOKEN = 4
GUESSED_TOKENS_PER_SECOND = 300.0
"""Where nothing was trained yet: a 135-million-parameter model on two busy cores."""


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


class PastRuns(Protocol):
    """Where the pace of earlier runs is read: the store, or the hub that has it."""

    def runs(
        self, kinds: Sequence[str] = (), states: Sequence[str] = (), *, limit: int | None = None
    ) -> Sequence[Run]:
        """The newest runs of these kinds and states."""

    def metrics(self, run_id: str, names: Sequence[str] = (), max_points: int = 1000) -> Sequence[MetricSeries]:
        """Curves of a run, thinned."""


@dataclass(frozen=True)
class Plan:
    """What the jobs of a run would train on."""

    prepared: dict[Job, Prepared]
    steps: dict[Job, list[Step]]
    refusals: tuple[str, ...]
    """Why a job would not start."""

    @property
    def rows(self) -> list[Sample]:
        return [row for prepared in self.prepared.values() for row in prepared.samples]

    def count(self, what: str) -> int:
        """Samples that are `truncated` or `oversize`, over all jobs."""
        return round(sum(prepared.metrics.get(f"data/{what}", 0) for prepared in self.prepared.values()))


def plan_training(config: TrainRunConfig, episodes: Sequence[Episode]) -> Plan:
    """The rows and steps of every job. With exploration, those of the imitation that comes before it, if any does."""
    train = config.train
    refusals: list[str] = []
    samples = [s for episode in episodes for s in demonstration_samples(episode, _estimate)]
    if config.exploration is not None:
        if train.start_adapters:
            return Plan({}, {}, ())
        train = imitation_of(train)
    elif train.method != "sft":
        try:
            samples += [s for episode in episodes for s in sampled_samples(episode)]
        except TrainingError as error:
            refusals.append(str(error))
    if not samples:
        return Plan({}, {}, (*refusals, str(nothing_to_learn(len(episodes)))))
    prepared: dict[Job, Prepared] = {}
    for job in train.jobs:
        try:
            prepared[job] = _prepare(samples, train, job)
        except TrainingError as error:
            refusals.append(str(error))
    steps = {job: plan_steps(found.samples, train) for job, found in prepared.items()}
    return Plan(prepared, steps, tuple(dict.fromkeys(refusals)))


def nothing_to_learn(episodes: int) -> TrainingError:
    """What a run says to so many episodes without one row."""
    return TrainingError(
        f"None of the {episodes} episodes has anything to train on: no successful trial, no reflection that the next "
        "trial proved right, no sampled tokens. Widen the dataset's filter or add expert episodes."
    )


def _prepare(samples: Sequence[Sample], train: TrainConfig, job: Job) -> Prepared:
    """What the job imitates or learns from; of Retroformer its imitation, since PPO samples anew."""
    if train.method != "retroformer":
        return prepare_rows(samples, train, job)
    rated, positives = select_rated(samples, train)
    check_ratings(rate_reflections(rated))
    return Prepared(positives, {})


def forecast_training(
    config: TrainRunConfig, home: Path, plan: Plan, episodes: int, scale: float, rate: float
) -> Forecast:
    """The plan in numbers, times `scale` where only a part of the episodes was read; `rate` is in tokens a second."""
    rows = plan.rows
    worked = scale * sum(
        step_tokens(step, plan.prepared[job].samples) for job, steps in plan.steps.items() for step in steps
    )
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
        steps=round(sum(len(steps) for steps in plan.steps.values()) * scale),
        step_tokens=round(worked),
        seconds=min(seconds, limit * len(plan.steps)) if limit else seconds,
        tokens_per_second=rate,
        bytes=training_bytes(config, home),
    )


def tokens_per_second(past: PastRuns, model: str) -> tuple[float, str | None]:
    """The pace of the newest run with this model here, and the run's id; a guess and None where there is none."""
    for run in past.runs(("train",), (RunState.FINISHED, RunState.RUNNING, RunState.CANCELLED), limit=20):
        if run.config.get("model") == model:
            for series in past.metrics(run.id, max_points=8):
                if series.name.endswith("/tokens_per_second"):
                    values = [point.value for point in series.points if point.value > 0]
                    if values:
                        return sum(values) / len(values), run.id
    return GUESSED_TOKENS_PER_SECOND, None


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
