"""Conversations and episodes: one conversation is one trial, one assistant message is one turn.

A file that says nothing of success gives trials that were not scored (`stopped`): they are read and labelled like any
other, and become training data by a verdict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from pydantic import JsonValue

from data.formats.entry import Dropped, Entry, Found, content_id, excerpt, task_id
from data.types import Completion, Episode, EpisodeState, Noun, Reflection, StopReason, Task, Trial, Turn

_REPLY = re.compile(r"\A\s*(?:Thought:\s?(?P<thought>.*?)\n)?\s*Action:\s?(?P<action>.*)\Z", re.DOTALL)
OUTCOMES = ("reward", "score", "success")
PLANNER, REFLECTOR = "planner", "reflector"


class Message(NamedTuple):
    role: Literal["system", "user", "assistant"]
    content: str


class Conversation(Noun):
    """One trial, or one reflection, as the chat that a policy sees. Made by the caller, who owns the prompts."""

    episode_id: str
    task_id: str
    env: str
    split: str
    role: Literal["planner", "reflector"]
    trial: int
    """The trial, or the one that the reflection follows."""
    messages: tuple[tuple[str, str], ...]
    """(role, content); the assistant's are what the policy wrote."""
    trained: tuple[bool, ...] = ()
    """Of each assistant message, whether it is worth imitating; empty means all."""
    step_rewards: tuple[int | None, ...] = ()
    """Of each assistant message, what people gave; None for unmarked."""
    is_whole: bool = True
    """False for the part of a trial that ends with a rewritten turn, the only one worth imitating."""
    reward: float
    success: bool
    gain: float | None = None
    is_positive: bool
    """Success, or what the verdict of people says."""
    annotators: tuple[str, ...] = ()


def read_conversation(
    name: str, number: int, row: dict[str, JsonValue], messages: Sequence[Message], at: datetime, extra: Sequence[str]
) -> Found:
    """The entry of one row. `extra` are the row's fields that this reader does not know."""
    first = next((place for place, message in enumerate(messages) if message.role == "assistant"), None)
    if first is None:
        return Dropped(number, "no message is the assistant's", excerpt(row))
    notes = [f"field {key!r} left out" for key in extra]
    asked = [message.content for message in messages[:first]]
    opening = next((message.content for message in reversed(messages[:first]) if message.role == "user"), "")
    env, instruction = str(row.get("env") or "other"), str(row.get("instruction") or opening or "(no task)")
    if row.get("role") == REFLECTOR:
        trials, reflections = (
            _reflected(row, messages, first, asked, at),
            _reflection(row, messages, first, asked, at),
        )
    else:
        turns = _turns(messages[first:])
        trials, reflections = [_trial(row, "\n\n".join(asked), opening, turns, at)], []
    known = row.get("task_id")
    episode = Episode(
        id=content_id(name, dict(row)),
        task=Task(
            id=known if isinstance(known, str) and known else task_id(env, instruction),
            env=env,
            split=str(row.get("split") or "train"),
            instruction=instruction[:2000],
        ),
        planner="imported",
        reflector="imported",
        trial_limit=max(len(trials), 1),
        trials=tuple(trials),
        reflections=tuple(reflections),
        state=_state(trials),
        run_id="import",
        source=name,
        created_at=at,
    )
    return Entry(episode, row=number, notes=tuple(notes))


def _turns(messages: Sequence[Message]) -> list[Turn]:
    turns: list[Turn] = []
    seen: list[str] = []
    for message in messages:
        if message.role != "assistant":
            seen.append(message.content)
            continue
        if turns:
            turns[-1] = turns[-1].model_copy(update={"observation": "\n\n".join(seen)})
        seen = []
        reply = _REPLY.match(message.content)
        thought, action = (reply["thought"] or "", reply["action"]) if reply else ("", message.content)
        turns.append(
            Turn(
                index=len(turns) + 1,
                thought=thought.strip(),
                action=action.strip(),
                observation="",
                reward=0.0,
                is_malformed=not action.strip(),
                completion=Completion(policy="imported", text=message.content),
            )
        )
    if turns:
        turns[-1] = turns[-1].model_copy(update={"observation": "\n\n".join(seen)})
    return turns


def _trial(row: dict[str, JsonValue], prompt: str, opening: str, turns: Sequence[Turn], at: datetime) -> Trial:
    outcome = next((row[key] for key in OUTCOMES if isinstance(row.get(key), (int, float))), None)
    reward = float(outcome) if isinstance(outcome, (int, float)) else 0.0
    given = row.get("success")
    success = given if isinstance(given, bool) else outcome is not None and reward >= 1
    stop = StopReason.SOLVED if success else StopReason.FAILED if outcome is not None else StopReason.STOPPED
    index = row.get("trial")
    return Trial(
        index=index if isinstance(index, int) and index > 0 else 1,
        prompt=prompt,
        opening=opening,
        turns=tuple(turns),
        reward=reward,
        success=success,
        stop_reason=stop,
        started_at=at,
        finished_at=at,
    )


def _reflected(
    row: dict[str, JsonValue], messages: Sequence[Message], first: int, asked: Sequence[str], at: datetime
) -> list[Trial]:
    """The failed trial behind a reflection, known by the reflector's prompt alone, and the outcome of the next."""
    before = _trial({"trial": row.get("trial"), "success": False}, "", asked[-1] if asked else "", [], at)
    after = _trial({**row, "trial": before.index + 1}, "", "", [], at)
    return [before, after] if any(key in row for key in OUTCOMES) else [before]


def _reflection(
    row: dict[str, JsonValue], messages: Sequence[Message], first: int, asked: Sequence[str], at: datetime
) -> list[Reflection]:
    index, gain = row.get("trial"), row.get("gain")
    return [
        Reflection(
            after_trial=index if isinstance(index, int) and index > 0 else 1,
            text=messages[first].content,
            author="reflector",
            prompt="\n\n".join(asked),
            gain=float(gain) if isinstance(gain, (int, float)) else None,
            created_at=at,
        )
    ]


def _state(trials: Sequence[Trial]) -> EpisodeState:
    last = trials[-1]
    if last.stop_reason is StopReason.STOPPED:
        return EpisodeState.STOPPED
    return EpisodeState.SOLVED if last.success else EpisodeState.FAILED


def content_text(content: JsonValue, tool_calls: JsonValue = None) -> str | None:
    """A message's text: a string, or the text parts of a list; tool calls as `name({…})`. None when there is none."""
    texts: list[str] = []
    if isinstance(content, str):
        texts.append(content)
    elif isinstance(content, list):
        texts += [str(part["text"]) for part in content if isinstance(part, dict) and "text" in part]
    for call in tool_calls if isinstance(tool_calls, list) else []:
        function = call.get("function", call) if isinstance(call, dict) else {}
        if isinstance(function, dict) and "name" in function:
            arguments = function.get("arguments", {})
            shown = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
            texts.append(f"{function['name']}({shown})")
    return "\n".join(text for text in texts if text) if texts else None


def about_row(conversation: Conversation) -> dict[str, JsonValue]:
    """The fields beside the text that every exported row carries."""
    return {
        "role": conversation.role,
        "episode_id": conversation.episode_id,
        "trial": conversation.trial,
        "task_id": conversation.task_id,
        "env": conversation.env,
        "split": conversation.split,
        "reward": conversation.reward,
        "success": conversation.success,
        "gain": conversation.gain,
        "annotators": list(conversation.annotators),
    }
