"""What the comparison of methods (`benchmarks/methods.py`) claims about its own numbers, by hand."""

from __future__ import annotations

import pytest

from benchmarks.methods import difference, even_demonstrations, report
from training.config import parse_config
from training.prepare import prepare_rows
from training.samples import Sample
from training.schedule import plan_steps


def row(seed: int, cell: str, *first: int) -> dict[str, object]:
    return {"seed": seed, "cell": cell, "trained": {}, "scores": {"first": list(first)}}


def sample(name: str, role: str, reward: float, rl: float, before: float | None = None) -> Sample:
    ids = (1, 2, *name.encode())
    old = (0.0, *(-1.0,) * (len(ids) - 1)) if rl else None
    return Sample(
        name, role, "g" + name[-1], ids, (False,) + (True,) * (len(ids) - 1), old_logprobs=old, reward=reward,
        reward_before=before, rl_weight=rl, il_weight=1 - rl,
    )  # fmt: skip


SAMPLES = [
    *(sample(f"trial {i}", "planner", float(i % 2), 1.0) for i in range(4)),
    *(sample(f"reflection {i}", "reflector", float(i > 0), 1.0, 0.0) for i in range(3)),
    *(sample(f"shown trial {i}", "planner", 1.0, 0.0) for i in range(9)),
    *(sample(f"shown reflection {i}", "reflector", 1.0, 0.0) for i in range(9)),
]


def test_a_score_is_the_mean_over_seeds_and_its_interval_is_over_rooms() -> None:
    rows = [row(0, "imitation", 0, 0), row(1, "imitation", 1, 1)]
    first = report(rows)["cells"]["imitation"]["scores"]["first"]
    # Every room has 0.5 over the seeds: the rooms say nothing about how far apart the seeds are.
    assert first == {"mean": 0.5, "low": 0.5, "high": 0.5, "by_seed": [0.0, 1.0]}


def test_a_difference_is_paired_by_room_and_takes_only_seeds_that_both_have() -> None:
    one = {0: {"first": [1, 0]}, 1: {"first": [1, 1]}}
    other = {0: {"first": [0, 1]}, 2: {"first": [0, 0]}}
    found = difference(one, other, "first")
    assert (found["mean"], found["by_seed"]) == (0.0, [0.0])
    assert (found["low"], found["high"]) == (-1.0, 1.0)


def test_even_demonstrations_are_as_many_of_each_role_as_there_are_positive_samples() -> None:
    chosen = even_demonstrations(SAMPLES, seed=0)
    shown = [sample.role for sample in chosen if sample.rl_weight == 0]
    assert (shown.count("planner"), shown.count("reflector")) == (2, 2)
    assert [sample for sample in chosen if sample.rl_weight > 0] == SAMPLES[:7]


@pytest.mark.parametrize("role", ["planner", "reflector"])
def test_retroact_with_two_sets_trains_each_on_the_steps_of_the_method_for_its_role(role: str) -> None:
    """So the pair of `rl_planner` and `rl_reflector` is RetroAct with two sets, and need not be trained again."""
    rows, steps = [], []
    for method in ("retroact", f"rl_{role}"):
        config = parse_config({"method": method, "batch": {"tokens_per_step": 60}})
        rows.append(prepare_rows(SAMPLES, config, role).samples)
        steps.append(plan_steps(rows[-1], config))
    assert rows[0] == rows[1]
    assert steps[0] == steps[1]
    assert len(steps[0]) > 1
