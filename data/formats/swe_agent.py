"""SWE-agent's trajectories, `INSTANCE.traj`: one JSON object with the steps, the messages and how the run ended.

https://swe-agent.com/latest/usage/trajectories/. Whether a patch was right is decided elsewhere, so such a trial was
not scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pydantic import JsonValue

from data.formats.chat import content_text
from data.formats.entry import Dropped, Entry, FileFormat, Found, Head, content_id, excerpt, file_time, task_id
from data.formats.source import rows_of
from data.types import Completion, Episode, EpisodeState, StopReason, Task, Trial, Turn


def detect(head: Head) -> bool:
    return isinstance(head.first.get("trajectory"), list) and {"history", "info"} <= head.first.keys()


def read(path: Path) -> Iterator[Found]:
    at = file_time(path)
    for number, row in rows_of(path):
        yield row if isinstance(row, Dropped) else _entry(number, row, path.stem, at)


def _entry(number: int, row: JsonValue, name: str, at: datetime) -> Found:
    steps = row.get("trajectory") if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(steps, list):
        return Dropped(number, "the row has no trajectory", excerpt(row))
    if not steps or not all(isinstance(step, dict) for step in steps):
        return Dropped(number, "the trajectory is empty, or a step is not an object", excerpt(row))
    asked = _asked(row.get("history"))
    instruction = asked[-1] if asked else name
    info = row.get("info")
    ended = info.get("exit_status") if isinstance(info, dict) else None
    trial = Trial(
        index=1,
        prompt="\n\n".join(asked),
        opening=instruction,
        turns=tuple(_turn(index, step) for index, step in enumerate(steps, 1) if isinstance(step, dict)),
        stop_reason=StopReason.STOPPED,
        started_at=at,
        finished_at=at,
    )
    episode = Episode(
        id=content_id("swe_agent", row),
        task=Task(
            id=name or task_id("swe_agent", instruction), env="swe_agent", split="", instruction=instruction[:2000]
        ),
        planner="swe-agent",
        reflector="none",
        trial_limit=1,
        trials=(trial,),
        state=EpisodeState.STOPPED,
        run_id="import",
        source="swe_agent",
        created_at=at,
    )
    return Entry(episode, row=number, notes=(f"ended with {str(ended)[:60]!r}, which says nothing of success",))


def _asked(history: JsonValue) -> list[str]:
    """What stands before the first reply."""
    texts: list[str] = []
    for message in history if isinstance(history, list) else []:
        if not isinstance(message, dict) or message.get("role") not in ("system", "user"):
            break
        texts.append(content_text(message.get("content")) or "")
    return [text for text in texts if text.strip()]


def _turn(index: int, step: dict[str, JsonValue]) -> Turn:
    action = str(step.get("action") or "").strip()
    return Turn(
        index=index,
        thought=str(step.get("thought") or "").strip(),
        action=action,
        observation=str(step.get("observation") or ""),
        reward=0.0,
        is_malformed=not action,
        completion=Completion(policy="imported", text=str(step.get("response") or action)),
    )


FORMAT = FileFormat("swe_agent", "SWE-agent trajectory (.traj)", detect, read)
