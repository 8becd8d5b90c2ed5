"""Reproducible chance: the same words give the same throws on every machine."""

from __future__ import annotations

import hashlib
from random import Random


def chance(words: str) -> Random:
    number = int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big")
    return Random(number)  # noqa: S311 (reproducible, not secret)
