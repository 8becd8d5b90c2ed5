"""Reflexion's and Retroformer's ALFWorld runs: a folder of `env_results_trial_N.json`, N from 0.

Each file lists every room with its memory so far and whether it is solved by now: outcomes and reflections, no turns.
A reflection that is new in file N followed trial N + 1. A single file is read too: each memory then means one failed
trial.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from data.errors import BadFile
from data.formats.entry import Dropped, Entry, FileFormat, Found, Head, content_id, excerpt, file_time
from data.formats.source import rows_of
from data.types import Episode, EpisodeState, Reflection, StopReason, Task, Trial

NAME = re.compile(r"env_results_trial_(\d+)\.json")
NO_TURNS = "outcomes and reflections only: the log holds no turns"
UNSEEN = "The source holds this trial's outcome, not its turns."
Files = dict[int, dict[str, dict[str, Any]]]


def detect(head: Head) -> bool:
    if head.names:
        return any(NAME.fullmatch(name) for name in head.names)
    return {"name", "memory", "is_success"} <= head.first.keys()


def read(path: Path) -> Iterator[Found]:
    """One episode a room."""
    files: Files = {}
    for number, file in _files(path):
        files[number] = {}
        for place, row in rows_of(file):
            if isinstance(row, Dropped):
                yield row
            elif not _is_room(row):
                yield Dropped(place, "the row is not a room with name, memory and is_success", excerpt(row))
            elif isinstance(row, dict):
                files[number][str(row["name"])] = row
    rooms = list(dict.fromkeys(name for rows in files.values() for name in rows))
    at = file_time(path)
    for place, name in enumerate(rooms, 1):
        yield _room(name, place, files, is_folder=path.is_dir(), run=path.name if path.is_dir() else "", at=at)


def _files(path: Path) -> list[tuple[int, Path]]:
    if not path.is_dir():
        return [(0, path)]
    found = [(int(match[1]), child) for child in path.iterdir() if (match := NAME.fullmatch(child.name))]
    if not found:
        raise BadFile(f"{path} holds no env_results_trial_N.json. Name the folder of one run.")
    if any(child.is_symlink() or not child.is_file() for _, child in found):
        raise BadFile(f"{path} holds a link among its env_results files. Give the files themselves.")
    return sorted(found)


def _is_room(row: JsonValue) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("is_success"), bool):
        return False
    memory = row.get("memory")
    return isinstance(memory, list) and all(isinstance(text, str) for text in memory) and "name" in row


def _room(name: str, place: int, files: Files, is_folder: bool, run: str, at: datetime) -> Entry:
    history = [rows[name] for _, rows in sorted(files.items()) if name in rows]
    outcomes, texts = _from_folder(history) if is_folder else _from_one(history[0])
    trials = [_trial(index, success, at) for index, success in enumerate(outcomes, 1)]
    reflections = [
        Reflection(
            after_trial=index,
            text=text,
            author="reflector",
            gain=trials[index].reward - trials[index - 1].reward if index < len(trials) else None,
            created_at=at,
        )
        for index, text in sorted(texts.items())
    ]
    content: JsonValue = [run, name, list(outcomes), [[index, text] for index, text in sorted(texts.items())]]
    episode = Episode(
        id=content_id("reflexion_alfworld", content),
        task=Task(id=f"alfworld-reflexion-{name}", env="alfworld", split="valid_unseen", instruction=f"Room {name}."),
        planner="reflexion",
        reflector="reflexion",
        trial_limit=len(trials),
        trials=tuple(trials),
        reflections=tuple(reflections),
        state=EpisodeState.SOLVED if trials[-1].success else EpisodeState.FAILED,
        run_id="import",
        source="reflexion_alfworld",
        created_at=at,
    )
    return Entry(episode, row=place, rows=len(history), notes=(NO_TURNS,))


def _from_folder(history: list[dict[str, Any]]) -> tuple[list[bool], Mapping[int, str]]:
    """Outcome of each trial up to the first success, and the reflections by the trial that they follow."""
    outcomes: list[bool] = []
    texts: dict[int, str] = {}
    known = 0
    for index, row in enumerate(history, 1):
        outcomes.append(row["is_success"])
        if row["is_success"]:
            break
        if len(row["memory"]) > known:
            texts[index] = "\n\n".join(row["memory"][known:])
            known = len(row["memory"])
    return outcomes, texts


def _from_one(row: dict[str, Any]) -> tuple[list[bool], Mapping[int, str]]:
    failed = [False] * len(row["memory"])
    outcomes = [*failed, True] if row["is_success"] else failed or [False]
    return outcomes, dict(enumerate(row["memory"], 1))


def _trial(index: int, success: bool, at: datetime) -> Trial:
    return Trial(
        index=index,
        prompt="",
        opening="",
        reward=float(success),
        success=success,
        stop_reason=StopReason.SOLVED if success else StopReason.FAILED,
        error=UNSEEN,
        started_at=at,
        finished_at=at,
    )


FORMAT = FileFormat("reflexion_alfworld", "Reflexion's ALFWorld results (folder or JSON)", detect, read)
