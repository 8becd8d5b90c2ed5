"""What one trial may use, and whether it has used it up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data.types import StopReason, Task, Trial, Turn
from envs.base import EnvironmentKind

ROOM_FOR_REPLY = 16
"""Tokens that must still fit into the model's context for another turn."""


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


def sampled_tokens(turns: Sequence[Turn]) -> int:
    """Tokens the planner has sampled for these turns."""
    return sum(len(turn.completion.token_ids or ()) for turn in turns if turn.completion)


def stop_before_reply(trial: Trial, room: int | None, limits: Limits) -> StopReason | None:
    """Why the planner may not write another turn; `room` is how many tokens fit (None: any number)."""
    if room is not None and room < ROOM_FOR_REPLY:
        return StopReason.CONTEXT_LIMIT
    return StopReason.TOKEN_LIMIT if sampled_tokens(trial.turns) >= limits.trial_tokens else None


def stop_after_turn(trial: Trial, turns: int, limits: Limits) -> StopReason | None:
    """Why the trial ends with its last turn though the environment would go on; `turns` is how many it may take."""
    worst = limits.malformed_in_a_row
    if len(trial.turns) >= worst and all(turn.is_malformed for turn in trial.turns[-worst:]):
        return StopReason.MALFORMED
    return StopReason.TURN_LIMIT if len(trial.turns) >= turns else None
