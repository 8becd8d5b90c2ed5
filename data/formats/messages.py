"""OpenAI messages, which TRL calls conversational: one `{"messages": [...]}` a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from data.formats.chat import Conversation, Message, content_text
from data.formats.chat_rows import LOSES, ROLES, Row, read_chats, write_rows
from data.formats.entry import About, FileFormat, Found, Head


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


def write(conversations: Iterable[Conversation], path: Path, about: About) -> int:
    """One conversation a row; TRL's SFTTrainer reads it as it is."""
    rows = (({"messages": [{"role": r, "content": c} for r, c in one.messages]}, one) for one in conversations)
    return write_rows(rows, path, about)


FORMAT = FileFormat("messages", "OpenAI messages (JSON lines, Parquet)", detect, read, loses=LOSES)
