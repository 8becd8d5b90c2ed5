"""Where a person changes what was written, a turn or a reflection. It sits under the text, not over it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Key
from textual.message import Message
from textual.widgets import Static, TextArea

from retro_dash.tui.text import clean

SHORT = frozenset({"action", "epochs", "path"})
"""Fields of one line, with which the editing ends."""
TALL = frozenset({"settings", "tags"})
"""Fields of many lines, for which a narrow terminal makes room."""


class Area(TextArea):
    """A field of several lines; Enter in one that `sends` is the end of it."""

    def __init__(self, text: str, name: str, sends: bool) -> None:
        super().__init__(clean(text), name=name, soft_wrap=True, show_line_numbers=False, compact=True)
        self.sends = sends

    async def _on_key(self, event: Key) -> None:
        if event.key == "enter" and self.sends:
            event.stop()
            event.prevent_default()
            self.screen.query_one(Editor).action_send()
            return
        await super()._on_key(event)


class Editor(Vertical):
    """Fields with names; empty and hidden while nobody edits."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "send", "Use this", priority=True),
        Binding("escape", "leave", "Cancel", priority=True),
    ]

    class Sent(Message):
        """`texts` by field, None for a field that was left as it was; `whole`: what stands in each."""

        def __init__(self, purpose: str, texts: dict[str, str | None], whole: dict[str, str]) -> None:
            self.purpose, self.texts, self.whole = purpose, texts, whole
            super().__init__()

    class Left(Message):
        """Nothing is to be changed."""

    def __init__(self) -> None:
        super().__init__(id="editor")
        self.display = False
        self.purpose = ""
        self._given: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        yield Static(id="editor-title", markup=False)
        yield Vertical(id="fields")

    async def edit(self, purpose: str, title: str, fields: dict[str, str]) -> None:
        """Open with these texts; the last field gets the focus."""
        self.purpose, self._given = purpose, dict(fields)
        place = self.query_one("#fields")
        await place.remove_children()
        self.query_one("#editor-title", Static).update(title)
        areas = []
        for name, text in fields.items():
            areas.append(Area(text, name, sends=name in SHORT))
            areas[-1].set_class(name in TALL, "tall")
            await place.mount(Static(name.capitalize(), markup=False, classes="label"), areas[-1])
            areas[-1].move_cursor(areas[-1].document.end)
        self.display = True
        self.screen.set_class(not TALL.isdisjoint(fields), "writing")
        areas[-1].focus()

    def close(self) -> None:
        self.display = False
        self.screen.remove_class("writing")
        self.purpose = ""

    def action_send(self) -> None:
        whole = {str(area.name): area.text for area in self.query(Area)}
        texts = {name: None if text == clean(self._given[name]) else text for name, text in whole.items()}
        purpose = self.purpose
        self.close()
        self.post_message(self.Sent(purpose, texts, whole))

    def action_leave(self) -> None:
        self.close()
        self.post_message(self.Left())
