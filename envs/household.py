"""A simulator of ALFWorld's text world in plain Python: an ALFRED problem in, commands in, the engine's text out.

It gives word for word what TextWorld 1.7.0 with alfworld 0.4.2 gives for the same problem: the same opening, answer,
admissible commands and `won` after every command (`benchmarks/alfworld.py` walks both side by side). As there, a
command is done only when it is exactly one of the admissible ones; everything else answers `Nothing happens.`. The
engine's odd rules that are mirrored here are listed in `docs/alfworld.md`.

ALFWorld: Shridhar et al., arXiv 2010.03768. The text follows its released grammar.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from enum import StrEnum

from data.errors import BadFile
from envs.household_problem import Fact, Goal, Problem
from envs.household_text import HELP, HELP_MOVE, HELP_PUT, demangled_names, listed

NOTHING_HAPPENS = "Nothing happens."
WELCOME = "-= Welcome to TextWorld, ALFRED! =-"


class Dialect(StrEnum):
    """Wording of the released games: before and after ALFWorld's grammar changed."""

    MOVE = "move"
    """alfworld 0.4: `move O to R`, `You arrive at fridge 1.`"""
    PUT = "put"
    """alfworld 0.2 and 0.3: `put O in/on R`, `You arrive at loc 12.`"""


class Household:
    """One game. `start` once, then `step` with commands; `commands` are the admissible ones now."""

    def __init__(self, problem: Problem, task: str, dialect: Dialect = Dialect.MOVE) -> None:
        """`task` is the sentence after `Your task is to:`, with its full stop. Raises BadFile for an odd problem."""
        self._task, self._put_dialect = task, dialect == Dialect.PUT
        self._facts = problem.facts()
        self._goal = Goal(problem)
        self._name = demangled_names({argument for fact in problem.init for argument in fact[1:]})
        self._agent, self._location = self._only_agent(problem)
        self._place_of = self._receptacle_places(problem)
        self._receptacles = sorted(self._place_of)
        self._at: dict[str, list[str]] = defaultdict(list)
        for receptacle in self._receptacles:
            self._at[self._place_of[receptacle]].append(receptacle)
        self._inside: dict[str, set[str]] = defaultdict(set)
        for item, receptacle in self._facts["inreceptacle"]:
            self._inside[receptacle].add(item)
        self._taken_from: set[Fact] = set()
        self._can_put = {
            (item, receptacle)
            for item, otype in self._facts["objecttype"]
            for receptacle, rtype in self._facts["receptacletype"]
            if (rtype, otype) in self._facts["cancontain"]
        }
        self._knives = {o for o, t in self._facts["objecttype"] if t in ("knifetype", "butterknifetype")}
        self._go_from: dict[str, dict[str, Fact]] = {}
        self._commands: dict[str, Fact] | None = None
        self.won = self._goal.is_met(self._facts)

    def _only_agent(self, problem: Problem) -> Fact:
        places = sorted(self._facts["atlocation"])
        agents = [name for name, kind in problem.types.items() if kind == "agent"]
        if len(places) != 1 or len(agents) != 1 or places[0][0] != agents[0]:
            raise BadFile(
                f"The problem has {len(agents)} agents at {len(places)} places; it needs one agent at one place."
            )
        return places[0]

    def _receptacle_places(self, problem: Problem) -> dict[str, str]:
        places = {fact[0]: fact[1] for fact in self._facts["receptacleatlocation"]}
        if len(places) != len(self._facts["receptacleatlocation"]):
            raise BadFile("The problem has a receptacle at two places at once; give each receptacle one location.")
        if not places:
            raise BadFile("The problem has no receptacle with a location, so there is nowhere to go.")
        if lost := [receptacle for _, receptacle in self._facts["inreceptacle"] if receptacle not in places]:
            raise BadFile(f"The problem puts something into {lost[0][:60]!r}, which has no location.")
        return places

    def start(self) -> str:
        """The opening: welcome line, room and task, with a blank line between."""
        return f"{WELCOME}\n\n{self._look(overview=True)}\n\nYour task is to: {self._task}"

    def step(self, command: str) -> str:
        """Do one command and return the engine's answer."""
        action = self._admissible().get(command.strip())
        if action is None:
            return NOTHING_HAPPENS
        self._commands = None
        answer: str = getattr(self, f"_{action[0]}")(*action[1:])
        self.won = self._goal.is_met(self._facts)
        return answer

    def commands(self) -> list[str]:
        """The admissible commands, sorted."""
        return sorted(self._admissible())

    def truth(self) -> dict[str, list[str]]:
        """What every receptacle holds now, hidden or not, by name."""
        return {self._name[r]: self._names(self._inside[r]) for r in reversed(self._receptacles)}

    # What can be done now: command -> method and arguments.

    def _admissible(self) -> dict[str, Fact]:
        if self._commands is None:
            found = dict(self._ways_from(self._location))
            for receptacle in self._at[self._location]:
                self._add_receptacle_commands(receptacle, found)
            for _, item in self._facts["holds"]:
                self._add_held_commands(item, found)
            self._commands = found
        return self._commands

    def _ways_from(self, place: str) -> dict[str, Fact]:
        """What can be done at any time: go somewhere else, look, inventory, help."""
        if place not in self._go_from:
            ways = {f"go to {self._name[r]}": ("go", r) for r in self._receptacles if self._place_of[r] != place}
            self._go_from[place] = {**ways, "look": ("look",), "inventory": ("inventory",), "help": ("help",)}
        return self._go_from[place]

    def _add_receptacle_commands(self, receptacle: str, found: dict[str, Fact]) -> None:
        facts, name = self._facts, self._name[receptacle]
        found[f"examine {name}"] = ("examine_receptacle", receptacle)
        if (receptacle,) in facts["openable"]:
            verb = "close" if (receptacle,) in facts["opened"] else "open"
            found[f"{verb} {name}"] = (verb, receptacle)
        reachable, hands_free = self._is_reachable(receptacle), (self._agent,) not in facts["holdsany"]
        for item in self._inside[receptacle]:
            if (item,) in facts["toggleable"]:
                found[f"use {self._name[item]}"] = ("use", item)
            if reachable and hands_free and (item,) in facts["pickupable"]:
                found[f"take {self._name[item]} from {name}"] = ("take", item, receptacle)

    def _add_held_commands(self, item: str, found: dict[str, Fact]) -> None:
        facts, name = self._facts, self._name[item]
        found[f"examine {name}"] = ("examine_object", item)  # the engine examines nothing but what is held
        for receptacle in self._at[self._location]:
            where = self._name[receptacle]
            if (item, receptacle) in self._can_put and self._is_reachable(receptacle):
                command = f"put {name} in/on {where}" if self._put_dialect else f"move {name} to {where}"
                found[command] = ("put", item, receptacle)
            for verb, ability, kind in _TRANSFORMERS:
                if (item,) in facts[ability] and (receptacle, kind) in facts["receptacletype"]:
                    found[f"{verb} {name} with {where}"] = (verb, item, receptacle)
        if item in self._knives:
            for (food,) in facts["sliceable"]:
                if (food, self._location) in facts["objectatlocation"]:
                    found[f"slice {self._name[food]} with {name}"] = ("slice", food, item)

    def _is_reachable(self, receptacle: str) -> bool:
        return (receptacle,) not in self._facts["openable"] or (receptacle,) in self._facts["opened"]

    # What each does, and what the engine says then.

    def _go(self, receptacle: str) -> str:
        self._facts["atlocation"] = {(self._agent, self._place_of[receptacle])}
        self._location = self._place_of[receptacle]
        arrived = self._name[self._location if self._put_dialect else receptacle]
        return f"You arrive at {arrived}. {self._examine_receptacle(receptacle)}"

    def _open(self, receptacle: str) -> str:
        self._facts["opened"].add((receptacle,))
        return f"You open the {self._name[receptacle]}. {self._examine_receptacle(receptacle)}"

    def _close(self, receptacle: str) -> str:
        self._facts["opened"].discard((receptacle,))
        return f"You close the {self._name[receptacle]}."

    def _take(self, item: str, receptacle: str) -> str:
        self._facts["inreceptacle"].discard((item, receptacle))
        self._inside[receptacle].discard(item)
        self._taken_from.add((item, receptacle))
        self._facts["objectatlocation"].discard((item, self._location))
        self._facts["holds"].add((self._agent, item))
        self._facts["holdsany"].add((self._agent,))
        return f"You pick up the {self._name[item]} from the {self._name[receptacle]}."

    def _put(self, item: str, receptacle: str) -> str:
        self._facts["inreceptacle"].add((item, receptacle))
        self._inside[receptacle].add(item)
        self._taken_from.discard((item, receptacle))
        self._facts["objectatlocation"].add((item, self._location))
        self._facts["holds"].discard((self._agent, item))
        self._facts["holdsany"].discard((self._agent,))
        verb, into = ("put", "in/on") if self._put_dialect else ("move", "to")
        return f"You {verb} the {self._name[item]} {into} the {self._name[receptacle]}."

    def _clean(self, item: str, receptacle: str) -> str:
        self._facts["isclean"].add((item,))
        return f"You clean the {self._name[item]} using the {self._name[receptacle]}."

    def _heat(self, item: str, receptacle: str) -> str:
        self._facts["ishot"].add((item,))
        self._facts["iscool"].discard((item,))
        return f"You heat the {self._name[item]} using the {self._name[receptacle]}."

    def _cool(self, item: str, receptacle: str) -> str:
        self._facts["iscool"].add((item,))
        self._facts["ishot"].discard((item,))
        return f"You cool the {self._name[item]} using the {self._name[receptacle]}."

    def _use(self, item: str) -> str:
        self._facts["istoggled"].add((item,))
        return f"You turn on the {self._name[item]}."

    def _slice(self, food: str, knife: str) -> str:
        self._facts["issliced"].add((food,))
        return f"You sliced the {self._name[food]} with the {self._name[knife]}."

    def _inventory(self) -> str:
        if (self._agent,) not in self._facts["holdsany"]:
            return "You are not carrying anything."
        return f"You are carrying: {listed(self._names(item for _, item in self._facts['holds']))}."

    def _help(self) -> str:
        return HELP.format(put=HELP_PUT if self._put_dialect else HELP_MOVE)

    def _look(self, overview: bool = False) -> str:
        """`overview` names the room's receptacles where nothing is near; the engine's `look` then sees nothing."""
        here = self._at.get(self._location)
        if not here:
            seen = self._names(self._receptacles) if overview else []
            return f"You are in the middle of a room. Looking quickly around you, you see {listed(seen)}."
        beside = [
            self._name[item]
            for item, place in sorted(self._facts["objectatlocation"])
            if place == self._location
            for receptacle in here
            if (item, receptacle) in self._taken_from
        ]
        facing = listed([self._name[receptacle] for receptacle in here], article="")
        return f"You are facing the {facing}. Next to it, you see {listed(beside)}."

    def _examine_receptacle(self, receptacle: str) -> str:
        name = self._name[receptacle]
        if (receptacle,) not in self._facts["openable"]:
            return f"On the {name}, you see {listed(self._names(self._inside[receptacle]))}."
        if (receptacle,) in self._facts["opened"]:
            return f"The {name} is open. In it, you see {listed(self._names(self._inside[receptacle]))}."
        return f"The {name} is closed."

    def _examine_object(self, item: str) -> str:
        name, facts = self._name[item], self._facts
        if (item,) in facts["isreceptacleobject"]:
            inside = self._names(inner for inner, outer in facts["inreceptacleobject"] if outer == item)
            return f"This is a normal {name}. In it, you see {listed(inside)}."
        hot, cool, clean = [(item,) in facts[predicate] for predicate in ("ishot", "iscool", "isclean")]
        sliced = (item,) in facts["issliced"]
        states = [word for word, is_so in (("hot", hot), ("cool", cool and not hot), ("clean", clean)) if is_so]
        if sliced and states:
            return f"This is a {' and '.join(states)} sliced {name}."
        if states == ["cool"]:
            return f"This is a cold {name}."
        if states:
            return f"This is a {' and '.join(states)} {name}."
        if (item,) in facts["toggleable"] and (item,) in facts["istoggled"]:
            return f"This {name} is on."
        if (item,) in facts["sliceable"] and sliced:
            return f"This is a sliced {name}."
        return f"There's nothing special about {name}."

    def _names(self, ids: Iterable[str]) -> list[str]:
        return [self._name[one] for one in sorted(ids)]


_TRANSFORMERS = (
    ("clean", "cleanable", "sinkbasintype"),
    ("heat", "heatable", "microwavetype"),
    ("cool", "coolable", "fridgetype"),
)
