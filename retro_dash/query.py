"""Read-only SQL on a copy of the store, in a process of its own that is killed when it takes too long.

The database's own limits do not bound every function (a long `repeat` ignores both time and memory), so the process
has limits of the operating system and the parent has a clock.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pydantic import JsonValue

from data.errors import BadInput, Refused, RetroDashError

SECONDS = 30.0
MEMORY_GIB = 4
MOST_ROWS = 10_000
MOST_BYTES = 32 * 2**20
LONGEST_SQL = 100_000


@dataclass(frozen=True)
class Answer:
    """A table."""

    columns: tuple[str, ...]
    rows: tuple[tuple[JsonValue, ...], ...]
    is_cut: bool
    """True when there were more rows or bytes than the limit."""


def query(copy: Path, sql: str, seconds: float = SECONDS, most_rows: int = MOST_ROWS) -> Answer:
    """The answer of one SELECT on a snapshot of the store.

    Raises BadInput with the database's words for SQL that does not work, Refused when it takes too long or too much.
    """
    if not sql.strip() or most_rows < 1 or seconds <= 0:
        raise BadInput("A query needs some SQL, at least one row and some time: retro-dash query 'SELECT 1'.")
    if len(sql) > LONGEST_SQL:
        raise BadInput(f"The SQL is longer than {LONGEST_SQL} characters. Make it shorter.")
    request = json.dumps({"copy": str(copy), "sql": sql, "most_rows": most_rows})
    try:
        child = subprocess.run(
            [sys.executable, "-m", "retro_dash.query"],
            input=request,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"The query took longer than {seconds:g} seconds and was stopped. Ask for less.") from error
    header, _, body = child.stdout.partition("\n")
    if child.returncode != 0 or not header:
        last = (child.stderr.strip().splitlines() or ["no word"])[-1]
        raise Refused(f"The query broke off ({last[:200]}); it may use {MEMORY_GIB} GiB of memory. Ask for less.")
    answer = json.loads(header)
    if "error" in answer:
        raise BadInput(str(answer["error"]))
    lines = [json.loads(line) for line in body.splitlines()]
    rows = tuple(tuple(line) for line in lines if isinstance(line, list))
    return Answer(tuple(answer["columns"]), rows, is_cut=lines[-1:] != ["end"])


def main() -> int:
    """Answer the one request on standard input: a line with the columns or an error, then a line a row."""
    request = json.load(sys.stdin)
    bytes_ = MEMORY_GIB * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (bytes_, bytes_))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from data.database import connect_to_copy, sql_error  # The limits hold for the database too.

    try:
        connection = connect_to_copy(Path(request["copy"]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # From here on it writes no file.
        cursor = connection.execute(request["sql"])
        columns = [column[0] for column in cursor.description or ()]
        first = cursor.fetchmany(1)
        print(json.dumps({"columns": columns}))
        _print_rows(chain(first, iter(cursor.fetchone, None)), int(request["most_rows"]))
    except Exception as error:
        said = str(error) if isinstance(error, RetroDashError) else sql_error(error)
        if said is None:
            raise
        print(json.dumps({"error": said}))
    return 0


def _print_rows(rows: chain[tuple[object, ...]], most_rows: int) -> None:
    size = 0
    for number, row in enumerate(rows):
        line = json.dumps([_plain(value) for value in row])
        size += len(line)
        if number >= most_rows or size > MOST_BYTES:
            return
        print(line)
    print('"end"')


def _plain(value: object) -> JsonValue:
    """A value as JSON: what JSON has not, as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
