"""The keys of a place, on a sheet over it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

NAMES = {
    "slash": "/",
    "question_mark": "?",
    "plus": "+",
    "minus": "-",
    "exclamation_mark": "!",
    "left": "←",
    "right": "→",
}
NAMES |= {
    "up": "↑",
    "down": "↓",
    "escape": "Esc",
    "greater_than_sign": ">",
    "less_than_sign": "<",
    "equals_sign": "=",
}
NAMES |= {f"f{n}": f"F{n}" for n in range(1, 7)}
NAMES |= {"left_square_bracket": "[", "right_square_bracket": "]", "enter": "Enter"}


class KeySheet(ModalScreen[None]):
    """Closes with the key that opened it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q,enter", "close", "Close")]

    def __init__(
        self, title: str, help_text: str, bindings: Iterable[BindingType], everywhere: Iterable[BindingType]
    ):
        super().__init__()
        self._head, self._help = title, help_text
        self._groups = (list(bindings), list(everywhere))

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="sheet"):
            yield Static(Content.assemble((f"Keys of {self._head}", "bold"), f"  {self._help}"), markup=False)
            here, everywhere = (_lines(group) for group in self._groups)
            lines = [*here, Content(""), Content.styled("Everywhere", "bold"), *everywhere]
            lines.append(Content.styled("Keys rest while you type in a field. Esc leaves it.", "$dim"))
            yield Static(Content("\n").join(lines), markup=False)

    def action_close(self) -> None:
        self.dismiss()


def _lines(bindings: list[BindingType]) -> list[Content]:
    lines = []
    for binding in bindings:
        if isinstance(binding, Binding):
            keys = " ".join(NAMES.get(key, key) for key in binding.key.split(","))
            words = f"{binding.description}: {binding.tooltip}" if binding.tooltip else binding.description
            lines.append(Content.assemble((f"{keys:>12}", "bold $planner"), f"  {words}"))
    return lines
