"""What a policy knows when it begins: the planner before its first turn, the reflector after a failed trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data.types import Episode, Strategy, Task, Trial
from envs.base import EnvironmentKind
from retro_dash.agent.limits import Limits
from retro_dash.agent.prompts import Message, as_text, planner_messages, reflector_messages, transcript


@dataclass(frozen=True)
class Briefing:
    """All that a policy may know when a dialogue begins."""

    task: Task
    messages: Sequence[Message]
    trial: Trial
    """Planner: the new trial with its opening. Reflector: the failed trial."""
    reflections: Sequence[str]
    """Earlier reflections on this task, oldest first."""


def brief_planner(episode: Episode, kind: EnvironmentKind, trial: Trial, limits: Limits) -> Briefing:
    """Reflections, last attempt and opening, before the trial's first turn."""
    reflections = memory(episode, kind, trial.index)
    last_attempt = None
    if episode.strategy in (Strategy.LAST_ATTEMPT, Strategy.BOTH):
        before = next((t for t in episode.trials if t.index == trial.index - 1), None)
        last_attempt = transcript(before, limits.last_attempt_characters) if before else None
    instructions = kind.instructions(episode.task, episode.options)
    messages = planner_messages(episode.task, instructions, trial.opening, reflections, last_attempt)
    return Briefing(episode.task, messages, trial, reflections)


def brief_reflector(episode: Episode, kind: EnvironmentKind, trial: Trial, limits: Limits) -> Briefing:
    """The failed trial, and the reflections that it started with."""
    reflections = memory(episode, kind, trial.index)
    messages = reflector_messages(episode.task, trial, reflections, limits.reflector_characters)
    return Briefing(episode.task, messages, trial, reflections)


def memory(episode: Episode, kind: EnvironmentKind, before_trial: int) -> list[str]:
    """The reflections that trial `before_trial` starts with, oldest first; empty ones are left out."""
    if episode.strategy not in (Strategy.REFLEXION, Strategy.BOTH):
        return []
    texts = [r.text for r in episode.reflections if r.after_trial < before_trial and r.text.strip()]
    return texts if kind.reflection_memory is None else texts[-kind.reflection_memory :]


def recorded_messages(episode: Episode, kind: EnvironmentKind, trial: Trial, limits: Limits) -> Sequence[Message]:
    """The messages behind the trial's recorded prompt; an imported one that ours do not reproduce is used whole."""
    messages = brief_planner(episode, kind, trial, limits).messages
    is_same = not trial.prompt or as_text(messages) == trial.prompt
    return messages if is_same else [Message("user", trial.prompt)]
