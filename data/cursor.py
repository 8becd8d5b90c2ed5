"""A database cursor, and how the questions read rows with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

FEW = 16
Record = dict[str, Any]
Parameters = Sequence[Any] | dict[str, Any]


class Cursor(Protocol):
    """What a query needs of a database cursor."""

    @property
    def description(self) -> Any: ...

    def execute(self, query: str, parameters: Any = ...) -> Any: ...

    def fetchall(self) -> list[Any]: ...


def records(cursor: Cursor, sql: str, parameters: Parameters = ()) -> list[Record]:
    """All rows, as dictionaries by column."""
    cursor.execute(sql, parameters)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def column(cursor: Cursor, sql: str, parameters: Parameters = ()) -> list[Any]:
    """The first column of all rows."""
    cursor.execute(sql, parameters)
    return [row[0] for row in cursor.fetchall()]


def known(cursor: Cursor, table: str, key: str, names: Sequence[str]) -> set[str]:
    """Which of `names` are in a table's key column. Table and column are literals of this package."""
    if not names:
        return set()
    condition, parameters = among(key, names)
    return set(column(cursor, f"SELECT {key} FROM {table} WHERE {condition}", parameters))  # noqa: S608


def among(key: str, values: Sequence[str]) -> tuple[str, list[Any]]:
    """The condition that a column (a literal of this package) is one of some values, and its parameters.

    A few are written out: that is planned and run in half the time, and labels come a few at a time.
    """
    if len(values) <= FEW:
        return f"{key} IN ({', '.join('?' * len(values))})", [*values]
    return f"{key} IN (SELECT unnest(?::VARCHAR[]))", [list(values)]
