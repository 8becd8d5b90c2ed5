"""Rooms and tasks from a seed: ALFWorld games of any size, solvable by construction.

    python -m envs.rooms            writes the bundled tasks, data/tasks/alfworld_{valid,train}.jsonl.gz

A room is furnished and filled by what the training games had (`household_places`), from 4 receptacles to a real
kitchen's 36. The wanted object is often put where such things are seldom found. The turn budget then covers the plan
of one who knows the room plus only a share of a full search, so a first trial often fails, and a second one that
remembers what was searched has enough.
"""

from __future__ import annotations

import gzip
import io
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

from data.errors import UnknownName
from data.types import Task
from envs.alfworld_files import ENVIRONMENT, task_file
from envs.household import Household
from envs.household_layout import TASK_TYPES, TRANSFORMS, Layout, pddl_problem, task_sentence, walkthrough
from envs.household_places import places
from envs.household_problem import read_problem
from envs.household_text import type_of

SIZES = {"tiny": (4, 6), "small": (7, 11), "medium": (12, 19), "large": (20, 36)}
"""Size -> fewest and most receptacles. The official games have 6 to 54; kitchens 20 and more."""
SEARCH_SHARE = 0.2
"""Share of a full search that the turn budget allows beyond the known plan."""
HIDDEN_SHARE = 0.65
"""How often the wanted object is put where it would be looked for late."""
MAX_TURNS = 50
BUNDLED = {"valid": (7, 72), "train": (11, 240)}
"""Split -> seed and number of the bundled tasks."""
_LAMPS = ("desklamp", "floorlamp")


def generate_tasks(
    seed: int, count: int, size: str = "mixed", split: str = "generated", task_types: tuple[str, ...] = TASK_TYPES
) -> list[Task]:
    """`count` tasks, the types taking turns; the same arguments give the same tasks.

    `size` is one of SIZES or `mixed`, which goes through all four.
    """
    if size != "mixed" and size not in SIZES:
        raise UnknownName("room size", size, [*SIZES, "mixed"])
    return [_task(seed, index, size, split, task_types[index % len(task_types)]) for index in range(count)]


def _task(seed: int, index: int, size: str, split: str, task_type: str) -> Task:
    rng = random.Random(f"{seed}/{index}/{size}/{task_type}")  # noqa: S311
    chosen = size if size != "mixed" else list(SIZES)[index // len(TASK_TYPES) % len(SIZES)]
    kind, layout = _room(rng, task_type, chosen)
    plan = walkthrough(layout)
    return Task(
        id=f"rooms-{seed}-{chosen}-{index:04d}",
        env=ENVIRONMENT,
        split=split,
        instruction=task_sentence(layout, rng.randrange(2)),
        turn_limit=turn_budget(layout, plan),
        metadata={"task_type": task_type, "scene": kind, "room": asdict(layout), "walkthrough": [*plan]},
    )


def turn_budget(layout: Layout, plan: list[str]) -> int:
    """The known plan, one slip, and a share of what looking into every fitting receptacle costs."""
    fitting = [name for name in layout.receptacles if layout.target in places().fits.get(type_of(name), [])]
    search = sum(2 if type_of(name) in places().openable else 1 for name in fitting)
    return min(MAX_TURNS, len(plan) + 1 + math.ceil(SEARCH_SHARE * search))


def _room(rng: random.Random, task_type: str, size: str) -> tuple[str, Layout]:
    """Draw until a room can hold its task: the plan must win and the start must not be won already."""
    while True:
        kind, target, goal = rng.choice(_errands(task_type))
        layout = _furnish(rng, kind, task_type, target, goal, size)
        if layout is not None and _is_solved_by_its_plan(layout):
            return kind, layout


def _is_solved_by_its_plan(layout: Layout) -> bool:
    game = Household(read_problem(pddl_problem(layout)), task_sentence(layout))
    wins = [game.won]
    for command in walkthrough(layout):
        game.step(command)
        wins.append(game.won)
    return wins[-1] and not any(wins[:-1])


def _errands(task_type: str) -> list[tuple[str, str, str]]:
    """All (room kind, wanted object, goal) for which the training games have what is needed."""
    table, found = places(), []
    for kind in sorted(table.rooms):
        furniture, transform = table.receptacles[kind], TRANSFORMS.get(task_type)
        if transform is not None and transform.appliance not in furniture:
            continue
        for target in sorted(table.objects[kind]):
            abilities = table.abilities[target]
            if "pickupable" not in abilities or table.objects[kind][target] * 4 < table.rooms[kind]:
                continue
            if transform is not None and transform.ability not in abilities:
                continue
            if task_type == "look_at_obj_in_light":
                found += [(kind, target, "desklamp")] if table.objects[kind].get("desklamp") else []
                continue
            found += [
                (kind, target, goal)
                for goal in sorted(furniture)
                if target in table.fits.get(goal, []) and furniture[goal] * 5 > table.rooms[kind]
            ]
    return found


def _furnish(rng: random.Random, kind: str, task_type: str, target: str, goal: str, size: str) -> Layout | None:
    """A room with what the errand needs, or None where the object has fewer than two places to be."""
    table, transform = places(), TRANSFORMS.get(task_type)
    lit = task_type == "look_at_obj_in_light"
    needed = [rng.choice(["desk", "sidetable"])] if lit else [goal]
    needed += [transform.appliance] if transform and transform.appliance != goal else []
    furniture = _furniture(rng, kind, needed, rng.randint(*SIZES[size]))
    names = [f"{one} {number}" for one in sorted(furniture) for number in range(1, furniture[one] + 1)]
    spots = [name for name in names if target in table.fits.get(type_of(name), [])]
    if not lit and transform is None:
        spots = [name for name in spots if type_of(name) != goal]
    if len({type_of(name) for name in spots}) < 2:
        return None
    contents = {}
    if lit:
        contents[f"{goal} 1"] = f"{needed[0]} 1"
    copies = 2 if task_type == "pick_two_obj_and_place" else 1
    for number in range(1, copies + 1):
        contents[f"{target} {number}"] = _hiding_place(rng, target, spots)
    contents |= _clutter(rng, kind, names, taken={target, *_LAMPS})
    return Layout(task_type, target, goal, receptacles=_arranged(rng, names), contents=contents)


def _furniture(rng: random.Random, kind: str, needed: list[str], count: int) -> Counter[str]:
    """`needed`, then drawn by how common each is in such rooms, none much beyond its usual number."""
    common, games = places().receptacles[kind], places().rooms[kind]
    furniture = Counter(needed)
    limits = {one: max(1, round(1.45 * total / games)) for one, total in common.items()}
    while furniture.total() < count:
        room = {one: common[one] for one in common if furniture[one] < limits[one]}
        if not room:
            break
        furniture[rng.choices(list(room), weights=list(room.values()))[0]] += 1
    return furniture


def _hiding_place(rng: random.Random, target: str, spots: list[str]) -> str:
    """Often among the less likely half of the places, else as the training games have it."""
    ranked = sorted(spots, key=lambda name: -places().chance(target, type_of(name)))
    if rng.random() < HIDDEN_SHARE:
        return rng.choice(ranked[len(ranked) // 2 :])
    return rng.choices(ranked, weights=[places().chance(target, type_of(name)) + 0.02 for name in ranked])[0]


def _clutter(rng: random.Random, kind: str, names: list[str], taken: set[str]) -> dict[str, str]:
    """Other things, each where the training games have it."""
    table, numbers, contents = places(), Counter[str](), {}
    types = [one for one in sorted(table.objects[kind]) if one not in taken and table.found.get(one)]
    weights = [table.objects[kind][one] for one in types]
    for one in rng.choices(types, weights=weights, k=round(len(names) * rng.uniform(0.8, 1.6))):
        spots = [name for name in names if table.found[one].get(type_of(name))]
        if spots and numbers[one] < 3:
            numbers[one] += 1
            weight = [table.chance(one, type_of(name)) for name in spots]
            contents[f"{one} {numbers[one]}"] = rng.choices(spots, weights=weight)[0]
    return contents


def _arranged(rng: random.Random, names: list[str]) -> dict[str, int]:
    """Each at a place of its own, but stove burners in pairs and some drawers and cabinets one above the other."""
    spots: dict[str, int] = {}
    for index, name in enumerate(names):
        before = names[index - 1] if index else ""
        paired = (
            before in spots and list(spots.values()).count(spots[before]) == 1 and type_of(before) == type_of(name)
        )
        chance = {"stoveburner": 1.0, "drawer": 0.3, "cabinet": 0.2}.get(type_of(name), 0.0)
        spots[name] = spots[before] if paired and rng.random() < chance else index
    return spots


def main() -> None:
    for split, (seed, count) in BUNDLED.items():
        task_file(split).write_bytes(_packed(generate_tasks(seed, count, split=split)))


def _packed(tasks: list[Task]) -> bytes:
    """gzip without a time stamp, so that the same tasks give the same file."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed:
        packed.writelines(_lines(tasks))
    return buffer.getvalue()


def _lines(tasks: list[Task]) -> Iterator[bytes]:
    for task in tasks:
        yield task.model_dump_json().encode() + b"\n"


if __name__ == "__main__":
    main()
