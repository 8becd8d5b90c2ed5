"""Alpaca: `{"instruction", "input", "output"}`. One row is one reply: a trial of several turns becomes several rows,
each with everything before the reply as its input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from data.formats.chat import Conversation, Message, about_row, read_conversation
from data.formats.entry import About, Dropped, FileFormat, Found, Head, excerpt, file_time
from data.formats.messages import KNOWN, LOSES
from data.formats.source import rows_of


def detect(head: Head) -> bool:
    return {"instruction", "output"} <= head.first.keys() and isinstance(head.first["output"], str)


def read(path: Path) -> Iterator[Found]:
    at = file_time(path)
    for number, row in rows_of(path):
        if isinstance(row, Dropped):
            yield row
            continue
        if not isinstance(row, dict) or not all(isinstance(row.get(k), str) for k in ("instruction", "output")):
            yield Dropped(number, "the row has no instruction and output texts", excerpt(row))
            continue
        asked = "\n\n".join(text for text in (str(row["instruction"]), str(row.get("input") or "")) if text)
        if not asked or not str(row["output"]).strip():
            yield Dropped(number, "the instruction or the output is empty", excerpt(row))
            continue
        messages = [Message("user", asked), Message("assistant", str(row["output"]))]
        extra = sorted(row.keys() - KNOWN - {"input", "output", "turn"})
        fields = {**row, "instruction": asked}
        yield read_conversation("alpaca", number, fields, messages, at, extra)


def write(conversations: Iterable[Conversation], path: Path, about: About) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for conversation in conversations:
            for turn, (instruction, before, output) in enumerate(_steps(conversation), 1):
                row = {"instruction": instruction, "input": before, "output": output, "turn": turn}
                row |= about_row(conversation) | about.model_dump()
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                count += 1
    return count


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


FORMAT = FileFormat(
    "alpaca",
    "Alpaca instructions (JSON)",
    detect,
    read,
    loses=(*LOSES, "where one turn ends in the input of the next"),
)
