"""What places of text share: a board that is scrolled and unfolded."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding
from textual.reactive import reactive

from retro_dash.tui.board import Board
from retro_dash.tui.place import Place

SCROLL = (
    Binding("j,down", "scroll(1)", "Scroll", key_display="j/k"),
    Binding("k,up", "scroll(-1)", "Scroll up", show=False),
)
UNFOLD = Binding("z", "unfold", "All", tooltip="Show long texts whole", show=False)
LINES = 3


class Reading(Place):
    """A place whose middle is a board of text; a subclass draws it in `show`."""

    RESTS_ON: ClassVar[str] = "Board"
    unfolded: reactive[bool] = reactive(False, init=False)

    def show(self) -> None:
        raise NotImplementedError

    def watch_unfolded(self) -> None:
        self.show()

    def action_unfold(self) -> None:
        self.unfolded = not self.unfolded

    def action_scroll(self, by: int) -> None:
        self.query_one(Board).scroll_lines(LINES * by)
