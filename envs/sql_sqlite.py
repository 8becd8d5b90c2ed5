"""The embedded engine: a database of a dump in SQLite, queried in MySQL's dialect by a sandboxed child process."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import sys
import time
from contextlib import suppress
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from data.errors import EnvironmentCrashed
from envs import sandbox, sql_functions, sql_worker
from envs.sandbox import Limits, Mount, SandboxProcess
from envs.sql_answer import GRACE_SECONDS, ROW_LIMIT, Answer
from envs.sql_binder import Output, SqlError
from envs.sql_catalog import Catalog
from envs.sql_dialect import parse, syntax_error, translate
from envs.sql_functions import moment_of
from envs.sql_kinds import Kind
from envs.sql_show import show

BYTE_LIMIT = 8 << 20
"""Of one answer's values; more are an error, as with rows."""
LARGEST_REPLY = 64 << 20
START_SECONDS = 20.0


class SqliteSession:
    """One database of a catalog. The child process starts with the first query, and anew after it was killed."""

    def __init__(
        self,
        catalog: Catalog,
        database: str,
        seconds: float = 5.0,
        memory_bytes: int = 512 << 20,
        unsafe_run_model_code_on_host: bool = False,
    ) -> None:
        self.catalog = catalog
        self.schema = catalog.schema(database)
        self.file = catalog.file(database)
        self.seconds = seconds
        self.memory_bytes = memory_bytes
        self.is_unsafe = unsafe_run_model_code_on_host
        self._child: SandboxProcess | None = None
        self._unread = b""

    def run(self, statement: str) -> Answer:
        """Run one MySQL statement; raises EnvironmentCrashed when the child cannot start, Unavailable or Refused
        where it may not."""
        shown = show(statement, self.schema, self.catalog.names)
        if shown is not None:
            return shown
        try:
            translation = translate(parse(statement), self.schema)
        except SqlError as error:
            return Answer(error=str(error))
        reply = self.ask(translation.sql)
        if "error" in reply:
            return Answer(error=self.mysql_error(str(reply["error"]), statement))
        columns = tuple(output.name for output in translation.outputs)
        return Answer(convert_rows(reply["rows"], translation.outputs), columns)

    def ask(self, sql: str) -> dict[str, Any]:
        """The child's reply to one SQLite query; kills it at the deadline."""
        child = self._child or self._start()
        request = {"sql": sql, "seconds": self.seconds, "rows": ROW_LIMIT, "bytes": BYTE_LIMIT}
        deadline = time.monotonic() + self.seconds + GRACE_SECONDS
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.flush()
            line = self._read_line(child, deadline)
        except (OSError, ValueError):  # a broken or closed pipe
            line = b""
        if line is None:
            self.close()
            return {"error": "interrupted"}
        if not line:
            self.close()
            return {"error": "out of memory"}
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _start(self) -> SandboxProcess:
        worker, functions = Path(sql_worker.__file__), Path(sql_functions.__file__)
        mounts = (
            *sandbox.python_mounts(),
            Mount(worker, f"/engine/{worker.name}"),
            Mount(functions, f"/engine/{functions.name}"),
            Mount(self.file, "/engine/database.sqlite"),
        )
        inside = ("/engine/" + worker.name, "/engine/database.sqlite")
        paths = (str(worker), str(self.file)) if self.is_unsafe else inside
        child = sandbox.spawn(
            [os.path.realpath(sys.executable), "-I", "-S", "-B", *paths],
            mounts=mounts,
            limits=Limits(memory_bytes=self.memory_bytes, processes=4, file_bytes=1 << 20, scratch_bytes=1 << 20),
            unsafe_run_model_code_on_host=self.is_unsafe,
        )
        self._unread = b""
        if self._read_line(child, time.monotonic() + START_SECONDS) != b"ready":
            said = child.errors().strip().splitlines()
            child.kill()
            raise EnvironmentCrashed(
                f"The SQL child process did not start: {said[-1] if said else 'it said nothing'}."
            )
        self._child = child
        return child

    def _read_line(self, child: SandboxProcess, deadline: float) -> bytes | None:
        """One line; None at the deadline, nothing when the child is gone."""
        pipe = child.stdout.fileno()
        pieces = [self._unread]
        while b"\n" not in pieces[-1]:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                return None
            pieces.append(os.read(pipe, 1 << 20))
            if not pieces[-1] or sum(map(len, pieces)) > LARGEST_REPLY:
                return b""
        line, _, self._unread = b"".join(pieces).partition(b"\n")
        return line

    def mysql_error(self, text: str, statement: str) -> str:
        """What MySQL would say where SQLite said `text`."""
        name = self.schema.name.lower()
        if text == "interrupted":
            return f"Query execution was interrupted, maximum statement execution time exceeded ({self.seconds:g} s)"
        if text == "too large":
            return f"The result has more than {ROW_LIMIT:,} rows or {BYTE_LIMIT >> 20} MiB; ask for less, with LIMIT"
        if text == "out of memory":
            return f"Out of memory: the query needed more than {self.memory_bytes >> 20} MiB"
        if text == "string or blob too big":
            return "Result of a function was larger than max_allowed_packet"
        if "user-defined aggregate's 'step' method" in text:
            return "Subquery returns more than 1 row"
        if (
            "misuse of alias" in text
            or "misuse of aggregate" in text
            or "aggregate functions are not allowed" in text
        ):
            return "Invalid use of group function"
        if found := re.search(r"no such function: (\S+)", text):
            return f"FUNCTION {name}.{found.group(1)} does not exist"
        if found := re.search(r"wrong number of arguments to function (\w+)", text):
            return f"Incorrect parameter count in the call to native function '{found.group(1)}'"
        if re.search(r"sub-select returns \d+ columns", text):
            return "Operand should contain 1 column(s)"
        if "row value misused" in text:
            return "Operand should contain 1 column(s)"
        if "not authorized" in text or "prohibited" in text:
            return "Access denied; you need more privileges for this operation"
        if found := re.search(r"no such column: (\S+)", text):
            return f"Unknown column '{found.group(1)}' in 'field list'"
        if found := re.search(r"ambiguous column name: (\S+)", text):
            return f"Column '{found.group(1)}' in field list is ambiguous"
        if found := re.search(r'near "(.*?)": syntax error', text, re.DOTALL):
            return str(syntax_error(statement, statement[max(0, statement.find(found.group(1))) :]))
        return text

    def close(self) -> None:
        """End the child; safe to call twice."""
        child, self._child = self._child, None
        if child is not None:
            with suppress(OSError):
                child.kill()


def convert_rows(rows: list[list[Any]], outputs: list[Output]) -> list[tuple[Any, ...]]:
    """SQLite's values as MySQL's driver would give them to Python."""
    kinds = [output.kind for output in outputs]
    if rows and len(rows[0]) != len(kinds):
        kinds = [Kind("any")] * len(rows[0])
    return [tuple(convert(value, kind) for value, kind in zip(row, kinds, strict=True)) for row in rows]


def convert(value: Any, kind: Kind) -> Any:
    """One value: decimals with their digits, dates as dates; what does not fit its kind stays as it is."""
    if isinstance(value, dict):
        value = base64.b64decode(value["base64"])
        return value if kind.name == "bytes" else value.decode("utf-8", "replace")
    if kind.name == "decimal" and isinstance(value, (int, float)):
        with suppress(InvalidOperation):
            return Decimal(repr(value)).quantize(Decimal(1).scaleb(-kind.decimals), ROUND_HALF_UP)
    if kind.name == "float" and isinstance(value, (int, float)):
        return round(float(value), kind.decimals) if kind.decimals else float(value)
    if kind.name == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind.name in ("date", "datetime") and isinstance(value, str) and (moment := moment_of(value)):
        return moment.date() if kind.name == "date" and len(value) <= len("2000-01-01") else moment
    if kind.name == "time" and isinstance(value, str) and (found := re.fullmatch(r"(-?)(\d+):(\d\d):(\d\d)", value)):
        sign, hours, minutes, seconds = found.groups()
        length = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds))
        return -length if sign else length
    return value
