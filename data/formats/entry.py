"""What goes through every format: an episode with its labels, a row that was dropped, and where it all came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from data.types import Episode, Label, Noun


class About(Noun):
    """What every export says of itself."""

    source: str = "retro-dash"
    dataset_hash: str | None = None
    tagset_version: int = 0


@dataclass(frozen=True)
class Entry:
    """An episode as a file holds it."""

    episode: Episode
    labels: tuple[Label, ...] = ()
    row: int = 0
    """The first of its rows, from 1."""
    rows: int = 1
    """How many rows it was made of."""
    notes: tuple[str, ...] = ()
    """What was understood differently from how it was written, or left out, in words that can be counted."""


@dataclass(frozen=True)
class Dropped:
    """A row that became nothing, and why."""

    row: int
    reason: str
    excerpt: str = ""


Found = Entry | Dropped


@dataclass(frozen=True)
class Head:
    """The start of a file, for detection."""

    path: Path
    names: tuple[str, ...] = ()
    """Names in a folder."""
    rows: tuple[JsonValue, ...] = ()
    """The first rows that are JSON."""
    text: str = ""
    """The first row as one short line."""
    start: str = ""
    """The first characters of the file, unzipped."""

    @property
    def first(self) -> dict[str, JsonValue]:
        """The first row when it is an object, else empty."""
        return self.rows[0] if self.rows and isinstance(self.rows[0], dict) else {}


@dataclass(frozen=True)
class FileFormat:
    """One format that can be read. What is written is listed in `retro_dash/exporting.py`."""

    name: str
    title: str
    detect: Callable[[Head], bool]
    read: Callable[[Path], Iterator[Found]]
    """Good rows become entries, bad ones are dropped with their reason; raises BadFile when nothing can be read."""


def content_id(format_name: str, content: JsonValue) -> str:
    """An episode id that follows from the content, so that importing it twice is harmless."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(f"{format_name} {text}".encode("utf-8", "surrogatepass"))
    return f"imp-{digest.hexdigest()[:24]}"


def task_id(env: str, text: str) -> str:
    """The same task has the same id, in whichever file it is met."""
    words = " ".join(text.split())
    return f"{env}-{hashlib.sha256(words.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def file_time(path: Path) -> datetime:
    """When the file was written: what is known of the age of rows that carry no time."""
    return datetime.fromtimestamp(int(path.stat().st_mtime), UTC)


def excerpt(value: JsonValue) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text[:400].split())[:120]
