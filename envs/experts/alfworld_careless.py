"""The searching expert with a model's most common slip: it goes to furniture that is not in the room, and notices.

A trial stays whole with its slips in it. They were invalid, so they are not imitated; what follows them is.
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
    """Slips where the expert would go somewhere, drawn from the task, the trial and the turn."""

    expert: Expert
    chance: float = 0.3
    """Of a slip at such a turn."""

    def move(self, task: Task, reflections: Sequence[str], trial: Trial) -> Move:
        move = self.expert.move(task, reflections, trial)
        draw = random.Random(f"{task.id} {trial.index} {len(trial.turns)}")  # noqa: S311 - a draw, no secret
        if not move.action.startswith(_GO) or draw.random() >= self.chance:
            return move
        place = move.action.removeprefix(_GO)
        absent = self._absent(place, trial, draw)
        return Move(move.thought.replace(place, absent), f"{_GO}{absent}")

    def reflect(self, task: Task, reflections: Sequence[str], trial: Trial) -> str:
        return self.expert.reflect(task, reflections, trial)

    def _absent(self, place: str, trial: Trial, draw: random.Random) -> str:
        """One more than the room has of the furniture gone to last, or of that which is to be gone to."""
        memory = RoomMemory()
        memory.read_opening(trial.opening)
        visited = [turn.action.removeprefix(_GO) for turn in trial.turns if turn.action.startswith(_GO)]
        kinds = [type_of(name) for name in (place, *visited[-1:])]
        kind = draw.choice(kinds)
        taken = {*memory.spots, *visited}
        number = 1 + sum(type_of(name) == kind for name in memory.spots)
        while f"{kind} {number}" in taken:
            number += 1
        return f"{kind} {number}"
