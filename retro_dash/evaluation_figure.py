"""The figure of an evaluation: score by trial, one line an arm, as a page that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from retro_dash.scores import Interval

if TYPE_CHECKING:
    from retro_dash.evaluating import ArmReport, EvaluationReport


def figure_html(report: EvaluationReport) -> str:
    """One HTML page with plotly inside it."""
    figure = go.Figure()
    trials = list(range(1, report.trials + 1))
    for arm in report.arms:
        intervals = _by_trial(arm, report.measure)
        means = [100 * interval.mean for interval in intervals]
        figure.add_scatter(
            x=trials,
            y=means,
            name=arm.arm.name,
            mode="lines+markers",
            error_y={
                "type": "data",
                "array": [100 * i.high - mean for i, mean in zip(intervals, means, strict=True)],
                "arrayminus": [mean - 100 * i.low for i, mean in zip(intervals, means, strict=True)],
            },
        )
    figure.update_layout(
        title=f"{report.tasks} {report.env} tasks, seeds {', '.join(map(str, report.seeds))}, run {report.run_id}",
        xaxis={"title": "trial", "dtick": 1},
        yaxis={"title": f"{report.measure}, % (mean, 95 % interval over tasks)", "range": [0, 105]},
        template="plotly_white",
    )
    return str(figure.to_html(include_plotlyjs=True, full_html=True))


def _by_trial(arm: ArmReport, measure: str) -> Sequence[Interval]:
    return (arm.reward if measure == "reward" else arm.success).by_trial
