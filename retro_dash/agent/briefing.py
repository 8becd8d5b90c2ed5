"""What a trial starts with: the reflections so far, and what the planner is told before its first turn."""

from __future__ import annotations

from data.types import Episode, Strategy, Trial
from envs.base import EnvironmentKind
from retro_dash.agent.limits import Limits
from retro_dash.agent.prompts import Message, planner_messages, transcript


def memory(episode: Episode, kind: EnvironmentKind, before_trial: int) -> list[str]:
    """The reflections that trial `before_trial` starts with, oldest first; empty ones are left out."""
    if episode.strategy not in (Strategy.REFLEXION, Strategy.BOTH):
        return []
    texts = [r.text for r in episode.reflections if r.after_trial < before_trial and r.text.strip()]
    return texts if kind.reflection_memory is None else texts[-kind.reflection_memory :]


def trial_messages(episode: Episode, kind: EnvironmentKind, trial: Trial, limits: Limits) -> list[Message]:
    """What the planner is told before the trial's first turn: reflections, last attempt and opening."""
    last_attempt = None
    if episode.strategy in (Strategy.LAST_ATTEMPT, Strategy.BOTH):
        before = next((t for t in episode.trials if t.index == trial.index - 1), None)
        last_attempt = transcript(before, limits.last_attempt_characters) if before else None
    return planner_messages(
        episode.task,
        kind.instructions(episode.task, episode.options),
        trial.opening,
        memory(episode, kind, trial.index),
        last_attempt,
    )
