"""The audit log: `audit.jsonl` in the home, one line for each sign-in, refusal and request that changes something.

A line holds who, when, from where, method, path and status; never a query string, a header or a body: secrets travel
there.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from retro_dash.limits import Buckets

LONGEST_PATH = 300


class Entry(BaseModel):
    """One line of the log."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    who: str
    """Name of the user, `owner` for the token of `hub.json`, empty for nobody."""
    role: str
    address: str
    method: str
    path: str
    status: int
    left_out: int = 0
    """Refusals of strangers before this one that were too many to write down."""


class AuditLog:
    """Appends to the log. All methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._strangers = Buckets(rate=2, burst=200)  # A flood of refusals must not fill the disk.
        self._left_out = 0

    def write(self, who: str, role: str, address: str, method: str, path: str, status: int) -> None:
        """Raises OSError when the disk does not take it."""
        with self._lock:
            if not who and self._strangers.wait("") > 0:
                self._left_out += 1
                return
            entry = Entry(
                at=datetime.now(UTC),
                who=who,
                role=role,
                address=address,
                method=method[:20],
                path=path[:LONGEST_PATH].encode("utf-8", "replace").decode(),
                status=status,
                left_out=self._left_out,
            )
            line = json.dumps(entry.model_dump(mode="json"), ensure_ascii=True) + "\n"
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
            self._left_out = 0


def read_audit(path: Path, limit: int = 100, before: int | None = None) -> tuple[list[Entry], int]:
    """The last `limit` lines (before line `before`, counted from 0), oldest first, and the number of the first.

    Lines are only ever added, so their numbers stay. A line that does not read is left out.
    """
    lines: deque[tuple[int, str]] = deque(maxlen=limit)
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            lines.extend(islice(enumerate(file), before))
    entries = []
    for _, line in lines:
        with suppress(ValueError):
            entries.append(Entry.model_validate_json(line))
    return entries, lines[0][0] if lines else 0
