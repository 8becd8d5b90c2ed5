"""ALFWorld tasks from files: our bundled rooms, rows with a PDDL problem, and the official `json_2.1.x` folders."""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from data.errors import BadFile, UnknownName
from data.types import Task
from envs.base import Options
from envs.household_layout import pddl_problem, read_layout
from envs.household_problem import MAX_CHARACTERS
from envs.task_files import read_json, read_lines

FOLDER = Path(__file__).resolve().parent.parent / "data" / "tasks"
ENVIRONMENT = "alfworld"
SPLITS = ("valid", "train")
_TASK_TEXT = re.compile(r'"Your task is to: (.+?)"')


def task_file(split: str) -> Path:
    """Where the bundled tasks of a split lie."""
    return FOLDER / f"alfworld_{split}.jsonl.gz"


def bundled_tasks(split: str) -> list[Task]:
    """The generated rooms that ship with the program (made by `python -m envs.rooms`)."""
    if split not in SPLITS:
        raise UnknownName("alfworld split", split, SPLITS)
    with gzip.open(task_file(split), "rt", encoding="utf-8") as lines:
        return [Task.model_validate_json(line) for line in lines]


def problem_text(task: Task) -> str:
    """The task's PDDL problem, from whichever form its metadata has; raises BadFile."""
    if "room" in task.metadata:
        return pddl_problem(read_layout(task.metadata["room"]))
    packed, plain = task.metadata.get("pddl_zlib"), task.metadata.get("pddl_problem")
    if isinstance(plain, str):
        return plain
    if not isinstance(packed, str):
        raise BadFile(f"Task {task.id!r} has no game: its metadata needs room, pddl_zlib or pddl_problem.")
    try:
        unpacker = zlib.decompressobj()
        return unpacker.decompress(base64.b64decode(packed, validate=True), MAX_CHARACTERS).decode()
    except (binascii.Error, zlib.error, UnicodeDecodeError) as error:
        raise BadFile(f"The pddl_zlib of task {task.id!r} cannot be unpacked: {error}.") from None


def read_tasks(path: Path, options: Options) -> list[Task]:
    """Tasks from a `.json`, `.jsonl`, `.gz` file of rows, a `game.tw-pddl` file, or a folder with such files.

    A row is a task of ours or `{game_id, split, task_type, task, scene, pddl_problem, solvable, walkthrough}`. Games
    marked unsolvable are left out, as alfworld does. Raises BadFile.
    """
    if path.is_dir():
        games = sorted(path.rglob("game.tw-pddl"))
        if not games:
            raise BadFile(f"{path} holds no game.tw-pddl; give the folder of ALFWorld's json_2.1.x games.")
        rows: Iterator[tuple[str, Any]] = ((str(game), _official_row(game)) for game in games)
    elif path.name == "game.tw-pddl":
        rows = iter([(str(path), _official_row(path))])
    elif path.is_file():
        rows = _rows(path)
    else:
        raise BadFile(f"There is no file or folder {path}.")
    tasks = [task for where, row in rows if (task := _task(row, where)) is not None]
    if not tasks:
        raise BadFile(f"{path} holds no solvable ALFWorld game.")
    return tasks


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(where, row) of a JSON list, a JSON object or JSON lines, gzipped or not."""
    if path.name.removesuffix(".gz").endswith(".json"):
        data = read_json(path)
        for index, row in enumerate(data if isinstance(data, list) else [data], start=1):
            yield f"{path}, item {index}", row
    else:
        for number, row in read_lines(path):
            yield f"{path}, line {number}", row


def _official_row(game: Path) -> dict[str, Any]:
    """One official game folder as a row: the game file, and traj_data.json where it is there."""
    data = _read_object(game)
    trajectory = _read_object(game.with_name("traj_data.json")) if game.with_name("traj_data.json").exists() else {}
    match = _TASK_TEXT.search(str(data.get("grammar", "")))
    if match is None or not isinstance(data.get("pddl_problem"), str):
        raise BadFile(f"{game} is not an ALFWorld game: it needs pddl_problem and a grammar that says the task.")
    trial, name, split = game.parent.name, game.parent.parent.name, game.parent.parent.parent.name
    scene = trajectory.get("scene", {})
    return {
        "game_id": f"{split}/{name}/{trial}",
        "split": split,
        "task": match[1],
        "task_type": trajectory.get("task_type", name.partition("-")[0]),
        "scene": scene.get("scene_num") if isinstance(scene, dict) else None,
        "solvable": data.get("solvable", True),
        "walkthrough": data.get("walkthrough"),
        "pddl_problem": data["pddl_problem"],
    }


def _read_object(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict):
        raise BadFile(f"{path} holds a {type(data).__name__} where an object should be.")
    return data


def _task(row: Any, where: str) -> Task | None:
    """A row as a Task; None for a game marked unsolvable."""
    if not isinstance(row, dict):
        raise BadFile(f"{where}: a {type(row).__name__} where an ALFWorld game should be.")
    if "instruction" in row:
        return _own_task(row, where)
    problem, sentence = row.get("pddl_problem"), row.get("task")
    if not isinstance(problem, str) or not isinstance(sentence, str):
        raise BadFile(f"{where}: an ALFWorld game needs the texts pddl_problem and task.")
    if "(define" not in problem or ":goal" not in problem or len(problem) > MAX_CHARACTERS:
        raise BadFile(f"{where}: pddl_problem is not a PDDL problem; it needs (define ..) with a :goal.")
    if row.get("solvable") is False:
        return None
    metadata: dict[str, JsonValue] = {
        "task_type": str(row.get("task_type", "")),
        "scene": row.get("scene"),
        "pddl_zlib": base64.b64encode(zlib.compress(problem.encode(), 9)).decode(),
    }
    if isinstance(row.get("walkthrough"), list):
        metadata["walkthrough"] = [str(command) for command in row["walkthrough"]]
    return Task(
        id=str(row.get("game_id") or where),
        env=ENVIRONMENT,
        split=str(row.get("split") or "file"),
        instruction=sentence,
        metadata=metadata,
    )


def _own_task(row: dict[str, Any], where: str) -> Task:
    try:
        task = Task.model_validate(row)
    except ValidationError as error:
        raise BadFile(f"{where}: not a task: {str(error)[:300]}") from None
    if task.env != ENVIRONMENT:
        raise BadFile(f"{where}: this task is for {task.env!r}, not for alfworld.")
    return task
