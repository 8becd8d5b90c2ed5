"""Exports: entries out of the store or a dataset, into the shape that another program reads.

Importing any of the files gives the same episodes and labels: those that the file has rows of.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from data.errors import BadInput, UnknownName
from data.formats import alpaca, atif, episodes, messages, page, rl_rows, sharegpt, table, trl
from data.formats.chat import Conversation
from data.formats.entry import About, Entry
from data.formats.records import Row, write_rows
from retro_dash.conversations import conversations, preferences

Write = Callable[[Iterable[Entry], Path, About], int]
HF_FILES = ("episodes.jsonl", "README.md")


class ExportFormat(NamedTuple):
    """One way out."""

    title: str
    suffix: str
    write: Write


class Exported(NamedTuple):
    path: Path
    rows: int


def export(format_: str, entries: Iterable[Entry], path: Path, about: About) -> Exported:
    """Write all entries to `path` (made whole or not at all). Raises UnknownName, BadInput when nothing fits."""
    if format_ not in EXPORTS:
        raise UnknownName("export format", format_, EXPORTS)
    if path.exists():
        raise BadInput(f"{path} already exists: name a new file.")
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        rows = EXPORTS[format_].write(entries, part, about)
        if not rows:
            raise BadInput(
                f"No row of the selection fits {EXPORTS[format_].title!r}. {HINTS.get(format_, '')}".strip()
            )
        part.rename(path)
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        part.unlink(missing_ok=True) if part.is_file() else None
    return Exported(path, rows)


def file_name(format_: str, name: str) -> str:
    """A harmless file name for an export."""
    if format_ not in EXPORTS:
        raise UnknownName("export format", format_, EXPORTS)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "episodes"
    return f"{plain[:60]}-{format_}{EXPORTS[format_].suffix}"


def _rows_of(
    make: Callable[[Conversation], Iterable[Row]], fits: Callable[[Conversation], bool] = lambda _: True
) -> Write:
    """Writes the rows of every conversation that fits."""

    def write(entries: Iterable[Entry], path: Path, about: About) -> int:
        chats = ((chat, entry) for entry in entries for chat in conversations([entry]) if fits(chat))
        return write_rows(((row, (entry,)) for chat, entry in chats for row in make(chat)), path, about)

    return write


def _is_positive(chat: Conversation) -> bool:
    return chat.is_positive


def _is_whole(chat: Conversation) -> bool:
    return chat.is_positive and chat.is_whole


def _preference(entries: Iterable[Entry], path: Path, about: About) -> int:
    rows = ((trl.preference(*pair[:-1]), pair.entries) for pair in preferences(entries))
    return write_rows(rows, path, about)


def _html(entries: Iterable[Entry], path: Path, about: About) -> int:
    found = list(entries)
    if len(found) != 1:
        raise BadInput(f"An HTML file holds one episode, and {len(found)} were chosen. Choose one: id:EPISODE")
    return page.write(found[0], path, about)


def _hugging_face(entries: Iterable[Entry], path: Path, about: About) -> int:
    """A folder with the episodes and a card, which `datasets.load_dataset` opens and `retro-dash import` reads."""
    path.mkdir()
    data, card_file = HF_FILES
    rows = episodes.write(entries, path / data, about)
    card = f"""---
tags: [retro-dash, agent-trajectories]
configs:
- config_name: default
  data_files: episodes.jsonl
---

# Episodes of Retro Dash

{rows} episodes with trials, turns, reflections and labels; one JSON object a line.

- source: {about.source}
- dataset hash: {about.dataset_hash or "none (exported from a filter)"}
- tag set version: {about.tagset_version}
"""
    (path / card_file).write_text(card, encoding="utf-8")
    return rows


EXPORTS: dict[str, ExportFormat] = {
    "episodes": ExportFormat("our own, everything kept (JSON lines)", ".jsonl", episodes.write),
    "hf": ExportFormat("Hugging Face dataset folder with a card", "", _hugging_face),
    "atif": ExportFormat("ATIF 1.8 trajectories (JSON lines)", ".jsonl", atif.write),
    "messages": ExportFormat(
        "TRL messages, positive trials and reflections", ".jsonl", _rows_of(messages.rows, _is_whole)
    ),
    "prompt_completion": ExportFormat(
        "TRL prompt and completion, a row a positive reply", ".jsonl", _rows_of(trl.prompt_completion, _is_positive)
    ),
    "preference": ExportFormat("TRL preference pairs", ".jsonl", _preference),
    "unpaired": ExportFormat("TRL unpaired preference", ".jsonl", _rows_of(trl.unpaired)),
    "stepwise": ExportFormat("TRL stepwise supervision", ".jsonl", _rows_of(trl.stepwise)),
    "sharegpt": ExportFormat("ShareGPT", ".jsonl", _rows_of(sharegpt.rows, _is_whole)),
    "alpaca": ExportFormat("Alpaca", ".jsonl", _rows_of(alpaca.rows, _is_positive)),
    "rl": ExportFormat("RL rows with tokens and log-probabilities (Parquet)", ".parquet", rl_rows.write),
    "csv": ExportFormat("CSV for spreadsheets", ".csv", table.write),
    "html": ExportFormat("one episode as one HTML file", ".html", _html),
}
HINTS = {
    "preference": "Rewrite a turn or a reflection, or collect two reflections on the same failure.",
    "stepwise": "Give turns a step reward, or name the first wrong turn of a trial.",
    "unpaired": "It needs reflections, or turns with a step reward.",
    "rl": "Its rows are completions with token ids, which the embedded engine and vLLM give.",
    "messages": "It takes solved trials, and what people called good.",
}
