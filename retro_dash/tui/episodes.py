"""Episodes: the table of everything that was ever played, filtered and sorted by the hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from urllib.parse import urlencode

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.widgets import DataTable, Input, Static

from data.errors import RetroDashError
from data.rows import EpisodePage, EpisodeRow
from retro_dash.tui.draft import new_training
from retro_dash.tui.episode import EpisodeScreen
from retro_dash.tui.filter import FILTER, FilterLine
from retro_dash.tui.place import Place, Table
from retro_dash.tui.text import STATES, age, cell, number, player, plural, signed

PAGE = 50
REFRESH_SECONDS = 1.2
SORTS = ("created", "gain", "trials", "turns", "state", "env", "task", "planner", "reflector")
SORT_OF = {"Outcome": "state", "Env": "env", "Task": "task", "Trials": "trials", "Gain": "gain", "Planner": "planner"}
SORT_OF |= {"Reflector": "reflector", "Turns": "turns", "Age": "created"}


class EpisodesPlace(Place):
    """The table; Enter opens a row over it."""

    TITLE_WORD = "Episodes"
    HELP = "Everything that was played. The filter is the same as on the page and in `retro-dash episodes`."
    BINDINGS: ClassVar[list[BindingType]] = [
        FILTER,
        Binding("s", "sort", "Sort by"),
        Binding("S", "turn_sort", "Turn the sort round", show=False),
        Binding("t", "train", "Train", tooltip="Train on these episodes"),
        Binding("greater_than_sign,right_square_bracket", "older(1)", "Older", key_display=">"),
        Binding("less_than_sign,left_square_bracket", "older(-1)", "Newer", key_display="<"),
        Binding("g", "refresh", "Load again", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.filter_text, self.sort, self.start = "", "-created", 0
        self.listed = EpisodePage(total=0, rows=())
        self.news = 0
        """Episodes that came since the list was loaded."""

    def compose_middle(self) -> ComposeResult:
        yield FilterLine()
        yield Table(id="episodes", opens=True)
        yield Static("Loading episodes …", id="count", markup=False)

    def on_mount(self) -> None:
        self.rest()
        self.set_interval(REFRESH_SECONDS, self._refresh)

    def arrive(self) -> None:
        self.load()
        self.query_one(FilterLine).learn()

    def page(self) -> str:
        place = {"filter": self.filter_text, "sort": "" if self.sort == "-created" else self.sort}
        place["page"] = str(self.start // PAGE + 1) if self.start else ""
        query = urlencode({key: value for key, value in place.items() if value})
        return f"/episodes{'?' if query else ''}{query}"

    def lineage(self) -> Sequence[str]:
        return ("All episodes", self.filter_text) if self.filter_text else ("All episodes",)

    # Loading

    @work(exclusive=True, group="list")
    async def load(self) -> None:
        filter_text, sort, start = self.filter_text, self.sort, self.start
        with self.telling(with_loss=False), self.query_one(FilterLine).marking():
            self.listed = await self.dash.ask(lambda hub: hub.episodes(filter_text, sort, PAGE, start))
            self.tell("")
            self.news = 0
            self.show_rows()

    def _refresh(self) -> None:
        if self.is_current and self.listed.rows and not (self.is_loading("list") or self.is_loading("refresh")):
            self.refresh_rows()

    @work(exclusive=True, group="refresh")
    async def refresh_rows(self) -> None:
        """Rows on the screen stay true; new episodes are announced, not pushed in under the eyes."""
        filter_text, sort, start = self.filter_text, self.sort, self.start
        listed = self.listed
        try:
            now = await self.dash.ask(lambda hub: hub.episodes(filter_text, sort, PAGE, start))
        except RetroDashError:
            return  # The top bar says when the hub is gone.
        by_id = {row.id: row for row in now.rows}
        rows = tuple(by_id.get(row.id, row) for row in listed.rows)
        if self.listed is listed and (rows != listed.rows or now.total - listed.total != self.news):
            self.news = now.total - listed.total
            self.listed = EpisodePage(total=listed.total, rows=rows)
            self.show_rows()

    def show_rows(self) -> None:
        self.query_one(Table).fill(self._columns(), ((row.id, self._cells(row)) for row in self.listed.rows))
        first, total = self.start + 1, self.listed.total
        words = (
            f"{first:,}–{first + len(self.listed.rows) - 1:,} of {plural(total, 'episode')}, sorted by {self.sort}"
        )
        if self.news > 0:
            words += f" · {plural(self.news, 'new episode')}: g"
        if not self.listed.rows:
            words = (
                "No episode matches this filter."
                if self.filter_text
                else "No episodes yet. Press 1 and play the first one."
            )
        self.query_one("#count", Static).update(words)
        self.show_where()

    def _columns(self) -> list[tuple[str, int]]:
        """Titles and widths: what a narrow terminal has no room for is in the episode itself."""
        columns = [("Outcome", 9), ("Env", 9 if self._room < 1 else 14), ("Task", 0), ("Trials", 10), ("Gain", 5)]
        if self._room >= 1:
            columns.append(("Planner", 22))
        if self._room >= 2:
            columns += [("Reflector", 22), ("Labels", 16), ("Turns", 5)]
        columns.append(("Age", 6))
        task = self.size.width - 2 - sum(width + 2 for _, width in columns)
        return [(title, width or max(12, task)) for title, width in columns]

    @property
    def _room(self) -> int:
        """0 for a narrow terminal, 2 for a wide one."""
        return (self.size.width >= 110) + (self.size.width >= 150)

    def _cells(self, row: EpisodeRow) -> list[Text]:
        ink = self.dash.ink
        who, mark = STATES.get(row.state, ("environment", "?"))
        gain = cell("–", ink("dim"))
        if row.best_gain is not None:
            gain = cell(
                signed(row.best_gain),
                ink("success" if row.best_gain > 0 else "failure" if row.best_gain < 0 else "dim"),
            )
        planner = cell(
            f"{'★' if row.planner == 'expert' else '●'} {row.planner}",
            ink(player(row.planner, "planner")),
        )
        cells = [
            cell(f"{mark} {row.state}", ink(who)),
            cell(row.env),
            cell(("fork · " if row.parent_id else "") + (row.instruction or row.task_id)),
            self._chips(row),
            gain,
        ]
        if self._room >= 1:
            cells.append(planner)
        if self._room >= 2:
            labels = ", ".join(str(one.value) if isinstance(one.value, str) else one.name for one in row.labels)
            reflector = player(row.reflector, "reflector") == "expert"
            cells += [
                cell(f"{'★' if reflector else '◆'} {row.reflector}", ink("expert" if reflector else "reflector")),
                cell(f"✎ {labels}" if labels else "", ink("human")),
                cell(str(row.turn_count)),
            ]
        return [*cells, cell(age(row.created_at), ink("dim"))]

    def _chips(self, row: EpisodeRow) -> Text:
        """✓✕ and the reward of each trial."""
        chips = cell("")
        for trial in row.trials[:6]:
            running = trial.stop_reason is None
            who, mark = ("planner", "●") if running else ("success", "✓") if trial.success else ("failure", "✕")
            score = "" if running or trial.reward in (0, 1) else number(trial.reward).lstrip("0")
            chips.append(f"{mark}{score} ", style=self.dash.ink(who))
        return chips.append(f"+{len(row.trials) - 6}" if len(row.trials) > 6 else "")

    # Keys

    def on_resize(self, event: Resize) -> None:
        if self.listed.rows:
            self.show_rows()

    @on(FilterLine.Sent)
    def filter_sent(self, event: FilterLine.Sent) -> None:
        self.filter_text, self.start = event.text, 0
        self.load()

    def set_filter(self, text: str) -> None:
        """Use another filter, as if it had been typed."""
        self.query_one("#filter", Input).value = text
        self.filter_text, self.start = text, 0
        self.load()

    def action_sort(self) -> None:
        at = SORTS.index(self.sort.lstrip("-"))
        self._sort_by(f"-{SORTS[(at + 1) % len(SORTS)]}")

    def action_turn_sort(self) -> None:
        self._sort_by(self.sort[1:] if self.sort.startswith("-") else f"-{self.sort}")

    @on(DataTable.HeaderSelected)
    def head_pressed(self, event: DataTable.HeaderSelected) -> None:
        name = SORT_OF.get(str(event.column_key.value))
        if name is not None:
            self._sort_by(name if self.sort == f"-{name}" else f"-{name}")

    def _sort_by(self, sort: str) -> None:
        self.sort, self.start = sort, 0
        self.load()

    def action_older(self, pages: int) -> None:
        offset = self.start + pages * PAGE
        if 0 <= offset < max(1, self.listed.total):
            self.start = offset
            self.load()

    async def action_train(self) -> None:
        filter_text = self.filter_text
        await self.dash.draft(lambda hub: new_training(hub, filter_text))

    def action_refresh(self) -> None:
        self.load()

    @on(DataTable.RowSelected)
    def row_selected(self, event: DataTable.RowSelected) -> None:
        self.open_row()

    def open_row(self) -> None:
        chosen = self.query_one(Table).chosen
        if chosen is not None:
            self.app.push_screen(EpisodeScreen(chosen, self))

    def neighbour(self, episode_id: str, by: int) -> str | None:
        """The episode so many rows away; the cursor follows."""
        ids = [row.id for row in self.listed.rows]
        at = ids.index(episode_id) + by if episode_id in ids else 0
        if not 0 <= at < len(ids):
            return None
        self.query_one(Table).move_cursor(row=at, animate=False)
        return ids[at]
