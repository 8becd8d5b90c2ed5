"""The filter line: the same language as everywhere, with completion of fields and values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.suggester import Suggester
from textual.widgets import Input, Static

from data.errors import BadInput, RetroDashError
from retro_dash.tui.text import plain

if TYPE_CHECKING:
    from retro_dash.tui.place import Place

_POSITION = re.compile(r"position (\d+)", re.IGNORECASE)
_TERM = re.compile(r"^(-?)([a-z_]+)(:|>=|<=|=|>|<)(.*)$", re.IGNORECASE)
_BARE = re.compile(r"^[\w.@/-]+$")


FILTER = Binding("slash", "filter", "Filter", show=False, key_display="/")


class FilterLine(Vertical):
    """An input and, when the hub refuses the filter, its sentence with a mark under the place."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave the field", show=False)]

    class Sent(Message):
        """Somebody wants to see what this filter finds."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    def __init__(self) -> None:
        super().__init__(id="filter-box")
        self.words = FilterWords()

    def compose(self) -> ComposeResult:
        hint = 'Filter (/): outcome:failed gain>0 text:"river"'
        yield Input(placeholder=hint, id="filter", compact=True, suggester=self.words)
        yield Static(id="mistake", markup=False)

    @property
    def place(self) -> Place:
        return cast("Place", self.screen)

    @work(exclusive=True, group="words")
    async def learn(self) -> None:
        """Ask the hub for the fields and values to complete with."""
        try:
            self.words.know(await self.place.dash.ask(lambda hub: hub.filters()))
        except RetroDashError as error:
            self.log.warning(str(error))  # Only completion is missing then.

    @on(Input.Submitted)
    def send(self, event: Input.Submitted) -> None:
        event.stop()
        self.place.rest()
        self.post_message(self.Sent(event.value.strip()))

    def action_leave(self) -> None:
        self.place.rest()

    @contextmanager
    def marking(self) -> Iterator[None]:
        """A mistake in the filter is shown under it, and the rest is left undone."""
        try:
            yield
        except BadInput as error:
            self.fail(str(error))
        else:
            self.fail(None)

    def fail(self, message: str | None) -> None:
        """Show why the filter was refused; None takes it away."""
        mistake = self.query_one("#mistake", Static)
        mistake.display = message is not None
        if message is None:
            return
        found = _POSITION.search(message)
        caret = f"{' ' * (int(found.group(1)) - 1)}^\n" if found else ""
        mistake.update(Content(caret) + plain(message))


class FilterWords(Suggester):
    """Completes the last word from the fields and values that the hub knows."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self.fields: list[dict[str, Any]] = []
        self.values: dict[str, list[str]] = {}

    def know(self, filters: dict[str, Any]) -> None:
        self.fields, self.values = filters.get("fields", []), filters.get("facets", {})

    async def get_suggestion(self, value: str) -> str | None:
        word = value.rsplit(" ", 1)[-1]
        if not word or word == "-":
            return None
        start = value[: len(value) - len(word)]
        term = _TERM.match(word)
        if term is None:
            minus, bare = ("-", word[1:]) if word.startswith("-") else ("", word)
            for field in self.fields:
                if field["name"].startswith(bare.lower()):
                    return f"{start}{minus}{field['name']}{'>' if field['type'] == 'number' else ':'}"
            return None
        minus, name, operator, typed = term.groups()
        known = self.values.get(name) or (["solved", "failed", "running"] if name == "outcome" else [])
        for one in known:
            if one.lower().startswith(typed.lower()) and one != typed and _BARE.match(one):
                return f"{start}{minus}{name}{operator}{one}"
        return None
