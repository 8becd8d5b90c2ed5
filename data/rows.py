"""What the store's lists and charts are made of: small frozen rows, each drawn as it is."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from pydantic import JsonValue

from data.types import EpisodeState, MetricPoint, Noun, StopReason


class TrialOutcome(Noun):
    """One trial of an episode, as small as a list needs it."""

    index: int
    turns: int
    reward: float
    success: bool
    stop_reason: StopReason | None
    """None while the trial is running."""


class LabelSummary(Noun):
    """What people say of an episode as a whole: one entry an annotator and name."""

    name: str
    value: JsonValue
    annotator: str


class EpisodeRow(Noun):
    """One line of the episode list."""

    id: str
    run_id: str
    env: str
    split: str
    task_id: str
    instruction: str
    """The first 240 characters."""
    planner: str
    reflector: str
    source: str
    state: EpisodeState
    success: bool
    trials: tuple[TrialOutcome, ...]
    turn_count: int
    first_reward: float | None
    last_reward: float | None
    best_gain: float | None
    labels: tuple[LabelSummary, ...]
    parent_id: str | None
    created_at: datetime


class EpisodePage(Noun):
    """Some rows of a filtered, sorted list, and how many there are in all."""

    total: int
    rows: tuple[EpisodeRow, ...]
    next_cursor: str | None = None
    """Where to go on: the id of the last row; None when there is nothing behind it."""


class Verdict(NamedTuple):
    """What an annotator says of an episode as a whole, as it stands."""

    episode_id: str
    annotator: str
    value: str
    at: datetime
    """In UTC, without a zone."""


class ReflectionRow(Noun):
    """A reflection with the task that it is about."""

    episode_id: str
    env: str
    task_id: str
    instruction: str
    trial: int
    text: str


class StoredEvent(Noun):
    """That something happened, without its body. `position` is the cursor to go on from."""

    position: int
    run_id: str
    seq: int
    kind: str
    at: datetime
    episode_id: str | None
    trial: int | None
    turn: int | None


class MetricSeries(Noun):
    """One curve, thinned so that its lowest and highest points stay."""

    name: str
    total: int
    """Points before thinning."""
    points: tuple[MetricPoint, ...]


class Facets(Noun):
    """Known values of the filter's fields, the most frequent first."""

    values: dict[str, tuple[str, ...]]
