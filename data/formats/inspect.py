"""Inspect's evaluation logs: `.eval` (a zip of JSON, deflated or Zstandard) and `.json`, one trial a sample.

https://inspect.aisi.org.uk/eval-logs.html. Read directly: of each sample its messages, first score and target.
Nothing is unpacked to disk, and no name in the archive is used as a path.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import pyarrow as pa
from pydantic import JsonValue

from data.errors import BadFile
from data.formats.chat import Message, content_text, read_conversation
from data.formats.chat_rows import ROLES
from data.formats.entry import Dropped, Entry, FileFormat, Found, Head, excerpt, file_time
from data.formats.source import LONGEST_ROW, MOST_UNPACKED, ZIP, parse_json, rows_of

ZSTANDARD = 93
"""The number of the compression in the zip format; the standard library knows it from Python 3.14 on."""
HEADERS = ("header.json", "_journal/start.json")
"""Of a log that ended, and of one that was cut short."""
ATTACHMENT = "attachment://"
GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""Inspect's grades: correct, incorrect, partial, no answer."""
_LOCAL_HEADER = struct.Struct("<26xHH")
Object = dict[str, Any]


def detect(head: Head) -> bool:
    if head.start.startswith(ZIP):
        with _archive(head.path) as archive:
            return any(name in archive.NameToInfo for name in HEADERS)
    return {"eval", "plan", "samples"} <= head.first.keys()


def read(path: Path) -> Iterator[Found]:
    """Every sample and epoch."""
    at = file_time(path)
    for number, (log, sample) in enumerate(_samples(path), 1):
        yield sample if isinstance(sample, Dropped) else _entry(number, log, sample, at)


def _samples(path: Path) -> Iterator[tuple[Object, JsonValue | Dropped]]:
    """(what the log says of the evaluation, one sample)."""
    with path.open("rb") as file:
        is_archive = file.read(4) == ZIP.encode()
    if not is_archive:
        for _, row in rows_of(path):
            log = row if isinstance(row, dict) else {}
            samples = log.get("samples")
            for sample in samples if isinstance(samples, list) else [row]:
                yield _evaluation(log), sample
        return
    with _archive(path) as archive, path.open("rb") as raw:
        header = next(archive.NameToInfo[name] for name in HEADERS if name in archive.NameToInfo)
        log = _evaluation(parse_json(_content(raw, header)))
        unpacked = 0
        members = [info for info in archive.infolist() if info.filename.startswith("samples/")]
        for number, info in enumerate(members, 1):
            if info.filename.count("/") > 1:
                if info.filename.endswith("/sample.json"):
                    reason = "a sample in pieces: write it whole with `inspect log convert --to json`"
                    yield log, Dropped(number, reason, excerpt(info.filename))
                continue
            unpacked += info.file_size
            if unpacked > MOST_UNPACKED:
                raise BadFile(f"{path.name} unpacks to more than {MOST_UNPACKED // 2**30} GiB: refused.")
            yield log, _member(number, raw, info)


def _archive(path: Path) -> ZipFile:
    try:
        return ZipFile(path)
    except (BadZipFile, OSError, ValueError) as error:
        raise BadFile(f"{path.name} is a damaged zip archive ({error}). Fetch it again.") from error


def _member(number: int, raw: IO[bytes], info: ZipInfo) -> JsonValue | Dropped:
    try:
        return parse_json(_content(raw, info))
    except BadFile as error:
        return Dropped(number, str(error), excerpt(info.filename))
    except ValueError as error:
        return Dropped(number, f"the sample is not JSON: {error}"[:120], excerpt(info.filename))


def _content(raw: IO[bytes], info: ZipInfo) -> bytes:
    """A member unpacked, up to the longest row that is read. Raises BadFile."""
    raw.seek(info.header_offset)
    start = raw.read(30)
    if len(start) < 30:
        raise BadFile("the archive is cut before this sample")
    raw.seek(sum(_LOCAL_HEADER.unpack(start)), 1)
    packed = raw.read(min(info.compress_size, LONGEST_ROW))
    try:
        content = _unpacked(packed, info.compress_type)
    except (OSError, zlib.error) as error:
        raise BadFile("the sample cannot be unpacked") from error
    if len(content) > LONGEST_ROW:
        raise BadFile(f"the sample is longer than {LONGEST_ROW // 2**20} MiB")
    return content


def _unpacked(packed: bytes, method: int) -> bytes:
    """At most one byte more than the longest row."""
    if method == ZIP_STORED:
        return packed
    if method == ZIP_DEFLATED:
        return zlib.decompressobj(-15).decompress(packed, LONGEST_ROW + 1)
    if method == ZSTANDARD:
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
            content: bytes = stream.read(LONGEST_ROW + 1)
            return content
    raise BadFile(f"the sample is packed with method {method}, which is not known here")


def _evaluation(log: JsonValue) -> Object:
    found = log.get("eval") if isinstance(log, dict) else None
    return found if isinstance(found, dict) else {}


def _entry(number: int, log: Object, sample: JsonValue, at: datetime) -> Found:
    if not isinstance(sample, dict) or not isinstance(sample.get("messages"), list):
        return Dropped(number, "the sample has no messages", excerpt(sample))
    attached = sample.get("attachments")
    texts = attached if isinstance(attached, dict) else {}
    given = sample.get("messages")
    messages: list[Message] = []
    for message in given if isinstance(given, list) else ():
        if not isinstance(message, dict) or str(message.get("role")) not in ROLES:
            return Dropped(number, f"a message has the unknown role {str(message)[:40]!r}", excerpt(sample))
        messages.append(_message(message, texts))
    env, name = str(log.get("task") or "inspect").rpartition("/")[2], str(sample.get("id"))
    row: dict[str, JsonValue] = {
        "env": env,
        "task_id": f"{env}-{name}",
        "epoch": sample.get("epoch"),
        "messages": [list(message) for message in messages],
    }
    row |= _outcome(sample.get("scores"))
    found = read_conversation("inspect", number, row, messages, at, ())
    if isinstance(found, Dropped):
        return found
    target = sample.get("target")
    task = found.episode.task.model_copy(update={"metadata": {"answer": target} if isinstance(target, str) else {}})
    notes = ["the sample ended with an error"] if sample.get("error") else []
    if not row.keys() & {"reward"}:
        notes.append("no score that is a number or a grade: not scored")
    model = str(log.get("model") or "imported")
    return Entry(found.episode.model_copy(update={"planner": model, "task": task}), row=number, notes=tuple(notes))


def _message(message: Object, texts: Object) -> Message:
    content = _resolved(message.get("content"), texts)
    said = content_text(content) or ""
    if ROLES[str(message["role"])] != "assistant":
        return Message(ROLES[str(message["role"])], said)
    parts = content if isinstance(content, list) else []
    reasons = [str(part["reasoning"]) for part in parts if isinstance(part, dict) and part.get("reasoning")]
    reasoned = "\n".join(reasons)
    thought = "\n".join(text for text in (reasoned, said) if text)
    given = message.get("tool_calls")
    calls = [call for call in (given if isinstance(given, list) else []) if isinstance(call, dict)]
    named: list[JsonValue] = [
        {"name": call.get("function"), "arguments": _resolved(call.get("arguments", {}), texts)} for call in calls
    ]
    acted = content_text(None, named) if named else None
    if acted is not None:
        return Message("assistant", f"Thought: {thought}\nAction: {acted}" if thought else f"Action: {acted}")
    return Message("assistant", f"Thought: {reasoned}\nAction: {said}" if reasoned and said else thought)


def _resolved(value: Any, texts: Object) -> Any:
    """The value with what was put aside under `attachments` in its place."""
    if isinstance(value, str) and value.startswith(ATTACHMENT):
        return str(texts.get(value.removeprefix(ATTACHMENT), value))
    if isinstance(value, list):
        return [_resolved(child, texts) for child in value]
    if isinstance(value, dict):
        return {key: _resolved(child, texts) for key, child in value.items()}
    return value


def _outcome(scores: JsonValue) -> dict[str, JsonValue]:
    """Reward of the first score: a number, a truth value or a grade. Empty when there is none."""
    first = next(iter(scores.values()), None) if isinstance(scores, dict) else None
    value = first.get("value") if isinstance(first, dict) else None
    if isinstance(value, (bool, int, float)):
        return {"reward": float(value)}
    if isinstance(value, str) and value in GRADES:
        return {"reward": GRADES[value]}
    return {}


FORMAT = FileFormat("inspect", "Inspect evaluation logs (.eval, JSON)", detect, read)
