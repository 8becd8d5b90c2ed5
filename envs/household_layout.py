"""A room in a few readable lines, and the ALFRED problem, task sentence and gold plan that it stands for.

A layout says where every receptacle and object is by the names that a player sees (`apple 1` is in `fridge 1`). The
PDDL made from it carries ids of ALFRED's form, so that alfworld's own naming gives the same names back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import ValidationError
from pydantic.dataclasses import dataclass

from data.errors import BadFile
from envs.household_places import places
from envs.household_text import type_of

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)


class Transform(NamedTuple):
    verb: str
    ability: str
    appliance: str
    state: str


TRANSFORMS = {
    "pick_clean_then_place_in_recep": Transform("clean", "cleanable", "sinkbasin", "isClean"),
    "pick_heat_then_place_in_recep": Transform("heat", "heatable", "microwave", "isHot"),
    "pick_cool_then_place_in_recep": Transform("cool", "coolable", "fridge", "isCool"),
}


@dataclass(frozen=True, config={"extra": "forbid"})
class Layout:
    """Names are `type number`, numbers of a type counting from 1 without a gap."""

    task_type: str
    target: str
    """Type of the object that is wanted (`apple`)."""
    goal: str
    """Type of the receptacle to put it in, or of the lamp to look at it by."""
    receptacles: dict[str, int]
    """Receptacle -> place; receptacles at one place are reached with one `go to`."""
    contents: dict[str, str]
    """Object -> receptacle that it is in at the start."""


def read_layout(data: object) -> Layout:
    """Check a layout that came from a file; raises BadFile."""
    try:
        layout = Layout(**data) if isinstance(data, dict) else None
    except (ValidationError, TypeError) as error:
        raise BadFile(f"The room layout is not one that this program writes: {str(error)[:300]}") from None
    if layout is None or layout.task_type not in TASK_TYPES:
        raise BadFile(f"The room layout has no known task_type; it is one of {', '.join(TASK_TYPES)}.")
    table = places()
    for name in (*layout.receptacles, *layout.contents):
        kind, _, number = name.partition(" ")
        if kind not in table.spelling or not number.isdecimal():
            raise BadFile(f"The room layout names {name[:60]!r}; names are an ALFRED type and a number, `apple 1`.")
    if lost := [name for name in layout.contents.values() if name not in layout.receptacles]:
        raise BadFile(f"The room layout puts something into {lost[0][:60]!r}, which is not in the room.")
    return layout


def task_sentence(layout: Layout, variant: int = 0) -> str:
    """The task in one of the two wordings of ALFWorld's templates, with its full stop."""
    target, goal = layout.target, layout.goal
    transform = TRANSFORMS.get(layout.task_type)
    if transform is not None:
        state = {"clean": "clean", "heat": "hot", "cool": "cool"}[transform.verb]
        pair = (f"put a {state} {target} in {goal}.", f"{transform.verb} some {target} and put it in {goal}.")
    elif layout.task_type == "look_at_obj_in_light":
        pair = (f"examine the {target} with the {goal}.", f"look at {target} under the {goal}.")
    elif layout.task_type == "pick_two_obj_and_place":
        pair = (f"put two {target} in {goal}.", f"find two {target} and put them in {goal}.")
    else:
        pair = (f"put a {target} in {goal}.", f"put some {target} on {goal}.")
    return pair[variant % 2]


def walkthrough(layout: Layout) -> list[str]:
    """A plan of one who knows where everything is, in today's dialect."""
    return list(_Plan(layout).commands())


class _Plan:
    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._place: int | None = None
        self._open: set[str] = set()

    def commands(self) -> Iterator[str]:
        layout, transform = self._layout, TRANSFORMS.get(self._layout.task_type)
        count = 2 if layout.task_type == "pick_two_obj_and_place" else 1
        wanted = [name for name in layout.contents if type_of(name) == layout.target][:count]
        for item in wanted:
            source = layout.contents[item]
            yield from self._reach(source, open_it=True)
            yield f"take {item} from {source}"
            if layout.task_type == "look_at_obj_in_light":
                lamp = self._first(layout.contents, layout.goal)
                yield from self._reach(layout.contents[lamp], open_it=False)
                yield f"use {lamp}"
                return
            if transform is not None:
                appliance = self._first(layout.receptacles, transform.appliance)
                yield from self._reach(appliance, open_it=False)
                yield f"{transform.verb} {item} with {appliance}"
            goal = self._first(layout.receptacles, layout.goal)
            yield from self._reach(goal, open_it=True)
            yield f"move {item} to {goal}"

    def _reach(self, receptacle: str, open_it: bool) -> Iterator[str]:
        if self._layout.receptacles[receptacle] != self._place:
            self._place = self._layout.receptacles[receptacle]
            yield f"go to {receptacle}"
        if open_it and type_of(receptacle) in places().openable and receptacle not in self._open:
            self._open.add(receptacle)
            yield f"open {receptacle}"

    @staticmethod
    def _first(names: dict[str, int] | dict[str, str], kind: str) -> str:
        found = [name for name in names if type_of(name) == kind]
        if not found:
            raise BadFile(f"The room layout has no {kind}, so its task cannot be done.")
        return min(found)


def pddl_problem(layout: Layout) -> str:
    """The ALFRED problem, as the official engine takes it (`(:domain alfred)`)."""
    counts = Counter(type_of(name) for name in (*layout.receptacles, *layout.contents))
    ids = {name: _id(name, counts) for name in (*layout.receptacles, *layout.contents)}
    rtypes = {type_of(name) for name in layout.receptacles} | {layout.goal} - set(places().abilities)
    otypes = {type_of(name) for name in layout.contents} | {layout.target, "knife", "butterknife", "sink"}
    spots = sorted(set(layout.receptacles.values()))
    objects = [
        "agent1 - agent",
        *(f"{ids[name]} - receptacle" for name in layout.receptacles),
        *(f"{ids[name]} - object" for name in layout.contents),
        *(f"{_spot(place)} - location" for place in (-1, *spots)),
        *(f"{_spelled(one)}Type - otype" for one in sorted(otypes)),
        # The domain's actions name these types, so they are declared even where no such thing is in the room.
        *(f"{_spelled(one)}Type - rtype" for one in sorted(rtypes | {"sinkbasin", "microwave", "fridge"})),
    ]
    facts = [f"(atLocation agent1 {_spot(-1)})", "(= (total-cost) 0)", *_receptacle_facts(layout, ids)]
    facts += [*_object_facts(layout, ids), *_fit_facts(rtypes, otypes)]
    body = "\n    ".join
    return (
        f"(define (problem room)\n(:domain alfred)\n(:objects\n    {body(objects)})\n"
        f"(:init\n    {body(facts)})\n(:goal {_goal(layout)}))\n"
    )


def _receptacle_facts(layout: Layout, ids: dict[str, str]) -> Iterator[str]:
    for name, place in layout.receptacles.items():
        yield f"(receptacleType {ids[name]} {_spelled(type_of(name))}Type)"
        yield f"(receptacleAtLocation {ids[name]} {_spot(place)})"
        if type_of(name) in places().openable:
            yield f"(openable {ids[name]})"


def _object_facts(layout: Layout, ids: dict[str, str]) -> Iterator[str]:
    for name, receptacle in layout.contents.items():
        yield f"(objectType {ids[name]} {_spelled(type_of(name))}Type)"
        yield f"(inReceptacle {ids[name]} {ids[receptacle]})"
        yield f"(objectAtLocation {ids[name]} {_spot(layout.receptacles[receptacle])})"
        for ability in places().abilities.get(type_of(name), []):
            yield f"({'isReceptacleObject' if ability == 'isreceptacleobject' else ability} {ids[name]})"


def _fit_facts(rtypes: set[str], otypes: set[str]) -> Iterator[str]:
    for rtype in sorted(rtypes):
        for otype in sorted(otypes & set(places().fits.get(rtype, []))):
            yield f"(canContain {_spelled(rtype)}Type {_spelled(otype)}Type)"


def _goal(layout: Layout) -> str:
    target, goal = f"{_spelled(layout.target)}Type", f"{_spelled(layout.goal)}Type"
    if layout.task_type == "look_at_obj_in_light":
        return (
            "(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and "
            f"(objectType ?ot {goal}) (toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) "
            f"(atLocation ?a ?l) (inReceptacle ?ot ?r))) "
            f"(exists (?o - object ?a - agent) (and (objectType ?o {target}) (holds ?a ?o))))"
        )
    if layout.task_type == "pick_two_obj_and_place":
        return (
            "(and (exists (?r - receptacle) (exists (?o1 - object) (and "
            f"(objectType ?o1 {target}) (receptacleType ?r {goal}) (inReceptacle ?o1 ?r) "
            f"(exists (?o2 - object) (and (not (= ?o1 ?o2)) (objectType ?o2 {target}) (receptacleType ?r {goal}) "
            "(inReceptacle ?o2 ?r)))))))"
        )
    transform = TRANSFORMS.get(layout.task_type)
    extra = f"({transform.ability} ?o) ({transform.state} ?o) " if transform else ""
    return (
        f"(and (exists (?r - receptacle) (exists (?o - object) (and {extra}(inReceptacle ?o ?r) "
        f"(objectType ?o {target}) (receptacleType ?r {goal})))))"
    )


def _id(name: str, counts: Counter[str]) -> str:
    """ALFRED's form; the highest number sorts first, as alfworld's naming has it."""
    kind, _, number = name.partition(" ")
    spelled = _spelled(kind)
    position = f"_bar__plus_{counts[kind] - int(number):02d}_dot_00_bar__plus_00_dot_90_bar__plus_01_dot_00"
    if kind.endswith("basin"):
        return f"{spelled.removesuffix('Basin')}{position}_bar_{spelled}"
    return spelled + position


def _spot(place: int) -> str:
    return f"loc_bar_{place}_bar_0_bar_0_bar_60" if place >= 0 else "loc_bar__minus_1_bar_0_bar_0_bar_30"


def _spelled(kind: str) -> str:
    return places().spelling[kind]
