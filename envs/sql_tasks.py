"""SQL tasks from files, and the databases that they are asked about.

InterCode's format is a list of `{query, gold, db, hardness?}` (`ic_spider_dev.json`) with a MySQL dump. A task's
metadata holds `database` (its name), `gold`, `hardness`, `source` (the dump, `bundled`, or None for a server) and
`is_gold_empty` (None where the sandbox cannot look).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from data.errors import BadConfig, BadFile, Refused, RetroDashError, Unavailable, UnknownName
from data.types import Task
from envs.sql_answer import Session
from envs.sql_catalog import Catalog, open_dump
from envs.sql_options import ENVIRONMENT, SqlOptions
from envs.sql_sqlite import SqliteSession
from envs.task_files import read_json

BUNDLED = "bundled"
SPLITS = ("valid", "train")
TURN_LIMIT = 10
LARGEST_FILE = 64 << 20


def read_tasks(path: Path, options: SqlOptions) -> list[Task]:
    """The tasks of a file, or of a folder with one task file and one dump. The dump is the option `database`, or the
    one beside the file. Raises BadFile, BadConfig."""
    file = task_file(path)
    source = options.database or dump_beside(file)
    if source is None:
        raise BadConfig(
            f"Beside {file} lies no single dump; name a MySQL dump or a mysql:// URL with the option database."
        )
    rows = read_rows(file)
    is_server = source.startswith("mysql://")
    tasks = [task_of(row, file, number, None if is_server else source) for number, row in enumerate(rows)]
    return with_empty_golds(tasks, options)


def bundled_tasks(split: str) -> list[Task]:
    """Our own questions over our own databases; raises UnknownName."""
    if split not in SPLITS:
        raise UnknownName(f"bundled split of {ENVIRONMENT}", split, SPLITS)
    with as_file(files("data") / "tasks" / "sql" / f"{split}.json") as path:
        rows = read_rows(path)
        return [task_of(row, path, number, BUNDLED, is_gold_empty=False) for number, row in enumerate(rows)]


def bundled_dump() -> Path:
    with as_file(files("data") / "tasks" / "sql" / "databases.sql.gz") as path:
        return path


def task_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = [f for f in sorted(path.iterdir()) if f.name.endswith((".json", ".json.gz", ".jsonl", ".jsonl.gz"))]
    for file in found:
        with suppress(BadFile):
            if all(isinstance(row, dict) and "gold" in row for row in read_rows(file)):
                return file
    raise BadFile(f"The folder {path} has no file of InterCode SQL tasks (a list of query, gold, db).")


def dump_beside(file: Path) -> str | None:
    found = sorted(f for f in file.parent.glob("*") if f.name.endswith((".sql", ".sql.gz")))
    return str(found[0].absolute()) if len(found) == 1 else None


def read_rows(path: Path) -> list[Any]:
    """The rows of a JSON list or of JSON lines, plain or gzipped; raises BadFile."""
    rows = read_json(path, LARGEST_FILE)
    if not isinstance(rows, list) or not rows:
        raise BadFile(f"{path} is not a list of tasks with query, gold and db.")
    return rows


def task_of(row: Any, path: Path, number: int, source: str | None, is_gold_empty: bool | None = None) -> Task:
    values = row if isinstance(row, dict) else {}
    question, gold, database = (values.get(key) for key in ("query", "gold", "db"))
    if not (isinstance(question, str) and isinstance(gold, str) and isinstance(database, str)) or "\0" in gold:
        raise BadFile(f"Task {number} of {path} lacks a text for query, gold or db: {str(row)[:120]}.")
    stem = path.name.split(".")[0]
    return Task(
        id=str(values.get("id") or f"{stem}-{values.get('task_id', number)}"),
        env=ENVIRONMENT,
        split=stem,
        instruction=question,
        turn_limit=TURN_LIMIT,
        metadata={
            "database": database,
            "gold": gold,
            "hardness": str(values.get("hardness", "")),
            "source": source,
            "is_gold_empty": is_gold_empty,
        },
    )


def with_empty_golds(tasks: list[Task], options: SqlOptions) -> list[Task]:
    """The tasks with `is_gold_empty` found by running each gold; unknown where nothing can be run here."""
    empty: dict[str, bool | None] = {}
    for database in {str(task.metadata["database"]): task for task in tasks}.values():
        mine = [task for task in tasks if task.metadata["database"] == database.metadata["database"]]
        with opened(database, options) as session:
            for task in mine:
                try:
                    rows = session.run(str(task.metadata["gold"])).rows
                except (Unavailable, Refused):
                    break
                empty[task.id] = rows == []
    return [
        task.model_copy(update={"metadata": {**task.metadata, "is_gold_empty": empty.get(task.id)}}) for task in tasks
    ]


@contextmanager
def opened(task: Task, options: SqlOptions) -> Iterator[Session]:
    session = open_session(task, options)
    try:
        yield session
    finally:
        session.close()


def open_session(task: Task, options: SqlOptions) -> Session:
    """The task's database: of the option `database`, else of the dump that the task came with. Raises BadConfig,
    BadFile, UnknownName, Unavailable."""
    name, source = str(task.metadata.get("database", "")), options.database or task.metadata.get("source")
    if not isinstance(source, str):
        raise BadConfig(f"Task {task.id!r} names no dump; give one, or a mysql:// URL, with the option database.")
    if source.startswith("mysql://"):
        from envs.sql_server import ServerSession, named_server

        return ServerSession(named_server(source), name, options.query_seconds)
    return SqliteSession(
        catalog_of(source),
        name,
        options.query_seconds,
        options.memory_mebibytes << 20,
        options.unsafe_run_model_code_on_host,
    )


def catalog_of(source: str) -> Catalog:
    if source == BUNDLED:
        return open_dump(bundled_dump())
    if not source.endswith((".sql", ".sql.gz")):
        # Whoever hands over an episode may name any file, and errors about a dump quote what is in it.
        raise BadFile(f"The dump {source} must be a file called .sql or .sql.gz.")
    try:
        return open_dump(Path(source))
    except OSError as error:
        raise RetroDashError(f"The databases of {source} cannot be unpacked: {error}.") from error
