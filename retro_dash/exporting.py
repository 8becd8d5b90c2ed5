"""Exports: entries out of the store or a dataset, into the shape that another program reads."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from data.errors import BadInput, UnknownName
from data.formats import alpaca, atif, episodes, messages, page, rl_rows, sharegpt, table, trl
from data.formats.chat import Conversation
from data.formats.entry import About, Entry
from retro_dash.conversations import conversations, preferences

Write = Callable[[Iterable[Entry], Path, About], int]
HF_FILES = ("episodes.jsonl", "README.md")


class ExportFormat(NamedTuple):
    """One way out."""

    title: str
    suffix: str
    write: Write
    is_lossless: bool = False
    """Importing the file gives the same episodes and labels."""


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


def _positive(entries: Iterable[Entry]) -> Iterator[Conversation]:
    """Whole chats that are worth imitating."""
    return (chat for chat in conversations(entries) if chat.is_positive and chat.is_whole)


def _messages(entries: Iterable[Entry], path: Path, about: About) -> int:
    return messages.write(_positive(entries), path, about)


def _sharegpt(entries: Iterable[Entry], path: Path, about: About) -> int:
    return sharegpt.write(_positive(entries), path, about)


def _alpaca(entries: Iterable[Entry], path: Path, about: About) -> int:
    return alpaca.write((chat for chat in conversations(entries) if chat.is_positive), path, about)


def _prompt_completion(entries: Iterable[Entry], path: Path, about: About) -> int:
    chats = (chat for chat in conversations(entries) if chat.is_positive)
    return trl.write_rows(chain.from_iterable(map(trl.prompt_completion, chats)), path, about)


def _preference(entries: Iterable[Entry], path: Path, about: About) -> int:
    rows = (trl.preference(*pair) for pair in preferences(entries))
    return trl.write_rows(rows, path, about)


def _unpaired(entries: Iterable[Entry], path: Path, about: About) -> int:
    return trl.write_rows(chain.from_iterable(map(trl.unpaired, conversations(entries))), path, about)


def _stepwise(entries: Iterable[Entry], path: Path, about: About) -> int:
    return trl.write_rows(chain.from_iterable(map(trl.stepwise, conversations(entries))), path, about)


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
    "episodes": ExportFormat("our own, everything kept (JSON lines)", ".jsonl", episodes.write, is_lossless=True),
    "hf": ExportFormat("Hugging Face dataset folder with a card", "", _hugging_face, is_lossless=True),
    "atif": ExportFormat("ATIF 1.8 trajectories (JSON lines)", ".jsonl", atif.write, is_lossless=True),
    "messages": ExportFormat("TRL messages, positive trials and reflections", ".jsonl", _messages),
    "prompt_completion": ExportFormat(
        "TRL prompt and completion, a row a positive reply", ".jsonl", _prompt_completion
    ),
    "preference": ExportFormat("TRL preference pairs", ".jsonl", _preference),
    "unpaired": ExportFormat("TRL unpaired preference", ".jsonl", _unpaired),
    "stepwise": ExportFormat("TRL stepwise supervision", ".jsonl", _stepwise),
    "sharegpt": ExportFormat("ShareGPT", ".jsonl", _sharegpt),
    "alpaca": ExportFormat("Alpaca", ".jsonl", _alpaca),
    "rl": ExportFormat("RL rows with tokens and log-probabilities (Parquet)", ".parquet", rl_rows.write),
    "csv": ExportFormat("CSV for spreadsheets", ".csv", table.write),
    "html": ExportFormat("one episode as one HTML file", ".html", _html, is_lossless=True),
}
HINTS = {
    "preference": "Rewrite a turn or a reflection, or collect two reflections on the same failure.",
    "stepwise": "Give turns a step reward, or name the first wrong turn of a trial.",
    "unpaired": "It needs reflections, or turns with a step reward.",
    "rl": "Its rows are completions with token ids, which the embedded engine and vLLM give.",
    "messages": "It takes solved trials, and what people called good.",
}
