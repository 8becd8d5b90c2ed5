"""Rows of a projection become statements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from data.projection import Change, Projection, Row

FRAME_ROWS = 16
"""From so many rows on, a columnar frame is faster than values in the statement."""


def write_rows(cursor: Any, projection: Projection) -> None:
    """Insert and change what a projection collected."""
    for table, rows in projection.inserts.items():
        insert(cursor, table, rows)
    for change in projection.changes:
        update(cursor, change)


def insert(cursor: Any, table: str, rows: Sequence[Row]) -> None:
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


def update(cursor: Any, change: Change) -> None:
    values = ", ".join(f"{name} = ?" for name in change.values)
    keys = " AND ".join(f"{name} = ?" for name in change.keys)
    sql = f"UPDATE {change.table} SET {values} WHERE {keys}"  # noqa: S608
    cursor.execute(sql, [*change.values.values(), *change.keys.values()])
