"""Transcripts as text, read back into turns."""

from __future__ import annotations

import re
from dataclasses import dataclass

from data.types import Turn

_LABEL = re.compile(r"^(Thought|Action|Observation)\s*(\d+)\s*:", re.MULTILINE)
_BARE_LABEL = re.compile(r"^(Thought|Action|Observation):", re.MULTILINE)
_VERDICT = re.compile(r"\n*^STATUS: (?P<status>OK|FAIL)\s*?(?:\nREWARD: (?P<reward>\S+))?\s*\Z", re.MULTILINE)


@dataclass(frozen=True)
class Ending:
    """A transcript without its verdict lines, and what they said."""

    text: str
    status: str | None
    reward: float | None


def cut_verdict(text: str) -> Ending:
    """Take `STATUS: OK` and `REWARD: 0.5`, which RetroAct writes under every transcript, off the end."""
    found = _VERDICT.search(text)
    if found is None:
        return Ending(text, None, None)
    try:
        reward = float(found["reward"]) if found["reward"] else None
    except ValueError:
        reward = None
    return Ending(text[: found.start()], found["status"], reward)


def numbered_turns(text: str) -> list[Turn]:
    """Turns of `Thought 1: … Action 1: … Observation 1: …`, or of the same without any number.

    A thought without an action is a malformed turn.
    """
    pieces: list[tuple[str, str]] = []
    marks = list(_LABEL.finditer(text)) or list(_BARE_LABEL.finditer(text))
    for place, mark in enumerate(marks):
        end = marks[place + 1].start() if place + 1 < len(marks) else len(text)
        pieces.append((mark[1], text[mark.end() : end].strip()))
    turns: list[dict[str, str]] = []
    for label, content in pieces:
        key = label.lower()
        if not turns or key == "thought" or key in turns[-1] or (key == "action" and "observation" in turns[-1]):
            turns.append({})
        turns[-1][key] = content
    return [
        make_turn(index, turn.get("thought", ""), turn.get("action", ""), turn.get("observation", ""))
        for index, turn in enumerate(turns, 1)
    ]


def command_turns(text: str) -> list[Turn]:
    """Turns of `> go to desk 1` and the lines below it. `> think: …` is the thought of the command that follows."""
    turns: list[Turn] = []
    thoughts: list[str] = []
    for piece in re.split(r"^>\s?", text, flags=re.MULTILINE):
        command, _, observation = piece.strip("\n").partition("\n")
        if not command.strip():
            continue
        if command.strip().lower().startswith("think:"):
            thoughts.append(command.strip()[len("think:") :].strip())
            if observation.strip() not in ("", "OK."):
                turns.append(make_turn(len(turns) + 1, "\n".join(thoughts), "", observation.strip()))
                thoughts = []
            continue
        turns.append(make_turn(len(turns) + 1, "\n".join(thoughts), command.strip(), observation.strip()))
        thoughts = []
    if thoughts:
        turns.append(make_turn(len(turns) + 1, "\n".join(thoughts), "", ""))
    return turns


def make_turn(index: int, thought: str, action: str, observation: str, reward: float = 0.0) -> Turn:
    return Turn(
        index=index,
        thought=thought,
        action=action,
        observation=observation,
        reward=reward,
        is_malformed=not action,
        is_valid=bool(action) and not _says_invalid(observation),
    )


def _says_invalid(observation: str) -> bool:
    """How the environments of these files answer an action that they cannot do."""
    return observation.startswith(("Nothing happens", "Error executing query", "Invalid Action", "Invalid action"))
