"""CSV for spreadsheets: one row an episode. No cell can become a formula, and none holds a control character.

Behind the columns for people stands the episode's record (`episodes.py`), in as many cells as it needs, because
spreadsheets cut a cell at 32,767 characters. It is what is imported.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from data.errors import BadFile
from data.formats.entry import About, Dropped, Entry, FileFormat, Found, Head
from data.formats.episodes import line
from data.formats.records import MISSING, read_record
from data.formats.source import LONGEST_ROW, MOST_UNPACKED, open_bytes
from data.types import Label

FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""A cell that starts so is run by spreadsheets (OWASP, CSV injection); the full-width forms too."""
COLUMNS = (
    "episode_id",
    "env",
    "split",
    "task_id",
    "instruction",
    "planner",
    "reflector",
    "state",
    "trials",
    "turns",
    "first_reward",
    "last_reward",
    "best_gain",
    "verdicts",
    "tags",
    "notes",
    "annotators",
    "reflections",
    "run_id",
    "source",
    "created_at",
    "dataset_hash",
    "tagset_version",
)
RECORD = "record"
"""The last column's name; its cells go on behind it."""
LONGEST_CELL = 30_000
NOTE = "imported is the record at the end of each row; what was changed in the cells before it is not read"


def write(entries: Iterable[Entry], path: Path, about: About) -> int:
    """One row an episode; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, RECORD])
        for entry in entries:
            record = line(entry, about, is_ascii=True)
            parts = [record[place : place + LONGEST_CELL] for place in range(0, len(record), LONGEST_CELL)]
            writer.writerow([safe_cell(value) for value in (*_cells(entry, about), *parts)])
            count += 1
    return count


def safe_cell(value: str | float | None) -> str | float:
    """Numbers as they are; text without control characters, with an apostrophe before what would be a formula (and
    before an apostrophe, so that `plain_cell` knows its own)."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cs") else " " for c in value)
    return f"'{text}" if text.lstrip().startswith(FORMULA) or value.startswith((*FORMULA, "'")) else text


def plain_cell(cell: str) -> str:
    """What `safe_cell` was given."""
    return cell.removeprefix("'")


def detect(head: Head) -> bool:
    return head.start.removeprefix("\ufeff").startswith("episode_id") and "task_id" in head.start.split("\n")[0]


def read(path: Path) -> Iterator[Found]:
    """The episodes of the records. A spreadsheet may have saved the file with another separator."""
    with open_bytes(path) as raw, io.TextIOWrapper(raw, "utf-8-sig", "replace", newline="") as file:
        header = file.readline(LONGEST_ROW)
        separator = header.removeprefix("episode_id")[:1]
        if separator not in (",", ";", "\t"):
            raise BadFile(f"{path.name} has no header of ours: its first column is episode_id.")
        names = next(csv.reader([header], delimiter=separator))
        place = names.index(RECORD) if RECORD in names else len(names)
        for number, row in enumerate(_rows(csv.reader(_lines(path, file), delimiter=separator)), 1):
            if isinstance(row, str):
                yield Dropped(number, row)
                continue
            text = "".join(map(plain_cell, row[place:]))
            found = read_record(number, text) if text else Dropped(number, MISSING, ", ".join(row)[:120])
            yield replace(found, notes=(NOTE,)) if isinstance(found, Entry) else found


def _rows(reader: Iterator[list[str]]) -> Iterator[list[str] | str]:
    """Every row that is not empty, or why it is none."""
    while True:
        try:
            if row := next(reader):
                yield row
        except StopIteration:
            return
        except csv.Error as error:
            yield f"the row is not CSV: {error}"


def _lines(path: Path, file: io.TextIOWrapper) -> Iterator[str]:
    """Raises BadFile for what unpacks without end."""
    unpacked = 0
    while text := file.readline(LONGEST_ROW):
        unpacked += len(text)
        if unpacked > MOST_UNPACKED:
            raise BadFile(f"{path.name} unpacks to more than {unpacked // 2**20} MiB: refused.")
        yield text


def _cells(entry: Entry, about: About) -> list[str | float | None]:
    episode = entry.episode
    rewards = [trial.reward for trial in episode.trials if trial.stop_reason is not None]
    gains = [reflection.gain for reflection in episode.reflections if reflection.gain is not None]
    return [
        episode.id,
        episode.task.env,
        episode.task.split,
        episode.task.id,
        episode.task.instruction,
        episode.planner,
        episode.reflector,
        episode.state.value,
        len(episode.trials),
        sum(len(trial.turns) for trial in episode.trials),
        rewards[0] if rewards else None,
        rewards[-1] if rewards else None,
        max(gains, default=None),
        _said(entry.labels, "verdict"),
        _said(entry.labels, "tags"),
        _said(entry.labels, "note"),
        "; ".join(sorted({label.annotator for label in entry.labels})),
        "\n".join(reflection.text for reflection in episode.reflections),
        episode.run_id,
        episode.source,
        episode.created_at.isoformat(),
        about.dataset_hash,
        about.tagset_version,
    ]


def _said(labels: Iterable[Label], name: str) -> str:
    """`kim: good` of every annotator, for the episode as a whole."""
    said = [label for label in labels if label.name == name and label.target.part == "episode"]
    return "; ".join(f"{label.annotator}: {_plain(label.value)}" for label in said)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


FORMAT = FileFormat("csv", "CSV of ours for spreadsheets, a row an episode", detect, read)
