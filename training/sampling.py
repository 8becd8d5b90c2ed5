"""Samples reflections from the model in training, for methods that explore inside the trainer (Retroformer's PPO)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from training.attention import use_packed_attention
from training.forward import causal_lm

Prompt = tuple[int, ...]
Sampler = Callable[[nn.Module, Sequence[Prompt], int, int], list[tuple[int, ...]]]
"""(model, prompts, most new tokens, seed) → the tokens sampled after each prompt, end token included."""


@torch.no_grad()
def sample_completions(
    model: nn.Module, prompts: Sequence[Prompt], max_new_tokens: int, seed: int
) -> list[tuple[int, ...]]:
    """One completion for each prompt at temperature 1 from the whole distribution, left-padded in one batch."""
    inner: Any = causal_lm(model)
    device = next(inner.parameters()).device
    ends = _end_tokens(inner)
    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([(0,) * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([(0,) * (width - len(prompt)) + (1,) * len(prompt) for prompt in prompts], device=device)
    was_training = model.training
    model.eval()
    # Packed attention knows no padding and no cache; generation needs both.
    inner.set_attn_implementation("sdpa")
    torch.manual_seed(seed)
    try:
        generated = inner.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else 0,
        )
    finally:
        use_packed_attention(inner)
        model.train(was_training)
    return [_until_end(row, ends) for row in generated[:, width:].tolist()]


def _end_tokens(inner: Any) -> list[int]:
    ends = inner.generation_config.eos_token_id
    if ends is None:
        ends = inner.config.eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def _until_end(tokens: list[int], ends: Sequence[int]) -> tuple[int, ...]:
    stop = next((i + 1 for i, token in enumerate(tokens) if token in ends), len(tokens))
    return tuple(tokens[:stop])
