"""What in a run's curves should worry a person, in sentences. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from data.rows import MetricSeries
from data.types import Run, RunState

WATCHED = re.compile(r"(^|/)((il|rl|kl)_)?loss$|/entropy$|/clip_high$|/(rl_|il_)?gradient_norm$")
"""Names of the curves that are looked at."""
FEWEST = 12
"""Points from which on a course can be told from noise."""
SMOOTHING = 0.8


def alerts(run: Run, curves: Sequence[MetricSeries]) -> list[str]:
    """Not a number, divergence, collapsed entropy, clipping, a stalled worker; the most urgent first."""
    found: list[str] = []
    if run.state is RunState.STALLED:
        found.append(f"{run.error or 'No sign of life.'} Stop it, or wait: it may only be slow.")
    for curve in curves:
        values = [point.value for point in curve.points]
        if any(not math.isfinite(value) for value in values):
            found.append(
                f"{curve.name} is not a number. Lower optimiser.learning_rate, or look at the samples that the log "
                "names."
            )
        elif len(values) >= FEWEST and (sentence := _course(curve.name, values)):
            found.append(sentence)
    return found


def smooth(values: Sequence[float], weight: float = SMOOTHING) -> list[float]:
    """Exponential moving average without a pull towards the start."""
    total = scale = 0.0
    calm = []
    for value in values:
        total, scale = total * weight + value * (1 - weight), scale * weight + (1 - weight)
        calm.append(total / scale)
    return calm


def _course(name: str, values: Sequence[float]) -> str | None:
    calm = smooth(values)
    last, best = calm[-1], min(calm)
    if name.endswith("il_loss") and last > 1.5 * best + 0.5 and last > calm[5]:
        return f"{name} diverges: {last:.4g} now, {best:.4g} at its best. Lower the learning rate or stop here."
    if name.endswith("gradient_norm") and last > 20 * sorted(values)[len(values) // 2] and last > 10:
        return f"{name} explodes: {last:.4g} now. Lower the learning rate or optimiser.clip_norm."
    if name.endswith("/entropy") and values[0] > 0.05 and last < 0.1 * values[0]:
        return (
            f"{name} has collapsed from {values[0]:.4g} to {last:.4g}: the policy always says the same. Raise "
            "loss.kl_coefficient."
        )
    if name.endswith("clip_high") and last > 0.5:
        return (
            f"{name}: more than half of the tokens are clipped, so the policy is far from its samples. Collect fresh "
            "ones."
        )
    return None
