"""Reflexion's HotpotQA runs: its text logs, or a row a trial, `trial, status, question, correct_answer, reflections,
text`.

The log prints a solved question again in every later trial; those repeats are dropped. A trial's `reflections` are
what it was told, so what is new in the next row is the reflection after this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from data.formats.entry import Dropped, Entry, FileFormat, Found, Head, content_id, excerpt, file_time, task_id
from data.formats.reflexion_text import HOTPOTQA, hotpotqa_rows
from data.formats.source import look_at, rows_of
from data.formats.transcripts import numbered_turns
from data.types import Episode, EpisodeState, Reflection, StopReason, Task, Trial

FIELDS = {"trial", "status", "question", "text"}
STOPS = {"correct": StopReason.SOLVED, "incorrect": StopReason.FAILED, "halted": StopReason.TURN_LIMIT}
Rows = list[tuple[int, dict[str, Any]]]


def detect(head: Head) -> bool:
    return head.first.keys() >= FIELDS or _is_text(head)


def _is_text(head: Head) -> bool:
    return HOTPOTQA.search(head.start) is not None


def read(path: Path) -> Iterator[Found]:
    """One episode a question. Questions are known only at the end, so the rows wait in memory."""
    at = file_time(path)
    questions: dict[str, Rows] = {}
    for number, row in hotpotqa_rows(path) if _is_text(look_at(path)) else rows_of(path):
        problem = row if isinstance(row, Dropped) else _problem(number, row)
        if problem is not None:
            yield problem
        elif isinstance(row, dict):
            questions.setdefault(str(row["question"]), []).append((number, row))
    for question, rows in questions.items():
        yield from _question(question, sorted(rows, key=lambda row: row[1]["trial"]), at)


def _problem(number: int, row: JsonValue) -> Dropped | None:
    if not isinstance(row, dict) or not row.keys() >= FIELDS:
        return Dropped(number, "the row lacks trial, status, question or text", excerpt(row))
    if row["status"] not in STOPS or not isinstance(row["trial"], int):
        return Dropped(number, "the status or the trial's number is not known", excerpt(row))
    reflections = row.get("reflections", [])
    if not isinstance(reflections, list) or not all(isinstance(text, str) for text in reflections):
        return Dropped(number, "the reflections are not a list of texts", excerpt(row))
    return None


def _question(question: str, rows: Rows, at: datetime) -> Iterator[Found]:
    played: Rows = []
    for number, row in rows:
        if any(seen["trial"] == row["trial"] for _, seen in played):
            yield Dropped(number, "a second row for the same question and trial", excerpt(row["text"]))
        elif played and played[-1][1]["status"] == "correct":
            yield Dropped(number, "the log prints an already solved question again", excerpt(question))
        else:
            played.append((number, row))
    trials = [_trial(index, row, at) for index, (_, row) in enumerate(played, 1)]
    reflections = []
    for index, ((_, before), (_, after)) in enumerate(pairwise(played), 1):
        told = after.get("reflections", [])[len(before.get("reflections", [])) :]
        new = told or [text for text in [before.get("reflection")] if text]
        if new:
            text = "\n\n".join(new)
            gain = trials[index].reward - trials[index - 1].reward
            reflections.append(Reflection(after_trial=index, text=text, author="reflector", gain=gain, created_at=at))
    numbers = [row["trial"] for _, row in played]
    notes = [] if numbers == list(range(1, len(numbers) + 1)) else ["trials are missing in the log; numbered anew"]
    content: JsonValue = [{key: row[key] for key in sorted(row) if key != "row"} for _, row in played]
    answer = str(played[0][1].get("correct_answer", ""))
    yield Entry(
        Episode(
            id=content_id("reflexion_hotpotqa", content),
            task=Task(
                id=task_id("hotpotqa", question),
                env="hotpotqa",
                split="dev",
                instruction=question,
                metadata={"answer": answer},
            ),
            planner="reflexion",
            reflector="reflexion",
            trial_limit=len(trials),
            trials=tuple(trials),
            reflections=tuple(reflections),
            state=EpisodeState.SOLVED if trials[-1].success else EpisodeState.FAILED,
            run_id="import",
            source="reflexion_hotpotqa",
            created_at=at,
        ),
        row=played[0][0],
        rows=len(played),
        notes=tuple(notes),
    )


def _trial(index: int, row: dict[str, Any], at: datetime) -> Trial:
    turns = numbered_turns(str(row["text"]))
    success = row["status"] == "correct"
    if turns:
        turns[-1] = turns[-1].model_copy(update={"reward": float(success)})
    return Trial(
        index=index,
        prompt="",
        opening=f"{row.get('context', '')}\n\nQuestion: {row['question']}".strip(),
        turns=tuple(turns),
        reward=float(success),
        success=success,
        stop_reason=STOPS[row["status"]],
        started_at=at,
        finished_at=at,
    )


FORMAT = FileFormat("reflexion_hotpotqa", "Reflexion's HotpotQA runs (text log, JSON lines)", detect, read)
