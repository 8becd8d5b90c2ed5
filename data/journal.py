"""The label journal: every label event as one JSON line, on the disk before it is acknowledged.

It lets the labels be rebuilt without the database. A torn last line (the process died while writing) is skipped, and
cut off before the next line is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from data.events import Event


@dataclass(frozen=True)
class JournalPart:
    """What was read from an offset to the end."""

    events: tuple[Event, ...]
    bad_lines: int
    """Whole lines that are not events."""
    end: int
    """Offset in bytes after the last whole line."""


class Journal:
    """An append-only file of events. Not thread-safe: the store calls it under its write lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self) -> int:
        """Bytes in the file, 0 when there is none."""
        return self.path.stat().st_size if self.path.exists() else 0

    def write(self, events: Sequence[Event]) -> int:
        """Append and fsync; return the size before, for `cut`. On OSError nothing is left behind."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        lines = b"".join(event.model_dump_json().encode() + b"\n" for event in events)
        with self.path.open("ab") as file:
            before = file.tell()
            if before and not self._ends_with_newline():
                lines = b"\n" + lines
            try:
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), before)
                raise
        if is_new:
            self._sync_folder()
        return before

    def cut(self, size: int) -> None:
        """Take back what was written after `size` bytes, because the database refused it."""
        with self.path.open("ab") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def read(self, start: int = 0) -> JournalPart:
        """Everything from a byte offset on. A start beyond the end reads the whole file (it was replaced)."""
        if start > self.size():
            start = 0
        events: list[Event] = []
        bad_lines = 0
        end = start
        for line in self._lines(start):
            end += len(line)
            if not line.strip():
                continue
            try:
                events.append(Event.model_validate_json(line))
            except ValidationError:
                bad_lines += 1
        return JournalPart(tuple(events), bad_lines, end)

    def _lines(self, start: int) -> Iterator[bytes]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(start)
            yield from (line for line in file if line.endswith(b"\n"))

    def _ends_with_newline(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
