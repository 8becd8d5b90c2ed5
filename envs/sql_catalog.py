"""A MySQL dump as a folder of SQLite files, one a database: made once for each content, shared by all processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.errors import BadFile, UnknownName
from envs import sql_functions
from envs.sql_dump import Contents, read_dump
from envs.sql_schema import INFORMATION_SCHEMA, Column, Schema, Table

FORMAT = 1
"""Raised when files made from the same dump would differ."""
AFFINITY = {"integer": "INTEGER", "decimal": "NUMERIC", "float": "REAL", "bytes": "BLOB"}


@dataclass(frozen=True)
class Catalog:
    """The databases of one dump."""

    folder: Path
    names: tuple[str, ...]

    def name_of(self, database: str) -> str:
        """The database's name as the dump writes it; raises UnknownName."""
        for name in self.names:
            if name.lower() == database.lower():
                return name
        raise UnknownName("database", database, self.names)

    def file(self, database: str) -> Path:
        return self.folder / f"{self.name_of(database)}.sqlite"

    def schema(self, database: str) -> Schema:
        return Schema.from_json(json.loads((self.folder / f"{self.name_of(database)}.json").read_text("utf-8")))


def cache_folder() -> Path:
    return Path(os.environ.get("RETRO_HOME", ".retro")) / "cache" / "sql"


def open_dump(path: Path, cache: Path | None = None) -> Catalog:
    """The catalog of a dump (`.sql` or `.sql.gz`), made when its content is new; raises BadFile."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:24]
    except OSError as error:
        raise BadFile(f"The SQL dump {path} cannot be read: {error}.") from error
    folder = (cache or cache_folder()).absolute() / f"{digest}-{FORMAT}"
    if not (folder / "names.json").is_file():
        make_files(read_dump(path), path, folder)
    return Catalog(folder, tuple(json.loads((folder / "names.json").read_text("utf-8"))))


def make_files(databases: dict[str, Contents], path: Path, folder: Path) -> None:
    """Write beside `folder`, then rename: who comes second throws his copy away."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="making-", dir=folder.parent))
    try:
        for name, contents in databases.items():
            if not all(c.isalnum() or c in "_-$" for c in name):
                raise BadFile(f"The SQL dump {path} names a database {name!r}; use letters, digits, _ and - only.")
            schema = contents.schema(name)
            (work / f"{name}.json").write_text(json.dumps(schema.to_json()), "utf-8")
            try:
                make_file(schema, contents, work / f"{name}.sqlite")
            except (sqlite3.Error, OverflowError) as error:
                raise BadFile(f"The database {name} of the SQL dump {path} cannot be loaded: {error}.") from error
        (work / "names.json").write_text(json.dumps(list(databases)), "utf-8")
        work.chmod(0o755)
        try:
            work.rename(folder)
        except OSError:
            if not (folder / "names.json").is_file():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def column_sql(column: Column) -> str:
    affinity = AFFINITY.get(column.kind, f"TEXT COLLATE {sql_functions.COLLATION}")
    return f"{quoted(column.name)} {affinity}"


def table_sql(table: Table) -> str:
    """InnoDB keeps rows in the order of their primary key; so does a table WITHOUT ROWID."""
    parts = [column_sql(column) for column in table.columns]
    if not table.primary_key:
        return f"CREATE TABLE {quoted(table.name)} ({', '.join(parts)})"
    parts.append(f"PRIMARY KEY ({', '.join(quoted(name) for name in table.primary_key)})")
    return f"CREATE TABLE {quoted(table.name)} ({', '.join(parts)}) WITHOUT ROWID"


def make_file(schema: Schema, contents: Contents, file: Path) -> None:
    connection = sqlite3.connect(file)
    try:
        sql_functions.register(connection)
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        for key, table in schema.tables.items():
            connection.execute(table_sql(table))
            insert(connection, table, contents.rows[key])
        fill_information(connection, schema)
        connection.commit()
    finally:
        connection.close()
    file.chmod(0o644)


def insert(connection: sqlite3.Connection, table: Table, rows: Sequence[tuple[object, ...]]) -> None:
    marks = ", ".join("?" * len(table.columns))
    connection.executemany(f"INSERT INTO {quoted(table.name)} VALUES ({marks})", rows)  # noqa: S608 (quoted)


def facts_of(column: Column) -> tuple[object, ...]:
    return ("YES" if column.is_nullable else "NO", column.key, column.default, column.extra)


def fill_information(connection: sqlite3.Connection, schema: Schema) -> None:
    tables: list[tuple[object, ...]] = [(schema.name, key, "BASE TABLE") for key in sorted(schema.tables)]
    columns: list[tuple[object, ...]] = [
        (schema.name, key, c.name, place, c.type.split("(")[0], c.type, *facts_of(c))
        for key, table in sorted(schema.tables.items())
        for place, c in enumerate(table.columns, 1)
    ]
    for name, rows in (("tables", tables), ("columns", columns)):
        connection.execute(table_sql(INFORMATION_SCHEMA[name]))
        insert(connection, INFORMATION_SCHEMA[name], rows)
