"""OpenAI messages, which TRL calls conversational: one `{"messages": [...]}` a row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from data.formats.chat import Conversation, Message, about_row, content_text, read_conversation
from data.formats.entry import About, Dropped, FileFormat, Found, Head, excerpt, file_time
from data.formats.source import rows_of

ROLES: dict[str, Literal["system", "user", "assistant"]] = {
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
KNOWN = {"messages", "role", "episode_id", "trial", "task_id", "env", "split", "instruction", "reward", "score"} | {
    "success", "gain", "annotators", "source", "dataset_hash", "tagset_version", "prompt", "completion"
}  # fmt: skip


def detect(head: Head) -> bool:
    first = head.first
    return isinstance(first.get("messages"), list) or (
        isinstance(first.get("prompt"), list) and isinstance(first.get("completion"), list)
    )


def read(path: Path) -> Iterator[Found]:
    """One trial a row; `prompt` and `completion` message lists are read as one conversation."""
    at = file_time(path)
    for number, row in rows_of(path):
        if isinstance(row, Dropped):
            yield row
            continue
        messages = _messages(row) if isinstance(row, dict) else "the row is not an object"
        if isinstance(messages, str):
            yield Dropped(number, messages, excerpt(row))
        elif isinstance(row, dict):
            yield read_conversation("messages", number, row, messages, at, sorted(row.keys() - KNOWN))


def _messages(row: dict[str, JsonValue]) -> list[Message] | str:
    """The row's messages, or why they cannot be read."""
    given = row.get("messages")
    if given is None and isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        given = [*row["prompt"], *row["completion"]]  # type: ignore[misc]
    if not isinstance(given, list) or not given:
        return "the row has no list of messages"
    messages = []
    for message in given:
        if not isinstance(message, dict) or str(message.get("role")) not in ROLES:
            return f"a message has the unknown role {str(message)[:40]!r}"
        text = content_text(message.get("content"), message.get("tool_calls"))
        if text is None:
            return "a message has neither text nor a tool call"
        messages.append(Message(ROLES[str(message["role"])], text))
    return messages


def write(conversations: Iterable[Conversation], path: Path, about: About) -> int:
    """One conversation a row; TRL's SFTTrainer reads it as it is."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for conversation in conversations:
            messages = [{"role": role, "content": content} for role, content in conversation.messages]
            row = {"messages": messages, **about_row(conversation), **about.model_dump()}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


LOSES = (
    "the other trials of the episode: each trial and each reflection is a row of its own",
    "token ids, log-probabilities, times, views, options, and who wrote a turn",
    "which turns were invalid or malformed",
)
FORMAT = FileFormat("messages", "OpenAI messages (JSON lines, Parquet)", detect, read, loses=LOSES)
