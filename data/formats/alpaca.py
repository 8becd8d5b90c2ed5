"""Alpaca: `{"instruction", "input", "output"}`. One row is one reply: a trial of several turns becomes several rows,
each with everything before the reply as its input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data.formats.chat import Conversation, Message, about_row
from data.formats.chat_rows import read_chats
from data.formats.entry import FileFormat, Found, Head
from data.formats.records import Row


def detect(head: Head) -> bool:
    return {"instruction", "output"} <= head.first.keys() and isinstance(head.first["output"], str)


def read(path: Path) -> Iterator[Found]:
    return read_chats("alpaca", path, _messages, {"input", "output", "turn"})


def _messages(row: Row) -> list[Message] | str:
    if not all(isinstance(row.get(key), str) for key in ("instruction", "output")):
        return "the row has no instruction and output texts"
    asked = "\n\n".join(text for text in (row["instruction"], str(row.get("input") or "")) if text)
    if not asked or not row["output"].strip():
        return "the instruction or the output is empty"
    row["instruction"] = asked  # Both say what the task is.
    return [Message("user", asked), Message("assistant", row["output"])]


def rows(conversation: Conversation) -> Iterator[Row]:
    for turn, (instruction, before, output) in enumerate(_steps(conversation), 1):
        asked = {"instruction": instruction, "input": before, "output": output}
        yield {**asked, "turn": turn, **about_row(conversation)}


def _steps(conversation: Conversation) -> Iterator[tuple[str, str, str]]:
    """(instruction, everything since, reply) of every reply that is worth imitating."""
    first = next(place for place, (role, _) in enumerate(conversation.messages) if role == "assistant")
    instruction = "\n\n".join(content for _, content in conversation.messages[:first])
    since: list[str] = []
    replies = 0
    for role, content in conversation.messages[first:]:
        if role == "assistant":
            if not conversation.trained or conversation.trained[replies]:
                yield instruction, "\n".join(since), content
            replies += 1
        since.append(content)


FORMAT = FileFormat("alpaca", "Alpaca instructions (JSON)", detect, read)
