"""Train: the background runs, one of them with its live curves and its log; and the draft of a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import DataTable, Static

from data.rows import MetricSeries
from retro_dash.client import HubClient
from retro_dash.tui.board import Block, Board, Line
from retro_dash.tui.chart import ChartBox
from retro_dash.tui.editor import Editor
from retro_dash.tui.metrics import charts_of, curves_of, limits
from retro_dash.tui.place import Table
from retro_dash.tui.runverbs import RunVerbs
from retro_dash.tui.runwords import ENDED, MOST_RUNS, lineage_words, pace, run_head, sparkline, state_of, title
from retro_dash.tui.text import cell, clean, plain

REFRESH_SECONDS = 1.5
POINTS = 400
LOG_LINES = 200
EMPTY = (
    "Nothing was trained yet. A run turns chosen episodes into adapters; its curves, its log and its alerts appear "
    "here while it works. Press n for one, or use retro-dash train, collect or evaluate."
)


class Seen(NamedTuple):
    """What is shown of one run."""

    series: Sequence[MetricSeries] = ()
    log: str = ""
    alerts: Sequence[str] = ()
    lineage: dict[str, Any] | None = None
    machine: dict[str, Any] | None = None


class TrainPlace(RunVerbs):
    """Runs at the left (or above), the chosen one beside them."""

    TITLE_WORD = "Train"
    HELP = "Background runs go on when this terminal, and even the hub, is closed."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New run", tooltip="Train on episodes; its settings are text to change"),
        Binding("c", "clone", "Clone", tooltip="A new run with this one's settings, to change"),
        Binding("e", "extend", "Extend", tooltip="The finished run for more epochs, from its last state"),
        Binding("x", "stop", "Stop", tooltip="Save and stop: write a checkpoint and end; R goes on from there"),
        Binding("X", "kill", "Stop at once, without saving: pressed twice", show=False),
        Binding("R", "resume", "Resume", tooltip="Go on from the newest checkpoint"),
        Binding("K", "move(-1)", "Queue", key_display="K/J", tooltip="The chosen run sooner, or later, in the queue"),
        Binding("J", "move(1)", "Later in the queue", show=False),
        Binding("greater_than_sign", "charts(1)", "Charts", key_display=">", tooltip="More of its charts"),
        Binding("less_than_sign", "charts(-1)", "Charts before", show=False),
        Binding("o", "overlay", "Draw the chosen run over the others", show=False),
        Binding("b", "log", "Log", tooltip="The log alone, or the curves again"),
        Binding("v", "episodes", "Episodes", tooltip="Its episodes"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self.first_chart = 0
        self.over = ""
        """The run whose curves are drawn with those of the chosen one."""
        self._seen = Seen()
        self._whole = ("", "", "")
        """Run, its state and the run over it, whose curves can't change any more."""
        self._over: Sequence[MetricSeries] = ()

    def compose_middle(self) -> ComposeResult:
        with Horizontal(id="train"):
            yield Table(id="runs")
            with Vertical(id="run"):
                yield Static(id="run-head", markup=False)
                yield Static(id="alerts", markup=False)
                with Grid(id="charts"):
                    for _ in range(4):
                        yield ChartBox()
                yield Board(id="log")
        yield Editor()

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self.set_interval(REFRESH_SECONDS, self._refresh)

    def arrive(self) -> None:
        self._whole = ("", "", "")
        self.load()

    def page(self) -> str:
        return f"/train?run={quote(self.run_id)}" if self.run_id else "/train"

    def lineage(self) -> Sequence[str]:
        row, lineage = self.row, self._seen.lineage
        if row is None:
            return ("Runs",)
        if lineage is None or lineage["run"]["id"] != row["run"]["id"]:
            return ("Runs", f"run {title(row['run'])}")
        return ("Runs", *lineage_words(lineage))

    @property
    def run_id(self) -> str:
        return self.query_one(Table).chosen or "" if self.is_mounted else ""

    @property
    def row(self) -> dict[str, Any] | None:
        return next((row for row in self.rows if row["run"]["id"] == self.run_id), None)

    # Loading

    def _refresh(self) -> None:
        if self.is_current and not self.is_loading("runs"):
            self.load()

    @work(exclusive=True, group="runs")
    async def load(self) -> None:
        """The list, and what is shown of the chosen run."""
        with self.telling(with_loss=False):
            self.rows = await self.dash.ask(lambda hub: hub.run_rows(MOST_RUNS))
            self.show_rows()
            await self._load_chosen()
            self.show_run()

    async def _load_chosen(self) -> None:
        row, over = self.row, self.over
        if row is None:
            return
        run_id, state = row["run"]["id"], row["run"]["state"]
        key = (run_id, state, over)
        if key == self._whole:
            return
        others = await self.dash.ask(lambda hub: hub.metrics(over, (), POINTS)) if over not in ("", run_id) else ()
        seen = await self.dash.ask(lambda hub: _look(hub, run_id, state in ENDED))
        if run_id == self.run_id:
            self._seen, self._over = seen, others
            self._whole = key if state in ENDED else ("", "", "")

    @on(DataTable.RowHighlighted)
    def row_highlighted(self) -> None:
        self.first_chart = 0
        self._seen, self._whole = Seen(), ("", "", "")
        self.show_run()
        self.load_run()

    @work(exclusive=True, group="run")
    async def load_run(self) -> None:
        with self.telling(with_loss=False):
            await self._load_chosen()
            self.show_run()

    # Showing

    def show_rows(self) -> None:
        columns = [("State", 11), ("Run", 20), ("Pace", 16), ("Curve", 12)]
        with self.prevent(DataTable.RowHighlighted):
            self.query_one(Table).fill(columns, ((row["run"]["id"], self._cells(row)) for row in self.rows))

    def _cells(self, row: dict[str, Any]) -> list[Text]:
        run, ink, (who, state) = row["run"], self.dash.ink, state_of(row)
        over = "+ " if run["id"] == self.over else ""
        return [
            cell(state, ink(who)),
            cell(f"{over}{run['kind']} {run['name'] or row['about'] or run['id']}"),
            cell(pace(row), ink("dim")),
            cell(sparkline(row["spark"]), ink("success" if row["spark_name"].endswith("solved") else "planner")),
        ]

    def show_run(self) -> None:
        row, seen = self.row, self._seen
        self.show_where()
        self.offer()
        head, alerts = self.query_one("#run-head", Static), self.query_one("#alerts", Static)
        alerts.update(Content("\n").join(plain(f"! {one}", "$human") for one in seen.alerts))
        alerts.display = bool(seen.alerts)
        self.set_class(row is None, "empty")
        if row is None:
            head.update(Content.styled(EMPTY, "$dim"))
            return
        engine = self.dash.status.get("engine") or {}
        head.update(run_head(row, engine, seen.machine, self.has_class("-narrow")))
        self._show_charts(row)
        written = clean(seen.log).rstrip("\n") or "The worker has not written anything yet."
        lines = tuple(Line(Content.styled(line, "$dim")) for line in written.split("\n"))
        self.query_one(Board).show([((Block("log", lines),),)])

    def _show_charts(self, row: dict[str, Any]) -> None:
        series, run = self._seen.series, row["run"]
        charts = charts_of(run["kind"], run["config"], [one.name for one in series])
        self.first_chart = min(self.first_chart, max(0, len(charts) - 1))
        room = self._chart_room()
        shown = charts[self.first_chart : self.first_chart + room]
        other = next((one["run"] for one in self.rows if one["run"]["id"] == self.over), None)
        for number, box in enumerate(self.query(ChartBox)):
            box.display = number < len(shown)
            if number < len(shown):
                over = curves_of(shown[number], self._over, title(other)) if other else []
                box.show(shown[number].title, [*over, *curves_of(shown[number], series)], limits(shown[number]))
        self.query_one("#charts", Grid).styles.grid_size_columns = 2 if room > 1 and len(shown) > 1 else 1

    def _chart_room(self) -> int:
        return 1 if self.size.width < 150 or self.size.height < 36 else 4

    def on_resize(self, event: Resize) -> None:
        self.show_run()

    # Keys

    def action_charts(self, by: int) -> None:
        self.first_chart = max(0, self.first_chart + by * self._chart_room())
        self.show_run()

    def action_log(self) -> None:
        self.toggle_class("log-only")

    def action_overlay(self) -> None:
        """Keep the chosen run's curves under those of any other; again, and they go."""
        self.over = "" if self.over == self.run_id else self.run_id
        self._over = ()
        self.dash.say(
            "Its curves are drawn with those of the run that you go to." if self.over else "No curves beside its own."
        )
        self.show_rows()
        self.load_run()

    async def action_episodes(self) -> None:
        if self.run_id:
            await self.dash.show_episodes(f"run:{self.run_id}")


def _look(hub: HubClient, run_id: str, is_over: bool) -> Seen:
    machine = None if is_over else hub.machine()
    series, log = hub.metrics(run_id, (), POINTS), hub.run_log(run_id, LOG_LINES)
    return Seen(series, log, hub.run_alerts(run_id), hub.lineage(run_id), machine)
