"""Credit: rewards become advantages and weights. Pure functions of samples and numbers.

A new algorithm is a new function here; `losses.py` only adds what it is told. RetroAct's equations are 5 (planner
reward) and 6 (reflector reward); the product form is what its released code computes. Left out on purpose: a learned
value function (the group baseline stands in for it, also in `ppo`).
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, pstdev

from data.errors import TrainingError
from training.config import CreditConfig, Role, TrainConfig
from training.samples import Sample


def reflector_gain(before: float, after: float) -> float:
    """Equation 6: reward of the next trial minus reward of the last."""
    return after - before


def reflector_product(before: float, after: float, alpha: float) -> float:
    """The released reward (after − before)(before + α)/α; α → ∞ gives the gain."""
    if math.isinf(alpha):
        return reflector_gain(before, after)
    return (after - before) * (before + alpha) / alpha


def sample_reward(sample: Sample, config: CreditConfig) -> float:
    """Reward of one sample by its role (equations 5 and 6)."""
    if sample.role == "planner":
        return sample.reward
    if sample.reward_before is None:
        raise TrainingError(f"Reflection {sample.id} has no reward of the trial before it, so its gain is unknown.")
    if config.reflector_reward == "gain":
        return reflector_gain(sample.reward_before, sample.reward)
    return reflector_product(sample.reward_before, sample.reward, config.alpha)


def subtract_baseline(rewards: Sequence[float], groups: Sequence[str], baseline: str) -> list[float]:
    """Advantages of one role's rewards.

    `batch` subtracts their mean. `group` subtracts the mean of the group's *other* samples (leave-one-out, unbiased);
    a sample alone in its group takes the mean of all others.
    """
    if baseline == "none":
        return list(rewards)
    if baseline == "batch":
        mean = fmean(rewards)
        return [reward - mean for reward in rewards]
    totals: dict[str, float] = defaultdict(float)
    sizes: dict[str, int] = defaultdict(int)
    for reward, group in zip(rewards, groups, strict=True):
        totals[group] += reward
        sizes[group] += 1
    everything, count = sum(rewards), len(rewards)
    advantages = []
    for reward, group in zip(rewards, groups, strict=True):
        if sizes[group] > 1:
            others = (totals[group] - reward) / (sizes[group] - 1)
        else:
            others = (everything - reward) / (count - 1) if count > 1 else 0.0
        advantages.append(reward - others)
    return advantages


def whiten(advantages: Sequence[float]) -> list[float]:
    """Divide by the root mean square, so that the sign and the zero stay; all zeros stay zeros."""
    scale = math.sqrt(fmean([advantage * advantage for advantage in advantages])) if advantages else 0.0
    return [advantage / scale for advantage in advantages] if scale > 0 else list(advantages)


def spread_over_turns(
    advantage: float, turns: Sequence[int] | None, length: int, discount: float
) -> tuple[float, ...]:
    """Per-token advantages: the sample's, times `discount` for every turn that comes after the token's own."""
    if turns is None or discount == 1.0:
        return (advantage,) * length
    last = max(turns)
    return tuple(advantage * discount ** (last - turn) for turn in turns)


def assign_advantages(samples: Sequence[Sample], config: CreditConfig) -> list[Sample]:
    """Give every RL sample its per-token advantages; imitation samples pass through.

    Raises TrainingError when all advantages of a role are zero: such a run could learn nothing.
    """
    advantages: dict[int, float] = {}
    dropped: set[int] = set()
    for role in ("planner", "reflector"):
        rows = [i for i, sample in enumerate(samples) if sample.rl_weight > 0 and sample.role == role]
        rewards = {i: sample_reward(samples[i], config) for i in rows}
        if config.drop_nonpositive:
            dropped.update(i for i in rows if rewards[i] <= 0)
            rows = [i for i in rows if rewards[i] > 0]
        if rows:
            values = _role_advantages([rewards[i] for i in rows], [samples[i].group for i in rows], role, config)
            advantages.update(zip(rows, values, strict=True))
    assigned = []
    for i, sample in enumerate(samples):
        if i in advantages:
            spread = spread_over_turns(advantages[i], sample.turns, len(sample.input_ids), config.turn_discount)
            assigned.append(replace(sample, advantages=spread))
        elif i not in dropped:
            assigned.append(sample)
    return assigned


def _role_advantages(rewards: list[float], groups: list[str], role: Role, config: CreditConfig) -> list[float]:
    advantages = subtract_baseline(rewards, groups, config.baseline)
    if all(abs(advantage) < 1e-12 for advantage in advantages):
        raise TrainingError(
            f"All {len(rewards)} {role} rewards are equal ({rewards[0]:g}), so every advantage is 0 and there is "
            "nothing to learn from them. Collect more varied trials (higher temperature, harder tasks), set "
            "credit.baseline to none, or train with method sft."
        )
    return whiten(advantages) if config.whiten else advantages


def rows_for_method(samples: Sequence[Sample], config: TrainConfig) -> list[Sample]:
    """Choose and weigh the samples that the method trains on: advantages assigned, λ in the imitation weights.

    Raises TrainingError when that leaves nothing.
    """
    chosen = [sample for sample in samples if sample.role in config.roles]
    imitation = [sample for sample in chosen if sample.il_weight > 0]
    sampled = [sample for sample in chosen if sample.rl_weight > 0]
    if config.method in ("sft", "expert_iteration"):
        rows = imitation + (select_positives(sampled, config.credit) if config.method == "expert_iteration" else [])
        if not rows:
            raise TrainingError(
                f"No positive examples for {' and '.join(config.roles)}: {len(samples)} samples were given and none "
                "is a successful trial or a reflection followed by success. Widen the dataset's filter or add expert "
                "episodes."
            )
        return rows
    if not sampled:
        raise TrainingError(
            f"Method {config.method} needs sampled trials or reflections with log-probabilities for "
            f"{' and '.join(config.roles)}, and the dataset has none: collect some first, or use method sft."
        )
    rows = assign_advantages(sampled, config.credit)
    if not rows:
        raise TrainingError(
            f"None of the {len(sampled)} sampled rows has a positive reward, and preset "
            f"{config.preset} keeps no others: collect more, or use preset fixed."
        )
    scale = config.loss.il_coefficient
    return rows + [replace(sample, il_weight=scale * sample.il_weight) for sample in imitation if scale > 0]


def select_positives(sampled: Sequence[Sample], config: CreditConfig) -> list[Sample]:
    """Expert iteration: the policy's own samples with a positive reward, as demonstrations."""
    return [
        replace(sample, il_weight=1.0, rl_weight=0.0, advantages=None, old_logprobs=None)
        for sample in sampled
        if sample_reward(sample, config) > 0
    ]


def pair_regulariser(
    rl_rows: Sequence[int], il_rows: Sequence[int], samples: Sequence[Sample], epoch: int, seed: int, rule: str
) -> list[int | None]:
    """Draw one imitation row for each RL row, with replacement; None where there is none to draw.

    `role_matched` draws among rows of the same role, anew each epoch. `frozen_any_role` draws among all rows, once
    (released code, deviation D12).
    """
    generator = random.Random(f"{seed}/{epoch if rule == 'role_matched' else 0}/regulariser")  # noqa: S311
    pools: dict[Role, list[int]] = {"planner": [], "reflector": []}
    for i in il_rows:
        pools[samples[i].role].append(i)
    paired: list[int | None] = []
    for i in rl_rows:
        pool = pools[samples[i].role] if rule == "role_matched" else list(il_rows)
        paired.append(generator.choice(pool) if pool else None)
    return paired


def rate_reflections(samples: Sequence[Sample]) -> list[float]:
    """Retroformer's rating of each reflection: the gain ΔG = G_{k,i+1} − G_{k,i}."""
    return [sample_reward(sample, CreditConfig(reflector_reward="gain")) for sample in samples]


def preference_pairs(ratings: Sequence[float], groups: Sequence[str]) -> list[tuple[int, int]]:
    """(better, worse) indices of reflections on one task whose ratings differ."""
    by_group: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        by_group[group].append(i)
    return [
        (i, j) for members in by_group.values() for i in members for j in members if ratings[i] > ratings[j] + 1e-12
    ]


def reward_summary(rewards: Sequence[float]) -> dict[str, float]:
    """Mean, spread and sign mix of rewards or advantages, as metrics."""
    if not rewards:
        return {}
    return {
        "mean": fmean(rewards),
        "std": pstdev(rewards),
        "min": min(rewards),
        "max": max(rewards),
        "positive_share": fmean([reward > 0 for reward in rewards]),
        "negative_share": fmean([reward < 0 for reward in rewards]),
    }
