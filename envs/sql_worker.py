"""The child process that runs SQL that a model wrote: one read-only SQLite file, one request a line.

Run by path inside the sandbox as `python -I -S sql_worker.py DATABASE`, so it imports the standard library only and
its one sibling. A request is a JSON line `{"sql", "seconds", "rows", "bytes"}`; the answer is `{"columns", "rows"}`
or `{"error"}`. SQLite's own limits are a first fence, polite and quick; the parent kills the process when they do
not hold (a single scalar call can ignore them).
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import sys
import time

ALLOWED_ACTIONS = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    33,  # SQLITE_RECURSIVE, which the module does not name
}
REFUSED_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "zeroblob", "randomblob"}
OPERATIONS_PER_CHECK = 20_000
LONGEST_VALUE = 10_000_000
"""Bytes of one string, blob or row."""
LONGEST_SQL = 200_000


class TooLargeError(Exception):
    """The answer has more rows or bytes than the request allows."""


def authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    """SQLite's compile-time question for every part of a statement: reading is fine, nothing else."""
    is_refused_function = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in REFUSED_FUNCTIONS
    if action not in ALLOWED_ACTIONS or is_refused_function:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def open_database(path: str) -> sqlite3.Connection:
    """Open read-only, with MySQL's functions and collation and without anything that reaches outside the file."""
    import sql_functions  # type: ignore[import-not-found, unused-ignore]

    connection = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True, isolation_level=None)
    sql_functions.register(connection)
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, LONGEST_SQL)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0)
    connection.set_authorizer(authorize)
    return connection


def to_json(value: object) -> object:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def size(row: tuple[object, ...]) -> int:
    return sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in row)


def answer(connection: sqlite3.Connection, request: dict[str, object]) -> dict[str, object]:
    """Run one query under the request's limits of seconds, rows and bytes."""
    deadline = time.monotonic() + float(str(request["seconds"]))
    row_limit, byte_limit = int(str(request["rows"])), int(str(request["bytes"]))
    connection.set_progress_handler(lambda: time.monotonic() > deadline, OPERATIONS_PER_CHECK)
    try:
        cursor = connection.execute(str(request["sql"]))
        rows: list[list[object]] = []
        taken = 0
        while batch := cursor.fetchmany(200):
            taken += sum(size(row) for row in batch)
            rows.extend([to_json(value) for value in row] for row in batch)
            if len(rows) > row_limit or taken > byte_limit:
                raise TooLargeError
        return {"columns": [column[0] for column in cursor.description or ()], "rows": rows}
    except TooLargeError:
        return {"error": "too large"}
    except MemoryError:
        return {"error": "out of memory"}
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, UnicodeError) as error:
        return {"error": str(error)}


def main(arguments: list[str]) -> None:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    connection = open_database(arguments[0])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(connection, json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
