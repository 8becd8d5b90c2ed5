"""Text of a growing token sequence: whole characters only, cut at the first stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_INCOMPLETE = "\ufffd"


class Detokenizer:
    """Turns sampled ids into text piece by piece. The ids themselves are never changed by a stop string."""

    def __init__(self, tokenizer: Any, stops: Sequence[str], include_stop: bool, skip_special: bool = True) -> None:
        self.text = ""
        self.stopped_by: str | None = None
        self._tokenizer = tokenizer
        self._stops = [stop for stop in stops if stop]
        self._include_stop = include_stop
        self._skip_special = skip_special
        self._ids: list[int] = []
        self._context_start = 0
        self._read = 0
        self._shown = 0

    def push(self, token: int) -> str:
        """New text that is safe to show: no half character, nothing that may still become a stop string."""
        self._ids.append(token)
        self._extend(final=False)
        return self._show(len(self.text) - self._held())

    def finish(self) -> str:
        """What was held back."""
        self._extend(final=True)
        return self._show(len(self.text))

    def _extend(self, final: bool) -> None:
        if self.stopped_by is not None:
            return
        # A few older tokens give the decoder its context (leading spaces, joined bytes).
        before = self._decode(self._ids[self._context_start : self._read])
        after = self._decode(self._ids[self._context_start :])
        if len(after) <= len(before) or (after.endswith(_INCOMPLETE) and not final):
            return
        self._context_start, self._read = self._read, len(self._ids)
        searched_from = max(0, len(self.text) - max((len(stop) for stop in self._stops), default=0) + 1)
        self.text += after[len(before) :]
        self._cut(searched_from)

    def _cut(self, searched_from: int) -> None:
        found = [(at, stop) for stop in self._stops if (at := self.text.find(stop, searched_from)) >= 0]
        if found:
            at, self.stopped_by = min(found)
            self.text = self.text[: at + len(self.stopped_by) if self._include_stop else at]

    def _held(self) -> int:
        """Length of the longest end of the text that begins a stop string."""
        if self.stopped_by is not None:
            return 0
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self.text)), 0, -1):
            if any(stop.startswith(self.text[-length:]) for stop in self._stops):
                return length
        return 0

    def _show(self, end: int) -> str:
        piece = self.text[self._shown : end]
        self._shown = max(self._shown, end)
        return piece

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=self._skip_special)
        return text
