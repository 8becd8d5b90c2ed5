"""Decoding sequences that share a prompt prefix attend to it together.

The prefix's keys are read once for the whole group; what each sequence has of its own (its tail) lies side by side in
one padded tensor, so that a layer needs two attention calls for any number of sequences. The two partial results are
merged by their log-sum-exp (cascade attention of FlashInfer; the merge of Flash-Decoding).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_ROUND = 64
"""Tails grow by this many tokens."""


@dataclass(eq=False)
class SharedPrefix:
    """A prefix that at least two running sequences begin with. Its keys are the first ones of `kv`."""

    ids: NDArray[np.int64]
    kv: Tensor
    tails: Tails | None = None

    @property
    def tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Group:
    """Places in the batch of the decoding sequences that begin with `prefix`."""

    prefix: SharedPrefix
    members: Sequence[int]


@dataclass
class Tails:
    """What the sequences of one group have after the prefix: (layers, slots, capacity, 2 * kv heads, head size).

    A sequence keeps its slot from step to step; the copy in its own buffer stays the true one.
    """

    data: Tensor
    owners: list[Tensor | None] = field(default_factory=list)
    """The buffer that each slot belongs to."""
    lengths: list[int] = field(default_factory=list)

    def place(self, buffers: Sequence[Tensor], starts: Sequence[int], shared: int) -> list[int]:
        """The slot of each buffer, with its tokens `shared ... start` in place and room for one more."""
        present = {id(buffer) for buffer in buffers}
        slots = {id(owner): slot for slot, owner in enumerate(self.owners) if owner is not None}
        for buffer_id, slot in slots.items():
            if buffer_id not in present:
                self.owners[slot], self.lengths[slot] = None, 0
        free = [slot for slot, owner in enumerate(self.owners) if owner is None]
        placed = []
        for buffer, start in zip(buffers, starts, strict=True):
            slot = slots.get(id(buffer), -1)
            if slot < 0:
                slot = free.pop(0) if free else self._new_slot()
                self.owners[slot], self.lengths[slot] = buffer, 0
            self._fill(slot, buffer, start, shared)
            placed.append(slot)
        while self.owners and self.owners[-1] is None:
            self.owners.pop()
            self.lengths.pop()
        return placed

    def _new_slot(self) -> int:
        self.owners.append(None)
        self.lengths.append(0)
        return len(self.owners) - 1

    def _fill(self, slot: int, buffer: Tensor, start: int, shared: int) -> None:
        wanted, have = start - shared, self.lengths[slot]
        self._make_room(slot + 1, wanted + 1)
        if have < wanted:
            self.data[:, slot, have:wanted] = buffer[:, shared + have : start]
        self.lengths[slot] = wanted + 1

    def _make_room(self, slots: int, tokens: int) -> None:
        layers, have_slots, have_tokens, heads, size = self.data.shape
        if slots <= have_slots and tokens <= have_tokens:
            return
        if slots > have_slots:
            slots = max(slots, 2 * have_slots)
        tokens = max(have_tokens, math.ceil(tokens / _ROUND) * _ROUND)
        grown = self.data.new_empty(layers, max(slots, have_slots), tokens, heads, size)
        # Masked keys are multiplied by zero, so whatever lies beyond a tail must be a number.
        grown.zero_()
        grown[:, :have_slots, :have_tokens] = self.data
        self.data = grown


class GroupStep:
    """One group in one step: where its rows go, and its attention in every layer."""

    def __init__(
        self, group: Group, rows: Sequence[int], starts: Sequence[int], buffers: Sequence[Tensor], kv_heads: int
    ):
        prefix = group.prefix
        if prefix.tails is None:
            layers, _, heads, size = prefix.kv.shape
            prefix.tails = Tails(prefix.kv.new_empty(layers, 0, 0, heads, size))
        self._prefix, self._tails, self._kv_heads = prefix, prefix.tails, kv_heads
        slots = self._tails.place(buffers, starts, prefix.tokens)
        device = prefix.kv.device
        self.rows = torch.tensor(rows, device=device)
        self._slots = torch.tensor(slots, device=device)
        self._last = torch.tensor([start - prefix.tokens for start in starts], device=device)
        row_of_slot = [rows[0]] * len(self._tails.owners)
        for row, slot in zip(rows, slots, strict=True):
            row_of_slot[slot] = row
        self._row_of_slot = torch.tensor(row_of_slot, device=device)
        self._longest = max(self._tails.lengths)
        # An empty slot sees one key, so that its unused result is a number too.
        lengths = torch.tensor([max(length, 1) for length in self._tails.lengths], device=device)
        hidden = torch.arange(self._longest, device=device) >= lengths.unsqueeze(1)
        mask = torch.zeros(hidden.shape, dtype=prefix.kv.dtype, device=device).masked_fill_(hidden, float("-inf"))
        self._mask = mask[:, None, None, :]

    def attend(self, layer: int, q: Tensor, new_kv: Tensor) -> Tensor:
        """(rows, heads, head size) for the group's rows; `q` and `new_kv` are those of the whole batch."""
        tails = self._tails.data[layer]
        tails[self._slots, self._last] = new_kv[self.rows]
        slots, head_size = len(self._row_of_slot), q.shape[-1]
        grouped = q[self._row_of_slot].view(slots, self._kv_heads, -1, head_size)
        per_kv_head = grouped.shape[2]
        own = tails[:slots, : self._longest].transpose(1, 2)
        own_out, own_lse = attention(grouped, own[:, : self._kv_heads], own[:, self._kv_heads :], self._mask)
        together = grouped.transpose(0, 1).reshape(1, self._kv_heads, slots * per_kv_head, head_size)
        shared = self._prefix.kv[layer, : self._prefix.tokens].transpose(0, 1).unsqueeze(0)
        out, lse = attention(together, shared[:, : self._kv_heads], shared[:, self._kv_heads :], None)
        out = out.view(self._kv_heads, slots, per_kv_head, head_size).transpose(0, 1)
        lse = lse.view(self._kv_heads, slots, per_kv_head).transpose(0, 1)
        share = torch.sigmoid(lse - own_lse).unsqueeze(-1).to(q.dtype)
        merged = torch.lerp(own_out, out, share).reshape(slots, -1, head_size)
        return merged[self._slots]


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Softmax attention and the float32 log-sum-exp of its scores. All (batch, heads, tokens, head size)."""
    if q.device.type == "cpu":
        if mask is not None:
            mask = mask.expand(q.shape[0], 1, q.shape[2], k.shape[2])
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=mask)
        return out, lse
    scores = torch.matmul(q, k.transpose(2, 3)).float() / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + mask
    lse = scores.logsumexp(dim=-1)
    return torch.matmul((scores - lse.unsqueeze(-1)).exp().to(v.dtype), v), lse
