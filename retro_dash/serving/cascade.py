"""Decoding sequences that share a prompt prefix attend to it together.

The prefix's keys are read once for the whole group (cascade attention of FlashInfer); what each sequence has of its
own (its tail) lies side by side in one padded tensor. So a layer needs two products for the scores of any number of
sequences, one softmax over both parts, and two products for the values. All operands are contiguous, because the
CPU's batched products copy any other.
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
    """A prefix that at least two running sequences begin with, and its keys and values."""

    ids: NDArray[np.int64]
    kv: Tensor
    """(layers, 2, kv heads, at least these tokens, head size); the first step takes a compact copy."""
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
    """What the sequences of one group have after the prefix: (layers, 2, slots, kv heads, capacity, head size).

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
            self.data[:, :, slot, :, have:wanted] = buffer[:, :, :, shared + have : start]
        self.lengths[slot] = wanted + 1

    def _make_room(self, slots: int, tokens: int) -> None:
        layers, two, have_slots, heads, have_tokens, size = self.data.shape
        if slots <= have_slots and tokens <= have_tokens:
            return
        if slots > have_slots:
            slots = max(slots, 2 * have_slots)
        tokens = max(have_tokens, math.ceil(tokens / _ROUND) * _ROUND)
        # Masked values are multiplied by zero, so whatever lies beyond a tail must be a number.
        grown = self.data.new_zeros(layers, two, max(slots, have_slots), heads, tokens, size)
        grown[:, :, :have_slots, :, :have_tokens] = self.data
        self.data = grown


class GroupStep:
    """One group in one step: where its rows go, and its attention in every layer."""

    def __init__(self, group: Group, rows: Sequence[int], starts: Sequence[int], buffers: Sequence[Tensor]) -> None:
        prefix = group.prefix
        if prefix.tails is None:
            prefix.kv = prefix.kv[..., : prefix.tokens, :].contiguous()
            layers, two, kv_heads, _, size = prefix.kv.shape
            prefix.tails = Tails(prefix.kv.new_empty(layers, two, 0, kv_heads, 0, size))
        self._prefix, self._tails = prefix, prefix.tails
        slots = self._tails.place(buffers, starts, prefix.tokens)
        device = prefix.kv.device
        self.rows = torch.tensor(rows, device=device)
        self._slots = torch.tensor(slots, device=device)
        self._last = torch.tensor([start - prefix.tokens for start in starts], device=device)
        row_of_slot = [rows[0]] * len(self._tails.owners)
        for row, slot in zip(rows, slots, strict=True):
            row_of_slot[slot] = row
        self._row_of_slot = torch.tensor(row_of_slot, device=device)
        capacity = self._tails.data.shape[-2]
        lengths = torch.tensor(self._tails.lengths, device=device)
        hidden = torch.arange(capacity, device=device) >= lengths.unsqueeze(1)
        mask = torch.zeros(hidden.shape, dtype=prefix.kv.dtype, device=device).masked_fill_(hidden, float("-inf"))
        self._mask = mask[:, None, None, :]

    def attend(self, layer: int, q: Tensor, new_kv: Tensor) -> Tensor:
        """(rows, heads, head size) for the group's rows; `q` (scaled) and `new_kv` are those of the whole batch."""
        tails = self._tails.data[layer]
        tails[:, self._slots, :, self._last] = new_kv[self.rows]
        slots, capacity, tokens = len(self._row_of_slot), self._mask.shape[-1], self._prefix.tokens
        own_keys, own_values = tails[:, :slots].flatten(1, 2)
        keys, values = self._prefix.kv[layer]
        kv_heads, head_size = len(keys), q.shape[-1]
        apart = q[self._row_of_slot].view(slots, kv_heads, -1, head_size)
        together = apart.transpose(0, 1).reshape(kv_heads, -1, head_size)
        shared = torch.bmm(together, keys.transpose(1, 2)).view(kv_heads, slots, -1, tokens).transpose(0, 1)
        own = torch.bmm(apart.flatten(0, 1), own_keys.transpose(1, 2)).view(slots, kv_heads, -1, capacity)
        weights = torch.cat([shared, own.add_(self._mask)], dim=-1).softmax(dim=-1)
        of_shared, of_own = weights[..., :tokens], weights[..., tokens:]
        out = torch.bmm(of_own.reshape(slots * kv_heads, -1, capacity), own_values).view_as(apart)
        mixed = torch.bmm(of_shared.transpose(0, 1).reshape(kv_heads, -1, tokens), values)
        out = out + mixed.view(kv_heads, slots, -1, head_size).transpose(0, 1)
        return out.view(slots, -1, head_size)[self._slots]
