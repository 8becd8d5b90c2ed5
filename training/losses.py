"""Losses: pure functions of log-probabilities, advantages and weights, all float32 and flat over policy tokens.

A step's policy tokens, from any number of sequences and packs, lie in one flat axis of N tokens. Each token has an
imitation weight and an RL weight that already hold the denominator, λ and the role's weight (`token_weights`), so a
loss is a plain weighted sum, joint training is the sum of two terms, and splitting a step into packs changes nothing.

The policy gradient of RetroAct clips the *coefficient*: g = −E[clip(ratio, 1−ε, 1+ε) · A · ∇ log p], the ratio held
constant, so that samples outside the trust region still count. `ppo_min_clip` and `literal_eq7` are there to compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.config import LossConfig
from training.samples import Sample


@dataclass(frozen=True)
class TokenTerms:
    """What the loss needs to know about N policy tokens."""

    old_logprobs: Tensor
    """(N,) behaviour log-probabilities; 0 for imitation tokens."""
    advantages: Tensor
    """(N,)"""
    il_weights: Tensor
    """(N,) imitation weight over its denominator."""
    rl_weights: Tensor
    """(N,) RL weight over its denominator."""
    reference_logprobs: Tensor | None = None
    """(N,) under the weights that the run started from; needed when β > 0."""


@dataclass(frozen=True)
class LossParts:
    il: Tensor
    rl: Tensor
    kl: Tensor

    @property
    def total(self) -> Tensor:
        return self.il + self.rl + self.kl


def joint_loss(logprobs: Tensor, terms: TokenTerms, config: LossConfig) -> LossParts:
    """Imitation, policy-gradient and KL terms of N tokens; their sum is what is minimised (equations 9 and 10)."""
    logprobs = logprobs.float()
    il = imitation_loss(logprobs, terms.il_weights)
    rl = policy_gradient_loss(logprobs, terms, config)
    kl = logprobs.new_zeros(())
    if config.kl_coefficient > 0 and terms.reference_logprobs is not None:
        kl = config.kl_coefficient * (terms.rl_weights * kl_estimate(logprobs, terms.reference_logprobs)).sum()
    return LossParts(il, rl, kl)


def imitation_loss(logprobs: Tensor, weights: Tensor) -> Tensor:
    """Weighted negative log-likelihood (equations 3 and 4 with one-hot expert text)."""
    return -(weights * logprobs).sum()


def policy_gradient_loss(logprobs: Tensor, terms: TokenTerms, config: LossConfig) -> Tensor:
    """The RL term in the form that `config.policy_gradient` names."""
    ratios = (logprobs - terms.old_logprobs).exp()
    low, high = 1 - config.epsilon, 1 + config.epsilon
    clipped = ratios.clamp(low, high)
    if config.policy_gradient == "coefficient_clip":
        coefficients = clipped.detach()
        if config.negative_guard:
            coefficients = coefficients * is_still_pushed(ratios.detach(), terms.advantages, low)
        objective = coefficients * terms.advantages * logprobs
    elif config.policy_gradient == "ppo_min_clip":
        objective = torch.minimum(ratios * terms.advantages, clipped * terms.advantages)
    else:
        objective = clipped * terms.advantages
    # Imitation tokens have no behaviour log-probability: their ratio may overflow and must not reach the sum.
    return -(terms.rl_weights * torch.where(terms.rl_weights > 0, objective, 0.0)).sum()


def is_still_pushed(ratios: Tensor, advantages: Tensor, low: float) -> Tensor:
    """1 where a token may still be pushed; 0 where a negative advantage has already taken its ratio under 1 − ε."""
    return (~((advantages < 0) & (ratios < low))).to(advantages.dtype)


def kl_estimate(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """Per-token KL(policy ‖ reference) on sampled tokens: exp(d) − d − 1 d = reference − policy; never below 0."""
    difference = reference_logprobs - logprobs
    return difference.exp() - difference - 1


def token_weights(samples: Sequence[Sample], config: LossConfig) -> list[tuple[float, float]]:
    """(imitation, RL) weight of every policy token of each sample of one optimiser step.

    Denominators, for each role and term apart: `policy_tokens` (all tokens count alike), `sequences` (every sequence
    counts alike, tokens share it), `all_positions` (released code: a row's L − 1 positions, prompt included, roles
    not apart).
    """
    roles: Mapping[str, float] = {"planner": config.planner_weight, "reflector": config.reflector_weight}
    tokens: dict[tuple[str, str], float] = {}
    rows: dict[tuple[str, str], float] = {}
    for sample in samples:
        for term, weight in (("il", sample.il_weight), ("rl", sample.rl_weight)):
            if weight > 0:
                role = "any" if config.denominator == "all_positions" else sample.role
                tokens[role, term] = tokens.get((role, term), 0.0) + trained_tokens(sample)
                rows[role, term] = rows.get((role, term), 0.0) + 1.0

    def weigh(sample: Sample, term: str, weight: float) -> float:
        if weight == 0:
            return 0.0
        if config.denominator == "policy_tokens":
            return roles[sample.role] * weight / tokens[sample.role, term]
        if config.denominator == "sequences":
            return roles[sample.role] * weight / (trained_tokens(sample) * rows[sample.role, term])
        return roles[sample.role] * weight / ((len(sample.input_ids) - 1) * rows["any", term])

    return [(weigh(sample, "il", sample.il_weight), weigh(sample, "rl", sample.rl_weight)) for sample in samples]


def trained_tokens(sample: Sample) -> int:
    """Policy tokens that have a context to be predicted from (all but a policy token at position 0)."""
    return sum(sample.policy_mask[1:])


def pairwise_reward_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Bradley-Terry loss of P preference pairs, each score (P,): mean of −log σ(better − worse)."""
    return -torch.nn.functional.logsigmoid(better - worse).mean()


def regression_reward_loss(scores: Tensor, ratings: Tensor) -> Tensor:
    """Mean squared error of predicted ratings, both (P,)."""
    return torch.nn.functional.mse_loss(scores.float(), ratings.float())
