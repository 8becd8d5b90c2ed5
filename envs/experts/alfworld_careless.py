"""The searching expert with a model's most common slips, which it notices: it goes to furniture that the room lacks,
or to where it stands already.

A trial stays whole with its slips in it. They were invalid, so they are not imitated; what follows them is. Both are
answered alike, so that what follows must come from the list of furniture in the opening.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from data.types import Task, Trial
from envs.base import Expert, Move
from envs.household_memory import RoomMemory
from envs.household_text import type_of

_GO = "go to "


@dataclass(frozen=True)
class CarelessExpert:
    """Slips drawn from the task, the trial and the turn."""

    expert: Expert
    chance: float = 0.25
    """Of a slip at a turn that allows one."""

    def move(self, task: Task, reflections: Sequence[str], trial: Trial) -> Move:
        move = self.expert.move(task, reflections, trial)
        draw = random.Random(f"{task.id} {trial.index} {len(trial.turns)}")  # noqa: S311 - a draw, no secret
        if draw.random() >= self.chance:
            return move
        memory = RoomMemory.of(trial)
        if not move.action.startswith(_GO):
            return _standing(move, memory, trial)
        place = move.action.removeprefix(_GO)
        absent = _absent(place, memory, trial, draw)
        return Move(move.thought.replace(place, absent), f"{_GO}{absent}")

    def reflect(self, task: Task, reflections: Sequence[str], trial: Trial) -> str:
        return self.expert.reflect(task, reflections, trial)


def _standing(move: Move, memory: RoomMemory, trial: Trial) -> Move:
    """Go to where it stands, unless that repeats the last action, which would end the trial."""
    action = f"{_GO}{memory.location}"
    can_slip = memory.location is not None and trial.turns[-1].action != action
    return Move(move.thought, action) if can_slip else move


def _absent(place: str, memory: RoomMemory, trial: Trial, draw: random.Random) -> str:
    """One more than the room has of the furniture gone to last, or of that which is to be gone to."""
    visited = [turn.action.removeprefix(_GO) for turn in trial.turns if turn.action.startswith(_GO)]
    kind = draw.choice([type_of(name) for name in (place, *visited[-1:])])
    taken = {*memory.spots, *visited}
    number = 1 + sum(type_of(name) == kind for name in memory.spots)
    while f"{kind} {number}" in taken:
        number += 1
    return f"{kind} {number}"
