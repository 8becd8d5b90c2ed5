"""Results: evaluations on the same tasks: the sentence, the curve by trial, the table, and what changed."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import DataTable, Static

from data.types import Run
from retro_dash.tui.chart import ChartBox, Curve
from retro_dash.tui.draft import like_run, new_evaluation
from retro_dash.tui.pair import PairScreen
from retro_dash.tui.place import Place, Table
from retro_dash.tui.report import Flip, flip_words, flips, headline, table
from retro_dash.tui.runwords import MOST_RUNS
from retro_dash.tui.text import age, cell

EMPTY = (
    "No evaluation has finished yet. One plays the same tasks with two or more methods, and stands here with its "
    "sentence, its curve and the tasks that flipped. Press n for one, or use retro-dash evaluate."
)
WHOLE_TABLE = 1000
HUES = ("environment", "planner", "reflector", "expert", "human", "success")


class ResultsPlace(Place):
    """Finished evaluations at the left, the chosen one beside them."""

    TITLE_WORD = "Results"
    HELP = "Every arm plays the same tasks; intervals are 95 % bootstrap intervals over tasks."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "again", "Again", tooltip="Evaluate the same tasks again, with changes"),
        Binding("f", "flips", "Flips", tooltip="The tasks that changed; Enter puts both episodes side by side"),
        Binding("m", "measure", "Measure", tooltip="Reward or success"),
        Binding("y", "copy", "Copy", tooltip="The sentence and the table"),
        Binding("W", "write", "Write the sentence and the table to a file", show=False),
        Binding("v", "episodes", "Episodes", tooltip="Its episodes"),
        Binding("g", "refresh", "Load again", show=False),
        Binding("escape", "leave", "Back to the list", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []
        self.report: dict[str, Any] | None = None
        self.measure = ""
        self.flips: list[Flip] = []

    def compose_middle(self) -> ComposeResult:
        with Horizontal(id="results"):
            yield Table(id="evaluations")
            with Vertical(id="report"):
                yield Static(id="sentence", markup=False)
                yield ChartBox(id="by-trial")
                with VerticalScroll(id="report-box"):
                    yield Static(id="scores", markup=False)
                yield Static(id="flip-count", markup=False)
                yield Table(id="flips", opens=True)

    def on_mount(self) -> None:
        self.rest()

    @property
    def _room(self) -> int:
        """Cells for the report."""
        return self.size.width - (2 if self.has_class("-narrow") else 41)

    @property
    def evaluations(self) -> Table:
        return self.query_one("#evaluations", Table)

    def arrive(self) -> None:
        self.load()

    def page(self) -> str:
        chosen = self.evaluations.chosen if self.is_mounted else None
        return f"/results?run={quote(chosen)}" if chosen else "/results"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.report is not None if action in ("flips", "measure", "copy", "write", "episodes") else True

    @work(exclusive=True, group="evaluations")
    async def load(self) -> None:
        with self.telling(with_loss=False):
            self.runs = await self.dash.ask(lambda hub: hub.runs(["evaluate"], ["finished"], MOST_RUNS))
            self.show_list()

    def show_list(self) -> None:
        with self.prevent(DataTable.RowHighlighted):
            rows = (
                (run.id, [cell(run.name or run.id), cell(age(run.created_at), self.dash.ink("dim"))])
                for run in self.runs
            )
            self.evaluations.fill([("Evaluation", 24), ("Age", 6)], rows)
        self.load_report()

    @on(DataTable.RowHighlighted, "#evaluations")
    def row_highlighted(self) -> None:
        self.load_report()

    @work(exclusive=True, group="report")
    async def load_report(self) -> None:
        run_id = self.evaluations.chosen
        self.report = None
        if run_id is not None:
            with self.telling():
                self.report = await self.dash.ask(lambda hub: hub.report(run_id))
        self.show()

    def show(self) -> None:
        self.show_where()
        self.offer()
        report = self.report
        chart = self.query_one(ChartBox)
        chart.display = report is not None
        sentence, scores = self.query_one("#sentence", Static), self.query_one("#scores", Static)
        self.set_class(report is None, "empty")
        if report is None:
            sentence.update(Content.styled(EMPTY, "$dim"))
            return
        measure = self.measure or report["measure"]
        sentence.update(Content.styled(headline(report), "bold"))
        scores.update(table(report, measure, self._room))
        self._show_flips(report)
        curves = []
        for number, arm in enumerate(report["arms"]):
            points = arm[measure]["best_by_trial"]
            steps = [float(at + 1) for at in range(len(points))]
            curves.append(
                Curve(arm["arm"]["name"], HUES[number % len(HUES)], steps, [point["mean"] for point in points])
            )
        lowest = min((value for curve in curves for value in curve.values), default=0.0)
        ticks = sorted({step for curve in curves for step in curve.steps})
        chart.show(f"Best {measure} up to each trial", curves, (min(0.0, lowest), 1.0), ticks)

    def _show_flips(self, report: dict[str, Any]) -> None:
        self.flips, place = flips(report), self.query_one("#flips", Table)
        count, ink = self.query_one("#flip-count", Static), self.dash.ink
        none = "Every task ended the same way with both." if len(report["arms"]) > 1 else ""
        count.update(Content.styled(flip_words(report) if self.flips else none, "$dim"))
        place.display = bool(self.flips)
        task = max(16, self._room - 40)
        rows = (
            (
                str(at),
                [
                    cell(
                        "✓ solved now" if one.is_solved else "✕ broke", ink("success" if one.is_solved else "failure")
                    ),
                    cell(one.method),
                    cell(one.task),
                ],
            )
            for at, one in enumerate(self.flips)
        )
        place.fill([("Flip", 12), ("Method", 20), ("Task", task)], rows)

    def on_resize(self, event: Resize) -> None:
        self.show()

    # Keys

    @on(DataTable.RowSelected, "#flips")
    def flip_chosen(self, event: DataTable.RowSelected) -> None:
        one, run_id = self.flips[int(event.row_key.value or 0)], self.evaluations.chosen
        if run_id is not None:
            self.app.push_screen(PairScreen(run_id, one.before, one.after))

    def action_flips(self) -> None:
        if self.flips:
            self.query_one("#flips", Table).focus()
        else:
            self.dash.say("No task changed.")

    def action_leave(self) -> None:
        self.rest()

    async def action_again(self) -> None:
        run_id = self.evaluations.chosen
        await self.dash.draft(new_evaluation if run_id is None else lambda hub: like_run(hub, run_id))

    def action_measure(self) -> None:
        if self.report is not None:
            now = self.measure or self.report["measure"]
            self.measure = "success" if now == "reward" else "reward"
            self.show()

    def action_copy(self) -> None:
        if self.report is not None:
            self.app.copy_to_clipboard(self._words(self.report))
            self.dash.say("✓ The table is in the clipboard (where the terminal allows OSC 52; W writes a file).")

    def action_write(self) -> None:
        if self.report is not None:
            self.write(f"{self.evaluations.chosen}.txt", self._words(self.report))

    def _words(self, report: dict[str, Any]) -> str:
        """The sentence and the whole table."""
        return f"{headline(report)}\n\n{table(report, self.measure or report['measure'], WHOLE_TABLE).plain}\n"

    def action_refresh(self) -> None:
        self.load()

    async def action_episodes(self) -> None:
        chosen = self.evaluations.chosen
        if chosen is not None:
            await self.dash.show_episodes(f"run:{chosen}")
