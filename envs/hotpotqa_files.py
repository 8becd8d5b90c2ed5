"""Reads question files as .json, .jsonl or either gzipped, or a folder of them, in the official format or the schema
of the data hubs.

Official, a list of: {"_id", "question", "answer", "type", "level", "supporting_facts": [[title, sentence index]],
    "context": [[title, [sentence]]]}
Hubs, the same with: "id", "supporting_facts": {"title": [], "sent_id": []},
    "context": {"title": [], "sentences": [[]]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from data.errors import BadFile
from data.types import Task
from envs.task_files import read_json

ENVIRONMENT = "hotpotqa"


def read_questions(path: Path, split: str | None = None, turn_limit: int | None = None) -> list[Task]:
    """Return the questions of a file as tasks, in the file's order; of a folder those of every file that holds
    questions with their paragraphs. The split is the file's first name unless given.

    Raises BadFile with the row (counted from 1) and what is missing.
    """
    if path.is_dir():
        return [task for file in _question_files(path) for task in read_questions(file, split, turn_limit)]
    rows = _rows(path)
    name = split or path.name.split(".")[0]
    tasks = [_task(path, number, row, name, turn_limit) for number, row in enumerate(rows, start=1)]
    seen: set[str] = set()
    for number, task in enumerate(tasks, start=1):
        if task.id in seen:
            raise BadFile(f"{path}, row {number}: the id {task.id!r} is used twice; every question needs its own.")
        seen.add(task.id)
    return tasks


def _question_files(folder: Path) -> list[Path]:
    found = []
    for file in sorted(folder.iterdir()):
        if file.name.endswith((".json", ".json.gz", ".jsonl", ".jsonl.gz")):
            with suppress(BadFile):
                first = _rows(file)[0]
                if isinstance(first, Mapping) and {"question", "context"} <= first.keys():
                    found.append(file)
    if not found:
        raise BadFile(f"The folder {folder} has no file of HotpotQA questions with their context.")
    return found


def _rows(path: Path) -> list[Any]:
    rows = read_json(path)
    if isinstance(rows, dict) and isinstance(rows.get("data"), list):
        rows = rows["data"]
    if not isinstance(rows, list):
        raise BadFile(f"{path} holds a JSON {type(rows).__name__}; HotpotQA's format is a list of questions.")
    if not rows:
        raise BadFile(f"{path} holds no questions.")
    return rows


def _task(path: Path, number: int, row: Any, split: str, turn_limit: int | None) -> Task:
    where = f"{path}, row {number}"
    if not isinstance(row, Mapping):
        raise BadFile(f"{where}: expected an object with question, answer and context, got {_short(row)}.")
    question, answer = _text(where, row, "question"), _text(where, row, "answer")
    context = _context(where, row.get("context"))
    facts = _supporting_facts(where, row.get("supporting_facts", []), dict(context))
    identity = row.get("_id", row.get("id"))
    if not isinstance(identity, str) or not identity:
        raise BadFile(f"{where}: `_id` (or `id`) is missing or not text.")
    metadata = {
        "answer": answer,
        "type": str(row.get("type", "")),
        "level": str(row.get("level", "")),
        "supporting_facts": [[title, sentence] for title, sentence in facts],
        "context": [[title, sentences] for title, sentences in context],
    }
    return Task.model_validate(
        {
            "id": identity,
            "env": ENVIRONMENT,
            "split": split,
            "instruction": question.strip(),
            "turn_limit": turn_limit,
            "metadata": metadata,
        }
    )


def _text(where: str, row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise BadFile(f"{where}: `{key}` is missing or not text; HotpotQA rows have question, answer and context.")
    return value


def _context(where: str, value: Any) -> list[tuple[str, list[str]]]:
    if isinstance(value, Mapping):
        value = _zip_columns(where, "context", value, "title", "sentences")
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise BadFile(
            f"{where}: `context` is missing or empty; the local searcher needs the question's paragraphs "
            "(the distractor setting has them)."
        )
    context: list[tuple[str, list[str]]] = []
    for position, pair in enumerate(value, start=1):
        if not _is_paragraph(pair):
            raise BadFile(
                f"{where}: paragraph {position} of `context` is not [title, [sentence, ...]] but {_short(pair)}."
            )
        context.append((pair[0], list(pair[1])))
    titles = [title for title, _ in context]
    if len(set(titles)) < len(titles):
        twice = next(title for title in titles if titles.count(title) > 1)
        raise BadFile(f"{where}: two paragraphs of `context` have the title {twice!r}.")
    return context


def _is_paragraph(pair: Any) -> bool:
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], str):
        return False
    return isinstance(pair[1], list) and bool(pair[1]) and all(isinstance(sentence, str) for sentence in pair[1])


def _supporting_facts(where: str, value: Any, context: Mapping[str, list[str]]) -> list[tuple[str, int]]:
    if isinstance(value, Mapping):
        value = _zip_columns(where, "supporting_facts", value, "title", "sent_id")
    if not isinstance(value, list):
        raise BadFile(f"{where}: `supporting_facts` is not a list of [title, sentence index].")
    facts: list[tuple[str, int]] = []
    for pair in value:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or type(pair[1]) is not int:
            raise BadFile(f"{where}: supporting fact {_short(pair)} is not [title, sentence index].")
        title, sentence = pair
        if title not in context:
            raise BadFile(f"{where}: supporting fact {_short(pair)} names a paragraph that `context` does not have.")
        # A few rows of the official file point one past a paragraph's end; they carry no sentence and are dropped.
        if 0 <= sentence < len(context[title]):
            facts.append((title, sentence))
    return facts


def _zip_columns(where: str, key: str, columns: Mapping[str, Any], left: str, right: str) -> list[list[Any]]:
    lefts, rights = columns.get(left), columns.get(right)
    if not isinstance(lefts, list) or not isinstance(rights, list) or len(lefts) != len(rights):
        raise BadFile(f"{where}: `{key}` needs two lists of one length, `{left}` and `{right}`.")
    return [list(pair) for pair in zip(lefts, rights, strict=True)]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
