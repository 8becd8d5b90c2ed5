"""verl's rollout dumps: `{"input", "output", "score", "step"}` and more a line, a file a training step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data.formats.chat import Message
from data.formats.chat_rows import read_chats
from data.formats.entry import FileFormat, Found, Head
from data.formats.records import Row


def detect(head: Head) -> bool:
    return {"input", "output", "score"} <= head.first.keys() and "type" not in head.first


def read(path: Path) -> Iterator[Found]:
    """One trial of one turn a row; its reward is the score."""
    return read_chats("verl", path, _messages, {"input", "output"})


def _messages(row: Row) -> list[Message] | str:
    if not all(isinstance(row.get(key), str) for key in ("input", "output")):
        return "the row has no input and output texts"
    return [Message("user", row["input"]), Message("assistant", row["output"])]


FORMAT = FileFormat("verl", "verl rollouts (JSON lines)", detect, read)
