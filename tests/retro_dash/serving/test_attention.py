"""Attention of one sequence in a packed step equals the plain formula, whatever lies beyond what it knows."""

from __future__ import annotations

import pytest
import torch

from retro_dash.serving.attention import KEYS, SequenceStep, multiple

HEADS, KV_HEADS, SIZE = 6, 2, 8


def plain(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, start: int) -> torch.Tensor:
    """softmax(q kᵀ) v for every head by itself, row i seeing the keys up to start + i. (rows, heads, head size)."""
    out = torch.empty_like(q)
    for head in range(HEADS):
        kv_head = head // (HEADS // KV_HEADS)
        for row in range(len(q)):
            seen = start + row + 1
            weights = (keys[kv_head, :seen] @ q[row, head]).softmax(-1)
            out[row, head] = weights @ values[kv_head, :seen]
    return out


@pytest.mark.parametrize(
    ("start", "tokens"),
    [(0, 1), (0, 2), (0, 64), (0, 130), (5, 1), (63, 2), (100, 17), (64, 128), (37, 300)],
)
def test_a_chunk_attends_to_all_before_it_and_to_nothing_after(start: int, tokens: int) -> None:
    torch.manual_seed(start + tokens)
    before, after = 3, 2  # Rows of other sequences in the same step.
    q = torch.randn(before + tokens + after, HEADS, SIZE)
    new_kv = torch.randn(before + tokens + after, 2, KV_HEADS, SIZE)
    kv = torch.full((1, 2, KV_HEADS, multiple(start + tokens, KEYS), SIZE), float("nan"))
    kv[0, :, :, :start] = torch.randn(2, KV_HEADS, start, SIZE)
    out = torch.full_like(q, 7.0)
    SequenceStep(kv, start, tokens, before).attend(0, q, new_kv, out)
    rows = slice(before, before + tokens)
    assert torch.equal(kv[0, :, :, start : start + tokens], new_kv[rows].permute(1, 2, 0, 3))
    torch.testing.assert_close(out[rows], plain(q[rows], kv[0, 0], kv[0, 1], start))
    assert (out[:before] == 7).all()
    assert (out[before + tokens :] == 7).all()
