"""Our own: one episode a line with its labels, everything kept. Bare episodes (the API streams them) are read too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import JsonValue, ValidationError

from data.formats.entry import About, Dropped, Entry, FileFormat, Found, Head, excerpt
from data.formats.source import rows_of
from data.types import Episode, Label

VERSION = "retro-dash/1"
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,200}")


def detect(head: Head) -> bool:
    if head.names:
        return "episodes.jsonl" in head.names
    return head.first.get("format") == VERSION or {"task", "trials", "planner"} <= head.first.keys()


def read(path: Path) -> Iterator[Found]:
    """Every row that is a whole, valid episode."""
    for number, row in rows_of(path / "episodes.jsonl" if path.is_dir() else path):
        yield row if isinstance(row, Dropped) else read_row(number, row)


def write(entries: Iterable[Entry], path: Path, about: About) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for entry in entries:
            file.write(line(entry, about) + "\n")
            count += 1
    return count


def line(entry: Entry, about: About, is_ascii: bool = False) -> str:
    """One row as JSON."""
    row = {
        "format": VERSION,
        **about.model_dump(),
        "episode": entry.episode.model_dump(mode="json"),
        "labels": [label.model_dump(mode="json") for label in entry.labels],
    }
    return json.dumps(row, ensure_ascii=is_ascii, allow_nan=False)


def read_row(number: int, row: JsonValue) -> Found:
    """The entry of one row, or why it is none."""
    if not isinstance(row, dict):
        return Dropped(number, "the row is not an object", excerpt(row))
    is_wrapped = row.get("format") == VERSION
    try:
        episode = Episode.model_validate(row.get("episode") if is_wrapped else row)
        labels = row.get("labels", []) if is_wrapped else []
        kept = tuple(Label.model_validate(label) for label in (labels if isinstance(labels, list) else []))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return Dropped(number, f"not a valid episode: {first['msg']}", f"at {where}: {excerpt(row)}")
    problem = problem_of(episode)
    return Dropped(number, problem, episode.id) if problem else Entry(episode, kept, number)


def problem_of(episode: Episode) -> str:
    """Why the episode cannot be taken; empty when it can."""
    if not _NAME.fullmatch(episode.id) or episode.id in (".", ".."):
        return "the id is empty, too long, or holds slashes or control characters: no address could name it"
    trials = [trial.index for trial in episode.trials]
    if len(set(trials)) != len(trials):
        return "two trials have the same number"
    if any(reflection.after_trial not in trials for reflection in episode.reflections):
        return "a reflection follows a trial that is not there"
    for trial in episode.trials:
        turns = [turn.index for turn in trial.turns]
        if turns != sorted(set(turns)):
            return "the turns of a trial are not in order"
    return ""


FORMAT = FileFormat("episodes", "Retro Dash episodes (JSON lines)", detect, read)
