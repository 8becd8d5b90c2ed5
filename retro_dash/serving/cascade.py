"""Decoding sequences that share a prompt prefix attend to it together.

The prefix's keys are read once for the whole group (cascade attention of FlashInfer); what each sequence has of its
own (its tail) lies side by side in one padded tensor. So a layer needs two products for the scores of any number of
sequences, one softmax over both parts, and two products for the values. All operands are contiguous, because the
CPU's batched products copy any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retro_dash.serving.attention import multiple

_ROUND, _SLOTS = 64, 8
"""Tails grow by this many tokens, and their number by this many sequences."""
_AHEAD = 8
"""One part in so many more than what is needed: whenever tails get new room, all of them are copied."""
_TOO_MUCH = 4
"""Room this many times what is needed is given up."""


@dataclass(eq=False)
class SharedPrefix:
    """A prefix that at least two running sequences begin with, and its keys and values."""

    ids: NDArray[np.int64]
    kv: Tensor
    """(layers, 2, kv heads, at least these tokens, head size); the first step takes a compact copy."""
    room: tuple[int, int] = (0, 0)
    """Tails that there is room for, and tokens of each."""
    tails: Tails | None = None

    @property
    def tokens(self) -> int:
        return len(self.ids)

    @property
    def held_tokens(self) -> int:
        """Tokens whose keys and values it holds beside the sequences' own buffers."""
        return self.tokens + self.room[0] * self.room[1]

    def room_for(self, tails: int, longest: int) -> tuple[int, int]:
        """The room it has where so many tails fit, the longest of so many tokens, and it is not far too much."""
        slots, tokens = multiple(tails, _SLOTS), multiple(longest + longest // _AHEAD, _ROUND)
        is_fit = self.room[0] >= tails and self.room[1] >= longest
        return self.room if is_fit and self.room[0] * self.room[1] <= _TOO_MUCH * slots * tokens else (slots, tokens)


@dataclass(frozen=True)
class Group:
    """Places in the batch of the decoding sequences that begin with `prefix`."""

    prefix: SharedPrefix
    members: Sequence[int]


class Tails:
    """What the sequences of one group have after the prefix.

    `data` is shaped (layers, 2, slots, kv heads, tokens, head size). A sequence keeps its slot from step to step; the
    copy in its own buffer stays the true one.
    """

    def __init__(self, prefix: Tensor, room: tuple[int, int]) -> None:
        """Room for so many sequences and tokens of each; `prefix` is shaped as `SharedPrefix.kv`."""
        layers, two, heads, _, size = prefix.shape
        # Masked values are multiplied by zero, so whatever lies beyond a tail must be a number.
        self.data = prefix.new_zeros(layers, two, room[0], heads, room[1], size)
        self.room = room
        self.owners: list[Tensor | None] = []
        """The buffer that each slot belongs to."""
        self.lengths: list[int] = []

    def place(self, buffers: Sequence[Tensor], starts: Sequence[int], shared: int) -> list[int]:
        """The slot of each buffer, with its tokens `shared ... start` in place and room for one more."""
        present = {id(buffer) for buffer in buffers}
        slots = {id(owner): slot for slot, owner in enumerate(self.owners) if owner is not None}
        for buffer_id, slot in slots.items():
            if buffer_id not in present:
                self._empty(slot)
        free = [slot for slot, owner in enumerate(self.owners) if owner is None]
        placed = []
        for buffer, start in zip(buffers, starts, strict=True):
            slot = slots.get(id(buffer), -1)
            if slot < 0:
                slot = free.pop(0) if free else self._new_slot()
                self.owners[slot] = buffer
            self._fill(slot, buffer, start, shared)
            placed.append(slot)
        while self.owners and self.owners[-1] is None:
            self.owners.pop()
            self.lengths.pop()
        return placed

    def leave(self, buffer: Tensor) -> None:
        """Lets go of a buffer that is not used any more."""
        for slot, owner in enumerate(self.owners):
            if owner is buffer:
                self._empty(slot)

    def _empty(self, slot: int) -> None:
        self.owners[slot], self.lengths[slot] = None, 0

    def _new_slot(self) -> int:
        self.owners.append(None)
        self.lengths.append(0)
        return len(self.owners) - 1

    def _fill(self, slot: int, buffer: Tensor, start: int, shared: int) -> None:
        wanted, have = start - shared, self.lengths[slot]
        if have < wanted:
            self.data[:, :, slot, :, have:wanted] = buffer[:, :, :, shared + have : start]
        self.lengths[slot] = wanted + 1


class GroupStep:
    """One group in one step: where its rows go, and its attention in every layer."""

    def __init__(self, group: Group, rows: Sequence[int], starts: Sequence[int], buffers: Sequence[Tensor]) -> None:
        prefix = group.prefix
        if prefix.tails is None:
            prefix.kv = prefix.kv[..., : prefix.tokens, :].clone(memory_format=torch.contiguous_format)
        prefix.room = prefix.room_for(len(starts), max(starts) + 1 - prefix.tokens)
        if prefix.tails is None or prefix.tails.room != prefix.room:
            # Filled again from the buffers: the old room and the new one are never held at once.
            prefix.tails = None
            prefix.tails = Tails(prefix.kv, prefix.room)
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
