"""The episodes behind the rows of a file for a trainer, so that the file imports back whole.

A row stands for a chat, a reply or a comparison, not for an episode. The first row that was made of an episode
therefore carries the episode's own record (`episodes.py`) in the field `records`, which trainers ignore.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from data.formats.entry import About, Dropped, Entry, Found, excerpt
from data.formats.episodes import line, read_row
from data.formats.source import parse_json, rows_of

Row = dict[str, Any]
FIELD = "records"
MISSING = "the record of its episode is not in the file: the row that carried it was taken out, or the field was"


def write_rows(rows: Iterable[tuple[Row, Sequence[Entry]]], path: Path, about: About) -> int:
    """One row a line, each with where it came from and with the episodes that it was made of and that no row before
    it carries. Returns how many rows."""
    carried: set[str] = set()
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row, entries in rows:
            fresh = {entry.episode.id: entry for entry in entries if entry.episode.id not in carried}
            carried |= fresh.keys()
            records = [line(entry, about, is_ascii=True) for entry in fresh.values()]
            whole = {**row, **about.model_dump(), FIELD: records}
            file.write(json.dumps(whole, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def read_records(path: Path, notes: tuple[str, ...]) -> Iterator[Found]:
    """The episodes that the rows carry. The file is read twice: first for what rows each episode has."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for number, row in rows_of(path):
        if isinstance(row, Dropped):
            yield row
        elif isinstance(row, dict):
            numbers[str(row.get("episode_id"))].append(number)
        else:
            yield Dropped(number, "the row is not an object", excerpt(row))
    broken: set[int] = set()
    for number, row in rows_of(path):
        for found in _carried(number, row):
            if isinstance(found, Dropped):
                broken.add(number)
                yield found
            else:
                own = numbers.pop(found.episode.id, [])
                yield replace(found, rows=len(own), notes=notes)
    for id_, own in numbers.items():
        yield from (Dropped(number, MISSING, id_) for number in own if number not in broken)


def read_record(number: int, text: JsonValue) -> Found:
    """The entry of one record, or why it is none."""
    try:
        return read_row(number, parse_json(text if isinstance(text, str) else ""))
    except ValueError:
        return Dropped(number, "the record of the episode is cut or not JSON", excerpt(text))


def _carried(number: int, row: JsonValue | Dropped) -> Iterator[Found]:
    records = row.get(FIELD) if isinstance(row, dict) else None
    return (read_record(number, record) for record in (records if isinstance(records, list) else []))
