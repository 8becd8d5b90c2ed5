"""Small ALFWorld rooms in which lost things turn up where people sit, and an expert that does not know it.

A room has five pieces of furniture, one of them a seat. One thing is wanted; it lies on the seat or on one of three
others and belongs on the fifth. The expert looks around in random order, remembers, takes and brings, and after a
failed trial writes in one sentence what it saw. So an agent that imitates it searches blindly, and has something to
learn by trial and error: where to look first.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from zlib import crc32

from data.types import Task, Trial
from envs.base import Move
from envs.experts.alfworld_errand import Errand, read_errand, read_lessons
from envs.household_layout import Layout, task_sentence
from envs.household_memory import RoomMemory
from envs.household_text import type_of

WANTED = ("book", "cellphone", "keychain", "remotecontrol")
SEATS = ("armchair", "ottoman", "sofa")
OTHERS = ("coffeetable", "desk", "diningtable", "dresser", "shelf", "sidetable")
CLUTTER = ("candle", "laptop", "newspaper", "statue", "vase", "watch")
NAMES = (*SEATS, *OTHERS, *WANTED, *CLUTTER)
ERRAND_TURNS = 3
"""Take, go, move: what is left to do once the thing is in sight."""


def make_rooms(seed: int, count: int, habit: float, looks: Sequence[int], held_out: bool = False) -> list[Task]:
    """`count` tasks in rooms of their own. With probability `habit` the wanted thing is on the seat, else on any of
    the four. The turn limit allows one of `looks` looks (drawn for each room) and the errand.

    A fifth of all combinations of furniture, wanted thing and goal comes in `held_out` rooms only.
    """
    return [
        _room(random.Random(f"{seed}/{index}"), f"habit-{seed}-{index:05d}", habit, looks, held_out)
        for index in range(count)
    ]


def _room(rng: random.Random, name: str, habit: float, looks: Sequence[int], held_out: bool) -> Task:
    while True:
        target, seat = rng.choice(WANTED), rng.choice(SEATS)
        goal, *others = rng.sample(OTHERS, 4)
        furniture = sorted([seat, goal, *others])
        if (crc32(f"{target} {goal} {furniture}".encode()) % 5 == 0) is held_out:
            break
    hiding = seat if rng.random() < habit else rng.choice([seat, *others])
    contents = {f"{target} 1": f"{hiding} 1"}
    for kind in rng.sample(CLUTTER, 3):
        contents[f"{kind} 1"] = f"{rng.choice(furniture)} 1"
    layout = Layout(
        "pick_and_place_simple",
        target,
        goal,
        receptacles={f"{kind} 1": place for place, kind in enumerate(furniture)},
        contents=contents,
    )
    return Task(
        id=name,
        env="alfworld",
        split="generated",
        instruction=task_sentence(layout),
        turn_limit=rng.choice(looks) + ERRAND_TURNS,
        metadata={"task_type": layout.task_type, "room": asdict(layout)},
    )


class BlindSearcher:
    """An `Expert` that looks in random order wherever nothing speaks against it."""

    def move(self, task: Task, reflections: Sequence[str], trial: Trial) -> Move:
        errand, memory = _errand(task), RoomMemory.of(trial)
        goal = next(name for name in memory.spots if type_of(name) == errand.goal)
        if memory.holding:
            return _at(memory, goal, f"move {memory.holding[-1]} to {goal}")
        if found := memory.where(errand.target):
            item, spot = found[0]
            return _at(memory, spot, f"take {item} from {spot}")
        lessons = read_lessons(reflections, errand, list(memory.spots))
        order = random.Random(f"{task.id}/{trial.index}").sample(list(memory.spots), len(memory.spots))
        useless = {
            goal,
            *lessons.in_vain,
            *(name for name, spot in memory.spots.items() if spot.contents is not None),
        }
        left = [name for name in (*lessons.seen.get(errand.target, ()), *order) if name not in useless]
        return Move("", f"go to {left[0]}" if left else "look")

    def reflect(self, task: Task, reflections: Sequence[str], trial: Trial) -> str:
        errand, memory = _errand(task), RoomMemory.of(trial)
        for item, spot in memory.first_seen.items():
            if type_of(item) == errand.target:
                return f"I saw {item} in {spot}."
        looked = [turn.action.removeprefix("go to ") for turn in trial.turns if turn.action.startswith("go to ")]
        return f"There was no {errand.target} in {', '.join(looked)}."


def _at(memory: RoomMemory, spot: str, action: str) -> Move:
    return Move("", action if memory.location == spot else f"go to {spot}")


def _errand(task: Task) -> Errand:
    errand = read_errand(task.instruction)
    assert errand is not None
    return errand
