"""ShareGPT: `{"conversations": [{"from": "human", "value": …}, …]}`, with an optional `system` text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import JsonValue

from data.formats.chat import Conversation, Message, about_row, read_conversation
from data.formats.entry import About, Dropped, FileFormat, Found, Head, excerpt, file_time
from data.formats.messages import KNOWN, LOSES, ROLES
from data.formats.source import rows_of

NAMES = {"system": "system", "user": "human", "assistant": "gpt"}
MORE_ROLES = {
    **ROLES,
    "observation": "user",
    "function_call": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
}


def detect(head: Head) -> bool:
    return isinstance(head.first.get("conversations"), list)


def read(path: Path) -> Iterator[Found]:
    at = file_time(path)
    for number, row in rows_of(path):
        if isinstance(row, Dropped):
            yield row
            continue
        messages = _messages(row) if isinstance(row, dict) else "the row is not an object"
        if isinstance(messages, str):
            yield Dropped(number, messages, excerpt(row))
        elif isinstance(row, dict):
            extra = sorted(row.keys() - KNOWN - {"conversations", "system", "id"})
            yield read_conversation("sharegpt", number, row, messages, at, extra)


def _messages(row: dict[str, JsonValue]) -> list[Message] | str:
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
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for conversation in conversations:
            turns = [{"from": NAMES[role], "value": content} for role, content in conversation.messages]
            system = turns.pop(0)["value"] if turns and turns[0]["from"] == "system" else ""
            row = {"conversations": turns, "system": system, **about_row(conversation), **about.model_dump()}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


FORMAT = FileFormat("sharegpt", "ShareGPT conversations (JSON)", detect, read, loses=LOSES)
