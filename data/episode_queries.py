"""Questions about single episodes: whole, in windows of turns, and in the small tallies kept of each.

Each function takes a cursor of its own and reads its result to the end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from data.cells import aware
from data.cursor import Cursor, Record, among, column, records
from data.errors import UnknownName
from data.tally import Tally
from data.types import Completion, Episode, Reflection, Task, Trial, Turn

TOKENS = ("context_ids", "token_ids", "logprobs")


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


def tallies(cursor: Cursor, ids: Sequence[str]) -> dict[str, Tally]:
    if not ids:
        return {}
    condition, parameters = among("id", ids)
    rows = records(cursor, f"SELECT id, number, state, tally FROM episodes WHERE {condition}", parameters)  # noqa: S608
    return {row["id"]: _tally(row) for row in rows}


def _tally(row: Record) -> Tally:
    return Tally.load(row["number"], row["state"], row["tally"])


def gains(cursor: Cursor, ids: Sequence[str]) -> dict[tuple[str, int], float | None]:
    """By episode and trial, what the reflection after it gained; None where that is not known yet."""
    found = tallies(cursor, ids)
    return {(id_, trial): gain for id_, tally in found.items() for trial, gain in tally.gains.items()}
