"""What every place shares: the top bar, the line of lineage and link, a note, the footer; and tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Click
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Input, Static, TextArea

from data.errors import RetroDashError
from retro_dash.client import HubLost
from retro_dash.tui.editor import Editor
from retro_dash.tui.text import State, cell, one_line, plain, plural

if TYPE_CHECKING:
    from retro_dash.tui.app import RetroDash

PLACES = ("Play", "Episodes", "Curate", "Train", "Serving", "Results")
KEYS = {"Play": "1", "Episodes": "2", "Curate": "3", "Train": "4", "Serving": "5", "Results": "6"}
"""The same with F before it goes there from everywhere; in Curate numbers are verdicts, as on its page."""
ENGINE = {
    "ready": ("success", "●", "ready"),
    "starting": ("human", "◌", "starting"),
    "restarting": ("human", "◌", "restarting"),
    "pausing": ("human", "◍", "making room"),
    "paused": ("human", "◫", "paused"),
    "stopped": ("dim", "○", "stopped"),
    "failed": ("failure", "✕", "failed"),
}
"""Whose colour, sign and word, as on the page."""


class Place(Screen[None]):
    """One of the places; a subclass says what is in the middle, which page it is, and what to load."""

    TITLE_WORD: ClassVar[str] = ""
    RESTS_ON: ClassVar[str] = "Table"
    """What has the focus while nobody types in a field."""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-medium"), (150, "-wide")]  # noqa: RUF012 - Textual's own shape

    @property
    def dash(self) -> RetroDash:
        return cast("RetroDash", self.app)

    def __init__(self) -> None:
        super().__init__()
        self._offered: list[bool | None] = []

    def compose(self) -> ComposeResult:
        yield TopBar(self.TITLE_WORD)
        with Horizontal(id="where"):
            yield Static(id="lineage", markup=False)
            yield Static(id="link", markup=False)
        yield from self.compose_middle()
        yield Static(id="note", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def compose_middle(self) -> ComposeResult:
        raise NotImplementedError

    def page(self) -> str:
        """Path of the web page that shows the same."""
        raise NotImplementedError

    def lineage(self) -> Sequence[str]:
        return (self.TITLE_WORD,)

    def key_list(self) -> Sequence[BindingType]:
        """The keys for the sheet of keys."""
        return self.BINDINGS

    def rest(self) -> None:
        """Give the focus back to where letters are keys."""
        self.query(self.RESTS_ON).first().focus()

    def set_empty(self, is_empty: bool) -> None:
        """Hide what an empty place has no use for; what comes back gets the focus that it lost."""
        was_empty = self.has_class("empty")
        self.set_class(is_empty, "empty")
        if was_empty and not is_empty and not isinstance(self.focused, Input | TextArea):
            self.call_after_refresh(self.rest)

    @on(Editor.Left)
    def editor_left(self) -> None:
        self.rest()

    def action_filter(self) -> None:
        for line in self.query("#filter"):
            line.focus()

    def arrive(self) -> None:
        """Load what the place shows: when it comes to the front, and when the hub is back."""

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self.show_status)  # Only then is known how wide it is.
        self.show_where()
        self.arrive()

    def offer(self) -> None:
        """Draw the footer anew when other keys can be pressed than before."""
        actions = [key.action.split("(")[0] for key in self.BINDINGS if isinstance(key, Binding)]
        offered = [self.check_action(action, ()) for action in actions]
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()

    def is_loading(self, group: str) -> bool:
        """Whether the last answer is still on its way: asking again would only make it later."""
        return any(one.group == group and one.node is self and one.is_running for one in self.workers)

    def show_where(self) -> None:
        for lineage in self.query("#lineage").results(Static):
            lineage.update(plain(" › ".join(map(one_line, self.lineage()))))
        for link in self.query("#link").results(Static):
            link.update(plain(self.dash.line.url + self.page()))

    def show_status(self) -> None:
        """What the hub is doing; news that comes before the place is drawn is shown with the next."""
        for bar in self.query(TopBar):
            bar.show(self.dash.status, self.dash.is_lost, self.has_class("-narrow"))

    @contextmanager
    def telling(self, with_loss: bool = True) -> Iterator[None]:
        """What the hub refuses is said under the middle, and the rest is left undone.

        Without `with_loss` not that it is gone: the top bar says so, and `arrive` is called when it is back.
        """
        try:
            yield
        except HubLost as error:
            if with_loss:
                self.tell(error)
        except RetroDashError as error:
            self.tell(error)

    def write(self, name: str, text: str) -> None:
        """A file in the folder that the terminal is in, and where it is."""
        try:
            self.dash.say(f"✓ Written to {self.dash.write_file(name, text)}")
        except OSError as error:
            self.tell(f"Could not write the file: {error.strerror}. Start the terminal in a folder of yours.")

    def tell(self, text: object, who: str = "failure") -> None:
        """Say something under the middle; an empty text takes it away."""
        note = self.query_one("#note", Static)
        note.update(plain(text, f"${who}"))
        note.display = bool(text)


class TopBar(Horizontal):
    """The places, and what the hub is doing."""

    def __init__(self, current: str) -> None:
        super().__init__()
        self.current = current

    def compose(self) -> ComposeResult:
        yield Static("Retro Dash", id="brand", markup=False)
        for name in PLACES:
            yield Tab(name, ("F" if self.current == "Curate" else "") + KEYS[name], name == self.current)
        yield Static(id="hub", markup=False)

    def show(self, status: State, is_lost: bool, is_narrow: bool) -> None:
        for hub in self.query("#hub").results(Static):
            hub.update(_hub_line(status, is_lost, is_narrow))


class Tab(Static):
    """One place in the top bar."""

    def __init__(self, name: str, key: str, is_current: bool) -> None:
        super().__init__(Content.assemble((key, "$dim"), " ", name), classes="current" if is_current else "")
        self.place = name

    async def on_click(self, event: Click) -> None:
        event.stop()
        await cast("RetroDash", self.app).action_go(self.place)


class Table(DataTable[Text]):
    """Rows that keep their place by key when they are filled again."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Open"),
        Binding("j", "cursor_down", "Next row", show=False),
        Binding("k", "cursor_up", "Previous row", show=False),
    ]

    def __init__(self, *, id: str, opens: bool = False) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self.opens = opens

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.opens if action == "select_cursor" else True

    def fill(self, columns: Iterable[tuple[str, int]], rows: Iterable[tuple[str, Sequence[Text]]]) -> None:
        """Show these columns (title, width) and rows (key, cells); the cursor stays on its row."""
        chosen, scroll = self.chosen, self.scroll_y
        self.clear(columns=True)
        for title, width in columns:
            self.add_column(cell(title), width=width, key=title)
        for key, cells in rows:
            self.add_row(*cells, key=key)
        if chosen is not None and chosen in self.rows:
            self.move_cursor(row=self.get_row_index(chosen), animate=False)
            self.scroll_to(y=scroll, animate=False)

    @property
    def chosen(self) -> str | None:
        """Key of the row under the cursor."""
        if not self.is_valid_coordinate(self.cursor_coordinate):
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value


def engine_sign(state: str) -> tuple[str, str, str]:
    """Whose colour, sign and word."""
    return ENGINE.get(state, ("dim", "○", one_line(state)))


def _hub_line(status: State, is_lost: bool, is_narrow: bool) -> Content:
    if is_lost:
        words = "✕ no hub; trying again" if is_narrow else "✕ the hub does not answer; trying again"
        return Content.styled(words, "bold $failure")
    if not status:
        return Content.styled("…", "$dim")
    engine, runs, playing = status["engine"], status.get("runs") or {}, status["live"]["busy"]
    who, mark, word = engine_sign(engine["state"])
    parts = [
        _jobs(runs["running"], is_narrow) if runs.get("running") else "",
        f"{runs['queued']} queued" if runs.get("queued") else "",
        (f"{playing} playing" if is_narrow else f"{plural(playing, 'episode')} playing") if playing else "",
    ]
    doing = " · ".join(part for part in parts if part)
    if status["storage"]["read_only"]:
        doing = "✕ store is read-only"
    model, is_ready = one_line(engine["model"] or ""), engine["state"] == "ready"
    sign_ = Content.styled(f"{mark} ", f"${who}")
    if is_narrow:
        return sign_ + plain(doing or (model if model and is_ready else f"engine {word}"))
    return Content.assemble(sign_, plain(f"{model or 'engine'} {word}"), " · ", doing or "nothing running")


def _jobs(count: int, is_narrow: bool) -> str:
    return plural(count, "job") + ("" if is_narrow else " running")
