"""Losses against numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from training.config import LossConfig
from training.diagnostics import gradient_metrics, ratio_histogram, ratio_metrics
from training.losses import (
    TokenTerms,
    imitation_loss,
    joint_loss,
    kl_estimate,
    pairwise_reward_loss,
    policy_gradient_loss,
    regression_reward_loss,
    token_weights,
)
from training.samples import Sample

OLD = [-1.0, -1.0, -1.0, -1.0]
RATIOS = [0.5, 1.0, 1.2, 2.0]
"""Below the band 0.7 to 1.3, at its middle, inside it, above it."""


def logprobs_of(ratios: list[float]) -> torch.Tensor:
    return torch.tensor([old + math.log(r) for old, r in zip(OLD, ratios, strict=True)], requires_grad=True)


def rl_terms(advantages: list[float]) -> TokenTerms:
    n = len(advantages)
    return TokenTerms(torch.tensor(OLD[:n]), torch.tensor(advantages), torch.zeros(n), torch.full((n,), 1 / n))


def gradient(ratios: list[float], advantages: list[float], **settings: object) -> list[float]:
    logprobs = logprobs_of(ratios)
    loss = policy_gradient_loss(logprobs, rl_terms(advantages), LossConfig(**settings))
    loss.backward()
    return [round(4 * float(g), 5) for g in logprobs.grad]


def test_clipped_coefficient_keeps_every_token_and_bounds_its_weight() -> None:
    # −clip(ratio) · A for each token, A = 1: 0.5 becomes 0.7 and 2.0 becomes 1.3.
    assert gradient(RATIOS, [1.0] * 4) == [-0.7, -1.0, -1.2, -1.3]


def test_negative_advantage_pushes_the_other_way_until_the_ratio_has_left_the_band() -> None:
    assert gradient(RATIOS, [-2.0] * 4) == [0.0, 2.0, 2.4, 2.6]


def test_without_the_guard_a_negative_advantage_never_stops_pushing() -> None:
    assert gradient(RATIOS, [-2.0] * 4, negative_guard=False) == [1.4, 2.0, 2.4, 2.6]


def test_ppo_has_no_gradient_where_the_clip_binds_on_the_gaining_side() -> None:
    # min(r·A, clip(r)·A): A > 0 stops above 1.3; A < 0 stops below 0.7 (and then keeps −r·A elsewhere).
    assert gradient(RATIOS, [1.0] * 4, policy_gradient="ppo_min_clip") == [-0.5, -1.0, -1.2, 0.0]
    assert gradient(RATIOS, [-1.0] * 4, policy_gradient="ppo_min_clip") == [0.0, 1.0, 1.2, 2.0]


def test_equation_7_read_literally_has_no_gradient_outside_the_band() -> None:
    assert gradient(RATIOS, [1.0] * 4, policy_gradient="literal_eq7") == [0.0, -1.0, -1.2, 0.0]


def test_imitation_loss_is_the_masked_negative_log_likelihood() -> None:
    logprobs = torch.tensor([-0.5, -2.0, -9.0], requires_grad=True)
    loss = imitation_loss(logprobs, torch.tensor([0.5, 0.5, 0.0]))
    loss.backward()
    assert loss.item() == pytest.approx(1.25)
    assert logprobs.grad.tolist() == [-0.5, -0.5, 0.0]


def test_joint_loss_is_the_sum_of_its_parts_in_value_and_gradient() -> None:
    advantages = torch.tensor([1.0, -1.0, 0.5, 2.0])
    il, rl = torch.tensor([0.1, 0.0, 0.3, 0.2]), torch.tensor([0.0, 0.4, 0.1, 0.2])
    reference = torch.tensor([-1.5, -0.2, -1.0, -2.0])
    old = torch.tensor(OLD)
    config = LossConfig(kl_coefficient=0.5)

    def run(il_weights: torch.Tensor, rl_weights: torch.Tensor, beta: float) -> tuple[float, torch.Tensor]:
        logprobs = logprobs_of(RATIOS)
        settings = config.model_copy(update={"kl_coefficient": beta})
        parts = joint_loss(logprobs, TokenTerms(old, advantages, il_weights, rl_weights, reference), settings)
        parts.total.backward()
        return parts.total.item(), logprobs.grad

    nothing = torch.zeros(4)
    whole, whole_gradient = run(il, rl, 0.5)
    il_value, il_gradient = run(il, nothing, 0.0)
    rl_value, _ = run(nothing, rl, 0.0)
    both_value, both_gradient = run(nothing, rl, 0.5)
    assert whole == pytest.approx(il_value + both_value, abs=1e-6)
    assert both_value != pytest.approx(rl_value)
    torch.testing.assert_close(whole_gradient, il_gradient + both_gradient)


def test_kl_estimate_is_zero_on_equal_policies_and_positive_otherwise() -> None:
    # d = −ln 2 gives ½ + ln 2 − 1.
    values = kl_estimate(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -1.0 - math.log(2)]))
    assert values.tolist() == pytest.approx([0.0, math.log(2) - 0.5])


def sample(name: str, length: int, targets: int, role: str = "planner", **weights: float) -> Sample:
    mask = tuple(i >= length - targets for i in range(length))
    return Sample(name, role, "g", tuple(range(length)), mask, **weights)


def test_each_denominator_is_what_it_says() -> None:
    rows = [
        sample("a", 11, 2, rl_weight=1.0),
        sample("b", 5, 4, rl_weight=1.0),
        sample("c", 9, 4, "reflector", rl_weight=1.0),
        sample("d", 21, 5, il_weight=2.0),
    ]
    by_token = token_weights(rows, LossConfig(denominator="policy_tokens", reflector_weight=3.0))
    assert by_token == [(0, 1 / 6), (0, 1 / 6), (0, 3 / 4), (pytest.approx(2 / 5), 0)]
    by_sequence = token_weights(rows, LossConfig(denominator="sequences"))
    assert by_sequence == [(0, 1 / 4), (0, 1 / 8), (0, 1 / 4), (pytest.approx(2 / 5), 0)]
    by_position = token_weights(rows, LossConfig(denominator="all_positions"))
    assert by_position == [(0, pytest.approx(1 / 30)), (0, 1 / 12), (0, pytest.approx(1 / 24)), (0.1, 0)]


def test_a_policy_token_without_context_is_not_counted() -> None:
    rows = [Sample("a", "planner", "g", (1, 2, 3), (True, True, True), rl_weight=1.0)]
    assert token_weights(rows, LossConfig()) == [(0.0, 0.5)]


def test_released_preset_reproduces_the_reference_formula_on_one_row() -> None:
    """loss = −(1/(L−1)) Σ clip(exp(lp − ref), 0.7, 1.3) · lp · R + λ (1/(L'−1)) Σ −lp', gradients by hand.

    RL row: L = 11 (10 positions), three output tokens with lp = −1, −2, −0.5, ref = −1, −1, −1, R = 0.75.
    Coefficients: 1, clip(e⁻¹) = 0.7, clip(e^0.5) = 1.3; Σ c·lp = −1 − 1.4 − 0.65 = −3.05.
    Imitation row: L' = 5 (4 positions), lp' = −2, −1: 3/4.
    """
    config = LossConfig(denominator="all_positions", negative_guard=False)
    rows = [sample("rl", 11, 3, rl_weight=1.0), sample("il", 5, 2, il_weight=1.0)]
    (_, rl), (il, _) = token_weights(rows, config)
    terms = TokenTerms(
        old_logprobs=torch.tensor([-1.0, -1.0, -1.0, 0.0, 0.0]),
        advantages=torch.tensor([0.75, 0.75, 0.75, 0.0, 0.0]),
        il_weights=torch.tensor([0.0, 0.0, 0.0, il, il]),
        rl_weights=torch.tensor([rl, rl, rl, 0.0, 0.0]),
    )
    logprobs = torch.tensor([-1.0, -2.0, -0.5, -2.0, -1.0], requires_grad=True)
    loss = joint_loss(logprobs, terms, config).total
    loss.backward()
    assert loss.item() == pytest.approx(0.1 * 3.05 * 0.75 + 0.75)
    assert logprobs.grad.tolist() == pytest.approx([-0.075, -0.0525, -0.0975, -0.25, -0.25])


def test_reward_model_losses_by_hand() -> None:
    better, worse = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0])
    expected = (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    assert pairwise_reward_loss(better, worse).item() == pytest.approx(expected)
    assert regression_reward_loss(torch.tensor([0.5, -1.0]), torch.tensor([1.0, -1.0])).item() == pytest.approx(0.125)


def test_ratio_metrics_by_hand() -> None:
    metrics = ratio_metrics(
        logprobs_of(RATIOS).detach(), torch.tensor(OLD), torch.tensor([1.0, -1.0, -1.0, 0.0]), 0.3
    )
    assert metrics["clip_high"] == 0.25
    assert metrics["clip_low"] == 0.25
    assert metrics["ratio_mean"] == pytest.approx(1.175)
    # (Σr)² / (N Σr²) = 4.7² / (4 · 6.69)
    assert metrics["effective_sample_size"] == pytest.approx(22.09 / 26.76, rel=1e-5)
    assert (metrics["advantage_positive"], metrics["advantage_negative"]) == (0.25, 0.5)
    histogram = ratio_histogram(logprobs_of(RATIOS).detach(), torch.tensor(OLD))
    assert histogram["ratio_histogram/0.9"] == 0.25
    assert histogram["ratio_histogram/1.1"] == 0.25
    assert sum(histogram.values()) == pytest.approx(1.0)


def test_gradient_cosine_of_opposite_and_equal_gradients() -> None:
    g = [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]
    assert gradient_metrics(g, [-2 * x for x in g]) == pytest.approx(
        {"rl_gradient_norm": 5.0, "il_gradient_norm": 10.0, "gradient_cosine": -1.0}
    )
