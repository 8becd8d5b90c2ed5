"""Every question that the store answers: SQL with bound parameters in, nouns and rows out.

Each function takes a cursor of its own and reads its result to the end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from data.errors import BadInput, UnknownName
from data.projection import Names, Stored, Tally
from data.rows import MetricSeries, StoredEvent
from data.types import (
    Adapter,
    Completion,
    DatasetVersion,
    Episode,
    Label,
    LabelTarget,
    MetricPoint,
    Reflection,
    Run,
    Task,
    Trial,
    Turn,
)

Record = dict[str, Any]
Parameters = Sequence[Any] | dict[str, Any]

TOKENS = ("context_ids", "token_ids", "logprobs")


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


# What the projection has to know ------------------------------------------------------------------------------------


def stored_seqs(cursor: Cursor, runs: dict[str, tuple[int, int]]) -> set[tuple[str, int]]:
    """Which events of each run are there, between its lowest and highest sequence number asked for."""
    seqs: set[tuple[str, int]] = set()
    for run_id, bounds in runs.items():
        found = column(cursor, "SELECT seq FROM events WHERE run_id = ? AND seq BETWEEN ? AND ?", [run_id, *bounds])
        seqs.update((run_id, seq) for seq in found)
    return seqs


def stored(cursor: Cursor, names: Names) -> Stored:
    """What the store holds of a batch's names."""
    return Stored(
        seqs=stored_seqs(cursor, names.seqs),
        tallies=tallies(cursor, sorted(names.episodes)),
        runs=known(cursor, "runs", "id", sorted(names.runs)),
        labels=label_roots(cursor, sorted(names.labels)),
        adapters=known(cursor, "adapters", "name", sorted(names.adapters)),
        datasets=known(cursor, "datasets", "hash", sorted(names.datasets)),
    )


def tallies(cursor: Cursor, ids: Sequence[str]) -> dict[str, Tally]:
    sql = "SELECT id, number, state, tally FROM episodes WHERE id IN (SELECT unnest(?::VARCHAR[]))"
    if len(ids) == 1:
        sql = "SELECT id, number, state, tally FROM episodes WHERE id = ?"
        return {row["id"]: _tally(row) for row in records(cursor, sql, ids)}
    return {row["id"]: _tally(row) for row in records(cursor, sql, [list(ids)])} if ids else {}


def _tally(row: Record) -> Tally:
    return Tally.load(row["number"], row["state"], row["tally"])


def known(cursor: Cursor, table: str, key: str, names: Sequence[str]) -> set[str]:
    """Which of `names` are in a table's key column. Table and column are literals of this package."""
    if not names:
        return set()
    sql = f"SELECT {key} FROM {table} WHERE {key} IN (SELECT unnest(?::VARCHAR[]))"  # noqa: S608
    return set(column(cursor, sql, [list(names)]))


def label_roots(cursor: Cursor, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    if not ids:
        return {}
    sql = "SELECT id, root, effect FROM labels WHERE id IN (SELECT unnest(?::VARCHAR[]))"
    return {row["id"]: (row["root"], row["effect"]) for row in records(cursor, sql, [list(ids)])}


# Episodes -----------------------------------------------------------------------------------------------------------


def episode(cursor: Cursor, id_: str, with_tokens: bool) -> Episode:
    found = records(cursor, "SELECT * EXCLUDE (tally) FROM episodes WHERE id = ?", [id_])
    if not found:
        raise UnknownName("episode", id_)
    row = found[0]
    number = row["number"]
    turns: dict[int, list[Turn]] = {}
    for turn in _turn_records(cursor, number, with_tokens):
        turns.setdefault(turn["trial"], []).append(_turn(turn))
    trials = records(cursor, "SELECT * EXCLUDE (episode) FROM trials WHERE episode = ? ORDER BY trial", [number])
    return Episode(
        id=row["id"],
        task=_task(row),
        planner=row["planner"],
        reflector=row["reflector"],
        strategy=row["strategy"],
        trial_limit=row["trial_limit"],
        temperature=row["temperature"],
        seed=row["seed"],
        options=json.loads(row["options"]),
        trials=tuple(_trial(trial, turns.get(trial["trial"], [])) for trial in trials),
        reflections=_reflections(cursor, number, with_tokens),
        state=row["state"],
        parent_id=row["parent_id"],
        fork_trial=row["fork_trial"],
        fork_turn=row["fork_turn"],
        run_id=row["run_id"],
        source=row["source"],
        created_at=aware(row["created_at"]),
    )


def parts(cursor: Cursor, id_: str) -> frozenset[tuple[str, int | None, int | None]]:
    """What an episode consists of, from what is kept of it for the list: its texts are not read."""
    tally = tallies(cursor, [id_]).get(id_)
    if tally is None:
        raise UnknownName("episode", id_)
    found: set[tuple[str, int | None, int | None]] = {("episode", None, None)}
    for index, trial in tally.trials.items():
        found.add(("trial", index, None))
        numbers: Sequence[int] = range(1, trial.last_turn + 1)
        if trial.turns != trial.last_turn:  # Some numbers are left out.
            numbers = column(cursor, "SELECT turn FROM turns WHERE episode = ? AND trial = ?", [tally.number, index])
        found.update(("turn", index, number) for number in numbers)
    found.update(("reflection", after_trial, None) for after_trial in tally.gains)
    return frozenset(found)


def turns(cursor: Cursor, id_: str, trial: int, start: int, stop: int | None, with_tokens: bool) -> tuple[Turn, ...]:
    numbers = column(cursor, "SELECT number FROM episodes WHERE id = ?", [id_])
    if not numbers:
        raise UnknownName("episode", id_)
    window = (trial, start, stop if stop is not None else 2**31 - 1)
    return tuple(_turn(row) for row in _turn_records(cursor, numbers[0], with_tokens, window))


def _turn_records(
    cursor: Cursor, number: int, with_tokens: bool, window: tuple[int, int, int] | None = None
) -> list[Record]:
    """Turns of an episode; `window` is a trial, its first turn and the turn to stop before."""
    left_out = "episode" if with_tokens else "episode, context_ids, token_ids, logprobs"
    where = " AND trial = ? AND turn >= ? AND turn < ?" if window else ""
    sql = f"SELECT * EXCLUDE ({left_out}) FROM turns WHERE episode = ?{where} ORDER BY trial, turn"  # noqa: S608
    return records(cursor, sql, [number, *(window or ())])


def _task(row: Record) -> Task:
    return Task(
        id=row["task_id"],
        env=row["env"],
        split=row["split"],
        instruction=row["instruction"],
        turn_limit=row["turn_limit"],
        metadata=json.loads(row["task_metadata"]),
    )


def _trial(row: Record, turns: Sequence[Turn]) -> Trial:
    index = row.pop("trial")
    times = {name: aware(row.pop(name)) for name in ("started_at", "finished_at")}
    return Trial(index=index, turns=tuple(turns), view=_json(row.pop("view")), **times, **row)


def _turn(row: Record) -> Turn:
    index = row.pop("turn")
    del row["trial"]
    return Turn(index=index, view=_json(row.pop("view")), completion=_completion(row), **row)


def _reflections(cursor: Cursor, number: int, with_tokens: bool) -> tuple[Reflection, ...]:
    left_out = "episode, position" if with_tokens else "episode, position, context_ids, token_ids, logprobs"
    rows = records(
        cursor,
        f"""SELECT * EXCLUDE ({left_out}) FROM reflections WHERE episode = ?
        QUALIFY row_number() OVER (PARTITION BY after_trial ORDER BY position DESC) = 1
        ORDER BY after_trial""",  # noqa: S608
        [number],
    )
    return tuple(
        Reflection(created_at=aware(row.pop("created_at")), completion=_completion(row), **row) for row in rows
    )


def _completion(row: Record) -> Completion | None:
    """Take the completion's columns out of a row."""
    tokens = {name: row.pop(name, None) for name in TOKENS}
    text, seconds = row.pop("completion"), row.pop("completion_seconds")
    rest = {name: row.pop(name) for name in ("policy", "finish_reason", "temperature")}
    return None if text is None else Completion(text=text, seconds=seconds, **rest, **tokens)


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def aware(time: datetime | None) -> Any:
    return time if time is None else time.replace(tzinfo=UTC)


# Labels, runs, metrics, adapters, datasets --------------------------------------------------------------------------


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


def _label(row: Record) -> Label:
    target = LabelTarget(**{name: row[name] for name in ("episode_id", "part", "trial", "turn")})
    rest = {name: row[name] for name in ("id", "name", "annotator", "undoes")}
    return Label(target=target, value=json.loads(row["value"]), at=aware(row["made_at"]), **rest)


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


# Following ----------------------------------------------------------------------------------------------------------


def events_since(
    cursor: Cursor, position: int, run_id: str | None, episode_id: str | None, limit: int
) -> tuple[StoredEvent, ...]:
    rows = records(
        cursor,
        """SELECT * FROM events WHERE position > $position AND ($run IS NULL OR run_id = $run)
        AND ($episode IS NULL OR episode_id = $episode) ORDER BY position LIMIT $limit""",
        {"position": position, "run": run_id, "episode": episode_id, "limit": limit},
    )
    return tuple(StoredEvent(at=aware(row.pop("happened_at")), **row) for row in rows)


def last_seq(cursor: Cursor, run_id: str) -> int | None:
    return column(cursor, "SELECT max(seq) FROM events WHERE run_id = ?", [run_id])[0]  # type: ignore[no-any-return]


def last_position(cursor: Cursor) -> int:
    return column(cursor, "SELECT coalesce(max(position), 0) FROM events")[0]  # type: ignore[no-any-return]
