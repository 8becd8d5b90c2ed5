"""The store: one database behind one process.

`append(events)` is the only write; everything else is a question. Any thread may call any method: a question gets a
cursor of its own, writes wait for each other. Everything lives in one folder, the home:

    retro.duckdb     the database (see schema.sql)
    journal/         the label journal, from which labels can be rebuilt without the database
    backups/         copies made before a migration and by `snapshot`
    quarantine-*/    a database that could not be opened, kept as it was
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Concatenate, ParamSpec, TypeVar

from data import episode_queries, event_queries, label_queries, listing, run_queries
from data.cursor import column, known
from data.database import (
    FULL,
    READ_ONLY,
    UNFIT,
    Database,
    DatabaseError,
    first_line,
    refused,
)
from data.errors import BadInput, RetroDashError, StorageError
from data.events import Event, LabelMade
from data.inserts import write_rows
from data.journal import Journal
from data.lock import own
from data.migrations import MIGRATIONS
from data.names import names_in
from data.projection import Projection
from data.recovery import Recovery
from data.rows import EpisodePage, Facets, MetricSeries, ReflectionRow, StoredEvent, Verdict
from data.types import Adapter, DatasetVersion, Episode, Label, Run, Turn

T = TypeVar("T")
P = ParamSpec("P")
Cursor = Any

DATABASE = "retro.duckdb"
ROOM_NEEDED = 8 * 2**20
"""Bytes that must be free before a write is tried: DuckDB breaks off for good when a disk fills up under it."""
log = logging.getLogger(__name__)


class Store:
    """All that Retro Dash knows. Make one with `Store.open` and close it, or use it as a context manager."""

    def __init__(self, home: Path, migrations: Sequence[str]) -> None:
        self.home = home
        self.recovery: Recovery | None = None
        """Set when the database could not be opened as it was."""
        self.read_only_reason: str | None = None
        """A sentence while the disk refuses writes (full, read-only); they go on by themselves once it takes them."""
        self._database = Database(home / DATABASE, migrations)
        self._journal = Journal(home / "journal" / "labels.jsonl")
        self._write_lock = threading.RLock()
        self._lock: IO[str] | None = None
        self._next_position = 1

    @classmethod
    def open(cls, home: Path, migrations: Sequence[str] = MIGRATIONS) -> Store:
        """Open the store of a home, made on first use.

        Raises Refused when another process has it (its pid is in the text) and StorageError when it cannot be
        opened or written, or is newer than this program. An unreadable database is set aside and restored as far as
        possible: see `recovery`.
        """
        store = cls(home, migrations)
        try:
            home.mkdir(parents=True, exist_ok=True)
            store._lock = own(home / "store.lock")
            store._open()
        except (OSError, DatabaseError) as error:
            store.close()
            reason = error.strerror if isinstance(error, OSError) else first_line(error)
            raise StorageError(
                f"The store in {home} cannot be opened ({reason}): make the folder writable and give it room, "
                "or choose another home (RETRO_HOME)."
            ) from error
        except BaseException:
            store.close()
            raise
        return store

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write everything into the database file and let go of it. Safe to call twice."""
        with self._write_lock:
            if self._database.is_open:
                with suppress(RetroDashError):
                    self.checkpoint()
                self._database.close()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    # Writing --------------------------------------------------------------------------------------------------------

    def append(self, events: Sequence[Event]) -> int:
        """Apply the events that were not applied before, all or none; return how many those were.

        When it returns, they are on the disk. Raises BadInput (nothing is stored) when an event does not fit what
        is there, StorageError when the disk does not take it.
        """
        with self._write_lock:
            self._make_writable()
            try:
                return self._apply(events, is_journalled=False)
            except (OSError, *UNFIT, DatabaseError) as error:
                raise self._refused_write(error) from error

    def checkpoint(self) -> None:
        """Move what the log holds into the database file. Raises StorageError."""
        with self._write_lock:
            self._make_writable()
            try:
                with self._database.cursor() as cursor:
                    size = str(self._journal.size())
                    cursor.execute("INSERT OR REPLACE INTO meta VALUES ('journal_offset', ?)", [size])
                    cursor.execute("CHECKPOINT")
                self.read_only_reason = None
            except (OSError, DatabaseError) as error:
                raise self._refused_write(error) from error

    def snapshot(self, path: Path) -> Path:
        """Write a copy of the whole store to `path` while it is in use, check it, and return it.

        Raises BadInput when the file exists and StorageError when the copy fails or differs.
        """
        if path.exists():
            raise BadInput(f"{path} already exists: name a new file for the backup.")
        part = path.with_name(path.name + ".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            self._database.copy(part)
            part.rename(path)
        except (OSError, DatabaseError) as error:
            raise StorageError(f"The backup {path} cannot be written ({first_line(error)}).") from error
        finally:
            part.unlink(missing_ok=True)
        return path

    # Episodes -------------------------------------------------------------------------------------------------------

    def episode(self, id_: str, with_tokens: bool = False) -> Episode:
        """One whole episode. Token ids and log-probabilities only on request. Raises UnknownName."""
        return self._ask(episode_queries.episode, id_, with_tokens)

    def parts(self, episode_id: str) -> frozenset[tuple[str, int | None, int | None]]:
        """The episode, its trials, turns and reflections, each as part, trial and turn. Raises UnknownName."""
        return self._ask(episode_queries.parts, episode_id)

    def turns(
        self, episode_id: str, trial: int, start: int = 1, stop: int | None = None, with_tokens: bool = False
    ) -> tuple[Turn, ...]:
        """Turns `start` up to, not including, `stop` of a trial. Raises UnknownName."""
        return self._ask(episode_queries.turns, episode_id, trial, start, stop, with_tokens)

    def episode_rows(
        self, filter_: str = "", sort: str = "-created", limit: int = 50, offset: int = 0, after: str | None = None
    ) -> EpisodePage:
        """A page of the filtered, sorted list (see `data.filters`): from row `offset` on, or behind the episode
        `after`, whatever came before it since. Raises BadInput."""
        return self._ask(listing.episode_rows, filter_, sort, limit, offset, after)

    def episode_ids(self, filter_: str = "", sort: str = "-created") -> tuple[str, ...]:
        """All ids of a filtered, sorted list. Raises BadInput."""
        return self._ask(listing.episode_ids, filter_, sort)

    def running_episodes(self) -> tuple[str, ...]:
        """Ids of the episodes that nobody has finished, newest first."""
        return self.episode_ids("state:running")

    def reflections(self, filter_: str = "") -> tuple[ReflectionRow, ...]:
        """The reflections of a filter's episodes, the newest episode's first. Raises BadInput."""
        return self._ask(listing.reflections, filter_)

    def gains(self, episode_ids: Sequence[str]) -> dict[tuple[str, int], float | None]:
        """By episode and trial, what the reflections of these episodes gained; None where that is not known yet."""
        return self._ask(episode_queries.gains, episode_ids)

    def known_episodes(self, ids: Sequence[str]) -> set[str]:
        """Which of these ids are in the store."""
        return self._ask(known, "episodes", "id", ids)

    def facets(self) -> Facets:
        """Known values of the filter's fields."""
        return self._ask(listing.facets)

    # Labels, runs, adapters, datasets -------------------------------------------------------------------------------

    def labels(
        self,
        episode_id: str | None = None,
        *,
        after: str | None = None,
        limit: int | None = None,
        **conditions: str | int,
    ) -> tuple[Label, ...]:
        """Every label event, undos included, oldest first. Conditions: part, trial, turn, name, annotator.

        `after`: only what came after the label with this id. Raises BadInput when there is none.
        """
        return self._ask(label_queries.labels, "labels", episode_id, conditions, after, limit)

    def current_labels(
        self,
        episode_id: str | None = None,
        *,
        after: str | None = None,
        limit: int | None = None,
        **conditions: str | int,
    ) -> tuple[Label, ...]:
        """The labels that stand: the newest not undone for every target, name and annotator."""
        return self._ask(label_queries.labels, "current_labels", episode_id, conditions, after, limit)

    def verdicts(self) -> list[Verdict]:
        """The standing verdicts on whole episodes, in the order in which they came; a queue asks at every item."""
        return self._ask(label_queries.verdicts)

    def adjudicated(self) -> set[str]:
        """Ids of the episodes on whose verdict somebody had the final word."""
        return self._ask(label_queries.adjudicated)

    def runs(
        self,
        kinds: Sequence[str] = (),
        states: Sequence[str] = (),
        *,
        after: str | None = None,
        limit: int | None = None,
    ) -> tuple[Run, ...]:
        """Runs of these kinds and states (all when empty), newest first, from the one behind the run `after` on.

        Raises BadInput when there is no such run.
        """
        return self._ask(run_queries.runs, kinds, states, after, limit)

    def run(self, id_: str) -> Run:
        """One run. Raises UnknownName."""
        return self._ask(run_queries.run, id_)

    def metric_names(self, run_id: str) -> tuple[str, ...]:
        return self._ask(run_queries.metric_names, run_id)

    def metrics(
        self, run_id: str, names: Sequence[str] = (), max_points: int = 1000, steps: tuple[int, int] | None = None
    ) -> tuple[MetricSeries, ...]:
        """Curves of a run (all when no name is given), thinned to about `max_points` points each.

        With `steps`, only what lies between the two, both included.
        """
        return self._ask(run_queries.metrics, run_id, names, max_points, steps)

    def adapters(self) -> tuple[Adapter, ...]:
        return self._ask(run_queries.adapters)

    def datasets(self) -> tuple[DatasetVersion, ...]:
        return self._ask(run_queries.datasets)

    # Following ------------------------------------------------------------------------------------------------------

    def events_since(
        self, position: int, run_id: str | None = None, episode_id: str | None = None, limit: int = 1000
    ) -> tuple[StoredEvent, ...]:
        """What was appended after `position` (0 for all), in order; go on from the last one's position."""
        return self._ask(event_queries.events_since, position, run_id, episode_id, limit)

    def last_position(self) -> int:
        """Position of the newest event, 0 in an empty store."""
        return self._next_position - 1

    def last_seq(self, run_id: str) -> int | None:
        """Highest sequence number of a run, None when it has no event."""
        return self._ask(event_queries.last_seq, run_id)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _ask(self, question: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with self._database.cursor() as cursor:
                return question(cursor, *args, **kwargs)
        except DatabaseError as error:
            if not FULL.search(str(error)) or isinstance(error, UNFIT):
                raise refused(error, "The store could not answer") from error
        self._reopen()
        with self._database.cursor() as cursor:
            return question(cursor, *args, **kwargs)

    def _apply(self, events: Sequence[Event], is_journalled: bool) -> int:
        """One transaction. Labels reach the journal before the commit, and leave it again when the commit fails."""
        journal_size: int | None = None
        with self._database.cursor() as cursor:
            cursor.begin()
            try:
                projection = Projection(event_queries.stored(cursor, names_in(events)), self._next_position)
                projection.take(events)
                write_rows(cursor, projection)
                labels = [event for event in projection.applied if isinstance(event.body, LabelMade)]
                if labels and not is_journalled:
                    journal_size = self._journal.write(labels)
                cursor.commit()
            except BaseException:
                if journal_size is not None:
                    self._journal.cut(journal_size)
                with suppress(DatabaseError):
                    cursor.rollback()
                raise
        self._next_position = projection.next_position
        self.read_only_reason = None
        return len(projection.applied)

    def _open(self) -> None:
        self.recovery = self._database.open(self.home / "backups")
        self._next_position = self._database.newest_position + 1
        replayed = self._replay_journal()
        if self.recovery is not None:
            self.recovery = replace(self.recovery, labels_replayed=replayed)
            log.warning("%s", self.recovery)

    def _replay_journal(self) -> int:
        """Apply the labels that the journal has and the database lacks; return how many."""
        with self._database.cursor() as cursor:
            found = column(cursor, "SELECT value FROM meta WHERE name = 'journal_offset'")
        part = self._journal.read(int(found[0]) if found else 0)
        if part.bad_lines:
            log.warning("%d lines of %s cannot be read and were left out.", part.bad_lines, self._journal.path)
        return self._apply(part.events, is_journalled=True) if part.events else 0

    def _make_writable(self) -> None:
        """Refuse while the disk is full; open again what broke off. Called under the write lock."""
        free = shutil.disk_usage(self.home).free
        if free < ROOM_NEEDED:
            self.read_only_reason = (
                f"The disk of {self.home} is full ({free / 2**20:.0f} MiB free, {ROOM_NEEDED / 2**20:.0f} needed): "
                "free some space. What was stored is safe and can be read; nothing new is stored until then."
            )
            raise StorageError(self.read_only_reason)
        if self._database.is_cut_off:
            self._reopen()

    def _refused_write(self, error: Exception) -> RetroDashError:
        """What to tell of a failed write; a database that broke off is opened again."""
        if READ_ONLY.search(str(error)):
            self.read_only_reason = (
                f"The disk of {self.home} is read-only: see why (dmesg), make it writable and start again. What was "
                "stored is safe and can be read; nothing new is stored until then."
            )
            return StorageError(self.read_only_reason)
        if not FULL.search(str(error)):
            return refused(error, f"The store in {self.home} did not take the write")
        self._reopen()
        self.read_only_reason = (
            f"The disk of {self.home} is full ({first_line(error)}): free some space. What was stored is safe and "
            "can be read; nothing new is stored until then."
        )
        return StorageError(self.read_only_reason)

    def _reopen(self) -> None:
        with self._write_lock:
            self._database.reopen()
            self._next_position = self._database.newest_position + 1
