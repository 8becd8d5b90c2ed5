"""Reflexion's and Retroformer's ALFWorld runs: a folder of `env_results_trial_N.json` and `trial_N.log`, N from 0.

A results file lists every room with its memory so far and whether it is solved by now: outcomes and reflections. A
reflection that is new in file N followed trial N + 1. The log of the same number holds the turns of the same rooms;
where it is missing, so are the turns. A single file is read too: of results, each memory then means one failed trial;
of a log, each room is one trial.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from data.errors import BadFile
from data.formats.entry import Dropped, Entry, FileFormat, Found, Head, content_id, excerpt, file_time
from data.formats.reflexion_text import ALFWORLD, AlfworldBlock, alfworld_blocks
from data.formats.source import look_at, rows_of
from data.formats.transcripts import command_turns
from data.types import Episode, EpisodeState, Reflection, StopReason, Task, Trial

NAME = re.compile(r"env_results_trial_(\d+)\.json")
LOG = "trial_{}.log"
ROOM = re.compile(r"env_(\d+)")
TASK = re.compile(r"^Your task is to: (.*)$", re.MULTILINE)
NO_TURNS = "outcomes and reflections only: the log holds no turns"
UNSEEN = "The source holds this trial's outcome, not its turns."
Room = dict[str, Any]
Blocks = Mapping[int, Mapping[int, AlfworldBlock]]
"""What the logs hold, by the number of the log and of the room."""


def detect(head: Head) -> bool:
    if head.names:
        return any(NAME.fullmatch(name) for name in head.names)
    return {"name", "memory", "is_success"} <= head.first.keys() or _is_log(head)


def _is_log(head: Head) -> bool:
    return ALFWORLD.search(head.start) is not None


def read(path: Path) -> Iterator[Found]:
    """One episode a room."""
    at = file_time(path)
    if path.is_file() and _is_log(look_at(path)):
        yield from _lone_log(path, at)
        return
    files: dict[int, dict[str, Room]] = {}
    logs: dict[int, dict[int, AlfworldBlock]] = {}
    for number, file in _files(path):
        files[number], logs[number] = {}, {}
        for place, row in rows_of(file):
            if isinstance(row, Dropped):
                yield row
            elif not _is_room(row):
                yield Dropped(place, "the row is not a room with name, memory and is_success", excerpt(row))
            elif isinstance(row, dict):
                files[number][str(row["name"])] = row
        log = path / LOG.format(number)
        if path.is_dir() and log.is_file() and not log.is_symlink():
            for block in alfworld_blocks(log):
                if isinstance(block, Dropped):
                    yield block
                else:
                    logs[number][block.number] = block
    names = list(dict.fromkeys(name for rows in files.values() for name in rows))
    for place, name in enumerate(names, 1):
        history = {number: rows[name] for number, rows in sorted(files.items()) if name in rows}
        yield _room(name, place, history, logs, path.name if path.is_dir() else None, at)


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


def _room(name: str, place: int, history: Mapping[int, Room], logs: Blocks, run: str | None, at: datetime) -> Entry:
    rows = list(history.values())
    outcomes, texts = _from_one(rows[0]) if run is None else _from_folder(rows)
    room = int(match[1]) if (match := ROOM.fullmatch(name)) else -1
    blocks = [logs[number].get(room) for number in history] if run is not None else [None] * len(outcomes)
    trials = [
        _trial(index, success, block, at)
        for index, (success, block) in enumerate(zip(outcomes, blocks, strict=False), 1)
    ]
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
    content: list[JsonValue] = [
        run or "",
        name,
        list(outcomes),
        [[index, text] for index, text in sorted(texts.items())],
    ]
    played: list[JsonValue] = [block.history for block in blocks if block is not None]
    return Entry(
        _episode(name, [*content, *played], trials, reflections, at),
        row=place,
        rows=len(rows),
        notes=() if all(trial.turns for trial in trials) else (NO_TURNS,),
    )


def _lone_log(path: Path, at: datetime) -> Iterator[Found]:
    """The rooms of one log, a trial each; the reflections stand in no log."""
    for block in alfworld_blocks(path):
        if isinstance(block, Dropped):
            yield block
        elif not block.opening:
            yield Dropped(block.number + 1, "the log only says that an earlier trial solved this room")
        else:
            content: list[JsonValue] = [block.number, block.opening, block.history]
            trials = [_trial(1, block.success, block, at)]
            yield Entry(_episode(f"env_{block.number}", content, trials, [], at), row=block.number + 1)


def _episode(
    name: str, content: list[JsonValue], trials: Sequence[Trial], reflections: Sequence[Reflection], at: datetime
) -> Episode:
    task = next((found[1].strip() for trial in trials if (found := TASK.search(trial.opening))), f"Room {name}.")
    return Episode(
        id=content_id("reflexion_alfworld", content),
        task=Task(id=f"alfworld-reflexion-{name}", env="alfworld", split="valid_unseen", instruction=task),
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


def _from_folder(history: Sequence[Room]) -> tuple[list[bool], Mapping[int, str]]:
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


def _from_one(row: Room) -> tuple[list[bool], Mapping[int, str]]:
    failed = [False] * len(row["memory"])
    outcomes = [*failed, True] if row["is_success"] else failed or [False]
    return outcomes, dict(enumerate(row["memory"], 1))


def _trial(index: int, success: bool, block: AlfworldBlock | None, at: datetime) -> Trial:
    turns = command_turns(block.history) if block is not None else []
    if turns:
        turns[-1] = turns[-1].model_copy(update={"reward": float(success)})
    return Trial(
        index=index,
        prompt="",
        opening=block.opening if block is not None else "",
        turns=tuple(turns),
        reward=float(success),
        success=success,
        stop_reason=StopReason.SOLVED if success else StopReason.FAILED,
        error=None if turns else UNSEEN,
        started_at=at,
        finished_at=at,
    )


FORMAT = FileFormat("reflexion_alfworld", "Reflexion's ALFWorld runs (folder, results or log)", detect, read)
