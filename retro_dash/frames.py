"""Rows of the episode list, and curves, as tables of pandas and Arrow, for notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from data.rows import EpisodeRow, MetricSeries

if TYPE_CHECKING:
    import pandas
    import pyarrow

COLUMNS = (
    *(name for name in EpisodeRow.model_fields if name not in ("trials", "created_at")),
    "rewards",
    "created_at",
)
KINDS = {"success": "bool", "turn_count": "int64", "first_reward": "double", "last_reward": "double"}
KINDS |= {"best_gain": "double"}


def to_pandas(rows: Iterable[EpisodeRow]) -> pandas.DataFrame:
    """One row an episode, with `rewards` (one a trial) and `labels` in lists."""
    import pandas  # Half a second that only notebooks pay.

    return pandas.DataFrame([_fields(row) for row in rows], columns=list(COLUMNS))


def to_arrow(rows: Iterable[EpisodeRow]) -> pyarrow.Table:
    """The same as an Arrow table, with one schema however few rows there are; the values of labels are JSON texts."""
    import pyarrow

    label = pyarrow.struct([(name, pyarrow.string()) for name in ("name", "value", "annotator")])
    kinds = {
        "labels": pyarrow.list_(label),
        "rewards": pyarrow.list_(pyarrow.float64()),
        "created_at": pyarrow.timestamp("us", tz="UTC"),
        **{name: pyarrow.type_for_alias(kind) for name, kind in KINDS.items()},
    }
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in COLUMNS])
    return pyarrow.Table.from_pylist([_with_json(_fields(row)) for row in rows], schema=schema)


def curves_to_pandas(series: Iterable[MetricSeries]) -> pandas.DataFrame:
    """One row a point: `name`, `step`, `value`, `at`."""
    import pandas

    rows = [
        {"name": one.name, **point.model_dump(include={"step", "value", "at"})}
        for one in series
        for point in one.points
    ]
    return pandas.DataFrame(rows, columns=["name", "step", "value", "at"])


def _fields(row: EpisodeRow) -> dict[str, Any]:
    fields = row.model_dump(mode="json", exclude={"trials", "created_at"})
    return {**fields, "rewards": [trial.reward for trial in row.trials], "created_at": row.created_at}


def _with_json(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "labels": [{**label, "value": json.dumps(label["value"])} for label in fields["labels"]]}
