"""The parts of an episode that can be labelled, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data.types import LabelTarget

NAMES = {
    "episode": "Whole episode",
    "trial": "Trial {trial}",
    "turn": "Turn {turn} of trial {trial}",
    "reflection": "Reflection after trial {trial}",
}


class Part(NamedTuple):
    """The whole episode, a trial, a turn, or the reflection after a trial."""

    part: str = "episode"
    trial: int | None = None
    turn: int | None = None

    @classmethod
    def of(cls, target: LabelTarget) -> Part:
        return cls(target.part, target.trial, target.turn)

    @property
    def key(self) -> str:
        """Key of its block on a board."""
        return " ".join(str(word) for word in self if word is not None)

    @property
    def name(self) -> str:
        return NAMES[self.part].format(trial=self.trial, turn=self.turn)

    def target(self, episode_id: str) -> LabelTarget:
        return LabelTarget.model_validate({"episode_id": episode_id, **self._asdict()})


WHOLE = Part()


def parts_of(episode: Mapping[str, Any]) -> list[Part]:
    """Every part of an episode as the hub sends it."""
    reflected = {one["after_trial"] for one in episode["reflections"]}
    parts = [WHOLE]
    for trial in episode["trials"]:
        index = trial["index"]
        parts.append(Part("trial", index))
        parts += [Part("turn", index, turn["index"]) for turn in trial["turns"]]
        parts += [Part("reflection", index)] if index in reflected else []
    return parts


def beside(parts: Sequence[Part], part: Part, by: int) -> Part:
    """The part so many places away; the first and the last stay."""
    return parts[min(len(parts) - 1, max(0, parts.index(part) + by))]


def next_of(parts: Sequence[Part], part: Part, kind: str, by: int) -> Part:
    """The next part of a kind, or the one before; after the last reflection comes the first. Else the part itself."""
    at = parts.index(part)
    ahead = parts[at + 1 :] if by > 0 else parts[:at][::-1]
    again = parts if kind == "reflection" else ()
    return next((one for one in (*ahead, *again) if one.part == kind), part)


def written(episode: Mapping[str, Any] | None, part: Part) -> dict[str, str]:
    """What the planner or the reflector wrote in a part; empty where there is nothing to rewrite."""
    if episode is None:
        return {}
    if part.part == "reflection":
        found = [one for one in episode["reflections"] if one["after_trial"] == part.trial]
        return {"text": found[-1]["text"]} if found else {}
    turns = [turn for trial in episode["trials"] if trial["index"] == part.trial for turn in trial["turns"]]
    here: Mapping[str, str] = next((turn for turn in turns if part.part == "turn" and turn["index"] == part.turn), {})
    return {name: here[name] for name in ("thought", "action") if name in here}
