"""RL rows as Parquet: one row a sampled completion, with its exact tokens and behaviour log-probabilities.

Joining `context_ids + token_ids` over the rows of a trial, in order, gives the sequence that the policy saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.formats.entry import About, Entry
from data.types import Completion, Episode

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
    ]
)


def write(entries: Iterable[Entry], path: Path, about: About) -> int:
    """Rows of the completions that have token ids; returns how many there are."""
    schema = SCHEMA.with_metadata({key: str(value or "") for key, value in about.model_dump().items()})
    rows = (row for entry in entries for row in entry_rows(entry))
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        while batch := list(islice(rows, BATCH)):
            file.write_table(pa.Table.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def entry_rows(entry: Entry) -> Iterator[dict[str, Any]]:
    """Every row of an episode, with the people who said something of it."""
    annotators = sorted({label.annotator for label in entry.labels})
    return ({**row, "annotators": annotators} for row in episode_rows(entry.episode))


def episode_rows(episode: Episode) -> Iterator[dict[str, Any]]:
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
