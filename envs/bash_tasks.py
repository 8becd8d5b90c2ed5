"""Bash tasks: our own, and files in InterCode's format."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from data.errors import BadFile, UnknownName
from data.types import Task
from envs.task_files import read_json

SPLITS = ("valid", "train")
ENVIRONMENT = "intercode_bash"
_OPTIONAL = (
    "cal column convert cpio crontab curl dig ifconfig jq md5deep netstat ping pstree python rev tree w wget who xxd"
)
_OPTIONAL_PROGRAMS = frozenset(_OPTIONAL.split())
_LARGEST_FILE = 64 << 20
_LONGEST_GOLD = 20_000


def bundled_tasks(split: str) -> list[Task]:
    """Tasks of our own, scored strictly. Raises UnknownName for a split that is not bundled."""
    if split not in SPLITS:
        raise UnknownName(f"bundled split of {ENVIRONMENT}", split, SPLITS)
    rows = json.loads((bundled_folder() / "tasks.json").read_text())
    return [_task(row, number, split, None) for number, row in enumerate(rows, start=1) if row["split"] == split]


def bundled_folder() -> Path:
    return Path(str(files("data") / "tasks" / "bash"))


def read_tasks(path: Path) -> list[Task]:
    """Tasks of a file (.json, .jsonl, either gzipped) or of every `nl2bash*` file of a folder.

    A row is {query, gold, task_id?, fs? or tree?, reward?}; `gold` may be a list of commands. In InterCode's own
    files the number of the file tree is the last number of the file's name. Raises BadFile.
    """
    if path.is_dir():
        found = sorted([*path.glob("nl2bash*.json*"), *path.glob("tasks*.json*")])
        if not found:
            raise BadFile(f"{path} holds no nl2bash*.json or tasks*.json; name the file of tasks itself.")
        return [task for file in found for task in read_tasks(file)]
    name = path.name.split(".")[0]
    number = re.search(r"_fs_(\d+)$", name)
    tree = f"filesystem_{number[1]}" if number else None
    tasks = []
    for index, row in enumerate(_rows(path), start=1):
        try:
            tasks.append(_task(row, index, name, tree))
        except (KeyError, TypeError, ValueError) as error:
            raise BadFile(f"{path}, row {index}, is not a Bash task with query and gold ({error}).") from error
    if not tasks:
        raise BadFile(f"{path} holds no task.")
    return tasks


def _rows(path: Path) -> list[Any]:
    rows = read_json(path, _LARGEST_FILE)
    if not isinstance(rows, list):
        raise BadFile(f"{path} holds {type(rows).__name__} where a list of tasks is expected.")
    return rows


def _task(row: Mapping[str, Any], number: int, split: str, tree: str | None) -> Task:
    gold = ";".join(row["gold"]) if isinstance(row["gold"], list) else row["gold"]
    if not isinstance(gold, str) or not gold.strip() or "\0" in gold or len(gold) > _LONGEST_GOLD:
        raise ValueError("gold is not a command")
    name = row.get("tree") or tree or (f"filesystem_{row['fs']}" if "fs" in row else None)
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+", name):
        raise ValueError(f"{name!r} is not the name of a file tree; give the row a fs or tree")
    metadata: dict[str, JsonValue] = {"gold": gold, "tree": name, "reward": row.get("reward", "published")}
    if needs := optional_programs(gold):
        metadata["needs"] = list[JsonValue](needs)
    return Task(
        id=str(row.get("task_id") or f"{split}_{number}"),
        env=ENVIRONMENT,
        split=split,
        instruction=row["query"],
        metadata=metadata,
    )


def optional_programs(gold: str) -> list[str]:
    """Programs beyond a minimal system that the command names."""
    return sorted(_OPTIONAL_PROGRAMS & set(re.findall(r"[\w-]+", gold)))
