"""RL rows as Parquet: one row a sampled completion, with its exact tokens and behaviour log-probabilities.

Joining `context_ids + token_ids` over the rows of a trial, in order, gives the sequence that the policy saw. The
first row of an episode carries its record (`episodes.py`) without those numbers, so that the file imports back whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue, ValidationError

from data.formats.entry import About, Dropped, Entry, FileFormat, Found, Head
from data.formats.episodes import line
from data.formats.records import MISSING, Row, read_record
from data.formats.source import rows_of
from data.types import Completion, Episode, Reflection, Turn

BATCH = 512
SCHEMA = pa.schema(
    [
        ("episode_id", pa.string()),
        ("task_id", pa.string()),
        ("env", pa.string()),
        ("role", pa.string()),
        ("trial", pa.int32()),
        ("turn", pa.int32()),
        ("policy", pa.string()),
        ("text", pa.string()),
        ("context_ids", pa.list_(pa.int32())),
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("temperature", pa.float64()),
        ("finish_reason", pa.string()),
        ("author", pa.string()),
        ("is_valid", pa.bool_()),
        ("reward", pa.float64()),
        ("reward_before", pa.float64()),
        ("success", pa.bool_()),
        ("stop_reason", pa.string()),
        ("annotators", pa.list_(pa.string())),
        ("record", pa.string()),
    ]
)
TOKENS = ("context_ids", "token_ids", "logprobs")
Part = TypeVar("Part", Turn, Reflection)
Place = tuple[str, str, str]
"""Role, trial and turn, as text; the turn of a reflection is 0."""


def write(entries: Iterable[Entry], path: Path, about: About) -> int:
    """Rows of the completions that have token ids; returns how many there are."""
    schema = SCHEMA.with_metadata({key: str(value or "") for key, value in about.model_dump().items()})
    rows = (row for entry in entries for row in _entry_rows(entry, about))
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        while batch := list(islice(rows, BATCH)):
            file.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def _entry_rows(entry: Entry, about: About) -> Iterator[Row]:
    """Every row of an episode, with the people who said something of it; the first with the record."""
    annotators = sorted({label.annotator for label in entry.labels})
    for number, row in enumerate(episode_rows(entry.episode)):
        record = None if number else line(replace(entry, episode=_with_tokens(entry.episode, _no_tokens)), about)
        yield {**row, "annotators": annotators, "record": record}


def episode_rows(episode: Episode) -> Iterator[Row]:
    """`reward`: planner rows have the trial's; reflector rows the next trial's, and the last one's before."""
    outcomes = {trial.index: trial for trial in episode.trials if trial.stop_reason is not None}
    for trial in episode.trials:
        for turn in trial.turns:
            if turn.completion is not None and turn.completion.token_ids is not None:
                yield {
                    **_completion(episode, turn.completion),
                    "role": "planner",
                    "trial": trial.index,
                    "turn": turn.index,
                    "author": turn.author if turn.edited_from is None else "human",
                    "is_valid": turn.is_valid and not turn.is_malformed,
                    "reward": trial.reward,
                    "success": trial.success,
                    "stop_reason": trial.stop_reason,
                }
    for reflection in episode.reflections:
        if reflection.completion is not None and reflection.completion.token_ids is not None:
            before, after = outcomes.get(reflection.after_trial), outcomes.get(reflection.after_trial + 1)
            yield {
                **_completion(episode, reflection.completion),
                "role": "reflector",
                "trial": reflection.after_trial,
                "turn": 0,
                "author": reflection.author if reflection.edited_from is None else "human",
                "is_valid": bool(reflection.text.strip()),
                "reward": after.reward if after else None,
                "reward_before": before.reward if before else None,
                "success": after.success if after else None,
                "stop_reason": after.stop_reason if after else None,
            }


def _completion(episode: Episode, completion: Completion) -> dict[str, Any]:
    return {
        "episode_id": episode.id,
        "task_id": episode.task.id,
        "env": episode.task.env,
        "policy": completion.policy,
        "text": completion.text,
        "context_ids": completion.context_ids,
        "token_ids": completion.token_ids,
        "logprobs": completion.logprobs,
        "temperature": completion.temperature,
        "finish_reason": completion.finish_reason,
    }


def detect(head: Head) -> bool:
    return head.first.keys() >= {"episode_id", "role", "trial", "turn", "token_ids"}


def read(path: Path) -> Iterator[Found]:
    """The episodes, each from its record and the tokens of its rows, which stand together."""
    for _, group in groupby(rows_of(path), key=_episode_id):
        rows = list(group)
        number, first = rows[0]
        record = first.get("record") if isinstance(first, dict) else None
        found = read_record(number, record) if isinstance(record, str) else Dropped(number, MISSING)
        if isinstance(found, Entry):
            found = _filled(found, {_place(row): row for _, row in rows if isinstance(row, dict)}, len(rows))
        if isinstance(found, Entry):
            yield found
        else:
            yield from (row if isinstance(row, Dropped) else replace(found, row=number) for number, row in rows)


def _filled(entry: Entry, rows: Mapping[Place, Row], count: int) -> Found:
    """With the tokens of the rows in their places."""

    def fill(place: Place, completion: Completion) -> Completion:
        if place not in rows:
            return completion
        tokens = {key: rows[place].get(key) for key in TOKENS}
        return Completion.model_validate({**completion.model_dump(), **tokens})

    try:
        return replace(entry, episode=_with_tokens(entry.episode, fill), rows=count)
    except ValidationError as error:
        return Dropped(entry.row, "the tokens of a row are no lists of numbers", error.errors()[0]["msg"])


def _episode_id(item: tuple[int, JsonValue | Dropped]) -> str:
    return str(item[1].get("episode_id")) if isinstance(item[1], dict) else ""


def _place(row: Mapping[str, Any]) -> Place:
    return str(row.get("role")), str(row.get("trial")), str(row.get("turn"))


def _no_tokens(_: Place, completion: Completion) -> Completion:
    """What a record keeps of a completion that has a row: its tokens are there."""
    return completion if completion.token_ids is None else completion.model_copy(update=dict.fromkeys(TOKENS))


def _with_tokens(episode: Episode, change: Callable[[Place, Completion], Completion]) -> Episode:
    """The episode with every completion changed."""

    def changed(one: Part, *place: object) -> Part:
        if one.completion is None:
            return one
        role, trial, turn = map(str, place)
        return one.model_copy(update={"completion": change((role, trial, turn), one.completion)})

    trials = tuple(
        trial.model_copy(
            update={"turns": tuple(changed(turn, "planner", trial.index, turn.index) for turn in trial.turns)}
        )
        for trial in episode.trials
    )
    reflections = tuple(changed(one, "reflector", one.after_trial, 0) for one in episode.reflections)
    return episode.model_copy(update={"trials": trials, "reflections": reflections})


FORMAT = FileFormat("rl", "RL rows of ours with tokens and log-probabilities (Parquet)", detect, read)
