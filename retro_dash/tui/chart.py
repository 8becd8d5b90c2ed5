"""A chart with axes and a legend in its title."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static
from textual_plot import HiResMode, PlotWidget

from retro_dash.tui.text import one_line, plain

if TYPE_CHECKING:
    from retro_dash.tui.app import RetroDash


class Curve(NamedTuple):
    label: str
    hue: str
    steps: Sequence[float]
    values: Sequence[float]
    is_dotted: bool = False


class ChartBox(Vertical):
    """Zooms with + and - and pans with the arrows while it has the focus; r resets."""

    def compose(self) -> ComposeResult:
        yield Static(classes="chart-title", markup=False)
        yield PlotWidget()

    def on_mount(self) -> None:
        plot = self.query_one(PlotWidget)
        plot.margin_top, plot.margin_bottom, plot.margin_left = 0, 2, 8

    def show(
        self,
        title: str,
        curves: Sequence[Curve],
        limits: tuple[float, float] | None = None,
        ticks: Sequence[float] | None = None,
    ) -> None:
        """Draw these curves; `limits` fixes the vertical axis, `ticks` the marks on the horizontal one."""
        names = [
            Content.assemble(
                ("┄ " if one.is_dotted else "─ ", f"${one.hue}"), plain(one_line(one.label)), *_newest(one)
            )
            for one in curves
        ]
        head = Content.assemble((one_line(title), "bold"), "  ") + Content("  ").join(names)
        self.query_one(".chart-title", Static).update(head)
        plot = self.query_one(PlotWidget)
        plot.clear()
        app = cast("RetroDash", self.app)
        plot.set_ylimits(*(limits or (None, None)))
        plot.set_xticks(ticks)
        for one in curves:
            colour = app.ink(one.hue)
            if len(one.steps) == 1 or one.is_dotted:
                plot.scatter(one.steps, one.values, marker="•", marker_style=colour)
            else:
                plot.plot(one.steps, one.values, line_style=colour, hires_mode=HiResMode.BRAILLE)


def _newest(curve: Curve) -> tuple[Content, ...]:
    return (Content.styled(f" {curve.values[-1]:.4g}", "bold"),) if len(curve.values) else ()
