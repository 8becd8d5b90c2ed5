"""What a history of labels means for the annotator who makes them: what stands, and what can be undone and redone.

The rules of the page (`web/static/ledger.js`): a step makes a statement or takes one back, undoing it turns that
statement over again, over any number of steps and episodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue

from data.types import Label, LabelTarget
from retro_dash.tui.parts import Part

Request = dict[str, JsonValue]
"""A statement as the hub takes it, see `retro_dash.labels.LabelRequest`."""
MOST_STEPS = 2000


class Ledger:
    """Labels of one episode, oldest first, those that are not stored yet last."""

    def __init__(self, history: Iterable[Label], annotator: str) -> None:
        self._annotator = annotator
        self._stacks: dict[tuple[str, str, Part], dict[int, Label]] = {}
        self._newest: dict[tuple[str, str, Part], str] = {}
        roots: dict[str, tuple[Label, int, int]] = {}
        for place, label in enumerate(history):
            slot = (label.annotator, label.name, Part.of(label.target))
            root, first, effect = roots.get(label.undoes or "", (label, place, -1 if label.undoes is None else 1))
            roots[label.id] = (root, first, -effect)
            stack = self._stacks.setdefault(slot, {})
            stack.pop(first, None)
            if -effect > 0:
                stack[first] = root
            self._newest[slot] = label.id

    def label(self, part: Part, name: str) -> Label | None:
        """What the annotator says of a part."""
        return _top(self._stacks.get((self._annotator, name, part), {}))

    def value(self, part: Part, name: str) -> JsonValue:
        label = self.label(part, name)
        return None if label is None else label.value

    def newest(self, part: Part, name: str) -> str | None:
        """Id of the annotator's newest label of that name, an undo included: what the next one has seen."""
        return self._newest.get((self._annotator, name, part))

    def standing(self) -> list[Label]:
        """Everything that stands, whoever says it."""
        tops = (_top(stack) for stack in self._stacks.values())
        return [label for label in tops if label is not None]


def _top(stack: dict[int, Label]) -> Label | None:
    return stack[max(stack)] if stack else None


@dataclass(frozen=True)
class _Root:
    """A statement and how it stands now."""

    target: LabelTarget
    name: str
    value: JsonValue
    is_standing: bool = True
    undo: str = ""
    """Id of the label that took it back."""
    is_dead: bool = False
    """Taken back, and a newer statement was made since: the hub no longer redoes it."""


class Steps:
    """The steps of this session."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._undone: list[str] = []
        self._roots: dict[str, _Root] = {}

    def say(self, id_: str, target: LabelTarget, name: str, value: JsonValue) -> None:
        """A new statement was made; what was undone before it cannot be redone."""
        self._roots = {
            key: root if root.is_standing else replace(root, is_dead=True) for key, root in self._roots.items()
        }
        self._roots[id_] = _Root(target, name, value)
        self._done = [*self._done, id_][-MOST_STEPS:]
        self._undone.clear()

    def take_back(self, label: Label, id_: str) -> Request:
        """Take back a statement that stands, as a step of its own. Returns what to send under `id_`."""
        self._roots.setdefault(label.id, _Root(label.target, label.name, label.value))
        request, root = self._turn_over(label.id, id_)
        self._done = [*self._done, root][-MOST_STEPS:]
        self._undone.clear()
        return request

    def undo(self, id_: str) -> Request | None:
        """What to send to turn the last step over; None when this session has no step left."""
        return self._move(self._done, self._undone, id_)

    def redo(self, id_: str) -> Request | None:
        return self._move(self._undone, self._done, id_)

    def forget(self, id_: str) -> None:
        """A statement that the hub refused was never made."""
        self._done = [one for one in self._done if one != id_]
        self._undone = [one for one in self._undone if one != id_]

    def _move(self, source: list[str], sink: list[str], id_: str) -> Request | None:
        if not source:
            return None
        request, root = self._turn_over(source.pop(), id_)
        sink.append(root)
        return request

    def _turn_over(self, key: str, id_: str) -> tuple[Request, str]:
        """What to send so that a statement stands no more, or again; and under which id it is known from now on."""
        root = self._roots[key]
        request: dict[str, Any] = {"id": id_, "target": root.target.model_dump(), "name": root.name, "value": None}
        if root.is_standing:
            self._roots[key] = replace(root, is_standing=False, undo=id_)
            return {**request, "undoes": key}, key
        if not root.is_dead:
            self._roots[key] = replace(root, is_standing=True)
            return {**request, "undoes": root.undo}, key
        del self._roots[key]
        self._roots[id_] = replace(root, is_standing=True, is_dead=False)
        for steps in (self._done, self._undone):
            steps[:] = [id_ if one == key else one for one in steps]
        return {**request, "value": root.value}, id_
