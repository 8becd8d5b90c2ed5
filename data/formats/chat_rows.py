"""Chats as rows, the reading that the chat formats share: each says only how a row holds its messages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from data.formats.chat import Message, read_conversation
from data.formats.entry import Dropped, Found, excerpt, file_time
from data.formats.records import FIELD, Row, read_records
from data.formats.source import rows_of

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
NOTE = (
    "imported is the record of the episode that the rows carry; without the field `records` the chats themselves are"
)


def read_chats(
    name: str, path: Path, messages_of: Callable[[Row], list[Message] | str], known: Collection[str]
) -> Iterator[Found]:
    """One trial a row, or the episodes that the rows of our own exports carry. `messages_of` gives a row's messages,
    or why they cannot be read."""
    if any(isinstance(row, dict) and FIELD in row for _, row in islice(rows_of(path), 1)):
        yield from read_records(path, (NOTE,))
        return
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
