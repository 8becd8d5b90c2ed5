"""What an ALFWorld task asks for, and what earlier reflections say about where to look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_STATES = {"clean": "clean", "hot": "heat", "cool": "cool"}


_ERRANDS = (
    re.compile(
        r"put (?:a|an|some|the) (?P<state>clean|hot|cool) (?P<target>\w+) (?:in|on|in/on) (?:the )?(?P<goal>\w+)"
    ),
    re.compile(
        r"(?P<verb>clean|heat|cool) (?:a|an|some|the) (?P<target>\w+) and put it (?:in|on) (?:the )?(?P<goal>\w+)"
    ),
    re.compile(r"(?:put|find) (?P<two>two) (?P<target>\w+)(?: and put them)? (?:in|on) (?:the )?(?P<goal>\w+)"),
    re.compile(
        r"(?P<light>examine|look at) (?:a |an |some |the )?(?P<target>\w+) (?:with|under|by) (?:the )?(?P<goal>\w+)"
    ),
    re.compile(r"put (?:a |an |some |the )?(?P<target>\w+) (?:in|on) (?:the )?(?P<goal>\w+)"),
)


_NAME = re.compile(r"\b[a-z]+ \d+\b")


_NOT_YET = re.compile(
    r"not (?:been )?(?:searched|checked|looked at|visited)|unsearched|unvisited|remain|still to|left to"
)


_PUT_AWAY = re.compile(r"\b(?:put|plac|mov)\w*\b")
"""What follows is where things go, not where they are."""


_IN_VAIN = re.compile(r"\b(?:no|not|never|without|nothing|empty|in vain|already)\b|n't\b")


@dataclass(frozen=True)
class Errand:
    """What the task sentence asks for."""

    target: str
    goal: str
    """Receptacle type, or the lamp's type when `is_light`."""
    verb: str = ""
    """clean, heat, cool or nothing."""
    count: int = 1
    is_light: bool = False

    @property
    def wanted(self) -> tuple[str, ...]:
        """Object types to look for."""
        return (self.target, self.goal) if self.is_light else (self.target,)


def read_errand(sentence: str) -> Errand | None:
    """Understand ALFWorld's task templates; None for any other sentence."""
    for pattern in _ERRANDS:
        if match := pattern.search(sentence.lower()):
            said = match.groupdict()
            verb = said.get("verb") or _STATES.get(said.get("state") or "", "")
            return Errand(said["target"], said["goal"], verb, 2 if said.get("two") else 1, bool(said.get("light")))
    return None


@dataclass
class Lessons:
    """What reflections say about the room."""

    seen: dict[str, list[str]] = field(default_factory=dict)
    """Object type -> receptacles where it was seen."""
    in_vain: list[str] = field(default_factory=list)
    """Receptacles searched without finding the wanted object."""


def read_lessons(reflections: Sequence[str], errand: Errand, receptacles: Sequence[str]) -> Lessons:
    """Read sentences that name receptacles of this room. The object's type with a place says that it was seen there,
    unless `no`, `not`, `without`.. stands before it: then the places named were searched in vain."""
    lessons = Lessons()
    for whole in re.split(r"[.;!?\n]", " ".join(reflections).lower()):
        sentence = _PUT_AWAY.split(whole, maxsplit=1)[0]
        named = [name for name in _NAME.findall(sentence) if name in receptacles]
        if not named or _NOT_YET.search(sentence):
            continue
        found = {kind: _seen_in(sentence, kind, named) for kind in errand.wanted}
        for kind, spots in found.items():
            lessons.seen.setdefault(kind, []).extend(spots)
        if not any(found.values()) and _IN_VAIN.search(sentence):
            lessons.in_vain += named
    return lessons


def _seen_in(sentence: str, kind: str, named: list[str]) -> list[str]:
    """Receptacles in which the sentence says that there is an object of the kind."""
    pairs = re.finditer(rf"\b{kind}(?: \d+)? (?:was |is |were |are )?(?:in|on|at|from) (?:the )?(\w+ \d+)", sentence)
    spots = [pair[1] for pair in pairs if pair[1] in named and not _IN_VAIN.search(sentence[: pair.start()])]
    if not spots and re.search(rf"\b{kind}\b", sentence) and not _IN_VAIN.search(sentence):
        return named[:1]
    return spots
