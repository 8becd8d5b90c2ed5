"""Questions about labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from data.cells import aware
from data.cursor import Cursor, Record, among, column, known, records
from data.errors import BadInput
from data.rows import Verdict
from data.types import Label, LabelTarget


def labels(
    cursor: Cursor,
    table: str,
    episode_id: str | None,
    conditions: dict[str, Any],
    after: str | None = None,
    limit: int | None = None,
) -> tuple[Label, ...]:
    """Labels in the order in which they came; `table` is `labels` or `current_labels`. Raises BadInput."""
    if after is not None and not known(cursor, "labels", "id", [after]):
        raise BadInput(f"There is no label {after!r} to go on from. Begin again without a cursor.")
    wanted = {"episode_id": episode_id, **conditions}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    parts = [f"{name} = ?" for name in wanted]
    if after is not None:
        parts.append("position > (SELECT position FROM labels WHERE id = ?)")
        wanted["after"] = after
    sql = f"SELECT * FROM {table} WHERE {' AND '.join(parts) or 'true'} ORDER BY position LIMIT ?"  # noqa: S608
    rows = records(cursor, sql, [*wanted.values(), limit])
    return tuple(_label(row) for row in rows)


def verdicts(cursor: Cursor) -> list[Verdict]:
    """The standing verdicts on whole episodes, in the order in which they came."""
    cursor.execute(
        """SELECT episode_id, annotator, value ->> '$', made_at FROM current_labels
        WHERE part = 'episode' AND name = 'verdict' ORDER BY position"""
    )
    return [Verdict(*row) for row in cursor.fetchall()]


def adjudicated(cursor: Cursor) -> set[str]:
    """Ids of the episodes on whose verdict somebody had the final word."""
    sql = """SELECT episode_id FROM current_labels
    WHERE part = 'episode' AND name = 'adjudication' AND json_exists(value, '$.verdict')"""
    return set(column(cursor, sql))


def _label(row: Record) -> Label:
    target = LabelTarget(**{name: row[name] for name in ("episode_id", "part", "trial", "turn")})
    rest = {name: row[name] for name in ("id", "name", "annotator", "undoes")}
    return Label(target=target, value=json.loads(row["value"]), at=aware(row["made_at"]), **rest)


def label_roots(cursor: Cursor, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    if not ids:
        return {}
    condition, parameters = among("id", ids)
    rows = records(cursor, f"SELECT id, root, effect FROM labels WHERE {condition}", parameters)  # noqa: S608
    return {row["id"]: (row["root"], row["effect"]) for row in rows}
