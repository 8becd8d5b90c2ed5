"""Results: evaluations on the same tasks: the sentence, the curve by trial, the table, and what changed."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import quote

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import DataTable, Static

from data.errors import RetroDashError
from data.types import Run
from retro_dash.client import HubClient, HubLost
from retro_dash.tui.chart import ChartBox, Curve
from retro_dash.tui.place import Place, Table
from retro_dash.tui.text import age, cell, one_line, plain, plural

HUES = ("environment", "planner", "reflector", "expert", "human", "success")


class ResultsPlace(Place):
    """Finished evaluations at the left, the chosen one beside them."""

    TITLE_WORD = "Results"
    HELP = "Every arm plays the same tasks; intervals are 95 % bootstrap intervals over tasks."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "measure", "Reward or success"),
        Binding("y", "copy", "Copy table"),
        Binding("v", "episodes", "Its episodes"),
        Binding("g", "refresh", "Load again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []
        self.report: dict[str, Any] | None = None
        self.measure = ""

    def compose_middle(self) -> ComposeResult:
        with Horizontal(id="results"):
            yield Table(id="evaluations")
            with Vertical(id="report"):
                yield Static(id="sentence", markup=False)
                yield ChartBox(id="by-trial")
                with VerticalScroll(id="report-box"):
                    yield Static(id="scores", markup=False)
                    yield Static(id="flips", markup=False)

    def on_mount(self) -> None:
        self.query_one(Table).focus()

    def arrive(self) -> None:
        self.load()

    def page(self) -> str:
        chosen = self.query_one(Table).chosen if self.is_mounted else None
        return f"/results?run={quote(chosen)}" if chosen else "/results"

    @work(exclusive=True, group="evaluations")
    async def load(self) -> None:
        try:
            runs = await self.dash.ask(lambda hub: hub.runs(["evaluate"]))
        except HubLost:
            return
        except RetroDashError as error:
            self.tell(error)
            return
        self.runs = sorted(
            (run for run in runs if run.state == "finished"), key=lambda run: run.created_at, reverse=True
        )
        with self.prevent(DataTable.RowHighlighted):
            rows = (
                (run.id, [cell(run.name or run.id), cell(age(run.created_at), self.dash.ink("dim"))])
                for run in self.runs
            )
            self.query_one(Table).fill([("Evaluation", 24), ("Age", 6)], rows)
        self.load_report()

    @on(DataTable.RowHighlighted)
    def row_highlighted(self) -> None:
        self.load_report()

    @work(exclusive=True, group="report")
    async def load_report(self) -> None:
        run_id = self.query_one(Table).chosen
        self.report = None
        if run_id is not None:
            try:
                self.report = await self.dash.ask(lambda hub: _report(hub, run_id))
            except RetroDashError as error:
                self.tell(error)
        self.show()

    def show(self) -> None:
        self.show_where()
        report = self.report
        chart = self.query_one(ChartBox)
        chart.display = report is not None
        sentence, scores = self.query_one("#sentence", Static), self.query_one("#scores", Static)
        if report is None:
            words = "No evaluation has finished yet. Start one with: retro-dash evaluate"
            sentence.update(Content.styled(words, "$dim"))
            scores.update("")
            self.query_one("#flips", Static).update("")
            return
        measure = self.measure or report["measure"]
        sentence.update(Content.styled(headline(report, measure), "bold"))
        scores.update(table(report, measure))
        self.query_one("#flips", Static).update(Content("\n").join(flips(report)))
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

    def action_measure(self) -> None:
        if self.report is not None:
            now = self.measure or self.report["measure"]
            self.measure = "success" if now == "reward" else "reward"
            self.show()

    def action_copy(self) -> None:
        if self.report is not None:
            measure = self.measure or self.report["measure"]
            self.app.copy_to_clipboard(f"{headline(self.report, measure)}\n\n{table(self.report, measure).plain}\n")
            self.dash.say("✓ The table is in the clipboard (where the terminal allows OSC 52).")

    def action_refresh(self) -> None:
        self.load()

    async def action_episodes(self) -> None:
        chosen = self.query_one(Table).chosen
        if chosen is not None:
            await self.dash.show_episodes(f"run:{chosen}")


def _report(hub: HubClient, run_id: str) -> dict[str, Any] | None:
    return hub.report(run_id)


def headline(report: dict[str, Any], measure: str) -> str:
    """The sentence that a reader wants first: the last arm against the first, in points of final score."""
    arms = report["arms"]
    tasks = f"{plural(report['tasks'], 'task')} of {one_line(report['env'])}"
    if len(arms) < 2 or not arms[-1].get("compared"):
        final = arms[0][measure]["final"]
        return f"{one_line(arms[0]['arm']['name'])} scores {_cell(final)} in the end on {tasks}."
    best = max(arms[1:], key=lambda arm: float(arm["compared"]["difference"]["mean"]))
    gap = best["compared"]["difference"]
    points, low, high = (100 * gap[key] for key in ("mean", "low", "high"))
    word = "beats" if points > 0 else "is behind" if points < 0 else "equals"
    by = f" by {abs(points):.1f} points" if points else ""
    first = one_line(arms[0]["arm"]["name"])
    return f"{one_line(best['arm']['name'])} {word} {first}{by}, 95 % interval {low:.1f} to {high:.1f}, on {tasks}."


def table(report: dict[str, Any], measure: str) -> Content:
    """IR, FR, AR with intervals, as in the papers."""
    head = ["method", "IR (first)", "FR (final)", "AR (average)", "solved", "errors"]
    rows = [head]
    for arm in report["arms"]:
        scores = arm[measure]
        cells = [_cell(scores[name]) for name in ("initial", "final", "average")]
        rows.append(
            [
                one_line(arm["arm"]["name"])[:40],
                *cells,
                _cell(arm["success"]["best_by_trial"][-1]),
                str(arm["errors"]),
            ]
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    return Content("\n").join([Content.styled(lines[0], "bold underline"), *(plain(line) for line in lines[1:])])


def flips(report: dict[str, Any]) -> list[Content]:
    """Which tasks each arm solved or lost against the first."""
    lines = []
    for arm in report["arms"][1:]:
        compared = arm.get("compared")
        if compared:
            lines.append(
                Content.assemble(
                    (one_line(arm["arm"]["name"]), "bold"), " against ", one_line(report["arms"][0]["arm"]["name"])
                )
            )
            for key, mark, who, word in (
                ("solved", "✓", "success", "solved now"),
                ("broken", "✕", "failure", "failed now"),
            ):
                names = ", ".join(one_line(task) for task, _, _ in compared[key]) or "none"
                lines.append(Content.assemble((f"  {mark} {len(compared[key])} {word}: ", f"${who}"), plain(names)))
    return lines


def _cell(interval: dict[str, float]) -> str:
    return f"{100 * interval['mean']:.1f} [{100 * interval['low']:.1f}, {100 * interval['high']:.1f}]"
