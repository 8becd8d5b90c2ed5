"""Runs as a list shows them: how far, how long yet, one small curve; and what a run came from and led to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from data.errors import BadFile
from data.rows import MetricSeries
from data.store import Store
from data.types import Noun, Run, RunState
from retro_dash.jobs import ENDED, Jobs
from retro_dash.run_folder import RunFolder

SPARK_POINTS = 32
BACKGROUND = ("collect", "train", "evaluate")


class RunRow(Noun):
    """One line of the list."""

    run: Run
    about: str
    """Method or environment, in two or three words."""
    position: int | None
    """Place in the queue, from 0."""
    done: int | None
    """Episodes that are finished; None for a run that plays none."""
    total: int | None
    eta_seconds: float | None
    eta_of: str
    """The part that the estimate is about, where it is not the whole run."""
    spark_name: str
    spark: tuple[float, ...]


class RunPage(NamedTuple):
    """Some lines of the list."""

    rows: list[RunRow]
    next_cursor: str | None
    """The run behind which the next page begins; None on the last one."""


class Lineage(Noun):
    """Filter, dataset, adapters that play, run, adapters that it made, their evaluations: one row of links."""

    filter: str | None
    """Of the run, or of the frozen dataset that it was given."""
    split: str | None
    dataset_hash: str | None
    dataset_name: str | None
    """Where it was given a frozen dataset."""
    items: int
    """Episodes or tasks in the dataset."""
    parent: Run | None
    """The run that it goes on from."""
    plays: tuple[str, ...]
    """Adapters that it plays with."""
    run: Run
    adapters: tuple[str, ...]
    """Adapters that it made."""
    evaluations: tuple[Run, ...]
    """What was played with those."""


class RunList:
    """Reads runs for people. Ended ones are read once."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store, self._jobs = store, jobs
        self._ended: dict[str, RunRow] = {}

    def page(self, kinds: Sequence[str] = BACKGROUND, after: str | None = None, limit: int = 100) -> RunPage:
        """Waiting runs in the order of the queue, then the others, newest first.

        All that have not ended, with the newest `limit` that have; behind the run `after` only such as have ended.
        Raises BadInput when there is no run `after`.
        """
        going = self._store.runs(kinds, tuple(set(RunState) - ENDED)) if after is None else ()
        ended = self._store.runs(kinds, tuple(ENDED), after=after, limit=limit + 1)
        cursor = ended[limit - 1].id if len(ended) > limit else None
        queue = self._jobs.queue()
        # One that ended between the two questions is in both answers.
        newest = sorted({run.id: run for run in (*going, *ended[:limit])}.values(), key=lambda run: run.id)
        newest.sort(key=lambda run: run.created_at, reverse=True)
        rows = [self._row(run, queue) for run in newest]
        return RunPage(sorted(rows, key=lambda row: (row.position is None, row.position or 0)), cursor)

    def lineage(self, run_id: str) -> Lineage:
        """Raises UnknownName."""
        run = self._store.run(run_id)
        folder = self._jobs.folder(run_id)
        source = folder.source()
        adapters = tuple(a.name for a in self._store.adapters() if a.run_id == run_id)
        evaluations = self._store.runs(kinds=("evaluate",))
        given = run.config.get("adapters")
        frozen = next((one for one in self._store.datasets() if one.hash == source.get("dataset")), None)
        return Lineage(
            filter=_text(frozen.filter if frozen else source.get("filter")),
            split=_text(source.get("split")),
            dataset_hash=frozen.hash if frozen else run.dataset_hash,
            dataset_name=frozen.name if frozen else None,
            items=_lines(folder.dataset),
            parent=self._store.run(run.parent_id) if run.parent_id else None,
            plays=tuple(given) if isinstance(given, dict) else (),
            run=run,
            adapters=adapters,
            evaluations=tuple(one for one in evaluations if set(adapters) & players(one)),
        )

    def _row(self, run: Run, queue: list[str]) -> RunRow:
        known = self._ended.get(run.id)
        if known is not None and known.run == run:
            return known
        folder = self._jobs.folder(run.id)
        done = total = None
        eta, eta_of = None, ""
        spark = _spark(self._store.metrics(run.id, max_points=SPARK_POINTS))
        if run.kind != "train":
            done = self._store.episode_rows(f"run:{run.id} -outcome:running", limit=1).total
            total = _lines(folder.dataset) * _repeats(run)
        if run.state in (RunState.RUNNING, RunState.STALLED):
            eta, eta_of = self._eta(run, done, total)
        row = RunRow(
            run=run,
            about=about(run),
            position=queue.index(run.id) if run.id in queue else None,
            done=done,
            total=total,
            eta_seconds=eta,
            eta_of=eta_of,
            spark_name=spark.name if spark else "",
            spark=tuple(point.value for point in spark.points) if spark else (),
        )
        if run.state in ENDED:
            self._ended[run.id] = row
        return row

    def _eta(self, run: Run, done: int | None, total: int | None) -> tuple[float | None, str]:
        """Seconds to go: what the trainer says of its current job, or the pace of the finished episodes."""
        if run.kind == "train":
            parts = [s for s in self._store.metrics(run.id, max_points=4) if s.name.endswith("/eta_seconds")]
            newest = max(parts, key=lambda series: series.points[-1].at, default=None)
            return (newest.points[-1].value, newest.name.rsplit("/", 1)[0]) if newest else (None, "")
        if not done or not total or run.started_at is None:
            return None, ""
        passed = (datetime.now(UTC) - run.started_at).total_seconds()
        return max(0.0, passed / done * (total - done)), ""


def about(run: Run) -> str:
    """What a run is, in two or three words of its config."""
    config = run.config
    if run.kind == "train":
        train = config.get("train")
        return " ".join(str(train.get(key, "")) for key in ("method", "preset")) if isinstance(train, dict) else ""
    arms = config.get("arms")
    return f"{config.get('env', '')}" + (f", {len(arms)} arms" if isinstance(arms, list) else "")


def players(run: Run) -> set[str]:
    """Planners and reflectors of an evaluation."""
    arms = run.config.get("arms")
    found = [arm for arm in arms if isinstance(arm, dict)] if isinstance(arms, list) else []
    return {str(arm.get(role)) for arm in found for role in ("planner", "reflector")}


def dataset_items(folder: RunFolder, start: int, limit: int) -> list[dict[str, JsonValue]]:
    """`limit` items of a run's frozen dataset from number `start` (from 0) on, as small as a list needs them.

    Raises BadFile for a line that is neither an episode nor a task.
    """
    if not folder.dataset.is_file():
        return []
    items: list[dict[str, JsonValue]] = []
    with folder.dataset.open(encoding="utf-8") as file:
        for number, line in enumerate(islice(file, start, start + limit), start + 1):
            try:
                items.append(_dataset_item(json.loads(line)))
            except (ValueError, LookupError, TypeError) as error:
                raise BadFile(f"{folder.dataset} is damaged: line {number} is neither episode nor task.") from error
    return items


def _dataset_item(item: dict[str, Any]) -> dict[str, JsonValue]:
    task = item.get("task", item)
    is_episode = "task" in item
    return {
        "episode_id": item["id"] if is_episode else None,
        "task_id": task["id"],
        "env": task["env"],
        "split": task["split"],
        "instruction": task["instruction"][:240],
        "solved": any(trial["success"] for trial in item["trials"]) if is_episode else None,
    }


def _spark(series: tuple[MetricSeries, ...]) -> MetricSeries | None:
    """The curve that tells most: success, else a loss."""
    for end in ("/solved", "/rl_loss", "/il_loss", "loss"):
        for one in series:
            if one.name.endswith(end) and one.total > 1 and any(point.value for point in one.points):
                return one
    return None


def _repeats(run: Run) -> int:
    """How often every task of the dataset is played."""
    arms, seeds = run.config.get("arms"), run.config.get("seeds")
    return (len(arms) if isinstance(arms, list) else 1) * (len(seeds) if isinstance(seeds, list) else 1)


@lru_cache(maxsize=1024)
def _lines(path: Path) -> int:
    """Lines of a dataset, which is frozen."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and value else None
