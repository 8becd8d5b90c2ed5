"""Chats as rows, the reading and writing that the chat formats share: each says only how a row holds its messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from data.formats.chat import Conversation, Message, about_row, read_conversation
from data.formats.entry import About, Dropped, Found, excerpt, file_time
from data.formats.source import rows_of

Row = dict[str, Any]
Roles = dict[str, Literal["system", "user", "assistant"]]
ROLES: Roles = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "tool": "user",
    "function": "user",
    "ipython": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}
KNOWN = frozenset(
    {"role", "episode_id", "trial", "task_id", "env", "split", "instruction", "reward", "score", "success", "gain"}
    | {"annotators", "source", "dataset_hash", "tagset_version"}
)
"""Fields beside the text that every chat format understands."""
LOSES = (
    "the other trials of the episode: each trial and each reflection is a row of its own",
    "token ids, log-probabilities, times, views, options, and who wrote a turn",
    "which turns were invalid or malformed",
)


def read_chats(
    name: str, path: Path, messages_of: Callable[[Row], list[Message] | str], known: Collection[str]
) -> Iterator[Found]:
    """One trial a row. `messages_of` gives a row's messages, or why they cannot be read."""
    at = file_time(path)
    for number, row in rows_of(path):
        if isinstance(row, Dropped):
            yield row
            continue
        messages = messages_of(row) if isinstance(row, dict) else "the row is not an object"
        if isinstance(messages, str):
            yield Dropped(number, messages, excerpt(row))
        elif isinstance(row, dict):
            yield read_conversation(name, number, row, messages, at, sorted(row.keys() - KNOWN - set(known)))


def write_rows(rows: Iterable[tuple[Row, Conversation]], path: Path, about: About) -> int:
    """One row a line, each with where it came from. Returns how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row, conversation in rows:
            whole: dict[str, JsonValue] = {**row, **about_row(conversation), **about.model_dump()}
            file.write(json.dumps(whole, ensure_ascii=False) + "\n")
            count += 1
    return count
