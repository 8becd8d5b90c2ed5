"""The store: DuckDB behind one process, and the only file that imports it.

`append(events)` is the only write; everything else is a question. Any thread may call any method: a question gets a
cursor of its own, writes wait for each other. Everything lives in one folder, the home:

    retro.duckdb     the database (see schema.sql)
    journal/         the label journal, from which labels can be rebuilt without the database
    backups/         copies made before a migration and by `snapshot`
    quarantine-*/    a database that could not be opened, kept as it was
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Concatenate, ParamSpec, TypeVar

import duckdb
import pyarrow as pa

from data import queries
from data.errors import BadFile, BadInput, RetroDashError, StorageError
from data.events import Event, LabelMade
from data.gate import Gate
from data.journal import Journal
from data.lock import own
from data.migrations import MIGRATIONS
from data.projection import Change, Projection, Row, names_in
from data.recovery import Recovery, recover, stamp
from data.rows import EpisodePage, Facets, MetricSeries, StoredEvent
from data.types import Adapter, DatasetVersion, Episode, Label, Run, Turn

T = TypeVar("T")
P = ParamSpec("P")
Cursor = Any

DATABASE = "retro.duckdb"
SCHEMA = Path(__file__).with_name("schema.sql")
ROOM_NEEDED = 8 * 2**20
"""Bytes that must be free before a write is tried: DuckDB breaks off for good when a disk fills up under it."""
FRAME_ROWS = 16
"""From so many rows on, a columnar frame is faster than values in the statement."""
FULL = re.compile(r"No space left|database has been invalidated|Disk quota", re.IGNORECASE)
READ_ONLY = re.compile(r"Read-only file system", re.IGNORECASE)
UNUSABLE = re.compile(
    r"No space left|Permission denied|Read-only|Could not set lock|Disk quota|memory", re.IGNORECASE
)
DAMAGED = re.compile(r"\bWAL\b|corrupt|not a valid DuckDB|serializ|checksum|INTERNAL", re.IGNORECASE)
UNFIT = (OverflowError, pa.ArrowException, duckdb.ConversionException, duckdb.InvalidInputException)
SETTINGS: dict[str, Any] = {
    "memory_limit": "2GB",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}
"""The hub shares its machine with training; nothing is ever downloaded; no SQL sees a Python variable."""
log = logging.getLogger(__name__)


class Store:
    """All that Retro Dash knows. Make one with `Store.open` and close it, or use it as a context manager."""

    def __init__(self, home: Path, migrations: Sequence[str]) -> None:
        self.home = home
        self.recovery: Recovery | None = None
        """Set when the database could not be opened as it was."""
        self.read_only_reason: str | None = None
        """A sentence while the disk refuses writes (full, read-only); they go on by themselves once it takes them."""
        self._path = home / DATABASE
        self._migrations = migrations
        self._journal = Journal(home / "journal" / "labels.jsonl")
        self._write_lock = threading.RLock()
        self._gate = Gate()
        self._connection: Any = None
        self._is_cut_off = False
        """Whether the database broke off and could not be opened for writing again since."""
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
        except (OSError, duckdb.Error) as error:
            store.close()
            reason = error.strerror if isinstance(error, OSError) else _first_line(error)
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
            if self._connection is not None:
                with suppress(RetroDashError):
                    self.checkpoint()
                with self._gate.alone():
                    self._connection.close()
                    self._connection = None
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
            except (OSError, OverflowError, pa.ArrowException, duckdb.Error) as error:
                raise self._refused_write(error) from error

    def checkpoint(self) -> None:
        """Move what the log holds into the database file. Raises StorageError."""
        with self._write_lock:
            self._make_writable()
            try:
                with self._cursor() as cursor:
                    size = str(self._journal.size())
                    cursor.execute("INSERT OR REPLACE INTO meta VALUES ('journal_offset', ?)", [size])
                    cursor.execute("CHECKPOINT")
                self.read_only_reason = None
            except (OSError, duckdb.Error) as error:
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
            with self._cursor() as cursor:
                counts = _copy_database(cursor, part)
            with duckdb.connect(part, read_only=True) as copy:
                if (found := _row_counts(copy)) != counts:
                    raise StorageError(f"The backup {path} is not complete: it has {found}, the store has {counts}.")
            part.rename(path)
        except (OSError, duckdb.Error) as error:
            raise StorageError(f"The backup {path} cannot be written ({_first_line(error)}).") from error
        finally:
            part.unlink(missing_ok=True)
        return path

    # Episodes -------------------------------------------------------------------------------------------------------

    def episode(self, id_: str, with_tokens: bool = False) -> Episode:
        """One whole episode. Token ids and log-probabilities only on request. Raises UnknownName."""
        return self._ask(queries.episode, id_, with_tokens)

    def turns(
        self, episode_id: str, trial: int, start: int = 1, stop: int | None = None, with_tokens: bool = False
    ) -> tuple[Turn, ...]:
        """Turns `start` up to, not including, `stop` of a trial. Raises UnknownName."""
        return self._ask(queries.turns, episode_id, trial, start, stop, with_tokens)

    def episode_rows(
        self, filter_: str = "", sort: str = "-created", limit: int = 50, offset: int = 0, after: str | None = None
    ) -> EpisodePage:
        """A page of the filtered, sorted list (see `data.filters`): from row `offset` on, or behind the episode
        `after`, whatever came before it since. Raises BadInput."""
        return self._ask(queries.episode_rows, filter_, sort, limit, offset, after)

    def episode_ids(self, filter_: str = "", sort: str = "-created") -> tuple[str, ...]:
        """All ids of a filtered, sorted list. Raises BadInput."""
        return self._ask(queries.episode_ids, filter_, sort)

    def running_episodes(self) -> tuple[str, ...]:
        """Ids of the episodes that nobody has finished, newest first."""
        return self.episode_ids("state:running")

    def known_episodes(self, ids: Sequence[str]) -> set[str]:
        """Which of these ids are in the store."""
        return self._ask(queries.known, "episodes", "id", ids)

    def facets(self) -> Facets:
        """Known values of the filter's fields."""
        return self._ask(queries.facets)

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
        return self._ask(queries.labels, "labels", episode_id, conditions, after, limit)

    def current_labels(
        self,
        episode_id: str | None = None,
        *,
        after: str | None = None,
        limit: int | None = None,
        **conditions: str | int,
    ) -> tuple[Label, ...]:
        """The labels that stand: the newest not undone for every target, name and annotator."""
        return self._ask(queries.labels, "current_labels", episode_id, conditions, after, limit)

    def runs(
        self, kinds: Sequence[str] = (), states: Sequence[str] = (), limit: int = 100, offset: int = 0
    ) -> tuple[Run, ...]:
        """Runs of these kinds and states (all when empty), newest first."""
        return self._ask(queries.runs, kinds, states, limit, offset)

    def run(self, id_: str) -> Run:
        """One run. Raises UnknownName."""
        return self._ask(queries.run, id_)

    def metric_names(self, run_id: str) -> tuple[str, ...]:
        return self._ask(queries.metric_names, run_id)

    def metrics(
        self, run_id: str, names: Sequence[str] = (), max_points: int = 1000, steps: tuple[int, int] | None = None
    ) -> tuple[MetricSeries, ...]:
        """Curves of a run (all when no name is given), thinned to about `max_points` points each.

        With `steps`, only what lies between the two, both included.
        """
        return self._ask(queries.metrics, run_id, names, max_points, steps)

    def adapters(self) -> tuple[Adapter, ...]:
        return self._ask(queries.adapters)

    def datasets(self) -> tuple[DatasetVersion, ...]:
        return self._ask(queries.datasets)

    # Following ------------------------------------------------------------------------------------------------------

    def events_since(
        self, position: int, run_id: str | None = None, episode_id: str | None = None, limit: int = 1000
    ) -> tuple[StoredEvent, ...]:
        """What was appended after `position` (0 for all), in order; go on from the last one's position."""
        return self._ask(queries.events_since, position, run_id, episode_id, limit)

    def last_position(self) -> int:
        """Position of the newest event, 0 in an empty store."""
        return self._next_position - 1

    def last_seq(self, run_id: str) -> int | None:
        """Highest sequence number of a run, None when it has no event."""
        return self._ask(queries.last_seq, run_id)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _ask(self, question: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with self._cursor() as cursor:
                return question(cursor, *args, **kwargs)
        except duckdb.Error as error:
            if isinstance(error, UNFIT):
                raise BadInput(f"A value does not fit the store: {_first_line(error)}") from error
            if not FULL.search(str(error)):
                raise StorageError(f"The store could not answer: {_first_line(error)}") from error
        self._reopen()
        with self._cursor() as cursor:
            return question(cursor, *args, **kwargs)

    @contextmanager
    def _cursor(self) -> Iterator[Cursor]:
        """A cursor of this call's own; nothing is left unread or open afterwards."""
        with self._gate.shared():
            if self._connection is None:
                raise StorageError(f"The store in {self.home} is closed.")
            cursor = self._connection.cursor()
            try:
                yield cursor
            finally:
                cursor.close()

    def _apply(self, events: Sequence[Event], is_journalled: bool) -> int:
        """One transaction. Labels reach the journal before the commit, and leave it again when the commit fails."""
        journal_size: int | None = None
        with self._cursor() as cursor:
            cursor.begin()
            try:
                projection = Projection(queries.stored(cursor, names_in(events)), self._next_position)
                projection.take(events)
                write_rows(cursor, projection)
                labels = [event for event in projection.applied if isinstance(event.body, LabelMade)]
                if labels and not is_journalled:
                    journal_size = self._journal.write(labels)
                cursor.commit()
            except BaseException:
                if journal_size is not None:
                    self._journal.cut(journal_size)
                with suppress(duckdb.Error):
                    cursor.rollback()
                raise
        self._next_position = projection.next_position
        self.read_only_reason = None
        return len(projection.applied)

    def _open(self) -> None:
        try:
            self._connection = self._connect()
        except duckdb.Error as error:
            if UNUSABLE.search(str(error)) or not DAMAGED.search(str(error)):
                raise
            self._connection, recovery = recover(self._path, self.home / "backups", _first_line(error), self._connect)
            replayed = self._replay_journal()
            self.recovery = replace(recovery, labels_replayed=replayed)
            log.warning("%s", self.recovery)
        else:
            self._replay_journal()

    def _connect(self) -> Any:
        """A connection to a database of today's version, made or migrated if need be."""
        connection = duckdb.connect(self._path, config=SETTINGS)
        try:
            version, newest = schema_version(connection), 1 + len(self._migrations)
            if version > newest:
                raise StorageError(
                    f"The store {self._path} has version {version}, and this program knows versions up to {newest}: "
                    "update Retro Dash, or choose another home (RETRO_HOME)."
                )
            if version == 0:
                _run_scripts(connection, [SCHEMA.read_text()], newest)
            elif version < newest:
                connection = self._migrate(connection, version)
            newest_position = queries.column(connection, "SELECT coalesce(max(position), 0) FROM events")[0]
            self._next_position = newest_position + 1
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: Any, version: int) -> Any:
        """Copy the database aside, then apply the missing steps in one transaction."""
        connection.execute("CHECKPOINT")
        connection.close()
        backup = self.home / "backups" / f"before-version-{1 + len(self._migrations)}-{stamp()}.duckdb"
        backup.parent.mkdir(exist_ok=True)
        shutil.copy2(self._path, backup)
        connection = duckdb.connect(self._path, config=SETTINGS)
        try:
            _run_scripts(connection, self._migrations[version - 1 :], 1 + len(self._migrations))
        except duckdb.Error as error:
            connection.close()
            raise StorageError(
                f"The store {self._path} could not be brought from version {version} to {1 + len(self._migrations)} "
                f"({_first_line(error)}). It is unchanged; a copy is {backup}."
            ) from error
        return connection

    def _replay_journal(self) -> int:
        """Apply the labels that the journal has and the database lacks; return how many."""
        with self._cursor() as cursor:
            found = queries.column(cursor, "SELECT value FROM meta WHERE name = 'journal_offset'")
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
        if self._is_cut_off:
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
            if isinstance(error, UNFIT):
                return BadInput(f"A value does not fit the store: {_first_line(error)}")
            return StorageError(f"The store in {self.home} did not take the write: {_first_line(error)}")
        self._reopen()
        self.read_only_reason = (
            f"The disk of {self.home} is full ({_first_line(error)}): free some space. What was stored is safe and "
            "can be read; nothing new is stored until then."
        )
        return StorageError(self.read_only_reason)

    def _reopen(self) -> None:
        """Close the database and open it again: for writing if there is room, else for reading."""
        with self._write_lock, self._gate.alone():
            if self._connection is None:
                raise StorageError(f"The store in {self.home} is closed.")
            self._connection.close()
            self._is_cut_off = True
            try:
                self._connection = self._connect()
                self._is_cut_off = False
            except duckdb.Error:
                self._connection = duckdb.connect(self._path, read_only=True, config=SETTINGS)


def connect_to_copy(path: Path, memory: str = "1GB") -> Any:
    """A connection for questions in SQL to a snapshot: it reads no other file, loads nothing and cannot be unlocked.

    It bounds neither time nor all memory (DuckDB's own limits do not hold for every function): use it in a process
    that can be killed. Raises BadFile when `path` is no store.
    """
    try:
        return duckdb.connect(
            path,
            read_only=True,
            config={
                **SETTINGS,
                "memory_limit": memory,
                "threads": 2,
                "max_temp_directory_size": "0B",
                "home_directory": "/nonexistent",
                "enable_external_access": False,
                "lock_configuration": True,
            },
        )
    except duckdb.Error as error:
        raise BadFile(f"{path} is no store of Retro Dash ({_first_line(error)}).") from error


def sql_error(error: BaseException) -> str | None:
    """What the database says of a question that it cannot answer; None when the error is not the database's."""
    return _first_line(error) if isinstance(error, duckdb.Error) else None


def write_rows(cursor: Cursor, projection: Projection) -> None:
    """Insert and change what a projection collected."""
    for table, rows in projection.inserts.items():
        insert(cursor, table, rows)
    for change in projection.changes:
        update(cursor, change)


def insert(cursor: Cursor, table: str, rows: Sequence[Row]) -> None:
    """Add rows, given in the order of the table's columns."""
    if len(rows) < FRAME_ROWS:
        marks = ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))
        values = [list(value) if isinstance(value, tuple) else value for row in rows for value in row]
        cursor.execute(f"INSERT INTO {table} VALUES {marks}", values)  # noqa: S608
        return
    columns = [pa.array(values) for values in zip(*rows, strict=True)]
    frame = pa.Table.from_arrays(columns, names=[f"column{index}" for index in range(len(columns))])
    cursor.register("frame", frame)
    cursor.execute(f"INSERT INTO {table} SELECT * FROM frame")  # noqa: S608
    cursor.unregister("frame")


def update(cursor: Cursor, change: Change) -> None:
    values = ", ".join(f"{name} = ?" for name in change.values)
    keys = " AND ".join(f"{name} = ?" for name in change.keys)
    sql = f"UPDATE {change.table} SET {values} WHERE {keys}"  # noqa: S608
    cursor.execute(sql, [*change.values.values(), *change.keys.values()])


def schema_version(connection: Any) -> int:
    """Version of an open database, 0 when it is empty."""
    if not queries.column(connection, "SELECT 1 FROM duckdb_tables() WHERE table_name = 'meta'"):
        return 0
    return int(queries.column(connection, "SELECT value FROM meta WHERE name = 'schema_version'")[0])


def _run_scripts(connection: Any, scripts: Sequence[str], version: int) -> None:
    """Apply scripts and note the version they lead to, all or nothing."""
    connection.begin()
    try:
        for script in scripts:
            connection.execute(script)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('schema_version', ?)", [str(version)])
        connection.commit()
    except duckdb.Error:
        connection.rollback()
        raise
    connection.execute("CHECKPOINT")


def _copy_database(cursor: Cursor, path: Path) -> dict[str, int]:
    """Copy the database as it is at one moment; return the rows of each table."""
    own_name = queries.column(cursor, "SELECT current_database()")[0]
    alias = f"copy_{stamp()}"
    cursor.execute(f"ATTACH {_quoted(str(path))} AS {alias}")
    try:
        cursor.begin()
        counts = _row_counts(cursor)
        cursor.execute(f"COPY FROM DATABASE {own_name} TO {alias}")
        cursor.commit()
    finally:
        cursor.execute(f"DETACH {alias}")
    return counts


def _row_counts(cursor: Cursor) -> dict[str, int]:
    sql = "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() ORDER BY table_name"
    return {name: queries.column(cursor, f"SELECT count(*) FROM {name}")[0] for name in queries.column(cursor, sql)}  # noqa: S608


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
