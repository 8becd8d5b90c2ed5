"""File formats: mostly one module each, with a `FORMAT` that detects and reads. See entry.py."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from data.errors import BadFile, UnknownName
from data.formats.entry import FileFormat
from data.formats.source import look_at

FORMATS = {
    "episodes": "data.formats.episodes",
    "html": "data.formats.page",
    "retroact": "data.formats.retroact",
    "reflexion_hotpotqa": "data.formats.reflexion_hotpotqa",
    "reflexion_alfworld": "data.formats.reflexion_alfworld",
    "intercode": "data.formats.intercode",
    "atif": "data.formats.atif",
    "inspect": "data.formats.inspect",
    "preference": "data.formats.trl:PREFERENCE",
    "unpaired": "data.formats.trl:UNPAIRED",
    "stepwise": "data.formats.trl:STEPWISE",
    "rl": "data.formats.rl_rows",
    "csv": "data.formats.table",
    "messages": "data.formats.messages",
    "sharegpt": "data.formats.sharegpt",
    "alpaca": "data.formats.alpaca",
    "swe_agent": "data.formats.swe_agent",
    "verl": "data.formats.verl",
}
"""In the order in which they are asked; Parquet files are asked by their rows, like any other."""


def file_format(name: str) -> FileFormat:
    """The format of that name. Raises UnknownName with the known ones."""
    if name not in FORMATS:
        raise UnknownName("file format", name, FORMATS)
    module, _, constant = FORMATS[name].partition(":")
    found: FileFormat = getattr(import_module(module), constant or "FORMAT")
    return found


def detect_format(path: Path) -> FileFormat:
    """The format of a file or folder, from its first rows. Raises BadFile with the formats that would be known."""
    head = look_at(path)
    for name in FORMATS:
        found = file_format(name)
        if found.detect(head):
            return found
    titles = "; ".join(file_format(name).title for name in FORMATS)
    first = f" Its first row starts {head.text[:60]!r}." if head.text else ""
    raise BadFile(f"{path.name} is none of the formats that are understood ({titles}).{first}")
