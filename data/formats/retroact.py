"""RetroAct's training rows: `instruction, input, output, type`, with rewards in the RL files.

A planner row becomes one trial; a reflector row becomes a failed trial, the reflection, and the outcome of the trial
after it. The verdict lines under each transcript (`STATUS: OK`, `REWARD: 0.5`) become the trial's success and reward
and are no longer text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import JsonValue

from data.formats.entry import Dropped, Entry, FileFormat, Found, Head, content_id, excerpt, file_time, task_id
from data.formats.source import rows_of
from data.formats.transcripts import Ending, command_turns, cut_verdict, numbered_turns
from data.types import Episode, EpisodeState, Reflection, StopReason, Task, Trial, Turn

_GOAL = re.compile(r"^Your task is to: (.*)$", re.MULTILINE)
_QUESTION = re.compile(r"Question: (.*?)(?=\s*(?:^Thought 1:|Thought 1:|\Z))", re.DOTALL | re.MULTILINE)
_ROOM = "You are in the middle of a room"
_PAST = re.compile(r"\n\n(?:Plans from past attempts:.*)?\n*New plan:\s*\Z", re.DOTALL)
UNSEEN = "The source holds this trial's outcome, not its turns."


def detect(head: Head) -> bool:
    return {"input", "output", "type"} <= head.first.keys() and head.first["type"] in ("planner", "reflector")


def read(path: Path) -> Iterator[Found]:
    at = file_time(path)
    for number, row in rows_of(path):
        yield row if isinstance(row, Dropped) else _entry(number, row, at)


def _entry(number: int, row: JsonValue, at: datetime) -> Found:
    if not isinstance(row, dict) or not isinstance(row.get("input"), str) or not isinstance(row.get("output"), str):
        return Dropped(number, "the row has no input and output texts", excerpt(row))
    content: JsonValue = {key: value for key, value in row.items() if key != "row"}
    text = str(row["input"])
    env, instruction, opening = _task_of(text)
    if not instruction:
        return Dropped(number, "the input names no task or question", excerpt(text[-400:]))
    if row.get("type") == "planner":
        parts = _planner(row, env, opening, at)
    elif row.get("type") == "reflector":
        parts = _reflector(row, env, opening, at)
    else:
        return Dropped(number, f"the type {str(row.get('type'))[:30]!r} is not planner or reflector", excerpt(text))
    if isinstance(parts, str):
        return Dropped(number, parts, excerpt(str(row["output"])))
    trials, reflections, notes = parts
    episode = Episode(
        id=content_id("retroact", content),
        task=Task(id=task_id(env, opening + instruction), env=env, split="train", instruction=instruction),
        planner="retroact",
        reflector="retroact",
        trial_limit=max(len(trials), 1),
        trials=tuple(trials),
        reflections=tuple(reflections),
        state=EpisodeState.SOLVED if trials[-1].success else EpisodeState.FAILED,
        run_id="import",
        source="retroact",
        created_at=at,
    )
    return Entry(episode, row=number, notes=tuple(notes))


Parts = tuple[list[Trial], list[Reflection], list[str]]


def _planner(row: dict[str, JsonValue], env: str, opening: str, at: datetime) -> Parts | str:
    ending = cut_verdict(str(row["output"]))
    turns = _turns(env, ending.text)
    if not turns:
        return "the output holds no turn"
    notes = ["verdict lines under the target, now the trial's outcome"] if ending.status else []
    if "Your memory for the task below:" in str(row["input"]):
        notes.append("reflections of earlier trials, kept inside the prompt")
    reward = _reward(row.get("reward"), ending)
    return [_trial(1, str(row["input"]), opening, turns, reward, ending.status == "OK", at)], [], notes


def _reflector(row: dict[str, JsonValue], env: str, opening: str, at: datetime) -> Parts | str:
    text = str(row["input"])
    past = _PAST.search(text)
    ending = cut_verdict(text[: past.start()] if past else text)
    start = ending.text.find(opening) + len(opening)
    turns = _turns(env, ending.text[start:])
    if not turns:
        return "the input holds no turn of the failed trial"
    before, after = (
        _reward(row.get("last_reward"), ending),
        _reward(row.get("current_reward"), Ending("", "OK", None)),
    )
    notes = ["verdict lines in the prompt, now the trial's outcome"] if ending.status else []
    if "Plans from past attempts:" in text:
        notes.append("plans from earlier attempts, kept inside the reflection's prompt")
    if not str(row["output"]).strip():
        notes.append("the reflection is empty")
    failed = _trial(1, "", opening, turns, before, ending.status == "OK", at)
    following = _trial(2, "", "", [], after, after == 1, at).model_copy(update={"error": UNSEEN})
    reflection = Reflection(
        after_trial=1, text=str(row["output"]), author="reflector", prompt=text, gain=after - before, created_at=at
    )
    return [failed, following], [reflection], notes


def _task_of(text: str) -> tuple[str, str, str]:
    """Environment, instruction and opening that a row is about."""
    if goal := _GOAL.search(text):
        room = text.rfind(_ROOM, 0, goal.start())
        return "alfworld", goal[1].strip(), text[max(room, 0) : goal.end()]
    if question := _QUESTION.search(text):
        env = "intercode_sql" if "SQL" in text or "execute[" in text else "hotpotqa"
        return env, question[1].strip(), question[0].strip()
    return "", "", ""


def _turns(env: str, text: str) -> list[Turn]:
    if env == "alfworld":
        text = text.lstrip("\n >")
        return command_turns("> " + text) if text else []
    return numbered_turns(text)


def _trial(
    index: int, prompt: str, opening: str, turns: list[Turn], reward: float, success: bool, at: datetime
) -> Trial:
    turns = [*turns[:-1], turns[-1].model_copy(update={"reward": reward})] if turns else []
    return Trial(
        index=index,
        prompt=prompt,
        opening=opening,
        turns=tuple(turns),
        reward=reward,
        success=success,
        stop_reason=StopReason.SOLVED if success else StopReason.FAILED,
        started_at=at,
        finished_at=at,
    )


def _reward(given: JsonValue, ending: Ending) -> float:
    """The row's own number, else the verdict line's, else 1 for OK."""
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return float(given)
    if ending.reward is not None:
        return ending.reward
    return 1.0 if ending.status == "OK" else 0.0


FORMAT = FileFormat("retroact", "RetroAct rows (JSON)", detect, read)
