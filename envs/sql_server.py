"""A real MySQL or MariaDB server as the engine: the faithful option, by URL."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from data.errors import BadConfig, EnvironmentCrashed, Refused, Unavailable
from envs.sql_answer import GRACE_SECONDS, ROW_LIMIT, Answer
from envs.sql_schema import Column, ForeignKey, Schema, Table
from envs.sql_show import READING, show, verb

VARIABLE = "RETRO_MYSQL"
"""Names the one server that this process and its children may use, with its password."""
LOST = (0, 2006, 2013)
"""Error numbers of a connection that is gone."""
OUTSIDE = re.compile(r"\b(outfile|dumpfile|load_file|sleep|benchmark|get_lock|release_lock)\b", re.I)
"""What reaches out of the database or only waits. The account's rights are the wall; this is the polite answer."""


class Place(NamedTuple):
    """A server and who uses it."""

    host: str
    port: int
    user: str


def name_server(url: str) -> str:
    """Let this process and its children use a server; returns its URL without the password, to be stored."""
    host, port, user = place_of(url)
    os.environ[VARIABLE] = url
    return f"mysql://{quote(user, safe='')}@{f'[{host}]' if ':' in host else host}:{port}"


def named_server(url: str) -> str:
    """The URL with its password, for a server that was named. The option `database` is stored with every episode and
    may come with anybody's, so it holds no password, and it alone reaches no server. Raises BadConfig, Refused."""
    place, known = place_of(url), os.environ.get(VARIABLE)
    if urlsplit(url).password is not None:
        raise BadConfig(
            f"The URL of the server {place.host} holds a password, and options are stored with every episode. Leave "
            f"it out of the option, and give the whole URL with --database or in the variable {VARIABLE}."
        )
    if known is None or place_of(known) != place:
        raise Refused(
            f"The server {place.host}:{place.port} (user {place.user}) is used only when it is named: by --database, "
            f"or where the program starts by {VARIABLE}=mysql://user:password@host:port."
        )
    return known


def place_of(url: str) -> Place:
    """Raises BadConfig for what is no mysql:// URL."""
    try:
        place = urlsplit(url)
        if place.scheme == "mysql" and place.hostname:
            return Place(place.hostname, place.port or 3306, unquote(place.username or "root"))
    except ValueError:  # a port that is none
        pass
    raise BadConfig("A server's URL is mysql://user:password@host:port.")


def connect(url: str, database: str | None, seconds: float) -> Any:
    """A PyMySQL connection whose session can only read. Raises BadConfig, Unavailable."""
    try:
        import pymysql  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise Unavailable("A MySQL server needs the driver PyMySQL: pip install PyMySQL.") from error
    place = place_of(url)
    try:
        connection = pymysql.connect(
            host=place.host,
            port=place.port,
            user=place.user,
            password=unquote(urlsplit(url).password or ""),
            database=database,
            charset="utf8mb4",
            connect_timeout=10,
            read_timeout=seconds + GRACE_SECONDS,
            autocommit=True,
        )
    except (pymysql.err.Error, OSError, ValueError) as error:
        shown = f"{place.host}:{place.port}, database {database}"
        raise Unavailable(f"The MySQL server at {shown} cannot be used: {text_of(error)}.") from error
    return connection


def text_of(error: BaseException) -> str:
    """The server's own words, without its number."""
    return str(error.args[1] if len(error.args) > 1 else error)


class ServerSession:
    """One database of a server. Statements that could write or reach out are refused before they are sent, the
    session is read-only, and a query that overruns its time is killed by the server."""

    def __init__(self, url: str, database: str, seconds: float = 5.0) -> None:
        self.url = url
        self.database = database
        self.seconds = seconds
        self._connection = self._open()
        self.schema = read_schema(self._connection, database)

    def run(self, statement: str) -> Answer:
        """Run one statement; raises EnvironmentCrashed when the server is gone."""
        import pymysql

        if verb(statement) not in (*READING, "SHOW", "DESC", "DESCRIBE", "EXPLAIN"):
            return show(statement, self.schema, ()) or Answer()
        if found := OUTSIDE.search(statement):
            return Answer(error=f"Access denied; {found.group().upper()} is not allowed here")
        if self._connection is None:
            self._connection = self._open()
        deadline = time.monotonic() + self.seconds
        cursor = self._connection.cursor(pymysql.cursors.SSCursor)
        try:
            cursor.execute(statement)
            columns = tuple(column[0] for column in cursor.description or ())
            rows: list[tuple[Any, ...]] = []
            while columns and (batch := cursor.fetchmany(500)):
                rows += batch
                if len(rows) > ROW_LIMIT or time.monotonic() > deadline:
                    self._end(cursor)
                    return Answer(error=f"The result is too large ({len(rows):,} rows so far); use LIMIT")
            cursor.close()
            return Answer(rows if columns else None, columns)
        except (pymysql.err.OperationalError, pymysql.err.InterfaceError, OSError) as error:
            if not isinstance(error, OSError) and error.args and error.args[0] not in LOST:
                return Answer(error=text_of(error))
            self._end(cursor)
            limit = f"maximum statement execution time exceeded ({self.seconds:g} s)"
            return Answer(error=f"Query execution was interrupted, {limit}")
        except (pymysql.err.Error, ValueError, UnicodeError) as error:
            return Answer(error=text_of(error))

    def close(self) -> None:
        """Safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def _open(self) -> Any:
        connection = connect(self.url, self.database, self.seconds)
        with connection.cursor() as cursor:
            cursor.execute("SELECT VERSION()")
            is_mariadb = "mariadb" in str(cursor.fetchone()[0]).lower()
            if is_mariadb:
                cursor.execute(f"SET SESSION max_statement_time = {self.seconds}")
            else:
                cursor.execute(f"SET SESSION max_execution_time = {int(self.seconds * 1000)}")
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
        return connection

    def _end(self, cursor: Any) -> None:
        """Have the server end our connection and all it does; the next statement opens another one."""
        number = int(self._connection.thread_id())
        if cursor._result is not None:
            cursor._result.unbuffered_active = False  # else PyMySQL reads the rest of the answer before it lets go
        self.close()
        try:
            other = connect(self.url, None, self.seconds)
        except Unavailable as error:
            raise EnvironmentCrashed(f"The MySQL server is gone: {error}") from error
        with suppress(Exception), other.cursor() as killer:
            killer.execute(f"KILL {number}")
        other.close()


COLUMNS = (
    "SELECT table_name, column_name, column_type, is_nullable, column_key, column_default, extra "
    "FROM information_schema.columns WHERE table_schema = %s ORDER BY table_name, ordinal_position"
)
KEYS = (
    "SELECT table_name, constraint_name, column_name, referenced_table_name, referenced_column_name "
    "FROM information_schema.key_column_usage WHERE table_schema = %s AND referenced_table_name IS NOT NULL "
    "ORDER BY table_name, constraint_name, ordinal_position"
)


def read_schema(connection: Any, database: str) -> Schema:
    """The tables, columns and keys of one database of a server."""
    columns: dict[str, list[Column]] = {}
    keys: dict[str, dict[str, list[tuple[str, str, str]]]] = {}
    with connection.cursor() as cursor:
        cursor.execute(COLUMNS, (database,))
        for table, name, kind, nullable, key, default, extra in cursor.fetchall():
            columns.setdefault(table, []).append(Column(name, kind, nullable == "YES", key, default, extra))
        cursor.execute(KEYS, (database,))
        for table, constraint, column, target, target_column in cursor.fetchall():
            keys.setdefault(table, {}).setdefault(constraint, []).append((column, target, target_column))
    tables = {}
    for name, found in columns.items():
        foreign = tuple(
            ForeignKey(tuple(p[0] for p in parts), parts[0][1], tuple(p[2] for p in parts))
            for parts in keys.get(name, {}).values()
        )
        primary = tuple(column.name for column in found if column.key == "PRI")
        tables[name.lower()] = Table(name, tuple(found), primary, foreign)
    return Schema(database, tables)
