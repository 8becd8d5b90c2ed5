"""The database file: opened, brought to today's version, copied, opened again. The only file that imports duckdb."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from data.cursor import column
from data.errors import BadFile, BadInput, StorageError
from data.event_queries import last_position
from data.gate import Gate
from data.recovery import Recovery, recover, stamp

Cursor = Any
DatabaseError = duckdb.Error

SCHEMA = Path(__file__).with_name("schema.sql")
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


class Database:
    """One open database file. Any thread may ask for a cursor; opening and closing are for one at a time."""

    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        self.path = path
        self.is_cut_off = False
        """Whether it broke off and could not be opened for writing again since."""
        self.newest_position = 0
        """Position of the newest event when it was opened."""
        self._migrations = migrations
        self._gate = Gate()
        self._connection: Any = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def open(self, backups: Path) -> Recovery | None:
        """Open it, made or migrated if need be; a file that cannot be read is set aside and the best copy opened.

        Raises StorageError for a newer version, DatabaseError when neither can be had (no room, no permission).
        """
        try:
            self._connection = self._connect()
        except duckdb.Error as error:
            if UNUSABLE.search(str(error)) or not DAMAGED.search(str(error)):
                raise
            self._connection, recovery = recover(self.path, backups, first_line(error), self._connect)
            return recovery
        return None

    def close(self) -> None:
        with self._gate.alone():
            self._connection.close()
            self._connection = None

    @contextmanager
    def cursor(self) -> Iterator[Cursor]:
        """A cursor of this call's own; nothing is left unread or open afterwards."""
        with self._gate.shared():
            if self._connection is None:
                raise StorageError(f"The store in {self.path.parent} is closed.")
            cursor = self._connection.cursor()
            try:
                yield cursor
            finally:
                cursor.close()

    def reopen(self) -> None:
        """Close it and open it again: for writing if there is room, else for reading."""
        with self._gate.alone():
            if self._connection is None:
                raise StorageError(f"The store in {self.path.parent} is closed.")
            self._connection.close()
            self.is_cut_off = True
            try:
                self._connection = self._connect()
                self.is_cut_off = False
            except duckdb.Error:
                self._connection = duckdb.connect(self.path, read_only=True, config=SETTINGS)
                self.newest_position = last_position(self._connection)

    def copy(self, path: Path) -> None:
        """Write it to the new file `path` as it is at one moment, and check the copy. Raises StorageError."""
        with self.cursor() as cursor:
            counts = _copy_database(cursor, path)
        with duckdb.connect(path, read_only=True) as copy:
            if (found := _row_counts(copy)) != counts:
                raise StorageError(f"The copy {path} is not complete: it has {found}, the store has {counts}.")

    def _connect(self) -> Any:
        """A connection to a database of today's version, made or migrated if need be."""
        connection = duckdb.connect(self.path, config=SETTINGS)
        try:
            version, newest = schema_version(connection), 1 + len(self._migrations)
            if version > newest:
                raise StorageError(
                    f"The store {self.path} has version {version}, and this program knows versions up to {newest}: "
                    "update Retro Dash, or choose another home (RETRO_HOME)."
                )
            if version == 0:
                _run_scripts(connection, [SCHEMA.read_text()], newest)
            elif version < newest:
                connection = self._migrate(connection, version)
            self.newest_position = last_position(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: Any, version: int) -> Any:
        """Copy the database aside, then apply the missing steps in one transaction."""
        connection.execute("CHECKPOINT")
        connection.close()
        backup = self.path.parent / "backups" / f"before-version-{1 + len(self._migrations)}-{stamp()}.duckdb"
        backup.parent.mkdir(exist_ok=True)
        shutil.copy2(self.path, backup)
        connection = duckdb.connect(self.path, config=SETTINGS)
        try:
            _run_scripts(connection, self._migrations[version - 1 :], 1 + len(self._migrations))
        except duckdb.Error as error:
            connection.close()
            raise StorageError(
                f"The store {self.path} could not be brought from version {version} to {1 + len(self._migrations)} "
                f"({first_line(error)}). It is unchanged; a copy is {backup}."
            ) from error
        return connection


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
        raise BadFile(f"{path} is no store of Retro Dash ({first_line(error)}).") from error


def sql_error(error: BaseException) -> str | None:
    """What the database says of a question that it cannot answer; None when the error is not the database's."""
    return first_line(error) if isinstance(error, duckdb.Error) else None


def refused(error: BaseException, what: str) -> BadInput | StorageError:
    """What to tell of a question or write that failed, beginning with `what` unless a value was at fault."""
    if isinstance(error, UNFIT):
        return BadInput(f"A value does not fit the store: {first_line(error)}")
    return StorageError(f"{what}: {first_line(error)}")


def schema_version(connection: Any) -> int:
    """Version of an open database, 0 when it is empty."""
    if not column(connection, "SELECT 1 FROM duckdb_tables() WHERE table_name = 'meta'"):
        return 0
    return int(column(connection, "SELECT value FROM meta WHERE name = 'schema_version'")[0])


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
    own_name = column(cursor, "SELECT current_database()")[0]
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
    return {name: column(cursor, f"SELECT count(*) FROM {name}")[0] for name in column(cursor, sql)}  # noqa: S608


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
