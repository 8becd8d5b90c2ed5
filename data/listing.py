"""Questions about lists of episodes: filtered, sorted, in pages; see `data.filters` for the language."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from data.cells import aware
from data.cursor import Cursor, Record, column, known, records
from data.errors import BadInput
from data.filters import compile_filter, compile_sort
from data.rows import EpisodePage, EpisodeRow, Facets, LabelSummary, ReflectionRow, TrialOutcome

INSTRUCTION_SHOWN = 240
FACETS = ("env", "split", "planner", "reflector", "strategy", "state", "source")
FACET_VALUES = 50


def episode_rows(
    cursor: Cursor, filter_: str, sort: str, limit: int, offset: int, after: str | None = None
) -> EpisodePage:
    """Rows from `offset` on, or behind the episode `after`, which need not fit the filter. Raises BadInput."""
    where, parameters = compile_filter(filter_)
    order = compile_sort(sort)
    page = f"SELECT number FROM found ORDER BY {order.sql} LIMIT ? OFFSET ?"  # noqa: S608
    bounds: list[Any] = [limit + 1, offset]
    if after is not None:
        if not known(cursor, "episodes", "id", [after]):
            raise BadInput(f"There is no episode {after!r} to go on from. Begin again without a cursor.")
        page = f"""SELECT number FROM (
            SELECT number, id, row_number() OVER (ORDER BY {order.sql}) AS place
            FROM (FROM found UNION SELECT number, id, {order.columns} FROM episodes WHERE id = ?)
        ) QUALIFY place > max(place) FILTER (id = ?) OVER () ORDER BY place LIMIT ?"""  # noqa: S608
        bounds = [after, after, limit + 1]
    # One statement, so that total and rows are of one moment and a costly filter is evaluated once; narrow until the
    # page is known, so that its rows alone are read whole.
    found = records(
        cursor,
        f"""WITH found AS MATERIALIZED (SELECT number, id, {order.columns} FROM episodes WHERE {where}),
        page AS ({page})
        SELECT (SELECT count(*) FROM found) AS total, rows.* FROM (SELECT 1) LEFT JOIN (
            SELECT id, run_id, env, split, task_id, left(instruction, {INSTRUCTION_SHOWN}) AS instruction, planner,
                reflector, source, state, success, tally, turn_count, first_reward, last_reward, best_gain,
                parent_id, created_at, row_number() OVER (ORDER BY {order.sql}) AS place
            FROM episodes SEMI JOIN page ON episodes.number = page.number
        ) AS rows ON true ORDER BY place""",  # noqa: S608
        [*parameters, *bounds],
    )
    total = found[0]["total"]
    rows = [row for row in found if row["id"] is not None]
    rows, behind = rows[:limit], rows[limit:]
    labels = _label_summaries(cursor, [row["id"] for row in rows])
    return EpisodePage(
        total=total,
        rows=tuple(_episode_row(row, labels.get(row["id"], [])) for row in rows),
        next_cursor=rows[-1]["id"] if behind else None,
    )


def reflections(cursor: Cursor, filter_: str) -> tuple[ReflectionRow, ...]:
    where, parameters = compile_filter(filter_)
    rows = records(
        cursor,
        f"""WITH found AS (SELECT number, id, env, task_id, instruction, created_at FROM episodes WHERE {where}),
        newest AS (
            SELECT episode, after_trial, text FROM reflections
            QUALIFY row_number() OVER (PARTITION BY episode, after_trial ORDER BY position DESC) = 1
        )
        SELECT found.id AS episode_id, env, task_id, instruction, after_trial AS trial, text
        FROM newest JOIN found ON newest.episode = found.number ORDER BY created_at DESC, number DESC, after_trial""",  # noqa: S608
        parameters,
    )
    return tuple(ReflectionRow(**row) for row in rows)


def episode_ids(cursor: Cursor, filter_: str, sort: str) -> tuple[str, ...]:
    where, parameters = compile_filter(filter_)
    sql = f"SELECT id FROM episodes WHERE {where} ORDER BY {compile_sort(sort).sql}"  # noqa: S608
    return tuple(column(cursor, sql, parameters))


def _episode_row(row: Record, labels: Sequence[LabelSummary]) -> EpisodeRow:
    outcomes = tuple(
        TrialOutcome(index=index, turns=turns, reward=reward, success=success, stop_reason=stop)
        for index, turns, _, reward, success, stop in json.loads(row.pop("tally"))["trials"]
    )
    del row["total"], row["place"]
    return EpisodeRow(trials=outcomes, labels=tuple(labels), created_at=aware(row.pop("created_at")), **row)


def _label_summaries(cursor: Cursor, ids: Sequence[str]) -> dict[str, list[LabelSummary]]:
    if not ids:
        return {}
    marks = ", ".join("?" * len(ids))
    sql = f"""SELECT episode_id, name, value, annotator FROM current_labels
    WHERE part = 'episode' AND episode_id IN ({marks}) ORDER BY position"""  # noqa: S608
    summaries: dict[str, list[LabelSummary]] = {}
    for row in records(cursor, sql, ids):
        summary = LabelSummary(name=row["name"], value=json.loads(row["value"]), annotator=row["annotator"])
        summaries.setdefault(row["episode_id"], []).append(summary)
    return summaries


def facets(cursor: Cursor) -> Facets:
    values: dict[str, tuple[str, ...]] = {}
    for name in FACETS:
        sql = f"SELECT {name} FROM episodes GROUP BY {name} ORDER BY count(*) DESC, {name} LIMIT {FACET_VALUES}"  # noqa: S608
        values[name] = tuple(column(cursor, sql))
    standing = "SELECT {} FROM current_labels WHERE name = '{}' GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 50"
    values["label"] = tuple(column(cursor, standing.format("value ->> '$'", "verdict")))
    values["tag"] = tuple(column(cursor, standing.format("unnest(value ->> '$[*]')", "tags")))
    return Facets(values=values)
