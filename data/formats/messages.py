"""OpenAI messages, which TRL calls conversational: one `{"messages": [...]}` a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data.formats.chat import Conversation, Message, about_row, content_text
from data.formats.chat_rows import ROLES, read_chats
from data.formats.entry import FileFormat, Found, Head
from data.formats.records import Row


def detect(head: Head) -> bool:
    first = head.first
    return isinstance(first.get("messages"), list) or (
        isinstance(first.get("prompt"), list) and isinstance(first.get("completion"), list)
    )


def read(path: Path) -> Iterator[Found]:
    """One trial a row; `prompt` and `completion` message lists are read as one conversation."""
    return read_chats("messages", path, _messages, {"messages", "prompt", "completion"})


def _messages(row: Row) -> list[Message] | str:
    given = row.get("messages")
    if given is None and isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        given = [*row["prompt"], *row["completion"]]
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


def rows(conversation: Conversation) -> Iterator[Row]:
    """The whole conversation; TRL's SFTTrainer reads it as it is."""
    messages = [{"role": role, "content": content} for role, content in conversation.messages]
    yield {"messages": messages, **about_row(conversation)}


FORMAT = FileFormat("messages", "OpenAI messages (JSON lines, Parquet)", detect, read)
