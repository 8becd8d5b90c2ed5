"""What every environment is: a task goes in, actions go in, observations and a reward come out.

An `Environment` is single-use: one object plays one trial of one task, deterministic from the task. It raises
`EnvironmentCrashed` only when it is broken; a bad action is an ordinary observation. An `Expert` is a pure function
of what an agent may see, so that a forked or edited trial needs no hidden state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from data.types import StopReason, Task, Trial

Options = Mapping[str, JsonValue]
"""Settings of one environment (dialect, reward form, database), validated by the environment itself."""


@dataclass(frozen=True)
class StepOutcome:
    """What one action did."""

    observation: str
    reward: float = 0.0
    """What the trial scores if it ends now, in the environment's scale."""
    stop: StopReason | None = None
    """Set when the environment ends the trial: SOLVED, FAILED or REPEATED_ACTION."""
    is_valid: bool = True
    """False when the action was not understood or could not be done."""


class Environment(Protocol):
    """One trial of one task."""

    def start(self) -> str:
        """Return the first observation. Called once, before any step."""
        ...

    def step(self, action: str) -> StepOutcome: ...

    def view(self) -> dict[str, JsonValue]:
        """What a person may see beside the transcript now: JSON, a few kilobytes at most. Its keys are the
        environment's own and drawn by the web and terminal pages."""
        ...

    def close(self) -> None:
        """Free everything; safe to call twice."""
        ...


@dataclass(frozen=True)
class Move:
    """One turn of an expert."""

    thought: str
    action: str


class Expert(Protocol):
    """Plays and reflects from what an agent may see (and, where documented, the task's gold)."""

    def move(self, task: Task, reflections: Sequence[str], trial: Trial) -> Move:
        """The next turn, given the opening and turns of the running trial and the reflections it started with."""
        ...

    def reflect(self, task: Task, reflections: Sequence[str], trial: Trial) -> str:
        """What the failed `trial` teaches for the next one: diagnosis and plan, in the planner's words."""
        ...


@dataclass(frozen=True)
class Availability:
    """Whether something works on this machine."""

    works: bool
    detail: str
    """What works, or what is missing and how to get it: one sentence."""


@dataclass(frozen=True)
class EnvironmentKind:
    """All that the rest of the program knows of an environment. Each environment module has one, called KIND."""

    name: str
    title: str
    summary: str
    """One sentence for the task picker."""
    turn_limit: int
    reflection_memory: int | None
    """How many of the last reflections the next trial sees; None means all."""
    success_rule: str
    splits: tuple[str, ...]
    """Bundled splits, the default one first."""
    bundled: Callable[[str], list[Task]]
    """Bundled tasks of a split."""
    read: Callable[[Path, Options], list[Task]]
    """Tasks from a file or folder in the environment's public format; raises BadFile."""
    open: Callable[[Task, Options], Environment]
    instructions: Callable[[Task, Options], str]
    """What actions exist and how to write them, for the planner's prompt."""
    expert: Expert
    careless: Expert
    """The expert with slips and mistakes as models make them: it recovers in the same trial, or fails and does better
    with its reflection, so that there is something to reflect on without a model."""
    check: Callable[[], Availability]
    limit: Callable[[Task, Options], Task] = lambda task, options: task
    """The task with as many turns as the options allow it."""
    generate: Callable[[int, int], list[Task]] | None = None
    """Tasks for training: (seed, count), the same ones for the same. None where nobody can make any."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Option name -> what it does and its values, for `--help` and hints."""
