"""ShareGPT: `{"conversations": [{"from": "human", "value": …}, …]}`, with an optional `system` text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data.formats.chat import Conversation, Message, about_row
from data.formats.chat_rows import ROLES, Roles, read_chats
from data.formats.entry import FileFormat, Found, Head
from data.formats.records import Row

NAMES = {"system": "system", "user": "human", "assistant": "gpt"}
MORE_ROLES: Roles = {
    **ROLES,
    "observation": "user",
    "function_call": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
}


def detect(head: Head) -> bool:
    return isinstance(head.first.get("conversations"), list)


def read(path: Path) -> Iterator[Found]:
    return read_chats("sharegpt", path, _messages, {"conversations", "system", "id"})


def _messages(row: Row) -> list[Message] | str:
    given = row.get("conversations")
    if not isinstance(given, list) or not given:
        return "the row has no list of conversations"
    system = row.get("system")
    messages = [Message("system", system)] if isinstance(system, str) and system else []
    for message in given:
        if not isinstance(message, dict) or str(message.get("from")) not in MORE_ROLES:
            return f"a message is from the unknown {str(message)[:40]!r}"
        if not isinstance(message.get("value"), str):
            return "a message has no text"
        messages.append(Message(MORE_ROLES[str(message["from"])], str(message["value"])))
    return messages


def rows(conversation: Conversation) -> Iterator[Row]:
    """The whole conversation."""
    turns = [{"from": NAMES[role], "value": content} for role, content in conversation.messages]
    system = turns.pop(0)["value"] if turns and turns[0]["from"] == "system" else ""
    yield {"conversations": turns, "system": system, **about_row(conversation)}


FORMAT = FileFormat("sharegpt", "ShareGPT conversations (JSON)", detect, read)
