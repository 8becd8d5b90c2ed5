"""What stands behind a point of a training curve: the samples of that optimiser step, and their episodes."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

from data.errors import UnknownName
from data.store import Store
from data.types import Noun
from retro_dash.run_folder import RunFolder

_METRIC = re.compile(r"(?:iteration(\d+)/)?(planner|reflector|both)/.+")
_SAMPLE = re.compile(r"(.+)/(trial|reflection)/(\d+)")
_OWN_EPISODE = re.compile(r"/(reflection-\d+-\w+|turn-\d+-\d+-rewrite)$")
_FIRST_ID = re.compile(r'\{"id":\s*("(?:[^"\\]|\\.)*")')


class StepSample(Noun):
    """One trial or reflection that a step learned from."""

    part: str
    """`trial` or `reflection`."""
    number: int
    """The trial, or the trial before the reflection."""
    episode_id: str
    """The stored episode; a rewrite or a verdict of a part belongs to the episode that it was said of."""
    task_id: str
    instruction: str
    solved: bool | None


def samples_of_step(folder: RunFolder, store: Store, metric: str, step: int) -> list[StepSample]:
    """The samples of a step (from 1) of the job that logged `metric`; none where no plan was noted or it ends before.

    A sample that the step holds twice is there once.
    """
    ids = _ids(folder, metric, step)
    found = [(match[1], match[2], int(match[3])) for id_ in dict.fromkeys(ids) if (match := _SAMPLE.fullmatch(id_))]
    frozen = _frozen(folder.dataset, {episode for episode, _, _ in found})
    return [_sample(episode, part, number, frozen, store) for episode, part, number in found]


def _ids(folder: RunFolder, metric: str, step: int) -> list[str]:
    match = _METRIC.fullmatch(metric)
    if match is None:
        return []
    place = folder.path / f"iteration-{match[1]}" if match[1] else folder.path
    for job in ("both", match[2]):
        try:
            plan = json.loads((place / "plan" / f"{job}.json").read_text(encoding="utf-8"))
            return [plan["samples"][i] for i in plan["steps"][step - 1]] if step > 0 else []
        except (OSError, ValueError, LookupError):
            continue
    return []


def _frozen(dataset: Path, wanted: Collection[str]) -> dict[str, tuple[str, str, bool]]:
    """Task, instruction and outcome of some episodes of the run's frozen dataset."""
    found: dict[str, tuple[str, str, bool]] = {}
    with dataset.open(encoding="utf-8") as lines:
        for line in lines:
            first = _FIRST_ID.match(line)  # Tokens make lines long, and most of them are not asked for.
            if first is not None and json.loads(first[1]) in wanted:
                episode = json.loads(line)
                task, solved = episode["task"], any(trial["success"] for trial in episode["trials"])
                found[episode["id"]] = (task["id"], task["instruction"], solved)
    return found


def _sample(
    episode_id: str, part: str, number: int, frozen: dict[str, tuple[str, str, bool]], store: Store
) -> StepSample:
    own = _OWN_EPISODE.sub("", episode_id)
    task, instruction, solved = frozen.get(episode_id) or _stored(store, own)
    return StepSample(
        part=part, number=number, episode_id=own, task_id=task, instruction=instruction[:240], solved=solved
    )


def _stored(store: Store, episode_id: str) -> tuple[str, str, bool | None]:
    """What exploration played is in the store and not in the dataset."""
    try:
        episode = store.episode(episode_id)
    except UnknownName:
        return "", "", None
    return episode.task.id, episode.task.instruction, any(trial.success for trial in episode.trials)
