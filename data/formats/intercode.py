"""InterCode's result files: one row a task, `turn_history` with actions, observations, rewards, and thoughts where
the agent had them. The original single object of numbered tasks and JSON lines of its values are both read.

Agents of the multi-turn strategy write bare commands; they become `execute[…]`, which is what the environment takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from data.formats.entry import Dropped, Entry, FileFormat, Found, Head, content_id, excerpt, file_time, task_id
from data.formats.source import rows_of
from data.types import Episode, EpisodeState, StopReason, Task, Trial, Turn

ENVS = {"ic_sql": "intercode_sql", "ic_bash": "intercode_bash"}


def detect(head: Head) -> bool:
    first = head.first
    return "turn_history" in first or any(isinstance(row, dict) and "turn_history" in row for row in first.values())


def read(path: Path) -> Iterator[Found]:
    at = file_time(path)
    for number, row in rows_of(path):
        if isinstance(row, dict) and "turn_history" not in row and row:
            yield from (_entry(place, value, at) for place, value in enumerate(row.values(), number))
        else:
            yield row if isinstance(row, Dropped) else _entry(number, row, at)


def _entry(number: int, row: JsonValue, at: datetime) -> Found:
    if not isinstance(row, dict) or row.get("environment") not in ENVS or not isinstance(row.get("query"), str):
        return Dropped(number, "the row is not a result of ic_sql or ic_bash with its query", excerpt(row))
    history, summary = row.get("turn_history"), row.get("summary", {})
    if not isinstance(history, dict) or not isinstance(summary, dict):
        return Dropped(number, "the turn history or the summary is not an object", excerpt(row))
    try:
        turns = _turns(history)
    except (KeyError, TypeError, ValueError) as error:
        return Dropped(number, "the lists of the turn history do not fit each other", f"{error}: {excerpt(row)}")
    if not turns:
        return Dropped(number, "the turn history is empty", excerpt(row))
    env = ENVS[str(row["environment"])]
    best = summary.get("max_reward")
    reward = float(best) if isinstance(best, (int, float)) else turns[-1].reward
    limit = summary.get("turns_max")
    is_out = isinstance(limit, int) and len(turns) >= limit
    stop = StopReason.SOLVED if reward == 1 else StopReason.TURN_LIMIT if is_out else StopReason.FAILED
    known: dict[str, JsonValue] = {"hardness": row["hardness"]} if "hardness" in row else {}
    episode = Episode(
        id=content_id("intercode", row),
        task=Task(
            id=task_id(env, f"{row.get('task_id')} {row['query']}"),
            env=env,
            split="dev" if env == "intercode_sql" else "test",
            instruction=str(row["query"]),
            metadata={"intercode_task": row.get("task_id"), **known},
        ),
        planner="intercode-react" if "thoughts" in history else "intercode-multiturn",
        reflector="none",
        trial_limit=1,
        trials=(
            Trial(
                index=1,
                prompt="",
                opening=str(row["query"]),
                turns=tuple(turns),
                reward=reward,
                success=reward == 1,
                stop_reason=stop,
                started_at=at,
                finished_at=at,
            ),
        ),
        state=EpisodeState.SOLVED if reward == 1 else EpisodeState.FAILED,
        run_id="import",
        source="intercode",
        created_at=at,
    )
    notes = [] if "thoughts" in history else ["bare commands, now written as execute[…]"]
    return Entry(episode, row=number, notes=(*notes, *(["evaluator's `info` left out"] if "info" in row else [])))


def _turns(history: dict[str, Any]) -> list[Turn]:
    actions, observations, rewards = history["actions"], history["observations"], history["rewards"]
    thoughts = history.get("thoughts", [""] * len(actions))
    valid = history.get("valid_action", [True] * len(actions))
    has_thoughts = "thoughts" in history
    return [
        Turn(
            index=index,
            thought=_text(thought),
            action=_text(action) if has_thoughts else f"execute[{_text(action)}]",
            observation=_text(observation),
            reward=float(reward),
            is_valid=bool(is_valid),
        )
        for index, (thought, action, observation, reward, is_valid) in enumerate(
            zip(thoughts, actions, observations, rewards, valid, strict=True), 1
        )
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


FORMAT = FileFormat("intercode", "InterCode results (JSON)", detect, read)
