"""What to do with a database that cannot be opened: keep it aside as it is, and go on from what can be read.

Nothing is ever deleted. The steps, from least to most lost: the write-ahead log cut before its first bad entry;
no log at all; the newest backup; an empty database. The label journal is replayed afterwards in every case.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
BAD_ENTRY = re.compile(r"entry at byte position (\d+)")


@dataclass(frozen=True)
class Recovery:
    """What happened when the database was opened and had to be repaired."""

    reason: str
    """DuckDB's own words."""
    quarantine: Path
    """Where the files lie as they were found."""
    restored_from: str
    labels_replayed: int = 0
    """Labels that only the journal still had."""

    def __str__(self) -> str:
        return (
            f"The database could not be opened ({self.reason}). It was kept in {self.quarantine}; this one was "
            f"restored from {self.restored_from}, and {self.labels_replayed} labels came back from the journal."
        )


def recover(database: Path, backups: Path, reason: str, open_: Callable[[], T]) -> tuple[T, Recovery]:
    """Set the files of `database` aside and return what `open_` gives for the best copy that opens.

    Raises what `open_` raised last when not even an empty database can be made.
    """
    quarantine = database.parent / f"quarantine-{stamp()}"
    quarantine.mkdir()
    for file in (database, log_of(database)):
        if file.exists():
            shutil.copy2(file, quarantine / file.name)
    problem: Exception | None = None
    for description in _candidates(database, quarantine, backups, reason):
        try:
            return open_(), Recovery(reason, quarantine, description)
        except Exception as error:  # whatever a broken file makes the database say, the next candidate is tried
            problem = error
    assert problem is not None
    raise problem


def _candidates(database: Path, quarantine: Path, backups: Path, reason: str) -> Iterator[str]:
    """Put one candidate after another in the database's place; yield what it is."""
    bad_entry = BAD_ENTRY.search(reason)
    if bad_entry and (quarantine / log_of(database).name).exists():
        _place(quarantine / database.name, database)
        log = (quarantine / log_of(database).name).read_bytes()
        log_of(database).write_bytes(log[: int(bad_entry[1])])
        yield f"the database and the first {bad_entry[1]} bytes of its log"
    if (quarantine / database.name).exists():
        _place(quarantine / database.name, database)
        yield "the database without its log"
    for backup in sorted(backups.glob("*.duckdb"), key=lambda path: path.stat().st_mtime, reverse=True):
        _place(backup, database)
        yield f"the backup {backup.name}"
    _place(None, database)
    yield "nothing (an empty database)"


def _place(source: Path | None, database: Path) -> None:
    log_of(database).unlink(missing_ok=True)
    database.unlink(missing_ok=True)
    if source is not None:
        shutil.copy2(source, database)


def log_of(database: Path) -> Path:
    return database.with_name(database.name + ".wal")


def stamp() -> str:
    """Now, as part of a file name."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
