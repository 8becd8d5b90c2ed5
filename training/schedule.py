"""The plan of a run: which samples make up each optimiser step, and the learning rate there.

The whole plan follows from the samples, the config and the seed, so a resumed run continues exactly where it was.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from training.config import OptimiserConfig, TrainConfig
from training.credit import pair_regulariser
from training.samples import Sample

Step = tuple[int, ...]
"""Indices of the samples of one optimiser step; an imitation row may appear more than once."""


def plan_steps(samples: Sequence[Sample], config: TrainConfig) -> list[Step]:
    """Every optimiser step of the run. RL rows take a regulariser row with them; without RL rows, imitation rows."""
    rl_rows = [i for i, sample in enumerate(samples) if sample.rl_weight > 0]
    il_rows = [i for i, sample in enumerate(samples) if sample.rl_weight == 0]
    steps: list[Step] = []
    for epoch in range(config.batch.epochs):
        main = list(rl_rows or il_rows)
        regulariser: Sequence[int | None] = [None] * len(main)
        if rl_rows and il_rows:
            rule = config.loss.regulariser
            regulariser = pair_regulariser(rl_rows, il_rows, samples, epoch, config.seed, rule)
        units = [(row,) if extra is None else (row, extra) for row, extra in zip(main, regulariser, strict=True)]
        random.Random(f"{config.seed}/{epoch}/order").shuffle(units)  # noqa: S311
        steps += _fill_steps(units, samples, config)
    return _within_budget(steps, samples, config.budget.max_tokens)


def _fill_steps(units: Sequence[Step], samples: Sequence[Sample], config: TrainConfig) -> list[Step]:
    """Group rows into steps of `rows_per_step` units, or of about `tokens_per_step` tokens."""
    steps: list[Step] = []
    current: list[int] = []
    tokens = rows = 0
    for unit in units:
        unit_tokens = sum(len(samples[i].input_ids) for i in unit)
        limit = config.batch.rows_per_step
        is_full = rows >= limit if limit else tokens + unit_tokens > config.batch.tokens_per_step
        if current and is_full:
            steps.append(tuple(current))
            current, tokens, rows = [], 0, 0
        current += unit
        tokens, rows = tokens + unit_tokens, rows + 1
    return [*steps, tuple(current)] if current else steps


def _within_budget(steps: list[Step], samples: Sequence[Sample], max_tokens: int | None) -> list[Step]:
    """The first steps that stay within the token budget, at least one."""
    if max_tokens is None:
        return steps
    kept: list[Step] = []
    tokens = 0
    for step in steps:
        tokens += step_tokens(step, samples)
        if kept and tokens > max_tokens:
            break
        kept.append(step)
    return kept


def step_tokens(step: Step, samples: Sequence[Sample]) -> int:
    return sum(len(samples[i].input_ids) for i in step)


def learning_rate(step: int, total: int, config: OptimiserConfig) -> float:
    """Learning rate of step 0 … total − 1: linear warm-up, then decay towards zero."""
    warmup = min(config.warmup_steps, total // 10) if config.cap_warmup else config.warmup_steps
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - warmup) / max(total - warmup, 1)
    if config.schedule == "linear":
        return config.learning_rate * max(1 - progress, 0.0)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
