"""Prefix cache: key-value buffers of finished sequences, found again by their token ids.

A trial's next turn extends the sequence of the last one, and the trials of one environment share their instructions.
A new sequence takes over or copies what the best matching buffer holds and computes only the rest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(eq=False)
class CachedSequence:
    """A buffer and the ids of what it holds. While the sequence runs, `ids` and `computed` grow."""

    model: int
    """Identity of the weights that computed it; others must not use it."""
    ids: Ids
    """Room for `capacity` ids; the first `computed` have keys and values."""
    kv: Any
    bytes: int
    computed: int = 0

    @property
    def tokens(self) -> Ids:
        return self.ids[: self.computed]

    @property
    def capacity(self) -> int:
        return len(self.ids)

    def covers(self, other: CachedSequence) -> bool:
        """Whether it begins with all that the other has computed; the last of these ids rules most others out."""
        last = other.computed - 1
        return (
            self.model == other.model
            and self.computed > last
            and self.ids[last] == other.ids[last]
            and np.array_equal(self.ids[: last + 1], other.tokens)
        )


class PrefixCache:
    """Least recently used buffers up to a number of bytes."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.bytes = 0
        self._entries: OrderedDict[int, CachedSequence] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def tokens(self) -> int:
        """Computed tokens in all buffers."""
        return sum(entry.computed for entry in self._entries.values())

    @property
    def entries(self) -> Iterable[CachedSequence]:
        """The last used first."""
        return reversed(self._entries.values())

    def add(self, entry: CachedSequence) -> None:
        """Keeps a finished sequence; what it covers entirely is dropped, then the oldest until all fits."""
        for key, old in list(self._entries.items()):
            if entry.covers(old):
                self._drop(key)
        self._entries[id(entry)] = entry
        self.bytes += entry.bytes
        self.shrink(0)

    def use(self, entry: CachedSequence) -> None:
        """Marks as recently used. An entry that is not kept here (a running sequence) is left alone."""
        if id(entry) in self._entries:
            self._entries.move_to_end(id(entry))

    def take(self, entry: CachedSequence) -> bool:
        """Hands the buffer over to a sequence that continues it; False when it is not kept here."""
        if id(entry) not in self._entries:
            return False
        self._drop(id(entry))
        return True

    def shrink(self, wanted_bytes: int) -> None:
        """Drops the oldest until `wanted_bytes` more would fit."""
        while self._entries and self.bytes + wanted_bytes > self.capacity_bytes:
            self._drop(next(iter(self._entries)))

    def forget(self, model: int) -> None:
        """Drops what other weights computed, when they are unloaded."""
        for key in [key for key, entry in self._entries.items() if entry.model == model]:
            self._drop(key)

    def _drop(self, key: int) -> None:
        self.bytes -= self._entries.pop(key).bytes


def common_prefix(a: Ids, b: Ids) -> int:
    """Number of leading ids that are equal."""
    length = min(len(a), len(b))
    different = np.flatnonzero(a[:length] != b[:length])
    return int(different[0]) if len(different) else length
