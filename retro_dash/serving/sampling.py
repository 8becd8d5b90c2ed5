"""From logits to tokens.

Logprobs are always float32 values of the unmodified distribution: temperature 1, no filter.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How one request samples. Temperature 0 is greedy; `top_k` 0 and `top_p` 1 filter nothing."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0


@dataclass(frozen=True)
class Sampled:
    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The most likely tokens with their logprobs, best first."""


@torch.inference_mode()
def sample(
    logits: Tensor, settings: Sequence[Sampling], generators: Sequence[random.Random], tops: Sequence[int]
) -> list[Sampled]:
    """One token a row of `logits` (rows, vocabulary; float32).

    A row uses one number of its own generator, so a seeded request does not depend on its neighbours in the batch.
    """
    tokens = logits.argmax(dim=-1)
    rows = [i for i, setting in enumerate(settings) if setting.temperature > 0]
    if rows:
        chosen = [settings[i] for i in rows]
        uniform = torch.tensor([generators[i].random() for i in rows], device=logits.device)
        tokens[torch.tensor(rows, device=logits.device)] = _draw(logits[rows], chosen, uniform)
    return score(logits, tokens, tops)


@torch.inference_mode()
def score(logits: Tensor, tokens: Tensor, tops: Sequence[int]) -> list[Sampled]:
    """The given token of each row with its logprob, and the `tops[i]` most likely ones."""
    norm = logits.logsumexp(dim=-1)
    logprobs = (logits.gather(1, tokens.unsqueeze(1)).squeeze(1) - norm).tolist()
    best: list[tuple[tuple[int, float], ...]] = [()] * len(tokens)
    rows = [i for i, top in enumerate(tops) if top]
    if rows:
        values, ids = (logits[rows] - norm[rows].unsqueeze(1)).topk(max(tops), dim=-1)
        for i, row_values, row_ids in zip(rows, values.tolist(), ids.tolist(), strict=True):
            best[i] = tuple(zip(row_ids, row_values, strict=True))[: tops[i]]
    return [Sampled(*facts) for facts in zip(tokens.tolist(), logprobs, best, strict=True)]


def _draw(logits: Tensor, settings: Sequence[Sampling], uniform: Tensor) -> Tensor:
    """Inverse transform sampling from the tempered, filtered distributions."""
    temperatures = torch.tensor([setting.temperature for setting in settings], device=logits.device)
    logits = logits / temperatures.unsqueeze(1)
    for i, setting in enumerate(settings):
        if setting.top_k or setting.top_p < 1:
            logits[i] = _filter(logits[i], setting)
    cumulative = logits.softmax(dim=-1).cumsum(dim=-1)
    # Strictly below the row's own sum, so that rounding never draws a token without probability.
    target = uniform.clamp(max=1 - 2**-23).unsqueeze(1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(1)


def _filter(logits: Tensor, setting: Sampling) -> Tensor:
    """Keeps the `top_k` most likely, and of those the fewest whose mass reaches `top_p`; the rest gets -inf."""
    ordered, ids = logits.sort(descending=True)
    if setting.top_k:
        ordered[setting.top_k :] = float("-inf")
    if setting.top_p < 1:
        mass = ordered.softmax(dim=-1)
        ordered[mass.cumsum(dim=-1) - mass >= setting.top_p] = float("-inf")
    return torch.empty_like(logits).scatter_(0, ids, ordered)
