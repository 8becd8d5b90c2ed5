"""ShareGPT: `{"conversations": [{"from": "human", "value": …}, …]}`, with an optional `system` text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from data.formats.chat import Conversation, Message
from data.formats.chat_rows import LOSES, ROLES, Roles, Row, read_chats, write_rows
from data.formats.entry import About, FileFormat, Found, Head

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


def write(conversations: Iterable[Conversation], path: Path, about: About) -> int:
    return write_rows(((_row(conversation), conversation) for conversation in conversations), path, about)


def _row(conversation: Conversation) -> Row:
    turns = [{"from": NAMES[role], "value": content} for role, content in conversation.messages]
    system = turns.pop(0)["value"] if turns and turns[0]["from"] == "system" else ""
    return {"conversations": turns, "system": system}


FORMAT = FileFormat("sharegpt", "ShareGPT conversations (JSON)", detect, read, loses=LOSES)
