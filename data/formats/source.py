"""Rows of a file that nobody vouches for: plain, gzipped, JSON lines, a JSON array, or Parquet.

Nothing is unpacked to disk and no name in a file is ever used as a path. Limits stop bombs before memory does.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from data.errors import BadFile
from data.formats.entry import Dropped, Head, excerpt

GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
ZIP = "PK\x03\x04"
LONGEST_ROW = 64 * 2**20
WHOLE_JSON = 512 * 2**20
"""A file that is one JSON value is read whole, up to this size; JSON lines have no such limit."""
MOST_UNPACKED = 32 * 2**30
MOST_RATIO = 1100
"""Deflate cannot pack better than about 1030 : 1, so only a chain of tricks gets here."""
DEEPEST = 100
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
HEAD_ROWS = 5
HEAD_BYTES = 4096
Row = tuple[int, JsonValue | Dropped]


def look_at(path: Path) -> Head:
    """The head of a file or folder. Raises BadFile when there is nothing to read."""
    if path.is_dir():
        return Head(path, names=tuple(sorted(child.name for child in path.iterdir() if child.is_file())))
    if not path.is_file():
        raise BadFile(f"{path} is not a file. Name a file, or a folder of a format that has folders.")
    with open_bytes(path) as file:
        start = file.read(HEAD_BYTES).decode("utf-8", "replace")
    if start.startswith(ZIP):
        return Head(path, text="a zip archive", start=start)
    found = [row for _, row in islice(rows_of(path), HEAD_ROWS)]
    rows = tuple(row for row in found if not isinstance(row, Dropped))
    first = found[0] if found else ""
    return Head(path, rows=rows, text=first.excerpt if isinstance(first, Dropped) else excerpt(first), start=start)


def rows_of(path: Path) -> Iterator[Row]:
    """Every row with its number from 1: parsed JSON, or Dropped with the reason. Raises BadFile for a whole file."""
    if not path.is_file():
        raise BadFile(f"{path} is not a file. Name a file, or a folder of a format that has folders.")
    with path.open("rb") as file:
        start = file.read(4)
    if start == PARQUET:
        yield from _parquet_rows(path)
        return
    with open_bytes(path) as file:
        first = _first_character(file)
        if first == b"[" or (first == b"{" and _is_one_object(file)):
            yield from _whole(path, file)
        elif first:
            yield from _lines(path, file)


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, unzipped while reading. Raises BadFile when the zip is broken."""
    with path.open("rb") as raw:
        is_zipped = raw.read(2) == GZIP
    try:
        with gzip.open(path, "rb") if is_zipped else path.open("rb") as file:
            yield file  # type: ignore[misc]
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BadFile(f"{path.name} is a damaged gzip file ({error}). Fetch it again.") from error


def parse_json(text: str | bytes) -> JsonValue:
    """One JSON value. Raises ValueError for anything that JSON does not have (NaN too), for deep nesting, and for
    half a character, which nothing can store."""
    try:
        value: JsonValue = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_depth(value)
    if _HALF.search(text if isinstance(text, str) else text.decode("utf-8", "replace")):
        _check_characters(value)
    return value


def _check_characters(value: JsonValue) -> None:
    """Two escapes make one character; one alone makes none."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it holds half a character (a lone surrogate)") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _check_depth(value: JsonValue) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def _first_character(file: IO[bytes]) -> bytes:
    """The first character that is no space; the file is back at its start afterwards."""
    while chunk := file.read(4096):
        if text := chunk.removeprefix(b"\xef\xbb\xbf").strip():
            file.seek(0)
            return text[:1]
    return b""


def _is_one_object(file: IO[bytes]) -> bool:
    """Whether the file is one object over several lines, not an object a line."""
    first, second = file.readline(LONGEST_ROW).strip(), file.readline(LONGEST_ROW).strip()
    file.seek(0)
    return (first == b"{" or not first.endswith(b"}")) and bool(second) and not second.startswith(b"{")


def _whole(path: Path, file: IO[bytes]) -> Iterator[Row]:
    data = file.read(WHOLE_JSON + 1)
    if len(data) > WHOLE_JSON:
        raise BadFile(
            f"{path.name} is one JSON value of over {WHOLE_JSON // 2**20} MiB. Write one row a line (JSON lines)."
        )
    try:
        value = parse_json(data.decode("utf-8-sig"))
    except ValueError as error:
        raise BadFile(f"{path.name} is cut or not JSON: {error}. Fetch it again.") from error
    yield from enumerate(value if isinstance(value, list) else [value], 1)


def _lines(path: Path, file: IO[bytes]) -> Iterator[Row]:
    packed = path.stat().st_size
    unpacked = 0
    number = 0
    while True:
        try:
            line = file.readline(LONGEST_ROW + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            yield number + 1, Dropped(number + 1, "the file is cut here: the rest cannot be unpacked")
            return
        if not line:
            return
        unpacked += len(line)
        number += 1
        if unpacked > MOST_UNPACKED or (unpacked > WHOLE_JSON and unpacked > packed * MOST_RATIO):
            raise BadFile(f"{path.name} unpacks to more than {unpacked // 2**20} MiB from {packed} bytes: refused.")
        if len(line) > LONGEST_ROW:
            yield number, Dropped(number, f"the row is longer than {LONGEST_ROW // 2**20} MiB")
            while len(line) > LONGEST_ROW and not line.endswith(b"\n"):
                line = file.readline(LONGEST_ROW + 1)
            continue
        if not line.strip():
            continue
        yield number, _line(number, line)


def _line(number: int, line: bytes) -> JsonValue | Dropped:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        return Dropped(number, "the row is not UTF-8 text", excerpt(line.decode("utf-8", "replace")))
    try:
        return parse_json(text)
    except ValueError:
        reason = "the row is cut" if not line.endswith(b"\n") else "the row is not JSON"
        return Dropped(number, reason, excerpt(text))


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _plain(row)
    except (pa.ArrowException, OSError) as error:
        raise BadFile(f"{path.name} is a damaged Parquet file ({str(error).splitlines()[0]}).") from error


def _plain(value: Any) -> JsonValue:
    """A Parquet value as JSON: times as text, bytes refused by their text, absent struct fields left out."""
    if isinstance(value, dict):
        return {str(key): _plain(child) for key, child in value.items() if child is not None}
    if isinstance(value, list):
        return [_plain(child) for child in value]
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
