"""The form of one planner turn: an optional thought and exactly one action.

    Thought: the apple is likely in the fridge.
    Action: go to fridge 1

Written once here, so that prompts, parsing, imitation data and human edits agree to the letter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from data.types import Turn

STOP_TEXTS = ("\nObservation:",)
"""Where a planner that goes on inventing the environment's answer is cut."""

_LABEL = re.compile(r"^\s*(thought|action)(?:\s+\d+)?\s*:", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """A parsed planner turn."""

    thought: str
    action: str


@dataclass(frozen=True)
class Malformed:
    """A planner turn without exactly one action."""

    correction: str
    """What the planner is told instead of an observation."""


def format_reply(thought: str, action: str) -> str:
    """The text of a turn, the inverse of `parse_reply`."""
    thought, action = " ".join(thought.split()), action.strip()
    return f"Thought: {thought}\nAction: {action}" if thought else f"Action: {action}"


def reply_text(turn: Turn) -> str:
    """The turn as its planner wrote it, or is to write it."""
    return turn.thought if turn.is_malformed else format_reply(turn.thought, turn.action)


def parse_reply(text: str) -> Reply | Malformed:
    """Read a planner turn strictly: thought lines first, then one action; actions may span lines (SQL, shell)."""
    thought: list[str] = []
    action: list[str] | None = None
    current: list[str] | None = None
    for line in text.strip().splitlines():
        label = _LABEL.match(line)
        if label is None:
            if current is None and line.strip():
                return _malformed(f"it starts with {line.strip()[:40]!r} instead of a label")
            if current is not None:
                current.append(line)
            continue
        content = line[label.end() :].strip()
        if label.group(1).lower() == "action":
            if action is not None:
                return _malformed("it has more than one action")
            action = current = [content]
        elif action is not None:
            return _malformed("a thought follows the action")
        else:
            thought.append(content)
            current = thought
    written = "\n".join(action).strip() if action is not None else ""
    if not written:
        return _malformed("it has no action")
    return Reply(" ".join(" ".join(thought).split()), written)


def _malformed(why: str) -> Malformed:
    return Malformed(
        f"Your reply could not be read: {why}. Write a line 'Thought: ...' and then one line 'Action: ...', no more."
    )
