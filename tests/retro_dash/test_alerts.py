"""Alerts of curves whose course is given."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from data.rows import MetricSeries
from data.types import MetricPoint, Run, RunState
from retro_dash.alerts import WATCHED, alerts, smooth

NOW = datetime(2026, 11, 20, tzinfo=UTC)
RUN = Run(id="train-1", kind="train", state=RunState.RUNNING, created_at=NOW)


def curve(name: str, values: Sequence[float]) -> MetricSeries:
    points = [MetricPoint(run_id="train-1", name=name, step=i, value=v, at=NOW) for i, v in enumerate(values)]
    return MetricSeries(name=name, total=len(points), points=tuple(points))


@pytest.mark.parametrize(
    ("name", "values", "word"),
    [
        ("planner/entropy", [1.0] * 20 + [0.01] * 20, "has collapsed from 1 to"),
        ("planner/il_loss", [1.0] * 20 + [4.0] * 20, "diverges"),
        ("reflector/il_loss", [1.0, float("nan")], "is not a number"),
        ("iteration2/planner/rl_loss", [0.1, float("inf")], "is not a number"),
        ("planner/clip_high", [0.1] * 10 + [0.9] * 20, "more than half of the tokens are clipped"),
        ("planner/gradient_norm", [1.0] * 30 + [400.0] * 10, "explodes"),
    ],
)
def test_what_looks_wrong_is_one_sentence_with_what_to_do(name: str, values: list[float], word: str) -> None:
    (sentence,) = alerts(RUN, [curve(name, values)])
    assert sentence.startswith(name)
    assert word in sentence
    assert WATCHED.search(name)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("planner/entropy", [1.0] * 40),
        ("planner/entropy", [0.02] * 20 + [0.001] * 20),  # It was low from the start: a cold policy, not a collapse.
        ("planner/il_loss", [4.0 * 0.9**i for i in range(40)]),
        ("planner/il_loss", [1.0] * 5 + [4.0] * 5),  # Too few points to tell.
        ("planner/gradient_norm", [1.0] * 39 + [5.0]),
    ],
)
def test_a_healthy_curve_says_nothing(name: str, values: list[float]) -> None:
    assert alerts(RUN, [curve(name, values)]) == []


def test_a_stalled_run_says_so_first() -> None:
    stalled = RUN.model_copy(update={"state": RunState.STALLED, "error": "No sign of life for 31 seconds."})
    found = alerts(stalled, [curve("planner/il_loss", [1.0, float("nan")])])
    assert found[0] == "No sign of life for 31 seconds. Stop it, or wait: it may only be slow."
    assert len(found) == 2


def test_the_average_has_no_pull_towards_the_start() -> None:
    # Weights 0.5 and 0.25 of 0.75: (2 * 0.5 + 1 * 0.25) / 0.75.
    assert smooth([1.0, 2.0], 0.5) == pytest.approx([1.0, 1.25 / 0.75])
