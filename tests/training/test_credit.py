"""Rewards to advantages, by hand."""

from __future__ import annotations

import math

import pytest

from data.errors import TrainingError
from training.config import CreditConfig, parse_config
from training.credit import (
    assign_advantages,
    pair_regulariser,
    preference_pairs,
    rate_reflections,
    reflector_gain,
    reflector_product,
    reward_summary,
    rows_for_method,
    sample_reward,
    spread_over_turns,
    subtract_baseline,
    whiten,
)
from training.samples import Sample

PLAIN = CreditConfig(baseline="none", whiten=False, turn_discount=1.0)


def planner(name: str, reward: float, group: str = "g", **more: object) -> Sample:
    more = {"rl_weight": 1.0, "old_logprobs": (0.0, -1.0), **more}
    return Sample(name, "planner", group, (1, 2), (False, True), reward=reward, **more)


def reflector(name: str, before: float | None, after: float, group: str = "g") -> Sample:
    return Sample(
        name,
        "reflector",
        group,
        (1, 2),
        (False, True),
        (0.0, -1.0),
        reward=after,
        reward_before=before,
        rl_weight=1.0,
    )


def demonstration(name: str, role: str = "planner") -> Sample:
    return Sample(name, role, "g", (1, 2), (False, True), il_weight=1.0)


def test_reflector_reward_is_improvement_of_next_trial() -> None:
    assert sample_reward(reflector("r", 0.25, 1.0), PLAIN) == 0.75
    assert reflector_gain(0.5, 0.0) == -0.5


@pytest.mark.parametrize(
    ("before", "after", "product"),
    [(0.0, 1.0, 1.0), (0.25, 1.0, 0.9375), (0.5, 1.0, 0.75), (0.5, 0.0, -0.75), (-0.47, 1.0, 0.7791)],
)
def test_released_reflector_reward_is_the_product_of_the_paper_dossier(
    before: float, after: float, product: float
) -> None:
    assert reflector_product(before, after, 1.0) == pytest.approx(product)


def test_product_with_infinite_alpha_is_the_plain_gain() -> None:
    assert reflector_product(0.3, 0.9, math.inf) == reflector_gain(0.3, 0.9)
    assert reflector_product(0.3, 0.9, 1e9) == pytest.approx(reflector_gain(0.3, 0.9))


def test_a_reflection_without_the_reward_before_it_is_named() -> None:
    with pytest.raises(TrainingError, match="Reflection r7"):
        sample_reward(reflector("r7", None, 1.0), PLAIN)


def test_group_baseline_leaves_the_sample_itself_out() -> None:
    # a: 1 − mean(0, 0.5), 0 − mean(1, 0.5), 0.5 − mean(1, 0); b is alone: 1 − mean of the other three.
    advantages = subtract_baseline([1.0, 0.0, 0.5, 1.0], ["a", "a", "a", "b"], "group")
    assert advantages == pytest.approx([0.75, -0.75, 0.0, 0.5])


def test_batch_baseline_subtracts_the_mean_and_none_nothing() -> None:
    assert subtract_baseline([1.0, 0.0, 0.5], ["a", "b", "c"], "batch") == [0.5, -0.5, 0.0]
    assert subtract_baseline([1.0, 0.0], ["a", "b"], "none") == [1.0, 0.0]


def test_whitening_scales_to_unit_size_and_keeps_sign_and_zero() -> None:
    assert whiten([3.0, 0.0, -3.0, 0.0]) == pytest.approx([math.sqrt(2), 0.0, -math.sqrt(2), 0.0])
    assert whiten([0.0, 0.0]) == [0.0, 0.0]


def test_earlier_turns_get_a_discounted_share() -> None:
    assert spread_over_turns(2.0, [0, 1, 1, 2, 3], 5, 0.5) == (0.25, 0.5, 0.5, 1.0, 2.0)
    assert spread_over_turns(2.0, [0, 1, 2], 3, 1.0) == (2.0, 2.0, 2.0)


def test_roles_have_their_own_baselines() -> None:
    rows = [planner("a", 1.0), planner("b", 0.0), reflector("c", 0.0, 1.0), reflector("d", 0.5, 1.0)]
    config = CreditConfig(baseline="batch", whiten=False, turn_discount=1.0)
    assert [row.advantages[1] for row in assign_advantages(rows, config)] == [0.5, -0.5, 0.25, -0.25]


def test_equal_rewards_are_refused_with_a_sentence() -> None:
    with pytest.raises(TrainingError, match="All 3 planner rewards are equal"):
        assign_advantages([planner(str(i), 1.0) for i in range(3)], CreditConfig())


def test_released_drops_rows_without_a_positive_reward() -> None:
    config = PLAIN.model_copy(update={"drop_nonpositive": True})
    rows = assign_advantages([planner("a", 1.0), planner("b", 0.0), planner("c", -0.5)], config)
    assert [row.id for row in rows] == ["a"]


def test_joint_training_puts_lambda_into_the_imitation_weights() -> None:
    config = parse_config({"method": "rl_planner", "loss": {"il_coefficient": 2.5}})
    rows = rows_for_method([planner("a", 1.0), planner("b", 0.0), demonstration("d")], config)
    assert [(row.id, row.il_weight, row.rl_weight) for row in rows] == [("a", 0, 1), ("b", 0, 1), ("d", 2.5, 0)]


def test_lambda_zero_and_ppo_use_no_demonstrations() -> None:
    rows = [planner("a", 1.0), planner("b", 0.0), demonstration("d")]
    for settings in ({"loss": {"il_coefficient": 0.0}}, {"method": "ppo"}):
        assert [row.id for row in rows_for_method(rows, parse_config(settings))] == ["a", "b"]


def test_expert_iteration_imitates_its_own_successes() -> None:
    config = parse_config({"method": "expert_iteration"})
    rows = rows_for_method([planner("a", 1.0), planner("b", 0.0), demonstration("d")], config)
    assert {(row.id, row.il_weight, row.rl_weight) for row in rows} == {("d", 1.0, 0.0), ("a", 1.0, 0.0)}


def test_no_positive_examples_and_no_sampled_rows_are_refused_with_a_sentence() -> None:
    with pytest.raises(TrainingError, match="No positive examples"):
        rows_for_method([planner("a", 1.0)], parse_config({"method": "sft"}))
    with pytest.raises(TrainingError, match="needs sampled trials"):
        rows_for_method([demonstration("d")], parse_config({"method": "retroact"}))


def test_regulariser_rows_match_the_role_and_change_with_the_epoch() -> None:
    rows = [planner(f"p{i}", 1.0) for i in range(20)] + [reflector(f"r{i}", 0.0, 1.0) for i in range(20)]
    rows += [demonstration(f"dp{i}") for i in range(9)] + [demonstration(f"dr{i}", "reflector") for i in range(9)]
    rl, il = range(40), range(40, 58)
    first = pair_regulariser(rl, il, rows, 0, 1, "role_matched")
    assert all(rows[i].role == rows[j].role for i, j in zip(rl, first, strict=True))
    assert first != pair_regulariser(rl, il, rows, 1, 1, "role_matched")
    assert first == pair_regulariser(rl, il, rows, 0, 1, "role_matched")


def test_released_regulariser_ignores_the_role_and_never_changes() -> None:
    rows = [planner(f"p{i}", 1.0) for i in range(40)]
    rows += [demonstration(f"dp{i}") for i in range(9)] + [demonstration(f"dr{i}", "reflector") for i in range(9)]
    first = pair_regulariser(range(40), range(40, 58), rows, 0, 1, "frozen_any_role")
    assert {rows[j].role for j in first} == {"planner", "reflector"}
    assert first == pair_regulariser(range(40), range(40, 58), rows, 5, 1, "frozen_any_role")


def test_ratings_are_gains_and_pairs_prefer_the_larger_within_a_task() -> None:
    rows = [
        reflector("a", 0, 1, "x"),
        reflector("b", 0, 0, "x"),
        reflector("c", 0.5, 1, "y"),
        reflector("d", 0, 1, "y"),
    ]
    ratings = rate_reflections(rows)
    assert ratings == [1.0, 0.0, 0.5, 1.0]
    assert preference_pairs(ratings, [row.group for row in rows]) == [(0, 1), (3, 2)]


def test_reward_summary_tells_the_sign_mix() -> None:
    summary = reward_summary([1.0, -1.0, 0.0, 2.0])
    assert (summary["mean"], summary["positive_share"], summary["negative_share"]) == (0.5, 0.5, 0.25)
