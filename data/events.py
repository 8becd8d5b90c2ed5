"""What happened: the only things that change the store. Past tense, append-only, numbered within their run.

An `Event` is an envelope (run id, sequence number, time) around one of the bodies below. Appending the same
(run_id, seq) twice is harmless, so every writer may retry. A run folder's `events.jsonl` holds one envelope a line.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from data.types import (
    Adapter,
    DatasetVersion,
    Episode,
    EpisodeState,
    Label,
    Noun,
    Reflection,
    Run,
    RunState,
    StopReason,
    Trial,
    Turn,
)


class EpisodeStarted(Noun):
    """Also used by importers: the episode may already carry finished trials and reflections."""

    kind: Literal["episode_started"] = "episode_started"
    episode: Episode


class TrialStarted(Noun):
    kind: Literal["trial_started"] = "trial_started"
    episode_id: str
    trial: Trial


class TurnTaken(Noun):
    kind: Literal["turn_taken"] = "turn_taken"
    episode_id: str
    trial: int
    turn: Turn


class TrialFinished(Noun):
    kind: Literal["trial_finished"] = "trial_finished"
    episode_id: str
    trial: int
    reward: float
    success: bool
    stop_reason: StopReason
    error: str | None = None
    finished_at: datetime


class ReflectionWritten(Noun):
    """Written, or edited by a person: the newest one after a trial counts."""

    kind: Literal["reflection_written"] = "reflection_written"
    episode_id: str
    reflection: Reflection


class EpisodeFinished(Noun):
    kind: Literal["episode_finished"] = "episode_finished"
    episode_id: str
    state: EpisodeState


class LabelMade(Noun):
    kind: Literal["label_made"] = "label_made"
    label: Label


class RunCreated(Noun):
    kind: Literal["run_created"] = "run_created"
    run: Run


class RunStateChanged(Noun):
    kind: Literal["run_state_changed"] = "run_state_changed"
    state: RunState
    error: str | None = None


class MetricsLogged(Noun):
    kind: Literal["metrics_logged"] = "metrics_logged"
    step: int
    values: dict[str, float]


class AdapterPublished(Noun):
    kind: Literal["adapter_published"] = "adapter_published"
    adapter: Adapter


class DatasetFrozen(Noun):
    kind: Literal["dataset_frozen"] = "dataset_frozen"
    dataset: DatasetVersion


EventBody = Annotated[
    EpisodeStarted
    | TrialStarted
    | TurnTaken
    | TrialFinished
    | ReflectionWritten
    | EpisodeFinished
    | LabelMade
    | RunCreated
    | RunStateChanged
    | MetricsLogged
    | AdapterPublished
    | DatasetFrozen,
    Field(discriminator="kind"),
]


class Event(Noun):
    """One thing that happened in a run."""

    model_config = ConfigDict(ser_json_inf_nan="strings")  # A loss that is no number is news, not a broken line.

    run_id: str
    seq: int = Field(ge=0)
    """Counts up within the run; (run_id, seq) is the event's identity."""
    at: datetime
    body: EventBody
