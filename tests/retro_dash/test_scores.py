"""Scores worked by hand."""

import numpy as np
import pytest

from data.errors import BadInput
from data.types import Episode, Task, Trial
from retro_dash.scores import bootstrap, compare, score, score_table

NOW = "2026-11-20T00:00:00Z"


def episode(task: str, *rewards: float, id_: str | None = None) -> Episode:
    trials = tuple(
        Trial.model_validate(
            {
                "index": n,
                "prompt": "",
                "opening": "",
                "reward": r,
                "success": r == 1,
                "stop_reason": "failed",
                "started_at": NOW,
            }
        )
        for n, r in enumerate(rewards, 1)
    )
    return Episode.model_validate(
        {
            "id": id_ or task,
            "task": Task(id=task, env="hotpotqa", split="valid", instruction=""),
            "planner": "p",
            "reflector": "r",
            "run_id": "run",
            "trials": trials,
            "created_at": NOW,
        }
    )


def test_a_solved_task_keeps_its_score_in_later_trials():
    table = score_table([episode("a", 0.5, 1.0), episode("b", 0.0, 0.0, 0.25)], 3, "reward")
    assert table.tolist() == [[0.5, 1.0, 1.0], [0.0, 0.0, 0.25]]


def test_first_final_and_average_are_means_over_tasks_and_trials():
    scores = score([episode("a", 0.5, 1.0), episode("b", 0.0, 0.0, 0.25)], 3)
    assert scores.initial.mean == pytest.approx(0.25)
    assert scores.final.mean == pytest.approx(0.625)
    assert scores.average.mean == pytest.approx((0.25 + 0.5 + 0.625) / 3)
    assert [round(i.mean, 3) for i in scores.by_trial] == [0.25, 0.5, 0.625]


def test_best_so_far_never_falls():
    scores = score([episode("a", 0.5, 0.1)], 2)
    assert [i.mean for i in scores.by_trial] == [0.5, 0.1]
    assert [i.mean for i in scores.best_by_trial] == [0.5, 0.5]


def test_success_counts_solved_trials_only():
    assert score([episode("a", 0.9), episode("b", 1.0)], 1, "success").final.mean == 0.5


def test_the_interval_holds_the_mean_and_is_a_point_without_spread():
    interval = bootstrap(np.array([0.0, 1.0] * 50))
    assert interval.mean == 0.5
    assert 0.38 < interval.low < 0.43
    assert 0.57 < interval.high < 0.62
    constant = bootstrap(np.array([0.7] * 5))
    assert (constant.low, constant.high) == pytest.approx((0.7, 0.7))


def test_a_comparison_names_the_tasks_that_flipped():
    before = [episode("a", 0.0, id_="a0"), episode("b", 1.0, id_="b0"), episode("c", 1.0, id_="c0")]
    after = [episode("a", 1.0, id_="a1"), episode("b", 0.0, id_="b1"), episode("c", 1.0, id_="c1")]
    comparison = compare(before, after, 1)
    assert comparison.solved == (("a seed 0", "a0", "a1"),)
    assert comparison.broken == (("b seed 0", "b0", "b1"),)
    assert comparison.difference.mean == 0.0


def test_other_tasks_cannot_be_compared():
    with pytest.raises(BadInput, match="same tasks"):
        compare([episode("a", 0.0)], [episode("b", 0.0)], 1)


def test_nothing_to_score_is_refused():
    with pytest.raises(BadInput, match="no episodes"):
        score([], 1)
