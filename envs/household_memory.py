"""What an agent can know of an ALFWorld room from what it has read: nothing hidden is in here.

Fed with the opening and then each action with its answer, in either dialect and with or without the `You arrive at`
part that published agents strip. The map on the pages and the scripted expert both stand on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from data.types import Trial
from envs.household import NOTHING_HAPPENS
from envs.household_text import type_of

_OPENING = re.compile(r"Looking quickly around you, you see (.+?)\.(?:\s|$)", re.DOTALL)
_TASK = re.compile(r"Your task is to: (.+)")
_ON = re.compile(r"On the (\w+ \d+), you see (.+?)\.$")
_OPEN = re.compile(r"The (\w+ \d+) is open\. In it, you see (.+?)\.$")
_CLOSED = re.compile(r"The (\w+ \d+) is closed\.$")
_TAKE = re.compile(r"You pick up the (\w+ \d+) from the (\w+ \d+)\.$")
_PUT = re.compile(r"You (?:move|put) the (\w+ \d+) (?:to|in/on) the (\w+ \d+)\.$")
_CLOSE = re.compile(r"You close the (\w+ \d+)\.$")
_CHANGE = re.compile(r"You (clean|heat|cool) the (\w+ \d+) using the (\w+ \d+)\.$")
_GO = re.compile(r"go to (\w+ \d+)$")
_ITEM = re.compile(r"\b[a-z]+ \d+\b")


@dataclass
class Spot:
    """One receptacle as the agent knows it."""

    is_visited: bool = False
    is_open: bool | None = None
    """None for what is not (known to be) opened and closed."""
    contents: list[str] | None = None
    """What was last seen there; None while nobody has looked."""


@dataclass
class RoomMemory:
    task: str = ""
    spots: dict[str, Spot] = field(default_factory=dict)
    """Receptacles in the order of the opening."""
    location: str | None = None
    """The receptacle last gone to, or found to be at the same place."""
    holding: list[str] = field(default_factory=list)
    first_seen: dict[str, str] = field(default_factory=dict)
    """Object -> receptacle where it was seen first, which is where it will be again in the next trial."""
    changed: dict[str, set[str]] = field(default_factory=dict)
    """Object -> what was done to it: clean, heat, cool."""

    @classmethod
    def of(cls, trial: Trial) -> RoomMemory:
        """What whoever played `trial` knows at its end."""
        memory = cls()
        memory.read_opening(trial.opening)
        for turn in trial.turns:
            memory.read_turn(turn.action, turn.observation)
        return memory

    def read_opening(self, text: str) -> None:
        if match := _OPENING.search(text):
            self.spots = {name: Spot() for name in _ITEM.findall(match[1])}
        if match := _TASK.search(text):
            self.task = match[1].strip()

    def read_turn(self, action: str, observation: str) -> None:
        """Take in one action and its answer; an unknown answer changes nothing."""
        text = observation.strip()
        if len(text) > 20_000:
            return
        went = _GO.match(action.strip()[:200])
        if went and went[1] in self.spots:
            # Refused for a known receptacle, `go to` means that it is at this very place: it can be used from here.
            self.location = went[1]
            self.spots[went[1]].is_visited |= text != NOTHING_HAPPENS
        if match := _ON.search(text):
            self._look_into(match[1], None, match[2])
        elif match := _OPEN.search(text):
            self._look_into(match[1], True, match[2])
        elif (match := _CLOSED.search(text)) or (match := _CLOSE.match(text)):
            self._spot(match[1]).is_open = False
        elif match := _TAKE.match(text):
            self._move(match[1], match[2], taken=True)
        elif match := _PUT.match(text):
            self._move(match[1], match[2], taken=False)
        elif match := _CHANGE.match(text):
            self.changed.setdefault(match[2], set()).add(match[1])

    def where(self, kind: str) -> list[tuple[str, str]]:
        """(object, receptacle) of every object of a type that was seen and is not held."""
        return [
            (item, name)
            for name, spot in self.spots.items()
            for item in spot.contents or []
            if type_of(item) == kind and item not in self.holding
        ]

    def _spot(self, name: str) -> Spot:
        return self.spots.setdefault(name, Spot())

    def _look_into(self, name: str, is_open: bool | None, listing: str) -> None:
        spot = self._spot(name)
        spot.is_visited = True
        spot.contents = _ITEM.findall(listing)
        for item in spot.contents:
            self.first_seen.setdefault(item, name)
        spot.is_open = is_open if is_open is not None else spot.is_open

    def _move(self, item: str, receptacle: str, taken: bool) -> None:
        contents = list(self._spot(receptacle).contents or [])
        if taken:
            self.holding.append(item)
            contents = [one for one in contents if one != item]
        else:
            self.holding = [one for one in self.holding if one != item]
            contents.append(item)
        self._spot(receptacle).contents = contents
