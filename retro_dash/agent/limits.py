"""What one trial may use."""

from __future__ import annotations

from dataclasses import dataclass

from data.types import Task, Trial
from envs.base import EnvironmentKind


@dataclass(frozen=True)
class Limits:
    """What one trial may use. Turns come from the task or its environment."""

    reply_tokens: int = 128
    reflection_tokens: int = 200
    trial_tokens: int = 6000
    """Tokens the planner may sample in one trial."""
    malformed_in_a_row: int = 3
    last_attempt_characters: int = 6000
    reflector_characters: int = 12000


def turn_limit(task: Task, kind: EnvironmentKind) -> int:
    """Turns one trial of the task may take."""
    return task.turn_limit or kind.turn_limit


def sampled_tokens(trial: Trial) -> int:
    """Tokens the planner has sampled in the trial."""
    return sum(len(turn.completion.token_ids or ()) for turn in trial.turns if turn.completion)
