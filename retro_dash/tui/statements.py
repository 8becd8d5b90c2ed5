"""What an annotator says of the episode on the screen: made and taken back at once, sent behind, undone at will."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import JsonValue

from data.errors import RetroDashError
from data.types import Label
from retro_dash.tui.ledger import Ledger, Request, Steps
from retro_dash.tui.outbox import Ask, Outbox
from retro_dash.tui.parts import Part


class Statements:
    """Statements on one episode at a time; steps and what is unsent live on over many.

    `on_change` is called after every change, `on_refused` with the sentence of what the hub does not take.
    """

    def __init__(
        self, annotator: str, ask: Ask, on_change: Callable[[], None], on_refused: Callable[[RetroDashError], None]
    ) -> None:
        self.annotator = annotator
        self.episode_id = ""
        self.history: list[Label] = []
        """Every label of the episode that the hub has, oldest first."""
        self.outbox = Outbox(ask, self._stored, self._refused)
        self._steps = Steps()
        self._on_change, self._on_refused = on_change, on_refused

    def open(self, episode_id: str, history: list[Label]) -> None:
        self.episode_id, self.history = episode_id, history

    def ledger(self, only_mine: bool = False) -> Ledger:
        """What stands, what is not stored yet included."""
        now = datetime.now(UTC)
        unsent = [_label(request, now) for request in self.outbox.requests()]
        known = [one for one in self.history if one.annotator == self.annotator or not only_mine]
        return Ledger([*known, *(one for one in unsent if self._is_here(one))], self.annotator)

    def say(self, part: Part, name: str, value: JsonValue) -> None:
        target, id_ = part.target(self.episode_id), new_id()
        seen = self.ledger().newest(part, name)
        self._steps.say(id_, target, name, value)
        self._send({"id": id_, "target": target.model_dump(), "name": name, "value": value, "seen": seen})

    def take_back(self, part: Part, name: str) -> None:
        label = self.ledger().label(part, name)
        if label is not None:
            self._send(self._steps.take_back(label, new_id()))

    def put(self, part: Part, name: str, value: JsonValue) -> None:
        """Say it; an empty value takes back what was said."""
        if value:
            self.say(part, name, value)
        else:
            self.take_back(part, name)

    def toggle(self, part: Part, name: str, value: JsonValue) -> bool:
        """Say it, or take it back when it stands already. Returns whether it stands now."""
        is_new = self.ledger().value(part, name) != value
        if is_new:
            self.say(part, name, value)
        else:
            self.take_back(part, name)
        return is_new

    def step(self, verb: str) -> Request | None:
        """Undo or redo a step of this session. Returns what was sent, None when there is none left."""
        request = (self._steps.undo if verb == "undo" else self._steps.redo)(new_id())
        if request is not None:
            self._send(request)
        return request

    def _send(self, request: Request) -> None:
        self.outbox.add({"annotator": self.annotator, **request})
        self._on_change()

    def _stored(self, labels: list[Label]) -> None:
        known = {label.id for label in self.history}
        self.history = [*self.history, *(one for one in labels if self._is_here(one) and one.id not in known)]
        self._on_change()

    def _refused(self, request: Request, error: RetroDashError) -> None:
        self._steps.forget(str(request["id"]))
        self._on_refused(error)

    def _is_here(self, label: Label) -> bool:
        return label.target.episode_id == self.episode_id


def new_id() -> str:
    return f"tui-{secrets.token_hex(12)}"


def _label(request: Request, now: datetime) -> Label:
    """A request as the label that it will be."""
    return Label.model_validate({**{name: value for name, value in request.items() if name != "seen"}, "at": now})
