"""Train: the background runs, one of them with its live curves and its log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid, Horizontal, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import DataTable, Static

from data.errors import RetroDashError
from data.rows import MetricSeries
from retro_dash.client import HubClient, HubLost
from retro_dash.tui.board import Block, Board, Line
from retro_dash.tui.chart import ChartBox, Curve
from retro_dash.tui.metrics import Chart, belongs, charts_of, drawn_as
from retro_dash.tui.place import Place, Table
from retro_dash.tui.text import age, cell, clean, duration, one_line, plain

REFRESH_SECONDS = 1.5
POINTS = 400
LOG_LINES = 200
BLOCKS = "▁▂▃▄▅▆▇█"
STATES = {
    "queued": ("environment", "◌", "queued"),
    "running": ("planner", "●", "running"),
    "stalled": ("human", "!", "stalled"),
    "cancelling": ("human", "◍", "stopping"),
    "finished": ("success", "✓", "finished"),
    "failed": ("failure", "✕", "failed"),
    "cancelled": ("environment", "■", "stopped"),
}
ENDED = ("finished", "failed", "cancelled")


class TrainPlace(Place):
    """Runs at the left (or above), the chosen one beside them."""

    TITLE_WORD = "Train"
    HELP = "Background runs go on when this terminal, and even the hub, is closed."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("x", "stop", "Save and stop", tooltip="Write a checkpoint and end; R goes on from there"),
        Binding("R", "resume", "Resume", tooltip="Go on from the newest checkpoint"),
        Binding("K", "move(-1)", "Queue", key_display="K/J", tooltip="The chosen run sooner, or later, in the queue"),
        Binding("J", "move(1)", "Later in the queue", show=False),
        Binding("n", "charts(1)", "Charts"),
        Binding("N", "charts(-1)", "Charts before", show=False),
        Binding("b", "log", "Log", tooltip="The log alone, or the curves again"),
        Binding("v", "episodes", "Its episodes", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self.first_chart = 0
        self._series: list[MetricSeries] = []
        self._log = ""

    def compose_middle(self) -> ComposeResult:
        with Horizontal(id="train"):
            yield Table(id="runs")
            with Vertical(id="run"):
                yield Static(id="run-head", markup=False)
                with Grid(id="charts"):
                    for _ in range(4):
                        yield ChartBox()
                yield Board(id="log")

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self.set_interval(REFRESH_SECONDS, self._refresh)

    def arrive(self) -> None:
        self.load()

    def page(self) -> str:
        return f"/train?run={quote(self.run_id)}" if self.run_id else "/train"

    def lineage(self) -> Sequence[str]:
        row = self.row
        if row is None:
            return ("Runs",)
        run = row["run"]
        dataset = f"dataset {run['dataset_hash'][:8]}" if run.get("dataset_hash") else ""
        return [part for part in ("Runs", dataset, f"run {run['name'] or run['id']}") if part]

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
        """The list, and the curves and log of the chosen run."""
        try:
            self.rows = await self.dash.ask(lambda hub: hub.run_rows())
            self.show_rows()
            run_id = self.run_id
            if run_id:
                self._series, self._log = await self.dash.ask(lambda hub: _curves_and_log(hub, run_id))
        except HubLost:
            return
        except RetroDashError as error:
            self.tell(error)
            return
        self.show_run()

    @on(DataTable.RowHighlighted)
    def row_highlighted(self) -> None:
        self.first_chart = 0
        self._series, self._log = [], ""
        self.show_run()
        self.load_run()

    @work(exclusive=True, group="run")
    async def load_run(self) -> None:
        run_id = self.run_id
        if not run_id:
            return
        try:
            self._series, self._log = await self.dash.ask(lambda hub: _curves_and_log(hub, run_id))
        except RetroDashError as error:
            self.log.warning(str(error))  # The list says it a moment later.
            return
        if run_id == self.run_id:
            self.show_run()

    # Showing

    def show_rows(self) -> None:
        columns = [("State", 11), ("Run", 20), ("Pace", 16), ("Curve", 12)]
        with self.prevent(DataTable.RowHighlighted):
            self.query_one(Table).fill(columns, ((row["run"]["id"], self._cells(row)) for row in self.rows))

    def _cells(self, row: dict[str, Any]) -> list[Text]:
        run, ink = row["run"], self.dash.ink
        who, mark, word = STATES.get(run["state"], ("environment", "?", run["state"]))
        if row["position"] is not None:
            word = "next" if row["position"] == 0 else f"{row['position'] + 1}. in queue"
        return [
            cell(f"{mark} {word}", ink(who)),
            cell(f"{run['kind']} {run['name'] or row['about'] or run['id']}"),
            cell(_pace(row), ink("dim")),
            cell(sparkline(row["spark"]), ink("success" if row["spark_name"].endswith("solved") else "planner")),
        ]

    def show_run(self) -> None:
        row = self.row
        self.show_where()
        head = self.query_one("#run-head", Static)
        if row is None:
            words = "Nothing was trained yet. Start a run with retro-dash train, collect or evaluate, or on the page."
            head.update(Content.styled(words, "$dim"))
        else:
            head.update(_run_head(row))
        self._show_charts(row)
        written = clean(self._log).rstrip("\n") or "The worker has not written anything yet."
        lines = tuple(Line(Content.styled(line, "$dim")) for line in written.split("\n"))
        self.query_one(Board).show([((Block("log", lines),),)])

    def _show_charts(self, row: dict[str, Any] | None) -> None:
        names = [one.name for one in self._series]
        charts = charts_of(row["run"]["kind"], row["run"]["config"], names) if row else []
        self.first_chart = min(self.first_chart, max(0, len(charts) - 1))
        room = self._chart_room()
        shown = charts[self.first_chart : self.first_chart + room]
        for number, box in enumerate(self.query(ChartBox)):
            box.display = number < len(shown)
            if number < len(shown):
                box.show(shown[number].title, _curves(shown[number], self._series), _limits(shown[number]))
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

    @work(exclusive=True, group="act")
    async def action_stop(self) -> None:
        await self._act(lambda hub, run_id: hub.cancel_run(run_id), "The run saves and ends.")

    @work(exclusive=True, group="act")
    async def action_resume(self) -> None:
        await self._act(lambda hub, run_id: hub.resume_run(run_id), "The run is queued again.")

    @work(exclusive=True, group="act")
    async def action_move(self, by: int) -> None:
        row = self.row
        if row is None or row["position"] is None:
            self.dash.say("Only a run that waits has a place in the queue.")
            return
        place = max(0, row["position"] + by)
        await self._act(lambda hub, run_id: hub.move_run(run_id, place), f"Place {place + 1} in the queue.")

    async def _act(self, verb: Any, said: str) -> None:
        run_id = self.run_id
        if not run_id:
            return
        try:
            await self.dash.ask(lambda hub: verb(hub, run_id))
        except RetroDashError as error:
            self.tell(error)
            return
        self.tell("")
        self.dash.say(said)
        self.load()

    async def action_episodes(self) -> None:
        if self.run_id:
            await self.dash.show_episodes(f"run:{self.run_id}")


def _curves_and_log(hub: HubClient, run_id: str) -> tuple[list[MetricSeries], str]:
    return hub.metrics(run_id, (), POINTS), hub.run_log(run_id, LOG_LINES)


def _curves(chart: Chart, series: Sequence[MetricSeries]) -> list[Curve]:
    curves = []
    for one in series:
        if belongs(chart, one.name):
            hue, label, is_dotted = drawn_as(one.name)
            steps, values = [point.step for point in one.points], [point.value for point in one.points]
            curves.append(Curve(label, hue, steps, values, is_dotted))
    return curves


def _limits(chart: Chart) -> tuple[float, float] | None:
    return (0.0, 1.0) if chart.key == "solved" else None


def sparkline(values: Sequence[float], width: int = 12) -> str:
    """A curve as small as a word."""
    if len(values) < 2:
        return ""
    low, span = min(values), (max(values) - min(values)) or 1.0
    picked = [values[at * (len(values) - 1) // (width - 1)] for at in range(width)]
    return "".join(BLOCKS[min(7, int((value - low) / span * 7.99))] for value in picked)


def _pace(row: dict[str, Any]) -> str:
    run = row["run"]
    if run["state"] in ENDED:
        return f"{age(run['finished_at'])} ago" if run.get("finished_at") else ""
    done = f"{row['done']} of {row['total']}" if row["total"] else ""
    left = "" if row["eta_seconds"] is None else f"{duration(row['eta_seconds'])} to go"
    return " · ".join(part for part in (done, left) if part)


def _run_head(row: dict[str, Any]) -> Content:
    run = row["run"]
    who, mark, word = STATES.get(run["state"], ("environment", "?", run["state"]))
    facts = [run["id"], run["kind"], row["about"], str(run["config"].get("model") or "")]
    if run.get("started_at"):
        end = datetime.fromisoformat(run["finished_at"]) if run.get("finished_at") else None
        passed = ((end or datetime.now().astimezone()) - datetime.fromisoformat(run["started_at"])).total_seconds()
        facts.append(f"{duration(passed)} {'in all' if end else 'so far'}")
    title = one_line(run["name"] or run["id"])
    lines = [
        Content.assemble((title, "bold"), (f"  {mark} {word}  ", f"${who}"), _pace(row)),
        plain(" · ".join(one_line(fact) for fact in facts if fact), "$dim"),
    ]
    if run.get("error"):
        lines.append(plain(run["error"], "$failure"))
    return Content("\n").join(lines)
