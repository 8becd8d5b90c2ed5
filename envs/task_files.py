"""Files of tasks and recordings as people hand them over: JSON or JSON lines, plain or gzipped, and never trusted."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from data.errors import BadFile

LARGEST_FILE = 2 << 30
"""Bytes once unpacked that are read unless a caller says less; HotpotQA's training file has 0.6 GB."""


def read_text(path: Path, largest: int = LARGEST_FILE) -> str:
    """A whole file in UTF-8. Raises BadFile."""
    try:
        with _open(path) as file:
            content = file.read(largest + 1)
    except IsADirectoryError:
        raise BadFile(f"{path} cannot be read: it is a folder where a file is expected.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise BadFile(f"{path} cannot be read: {error}.") from error
    if len(content) > largest:
        raise _too_large(path, largest)
    return _decoded(path, content)


def read_json(path: Path, largest: int = LARGEST_FILE) -> Any:
    """A file's JSON value; of JSON lines (`.jsonl`, `.jsonl.gz`) the list of their values. Raises BadFile."""
    if is_lines(path):
        return [value for _, value in read_lines(path, largest)]
    try:
        return json.loads(read_text(path, largest))
    except (ValueError, RecursionError) as error:
        hint = " A file with one JSON object a line must be called .jsonl." if ".json" in path.suffixes else ""
        raise BadFile(f"{path} is not JSON: {_said(error)}.{hint}") from error


def read_lines(path: Path, largest: int = LARGEST_FILE) -> Iterator[tuple[int, Any]]:
    """The number of each line, from 1, and its JSON value; empty lines are left out. Raises BadFile."""
    number = read = 0
    try:
        with _open(path) as file:
            while line := file.readline(largest - read + 1):
                number, read = number + 1, read + len(line)
                if read > largest:
                    raise _too_large(path, largest)
                if text := _decoded(path, line).strip():
                    yield number, json.loads(text)
    except (OSError, EOFError, zlib.error) as error:
        raise BadFile(f"{path} cannot be read: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{path}, line {number} is not JSON: {_said(error)}.") from error


def is_lines(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(".jsonl")


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _too_large(path: Path, largest: int) -> BadFile:
    return BadFile(f"{path} holds more than {largest >> 20:,} MiB; split it.")


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8 text (byte {error.start}).") from error


def _said(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
