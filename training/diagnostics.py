"""Diagnostics: what a run's curves show beside the loss. Pure functions of float32 tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.losses import kl_estimate

RATIO_EDGES = (0.0, 0.25, 0.5, 0.7, 0.9, 1.1, 1.3, 2.0, 4.0, float("inf"))
"""Bins of the ratio histogram; the middle one holds ratios near 1."""


def ratio_metrics(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, epsilon: float) -> dict[str, float]:
    """Metrics of N RL tokens: ratio, clip fractions, effective sample size, KL to the behaviour, sign mix.

    Effective sample size is (Σ ratio)² / (N Σ ratio²): 1 on policy, towards 0 when few tokens carry all the weight.
    """
    if logprobs.numel() == 0:
        return {}
    ratios = (logprobs - old_logprobs).exp()
    return {
        "ratio_mean": ratios.mean().item(),
        "abs_log_ratio": (logprobs - old_logprobs).abs().mean().item(),
        "clip_high": (ratios > 1 + epsilon).float().mean().item(),
        "clip_low": (ratios < 1 - epsilon).float().mean().item(),
        "effective_sample_size": (ratios.sum().square() / (ratios.numel() * ratios.square().sum())).item(),
        "kl_behaviour": kl_estimate(logprobs, old_logprobs).mean().item(),
        "advantage_positive": (advantages > 0).float().mean().item(),
        "advantage_negative": (advantages < 0).float().mean().item(),
    }


def ratio_histogram(logprobs: Tensor, old_logprobs: Tensor) -> dict[str, float]:
    """Share of RL tokens whose ratio lies in each bin, named by the bin's lower edge."""
    if logprobs.numel() == 0:
        return {}
    ratios = (logprobs - old_logprobs).exp()
    bins = torch.bucketize(ratios, torch.tensor(RATIO_EDGES[1:-1]), right=True)
    counts = torch.bincount(bins, minlength=len(RATIO_EDGES) - 1) / ratios.numel()
    return {f"ratio_histogram/{low:g}": count.item() for low, count in zip(RATIO_EDGES, counts, strict=False)}


def gradient_metrics(rl: Sequence[Tensor], il: Sequence[Tensor]) -> dict[str, float]:
    """Norms of the RL and the imitation gradient over all parameters, and the cosine between them."""
    rl_square = sum(float(g.float().square().sum()) for g in rl)
    il_square = sum(float(g.float().square().sum()) for g in il)
    dot = sum(float((a.float() * b.float()).sum()) for a, b in zip(rl, il, strict=True))
    metrics = {"rl_gradient_norm": rl_square**0.5, "il_gradient_norm": il_square**0.5}
    if rl_square > 0 and il_square > 0:
        metrics["gradient_cosine"] = dot / (rl_square * il_square) ** 0.5
    return metrics
