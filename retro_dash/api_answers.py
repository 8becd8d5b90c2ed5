"""The shapes of answers that the service gives as plain JSON, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, JsonValue

from data.types import Episode, EpisodeState


def answers(shape: Any, status: int = 200) -> dict[str, Any]:
    """What a route answers. It is written into the document only: the answer is not copied through the model."""
    return {"response_model": None, "responses": {status: {"model": shape}}}


class EngineState(BaseModel):
    state: str
    model: str | None
    detail: str
    url: str | None = None
    load: dict[str, JsonValue] = {}


class LiveCounts(BaseModel):
    open: int
    busy: int


class RunCounts(BaseModel):
    queued: int
    running: int


class Storage(BaseModel):
    read_only: str | None
    """Why nothing can be stored; null when all is well."""


class Status(BaseModel):
    """What the top bar shows."""

    version: str
    home: str
    engine: EngineState
    live: LiveCounts
    runs: RunCounts
    storage: Storage


class EnvironmentRow(BaseModel):
    name: str
    title: str
    summary: str
    turn_limit: int
    success_rule: str
    splits: list[str]
    options: dict[str, JsonValue]
    works: bool
    detail: str
    """Why it does not work here, or by what it does."""


class PublicTask(BaseModel):
    """A task without its gold answer."""

    id: str
    env: str
    split: str
    instruction: str
    turn_limit: int
    metadata_public: dict[str, JsonValue]


class TaskPage(BaseModel):
    total: int
    tasks: list[PublicTask]


class PolicyRow(BaseModel):
    name: str
    label: str
    detail: str
    available: bool
    role: Literal["planner", "reflector"] | None
    """What it was trained to be; null for a policy that takes either part."""
    envs: list[str]


class Policies(BaseModel):
    planners: list[PolicyRow]
    reflectors: list[PolicyRow]


class FilterField(BaseModel):
    name: str
    type: str
    example: str
    meaning: str


class Filters(BaseModel):
    """The fields of the filter language, and the known values of some."""

    fields: list[FilterField]
    facets: dict[str, list[str]]


class WholeEpisode(Episode):
    """An episode without token ids; of a very long one the first turns of each trial."""

    turn_counts: dict[str, int]
    """Turns by trial, those that were left out included."""


class Divergence(BaseModel):
    trial: int
    against: int
    turn: int | None
    """The first that did or saw something else; null when none did."""
    row: int | None


class Alignment(BaseModel):
    """The trials of an episode side by side: see `retro_dash.align.align`."""

    rows: list[list[int | None]]
    same: list[bool]
    divergences: list[Divergence]
    repeats: dict[str, dict[str, int]]


class Proposal(BaseModel):
    """A turn that waits for a person."""

    thought: str
    action: str
    raw: str


class Budget(BaseModel):
    turns_used: int
    turn_limit: int
    tokens_used: int
    token_limit: int | None
    sequence_length: int


class LiveState(BaseModel):
    """A live episode as it is now; `episode` only where the whole of it was asked for."""

    episode_id: str
    env: str
    instruction: str
    state: EpisodeState
    phase: str
    partial: dict[str, JsonValue] | None
    """What is being written: its `role` and `text`."""
    proposal: Proposal | None
    allowed: list[str]
    """Verbs that can be pressed now."""
    view: dict[str, JsonValue]
    budget: Budget
    pending_reflections: list[str]
    cursor: int
    error: str | None
    episode: Episode | None = None
