"""The nouns of Retro Dash. Read this file first: every other file speaks these words.

A **task** is one problem of an environment. A **trial** is one attempt at it, made of **turns** (think, act,
observe). When a trial fails a **reflection** is written and the next trial starts with it. An **episode** is one task
with all its trials and reflections. A **run** is a background job (collect, train, evaluate).

Everything here is frozen pydantic: it validates, it travels as JSON, and it is never changed in place. Trials and
turns are counted from 1, as people say them. Times are UTC. Log-probabilities are natural logarithms, float32 values.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator


class Noun(BaseModel):
    """A frozen record; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StopReason(StrEnum):
    """Why a trial ended. Exactly one is recorded for every finished trial."""

    SOLVED = "solved"
    """The environment said that the task is done and right."""
    FAILED = "failed"
    """The environment ended the trial and the task was not solved (a wrong final answer, say)."""
    TURN_LIMIT = "turn_limit"
    TOKEN_LIMIT = "token_limit"  # noqa: S105
    """The planner used up the tokens it may sample in one trial."""
    CONTEXT_LIMIT = "context_limit"
    """The growing sequence no longer fits the model's context."""
    REPEATED_ACTION = "repeated_action"
    MALFORMED = "malformed"
    """Too many turns in a row that held no action."""
    STOPPED = "stopped"
    """A person pressed Stop."""
    MODEL_ERROR = "model_error"
    ENVIRONMENT_ERROR = "environment_error"


class Task(Noun):
    """One problem of an environment. It travels and is stored; behaviour stays in `envs`."""

    id: str
    env: str
    """Name in the registry `envs.ENVIRONMENTS`."""
    split: str
    instruction: str
    """What the planner is asked, as a person would read it."""
    turn_limit: int | None = Field(default=None, ge=1)
    """Turns a trial may take; None means the environment's default."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    """What the environment needs to play and score the task (gold answers live here, never in a prompt)."""


class Completion(Noun):
    """What a policy wrote in one go, with the exact tokens where the engine gives them."""

    policy: str
    """Name of the model or adapter that wrote it."""
    text: str
    finish_reason: Literal["stop", "length", "abort"] = "stop"
    context_ids: tuple[int, ...] | None = None
    """Tokens appended to the trial's sequence since the previous completion (at first the prompt, then the
    observation). Joining `context_ids + token_ids` over a trial's turns gives its one growing sequence."""
    token_ids: tuple[int, ...] | None = None
    """The sampled tokens, end-of-turn token included when it was sampled."""
    logprobs: tuple[float, ...] | None = None
    """Log-probability of each sampled token under the distribution it was sampled from (temperature 1 scale)."""
    temperature: float = 0.0
    seconds: float = 0.0

    @field_validator("text")
    @classmethod
    def _is_unicode(cls, text: str) -> str:
        """A server's JSON may hold half of a character pair (`\\ud800`), which nothing can store."""
        return text.encode("utf-8", "replace").decode()


class Turn(Noun):
    """Think, act, observe."""

    index: int = Field(ge=1)
    thought: str
    """The whole reply where it held no action."""
    action: str
    observation: str
    reward: float
    """What the trial would score if it ended after this turn, in the environment's scale."""
    author: Literal["planner", "expert", "human"] = "planner"
    """`human` when a person edited or forced the action."""
    edited_from: str | None = None
    """The completion's text before a person changed it."""
    is_valid: bool = True
    """False when the environment did not understand or could not do the action."""
    is_malformed: bool = False
    """True when the completion held no action, so that a correction was fed back instead of an observation."""
    completion: Completion | None = None
    view: dict[str, JsonValue] | None = None
    """What the environment showed people beside the transcript after this turn (map, tables, budget)."""
    seconds: float = 0.0


class Trial(Noun):
    """One attempt at a task. A broken trial is data, not a crash."""

    index: int = Field(ge=1)
    prompt: str
    """The whole text that the planner was given before its first turn, reflections included."""
    opening: str
    """The environment's first observation."""
    turns: tuple[Turn, ...] = ()
    reward: float = 0.0
    success: bool = False
    stop_reason: StopReason | None = None
    """None while the trial is running."""
    error: str | None = None
    view: dict[str, JsonValue] | None = None
    """The environment's view before the first turn."""
    started_at: datetime
    finished_at: datetime | None = None


class Reflection(Noun):
    """The text between two trials."""

    after_trial: int = Field(ge=1)
    text: str
    author: Literal["reflector", "human", "expert"]
    edited_from: str | None = None
    """What the reflector wrote before a person changed it."""
    prompt: str = ""
    completion: Completion | None = None
    gain: float | None = None
    """Reward of the next trial minus reward of the last; None until the next trial has ended."""
    created_at: datetime


class Strategy(StrEnum):
    """What the next trial is told about the failed ones (Reflexion, section 3 and its code)."""

    NONE = "none"
    LAST_ATTEMPT = "last_attempt"
    REFLEXION = "reflexion"
    BOTH = "both"


class EpisodeState(StrEnum):
    RUNNING = "running"
    """Live: somebody may still step it."""
    SOLVED = "solved"
    FAILED = "failed"
    """All its trials were used and none solved the task."""
    STOPPED = "stopped"
    """Ended by a person, or left behind when its process died."""
    ERROR = "error"
    """The model or the environment broke; the last trial says how."""


class Episode(Noun):
    """One task with all its trials and reflections."""

    id: str
    task: Task
    planner: str
    reflector: str
    strategy: Strategy = Strategy.REFLEXION
    trial_limit: int = Field(default=3, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    seed: int = 0
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Settings of the environment that it was played with (dialect, reward form, database)."""
    trials: tuple[Trial, ...] = ()
    reflections: tuple[Reflection, ...] = ()
    state: EpisodeState = EpisodeState.RUNNING
    parent_id: str | None = None
    """The episode that this one was forked from."""
    fork_trial: int | None = None
    fork_turn: int | None = None
    """The first turn that differs from the parent's."""
    run_id: str
    """The run that made it; live episodes have a run of their own."""
    source: str = "retro-dash"
    """Where it came from; importers name the file format."""
    created_at: datetime


class LabelTarget(Noun):
    """What a label is about: an episode, one of its trials, a turn, or the reflection after a trial."""

    episode_id: str
    part: Literal["episode", "trial", "turn", "reflection"]
    trial: int | None = None
    turn: int | None = None


class Label(Noun):
    """One append-only statement of a person about a target. The newest one that is not undone counts."""

    id: str
    target: LabelTarget
    name: str
    """`verdict`, `tags`, `note`, `rewrite`, `step_reward`, `first_error`, `quality`."""
    value: JsonValue
    annotator: str
    at: datetime
    undoes: str | None = None
    """Id of the label that this one takes back."""


class DatasetVersion(Noun):
    """A frozen, hashed selection of episodes and labels: what a run trains on and what export writes."""

    hash: str
    name: str
    filter: str
    episode_ids: tuple[str, ...]
    label_ids: tuple[str, ...] = ()
    counts: dict[str, int] = Field(default_factory=dict)
    created_at: datetime


class RunState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    STALLED = "stalled"
    CANCELLING = "cancelling"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Run(Noun):
    """A background job, or the live session of one episode (`play`)."""

    id: str
    kind: Literal["play", "collect", "train", "evaluate", "import"]
    name: str = ""
    config: dict[str, JsonValue] = Field(default_factory=dict)
    """Frozen when the run is made."""
    state: RunState
    dataset_hash: str | None = None
    parent_id: str | None = None
    error: str | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class MetricPoint(Noun):
    model_config = ConfigDict(ser_json_inf_nan="strings")

    run_id: str
    name: str
    """Grouped by `/`: `planner/rl_loss`, `env/alfworld/success@trial2`."""
    step: int
    value: float
    at: datetime


class Adapter(Noun):
    """A published PEFT folder or full set of weights. Its name and path are new for every version."""

    name: str
    role: Literal["planner", "reflector", "both"]
    base_model: str
    path: str
    is_full_weights: bool = False
    run_id: str | None = None
    dataset_hash: str | None = None
    scores: dict[str, float] = Field(default_factory=dict)
    created_at: datetime
