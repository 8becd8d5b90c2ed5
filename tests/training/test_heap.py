"""Freed memory goes back to the system."""

from __future__ import annotations

import sys

import psutil
import pytest

from training.heap import return_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is glibc's")
def test_holes_in_the_heap_are_given_back() -> None:
    process, mebibyte = psutil.Process(), 2**20
    blocks = [bytearray(50_000) for _ in range(4_000)]  # Below malloc's threshold for pages of their own.
    kept = blocks[::100]
    full = process.memory_info().rss
    del blocks
    return_freed_memory()
    assert full - process.memory_info().rss > 100 * mebibyte
    assert len(kept) == 40
