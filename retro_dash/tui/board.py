"""A board: blocks of text in columns, wrapped with hanging signs, scrolled by lines. Fast for a thousand turns.

Blocks are plain data; what has not changed since the last time is not wrapped again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from rich.segment import Segment
from textual.content import Content
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual

GUTTER = 2
KEPT = 4000
READABLE = 120
"""Longer lines are hard to read, however wide the terminal is."""
NOTHING = Content("")


@dataclass(frozen=True)
class Line:
    """One paragraph behind its sign."""

    body: Content
    sign: Content = NOTHING
    indent: int = 0


@dataclass(frozen=True)
class Block:
    """Some lines that belong together and can be selected."""

    key: str
    lines: tuple[Line, ...]
    bar: str = ""
    """Colour of the bar at its left."""
    tint: str = ""
    """Colour behind it."""


Row = Sequence[Sequence[Block]]
"""What stands side by side: for every column its blocks, one under the other."""


class Board(ScrollView, can_focus=True):
    """Rows of blocks. `selected` is marked and kept in sight; a board that `follows` stays at its end."""

    class Chosen(Message):
        """Somebody clicked on a block."""

        def __init__(self, key: str) -> None:
            self.key = key
            super().__init__()

    def __init__(self, *, id: str | None = None, widths: Sequence[int] = (1,)) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self.rows: list[Row] = []
        self.selected: str | None = None
        self.follows = True
        self._widths = tuple(widths)
        self._strips: list[Strip] = []
        self._spans: dict[str, tuple[int, int, int]] = {}
        self._known: dict[object, list[Strip]] = {}
        self._wanted: str | None = None

    def show(self, rows: Sequence[Row], widths: Sequence[int] | None = None) -> None:
        """Draw these rows instead of the old ones. `widths`: the share of each column."""
        self.rows = list(rows)
        if widths is not None:
            self._widths = tuple(widths)
        self._lay()

    def select(self, key: str | None, reach: bool = True) -> None:
        """Mark a block; with `reach` scroll until it is in sight."""
        self.selected = key
        self._wanted = key if reach else None
        if reach:
            self.follows = False
        self._lay()

    def block_keys(self) -> list[str]:
        return [block.key for row in self.rows for block in chain.from_iterable(row)]

    def text(self) -> str:
        """What is on the board, without colours."""
        return "\n".join(strip.text.rstrip() for strip in self._strips)

    # Drawing

    def render_line(self, y: int) -> Strip:
        at = y + self.scroll_offset.y
        width = self.size.width
        strip = self._strips[at] if at < len(self._strips) else Strip.blank(width)
        return strip.crop_extend(0, width, self.rich_style).apply_style(self.rich_style)

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._known.clear()
        self._lay()

    def on_resize(self, event: Resize) -> None:
        self._lay()

    # A person who scrolls up reads; one who comes back to the end follows again.

    def scroll_lines(self, lines: int) -> None:
        """As many lines down, or up."""
        self.scroll_relative(y=lines, animate=False)
        self.follows = lines > 0 and self.scroll_y >= self.max_scroll_y

    def on_mouse_scroll_up(self) -> None:
        self.follows = False

    def on_mouse_scroll_down(self) -> None:
        self.follows = self.scroll_y + 3 >= self.max_scroll_y

    def action_page_up(self) -> None:
        self.follows = False
        super().action_page_up()

    def action_scroll_home(self) -> None:
        self.follows = False
        super().action_scroll_home()

    def action_scroll_end(self) -> None:
        self.follows = True
        super().action_scroll_end()

    def _lay(self) -> None:
        width = self.scrollable_content_region.width
        if width <= 0:
            return
        if len(self._known) > KEPT:
            self._known.clear()
        widths = _shares(width, self._widths)
        follows = self.follows
        strips: list[Strip] = []
        self._spans = {}
        for row in self.rows:
            columns: list[list[Strip]] = []
            for number, (blocks, size) in enumerate(zip(row, widths, strict=True)):
                columns.append([])
                for block in blocks:
                    top = len(strips) + len(columns[-1])
                    columns[-1] += self._block(block, size)
                    self._spans[block.key] = (top, len(strips) + len(columns[-1]), number)
            height = max(map(len, columns), default=0)
            strips += columns[0] if len(columns) == 1 else [_join(columns, widths, y) for y in range(height)]
        self._strips = strips
        self.virtual_size = Size(width, len(strips))
        self.refresh()
        if self._wanted in self._spans:
            self.call_after_refresh(self._reach, self._wanted)
        elif follows:
            self.call_after_refresh(self.scroll_end, animate=False, immediate=True)

    def _reach(self, key: str) -> None:
        if key not in self._spans:
            return
        top, bottom, _ = self._spans[key]
        height = self.size.height
        if top < self.scroll_y or bottom > self.scroll_y + height:
            self.scroll_to(
                y=max(0, min(top, (top + bottom - height) // 2 if bottom - top < height else top)), animate=False
            )
        self._wanted = None

    def _block(self, block: Block, width: int) -> list[Strip]:
        chosen = block.key == self.selected
        key = (block, width, chosen)
        if key not in self._known:
            self._known[key] = self._wrap(block, width, chosen)
        return self._known[key]

    def _wrap(self, block: Block, width: int, chosen: bool) -> list[Strip]:
        tint = self._get_style(f"on {block.tint}") if block.tint else Style()
        bar = (
            Content.styled("▌", "$accent")
            if chosen
            else Content.styled("┃", block.bar)
            if block.bar
            else Content(" ")
        )
        [left] = self._drawn(bar, 1, tint)
        strips = []
        for line in block.lines:
            indent = GUTTER - 1 + line.indent + (line.sign.cell_length + 1 if line.sign else 0)
            room = max(8, width - 1 - indent)
            [first] = self._drawn(Content(" " * (GUTTER - 1 + line.indent)) + line.sign, indent, tint)
            [blank] = self._drawn(Content(" "), indent, tint)
            for at, body in enumerate(self._drawn(line.body, min(room, READABLE), tint)):
                whole = body.extend_cell_length(room, tint.rich_style)
                strips.append(Strip.join([left, blank if at else first, whole]).crop(0, width))
        return strips

    def _drawn(self, content: Content, width: int, style: Style) -> list[Strip]:
        rich_style = style.rich_style
        strips = Visual.to_strips(self, content, width, None, style) or [Strip.blank(width, rich_style)]
        return [strip.extend_cell_length(width, rich_style) for strip in strips]

    def on_click(self, event: Click) -> None:
        at = event.get_content_offset(self)
        if at is None:
            return
        y, widths = at.y + self.scroll_offset.y, _shares(self.scrollable_content_region.width, self._widths)
        column = next((n for n in range(len(widths)) if at.x < sum(widths[: n + 1]) + n), 0)
        for key, (top, bottom, number) in self._spans.items():
            if top <= y < bottom and number == column:
                self.post_message(self.Chosen(key))
                return


def _shares(width: int, shares: Sequence[int]) -> list[int]:
    """Whole cells for each column, one cell left between two."""
    room, total = width - len(shares) + 1, sum(shares)
    sizes = [room * share // total for share in shares]
    sizes[-1] += room - sum(sizes)
    return sizes


def _join(columns: Sequence[list[Strip]], widths: Sequence[int], y: int) -> Strip:
    parts: list[Strip] = []
    for number, column in enumerate(columns):
        if number:
            parts.append(_SEAM)
        parts.append(column[y] if y < len(column) else Strip.blank(widths[number]))
    return Strip.join(parts)


_SEAM = Strip([Segment("│")])
