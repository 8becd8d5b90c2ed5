"""Questions about runs, their metrics, and the adapters and datasets that they make."""

from __future__ import annotations

import json
from collections.abc import Sequence

from data.cells import aware
from data.cursor import Cursor, Record, column, known, records
from data.errors import BadInput, UnknownName
from data.rows import MetricSeries
from data.types import Adapter, DatasetVersion, MetricPoint, Run


def runs(
    cursor: Cursor, kinds: Sequence[str], states: Sequence[str], after: str | None, limit: int | None
) -> tuple[Run, ...]:
    """Newest first, behind the run `after` if it is given. Raises BadInput when there is no such run."""
    if after is not None and not known(cursor, "runs", "id", [after]):
        raise BadInput(f"There is no run {after!r} to go on from. Begin again without a cursor.")
    rows = records(
        cursor,
        """SELECT runs.* FROM runs LEFT JOIN (FROM runs WHERE id = $after) AS last ON true
        WHERE (len($kinds::VARCHAR[]) = 0 OR list_contains($kinds::VARCHAR[], runs.kind))
        AND (len($states::VARCHAR[]) = 0 OR list_contains($states::VARCHAR[], runs.state))
        AND ($after IS NULL OR runs.created_at < last.created_at
            OR (runs.created_at = last.created_at AND runs.id > last.id))
        ORDER BY runs.created_at DESC, runs.id LIMIT $limit""",
        {"kinds": list(kinds), "states": list(states), "after": after, "limit": limit},
    )
    return tuple(_run(row) for row in rows)


def run(cursor: Cursor, id_: str) -> Run:
    found = records(cursor, "SELECT * FROM runs WHERE id = ?", [id_])
    if not found:
        raise UnknownName("run", id_, column(cursor, "SELECT id FROM runs ORDER BY created_at DESC LIMIT 12"))
    return _run(found[0])


def _run(row: Record) -> Run:
    times = {name: aware(row.pop(name)) for name in ("created_at", "started_at", "finished_at")}
    return Run(config=json.loads(row.pop("config")), **times, **row)


def metric_names(cursor: Cursor, run_id: str) -> tuple[str, ...]:
    return tuple(column(cursor, "SELECT DISTINCT name FROM metrics WHERE run_id = ? ORDER BY name", [run_id]))


def metrics(
    cursor: Cursor, run_id: str, names: Sequence[str], max_points: int, steps: tuple[int, int] | None = None
) -> tuple[MetricSeries, ...]:
    """Curves of a run, or what of them lies between two steps.

    One with more than `max_points` points is cut into equal ranges of steps, of which the first, last, lowest and
    highest points stay: drawn as a line it looks the same (M4, Jugel et al. 2014).
    """
    low, high = steps or (-(2**31), 2**31 - 1)
    rows = records(
        cursor,
        """WITH chosen AS (
            SELECT name, step, value, {'step': step, 'value': value, 'at': logged_at} AS point FROM metrics
            WHERE run_id = $run AND (len($names::VARCHAR[]) = 0 OR list_contains($names::VARCHAR[], name))
                AND step BETWEEN $low AND $high
        ), sizes AS (
            SELECT name, count(*) AS total, min(step) AS low, max(step) - min(step) + 1 AS width
            FROM chosen GROUP BY name
        ), thinned AS (
            SELECT name, unnest([
                arg_min(point, step), arg_min(point, value), arg_max(point, value), arg_max(point, step)
            ]) AS point
            FROM chosen JOIN sizes USING (name) WHERE total > $points
            GROUP BY name, (step - low) * greatest($points // 4, 1) // width
        ), kept AS (
            SELECT DISTINCT name, point FROM thinned
            UNION ALL SELECT name, point FROM chosen JOIN sizes USING (name) WHERE total <= $points
        )
        SELECT name, total, point.step AS step, point.value AS value, point.at AS logged_at
        FROM kept JOIN sizes USING (name) ORDER BY name, step, logged_at""",
        {"run": run_id, "names": list(names), "points": max_points, "low": low, "high": high},
    )
    series: dict[str, list[Record]] = {}
    for row in rows:
        series.setdefault(row["name"], []).append(row)
    return tuple(
        MetricSeries(name=name, total=found[0]["total"], points=_points(run_id, found))
        for name, found in series.items()
    )


def _points(run_id: str, rows: Sequence[Record]) -> tuple[MetricPoint, ...]:
    return tuple(
        MetricPoint(run_id=run_id, name=row["name"], step=row["step"], value=row["value"], at=aware(row["logged_at"]))
        for row in rows
    )


def adapters(cursor: Cursor) -> tuple[Adapter, ...]:
    rows = records(cursor, "SELECT * FROM adapters ORDER BY created_at DESC, name")
    return tuple(
        Adapter(scores=json.loads(row.pop("scores")), created_at=aware(row.pop("created_at")), **row) for row in rows
    )


def datasets(cursor: Cursor) -> tuple[DatasetVersion, ...]:
    rows = records(cursor, "SELECT * FROM datasets ORDER BY created_at DESC, name")
    return tuple(
        DatasetVersion(counts=json.loads(row.pop("counts")), created_at=aware(row.pop("created_at")), **row)
        for row in rows
    )
