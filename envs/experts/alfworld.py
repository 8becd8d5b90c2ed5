"""A scripted ALFWorld player that searches as an agent does: from observations only.

It looks where such things usually are (counts of the training games), opens what is closed, remembers what it saw,
does the errand, and after a failed trial writes what it learned: where things were seen, what was searched in vain,
what is left. The next trial reads these reflections, its own wording or a person's.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from data.types import StopReason, Task, Trial
from envs.base import Move
from envs.experts.alfworld_errand import Errand, Lessons, read_errand, read_lessons
from envs.household import NOTHING_HAPPENS
from envs.household_memory import RoomMemory
from envs.household_places import places
from envs.household_text import type_of

_APPLIANCES = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}


class SearchingExpert:
    """See the module. A pure function of opening, turns and reflections."""

    def move(self, task: Task, reflections: Sequence[str], trial: Trial) -> Move:
        errand = read_errand(task.instruction)
        last = trial.turns[-1].action if trial.turns else ""
        if errand is None:
            return Move("I do not understand this task, so I look around.", "inventory" if last == "look" else "look")
        player = _Player(errand, RoomMemory.of(trial), reflections, is_first=not trial.turns)
        move = player.next_move()
        if move.action == last:
            return Move("That led nowhere; I look again before I go on.", "inventory" if last == "look" else "look")
        place = last.removeprefix("go to ")
        if place == last or trial.turns[-1].observation != NOTHING_HAPPENS:
            return move
        why = f"I am already standing at {place}" if place in player.known else f"There is no {place} here"
        return move if move.thought.startswith(why) else Move(f"{why}. {move.thought}", move.action)

    def reflect(self, task: Task, reflections: Sequence[str], trial: Trial) -> str:
        errand = read_errand(task.instruction)
        if errand is None:
            return "I did not understand the task. Next time I will read it again and try a simple action first."
        memory = RoomMemory.of(trial)
        lessons = read_lessons(reflections, errand, list(memory.spots))
        return _Review(errand, memory, lessons, trial).text()


class _Player:
    """One decision."""

    def __init__(self, errand: Errand, memory: RoomMemory, reflections: Sequence[str], is_first: bool) -> None:
        self._errand, self._memory, self._is_first = errand, memory, is_first
        self._lessons = read_lessons(reflections, errand, list(memory.spots))

    @property
    def known(self) -> Container[str]:
        """The furniture that the room has."""
        return self._memory.spots

    def next_move(self) -> Move:
        errand, memory = self._errand, self._memory
        if not memory.holding:
            return self._fetch()
        item = memory.holding[-1]
        if type_of(item) != errand.target:
            here = memory.location or next(iter(memory.spots))
            return self._at(here, f"I do not need {item}, so I put it down.", f"move {item} to {here}")
        if errand.is_light:
            return self._light(item)
        if errand.verb and errand.verb not in memory.changed.get(item, set()):
            appliance = self._first(_APPLIANCES[errand.verb])
            return self._at(
                appliance,
                f"I have {item}. Now I {errand.verb} it with {appliance}.",
                f"{errand.verb} {item} with {appliance}",
                needs_open=False,
            )
        goal = self._destination()
        done = {"clean": "is clean", "heat": "is hot", "cool": "is cool"}.get(errand.verb, "is in my hand")
        return self._at(goal, f"The {item} {done}. Now I put it in {goal}.", f"move {item} to {goal}")

    def _fetch(self) -> Move:
        """Go for a wanted object that was seen, else search on."""
        errand, memory = self._errand, self._memory
        goal = self._destination() if errand.count == 2 else ""
        found = [(item, spot) for item, spot in memory.where(errand.target) if spot != goal]
        if found:
            item, spot = next((pair for pair in found if pair[1] == memory.location), found[0])
            return self._at(spot, f"There is {item} in {spot}. I take it.", f"take {item} from {spot}")
        return self._search(errand.target)

    def _light(self, item: str) -> Move:
        errand = self._errand
        for lamp, spot in self._memory.where(errand.goal):
            thought = f"I hold {item}. Now I turn on {lamp} at {spot}."
            return self._at(spot, thought, f"use {lamp}", needs_open=False)
        return self._search(errand.goal)

    def _search(self, kind: str) -> Move:
        memory = self._memory
        left = self._unsearched(kind)
        if not left:
            return Move(f"I have looked everywhere and found no {kind}. I look around once more.", "look")
        spot = memory.location if memory.location in left and self._is_half_searched() else left[0]
        return self._look_into(spot, self._why(kind, spot))

    def _why(self, kind: str, spot: str) -> str:
        plan = f"{self._plan()} " if self._is_first else ""
        if spot in self._lessons.seen.get(kind, []):
            return f"{plan}I remember from my last try that there is a {kind} in {spot}, so I go straight there."
        if self._is_first and self._lessons.in_vain:
            return (
                f"{plan}I already searched {_some(self._lessons.in_vain)} without finding it, so I start with {spot}."
            )
        if self._is_first:
            likely = " or ".join(dict.fromkeys(type_of(name) for name in self._unsearched(kind)[:4]))
            return f"{plan}A {kind} is most likely in a {likely}, so I start with {spot}."
        return f"I have not found a {kind} yet. Next I look in {spot}."

    def _plan(self) -> str:
        errand = self._errand
        if errand.is_light:
            return f"I need to find a {errand.target}, take it and use the {errand.goal}."
        change = f", {errand.verb} it with the {_APPLIANCES[errand.verb]}" if errand.verb else ""
        number, it = ("two", "them") if errand.count == 2 else ("a", "it")
        return f"I need to find {number} {errand.target}{change} and put {it} in the {errand.goal}."

    def _look_into(self, spot: str, thought: str) -> Move:
        memory = self._memory
        if memory.location != spot:
            return Move(thought, f"go to {spot}")
        if memory.spots[spot].is_open is False:
            return Move(f"The {spot} is closed, so I open it.", f"open {spot}")
        # Arrived without being shown around: the receptacle is at the place where I already was.
        return Move(f"I am already standing at {spot}, so I examine it.", f"examine {spot}")

    def _at(self, spot: str, thought: str, action: str, needs_open: bool = True) -> Move:
        """Do `action` at `spot`, going there and opening it first."""
        memory = self._memory
        if memory.location != spot:
            return Move(thought, f"go to {spot}")
        if needs_open and memory.spots[spot].is_open is False:
            return Move(f"The {spot} is closed, so I open it.", f"open {spot}")
        if needs_open and memory.spots[spot].contents is None:
            return Move(f"I am already standing at {spot}, so I examine it.", f"examine {spot}")
        return Move(thought, action)

    def _is_half_searched(self) -> bool:
        """Standing before something that was gone to and not looked into yet."""
        return self._memory.location is not None and self._memory.spots[self._memory.location].contents is None

    def _unsearched(self, kind: str) -> list[str]:
        """Receptacles not looked into in this trial, the most promising first."""
        errand, seen = self._errand, self._lessons.seen.get(kind, [])

        def promise(name: str) -> tuple[bool, bool, bool, float]:
            rtype = type_of(name)
            is_goal = kind == errand.target and not errand.verb and rtype == errand.goal
            chance = places().chance(kind, rtype) / (1.6 if rtype in places().openable else 1.0)
            fits = kind in places().fits.get(rtype, []) or chance > 0
            in_vain = kind == errand.target and name in self._lessons.in_vain
            return (name not in seen, in_vain, is_goal or not fits, -chance)

        left = [name for name, spot in self._memory.spots.items() if spot.contents is None]
        return sorted(sorted(left, key=_number), key=promise)

    def _destination(self) -> str:
        """The goal receptacle: where one of two wanted objects already is, else an open or the first one."""
        memory, errand = self._memory, self._errand
        goals = [name for name in memory.spots if type_of(name) == errand.goal] or list(memory.spots)

        def rank(name: str) -> tuple[int, bool, int]:
            inside = [one for one in memory.spots[name].contents or [] if type_of(one) == errand.target]
            return (-len(inside), name != memory.location, _number(name))

        return min(goals, key=rank)

    def _first(self, kind: str) -> str:
        found = [name for name in self._memory.spots if type_of(name) == kind]
        return min(found, key=lambda name: (name != self._memory.location, _number(name)), default=f"{kind} 1")


class _Review:
    """Words for what a failed trial taught."""

    def __init__(self, errand: Errand, memory: RoomMemory, lessons: Lessons, trial: Trial) -> None:
        self._errand, self._memory, self._trial = errand, memory, trial
        wanted = errand.wanted
        self._seen = {
            item: spot for item, spot in memory.first_seen.items() if type_of(item) in wanted and spot in memory.spots
        }
        for kind in wanted:
            for number, spot in enumerate(dict.fromkeys(lessons.seen.get(kind, [])), start=1):
                if spot not in self._seen.values() and memory.spots[spot].contents is None:
                    self._seen.setdefault(f"{kind} {number}", spot)
        holders = set(self._seen.values())
        looked = [name for name, spot in memory.spots.items() if spot.contents is not None]
        self._in_vain = [name for name in dict.fromkeys([*lessons.in_vain, *looked]) if name not in holders]
        self._left = [name for name in memory.spots if name not in holders and name not in self._in_vain]

    def text(self) -> str:
        return " ".join(part for part in (self._diagnosis(), self._facts(), self._next()) if part)

    def _diagnosis(self) -> str:
        errand, turns = self._errand, len(self._trial.turns)
        if self._trial.stop_reason == StopReason.REPEATED_ACTION:
            return "I gave the same action twice in a row, which ended the trial."
        if any(type_of(item) == errand.target for item in self._seen):
            failed = sum(turn.observation == NOTHING_HAPPENS for turn in self._trial.turns)
            wasted = f" and {failed} actions that did nothing" if failed > 1 else ""
            return f"I spent {turns} turns on searching{wasted} and ran out of turns before the task was done."
        return f"I searched for a {errand.target} for {turns} turns and ran out of turns."

    def _facts(self) -> str:
        told = []
        if self._seen:
            told.append("I saw " + ", ".join(f"{item} in {spot}" for item, spot in self._seen.items()) + ".")
        if self._in_vain:
            told.append(f"There was no {self._errand.target} in {', '.join(self._in_vain)}.")
        return " ".join(told)

    def _next(self) -> str:
        errand = self._errand
        spots = [spot for item, spot in self._seen.items() if type_of(item) == errand.target]
        enough = len(spots) >= errand.count
        then = {
            "clean": "clean it at the sinkbasin",
            "heat": "heat it in the microwave",
            "cool": "cool it in the fridge",
        }
        rest = [then[errand.verb]] if errand.verb else []
        rest.append(f"use the {errand.goal}" if errand.is_light else f"put it in the {errand.goal}")
        plan = f"Next time I will go straight to {spots[0]} and take the {errand.target}" if spots else ""
        finish = f", then {' and '.join(rest)}." if plan else ""
        left = f"Not searched yet: {', '.join(self._left)}." if self._left and not enough else ""
        search = "" if plan else f"Next time I will search these first, then {' and '.join(rest)}."
        return " ".join(part for part in (plan + finish, left, search) if part)


def _number(name: str) -> int:
    return int(name.partition(" ")[2] or 0)


def _some(names: Sequence[str], most: int = 4) -> str:
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:most]) + (" and more" if len(unique) > most else "")
