"""ATIF 1.8, the Agent Trajectory Interchange Format: one trajectory a trial, reflections as sub-agent trajectories.

https://github.com/harbor-framework/harbor/blob/main/rfcs/0001-trajectory-format.md. What ATIF has no field for goes
into `extra.retro_dash`, so our own files come back whole; files of other agents are read by their steps.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from data.formats.chat import Message, content_text, read_conversation
from data.formats.entry import About, Dropped, Entry, FileFormat, Found, Head, excerpt, file_time
from data.formats.episodes import problem_of
from data.formats.source import rows_of
from data.types import Completion, Episode, Label, Reflection, Trial, Turn

VERSION = "ATIF-v1.8"
OURS = "retro_dash"
Object = dict[str, Any]


def detect(head: Head) -> bool:
    return str(head.first.get("schema_version", "")).startswith("ATIF-") and "steps" in head.first


def read(path: Path) -> Iterator[Found]:
    """One trajectory a row, or the whole file. Our trials of one episode are put together again."""
    at = file_time(path)
    ours: dict[str, list[tuple[int, Object]]] = defaultdict(list)
    for number, row in rows_of(path):
        if isinstance(row, Dropped):
            yield row
        elif not isinstance(row, dict) or not isinstance(row.get("steps"), list):
            yield Dropped(number, "the row is not a trajectory with steps", excerpt(row))
        elif isinstance(extra := row.get("extra"), dict) and isinstance(mine := extra.get(OURS), dict):
            ours[str(mine.get("episode_id"))].append((number, row))
        else:
            yield _foreign(number, row, at)
    for rows in ours.values():
        yield _episode(rows)


def write(entries: Iterable[Entry], path: Path, about: About) -> int:
    """One trajectory a line, a trial each; the next trial is named by `continued_trajectory_ref`."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for entry in entries:
            for trajectory in trajectories(entry, about):
                file.write(json.dumps(trajectory, ensure_ascii=False, allow_nan=False) + "\n")
                count += 1
    return count


def trajectories(entry: Entry, about: About) -> Iterator[Object]:
    """The episode as ATIF documents, one a trial; an episode without a trial is one document without turns."""
    episode = entry.episode
    frame = episode.model_dump(mode="json", exclude={"trials", "reflections"})
    labels = [label.model_dump(mode="json") for label in entry.labels]
    for place, trial in enumerate(episode.trials or (None,)):
        ours: Object = {"episode_id": episode.id, **about.model_dump()}
        if place == 0:
            ours |= {"episode": frame, "labels": labels}
        following = episode.trials[place + 1] if place + 1 < len(episode.trials) else None
        after = [r for r in episode.reflections if trial is not None and r.after_trial == trial.index]
        document: Object = {
            "schema_version": VERSION,
            "session_id": episode.run_id,
            "trajectory_id": f"{episode.id}/trial/{trial.index if trial else 0}",
            "agent": {"name": "retro-dash", "version": "1", "model_name": episode.planner},
            "steps": _steps(episode, trial) if trial else [_step(1, "user", episode.task.instruction)],
            "extra": {OURS: ours},
        }
        if trial is not None:
            ours["trial"] = trial.model_dump(mode="json", exclude={"turns"})
            document["final_metrics"] = {
                "total_steps": len(document["steps"]),
                "extra": {"reward": trial.reward, "success": trial.success},
            }
        if following is not None:
            document["continued_trajectory_ref"] = f"{episode.id}/trial/{following.index}"
        if after:
            document["subagent_trajectories"] = [_reflection(episode, reflection) for reflection in after]
        yield document


def _steps(episode: Episode, trial: Trial) -> list[Object]:
    steps = [_step(1, "user", trial.prompt or trial.opening or episode.task.instruction)]
    for turn in trial.turns:
        step = _step(len(steps) + 1, "agent", turn.completion.text if turn.completion else turn.action)
        if turn.thought:
            step["reasoning_content"] = turn.thought
        if turn.action:
            call = f"{trial.index}.{turn.index}"
            step["tool_calls"] = [
                {"tool_call_id": call, "function_name": "act", "arguments": {"action": turn.action}}
            ]
            step["observation"] = {"results": [{"source_call_id": call, "content": turn.observation}]}
        else:
            step["observation"] = {"results": [{"content": turn.observation}]}
        if turn.completion is not None:
            step["model_name"] = turn.completion.policy
            step["metrics"] = _metrics(turn.completion)
        left = turn.model_dump(mode="json", exclude={"thought", "action", "observation", "completion"})
        step["extra"] = {OURS: left | {"completion": _left(turn.completion)}}
        steps.append(step)
    return steps


def _step(number: int, source: str, message: str) -> Object:
    return {"step_id": number, "source": source, "message": message}


def _metrics(completion: Completion) -> Object:
    metrics: Object = {}
    if completion.token_ids is not None:
        metrics |= {
            "completion_tokens": len(completion.token_ids),
            "completion_token_ids": list(completion.token_ids),
        }
    if completion.logprobs is not None:
        metrics["logprobs"] = list(completion.logprobs)
    return metrics


def _left(completion: Completion | None) -> Object | None:
    """What a step's own fields do not hold of a completion."""
    if completion is None:
        return None
    return completion.model_dump(mode="json", exclude={"text", "policy", "token_ids", "logprobs"})


def _reflection(episode: Episode, reflection: Reflection) -> Object:
    step = _step(2, "agent", reflection.completion.text if reflection.completion else reflection.text)
    if reflection.completion is not None:
        step |= {"model_name": reflection.completion.policy, "metrics": _metrics(reflection.completion)}
    left = reflection.model_dump(mode="json", exclude={"completion"})
    step["extra"] = {OURS: left | {"completion": _left(reflection.completion)}}
    return {
        "schema_version": VERSION,
        "trajectory_id": f"{episode.id}/reflection/{reflection.after_trial}",
        "agent": {"name": "retro-dash-reflector", "version": "1", "model_name": episode.reflector},
        "steps": [
            _step(1, "user", reflection.prompt or "Why did the trial fail, and what should the next one do?"),
            step,
        ],
    }


# Reading ------------------------------------------------------------------------------------------------------------


def _episode(rows: list[tuple[int, Object]]) -> Found:
    """Our own trajectories of one episode as that episode."""
    number = rows[0][0]
    try:
        parts = [row["extra"][OURS] for _, row in rows]
        frame = next((part for part in parts if "episode" in part), None)
        if frame is None:
            return Dropped(number, "the trajectory with the episode's own fields is missing", str(parts[0])[:80])
        trials = [
            _own_trial(part["trial"], row) for part, (_, row) in zip(parts, rows, strict=True) if "trial" in part
        ]
        reflections = [
            _own_reflection(sub["steps"][1]) for _, row in rows for sub in row.get("subagent_trajectories") or ()
        ]
        whole = {**frame["episode"], "trials": trials, "reflections": reflections}
        labels = tuple(Label.model_validate(label) for label in frame.get("labels", ()))
        episode = Episode.model_validate(whole)
        problem = problem_of(episode)
        return Dropped(number, problem, episode.id) if problem else Entry(episode, labels, number, rows=len(rows))
    except (KeyError, IndexError, TypeError, AttributeError, ValidationError) as error:
        reason = "the fields that Retro Dash wrote into `extra` were changed"
        return Dropped(number, reason, f"{type(error).__name__}: {str(error)[:80]}")


def _own_trial(trial: Object, row: Object) -> Trial:
    turns = []
    for step in row["steps"][1:]:
        calls = step.get("tool_calls") or ()
        left = {**step["extra"][OURS]}
        turns.append(
            Turn.model_validate(
                {
                    **left,
                    "thought": step.get("reasoning_content", ""),
                    "action": calls[0]["arguments"]["action"] if calls else "",
                    "observation": step["observation"]["results"][0]["content"],
                    "completion": _own_completion(step, left.get("completion")),
                }
            )
        )
    return Trial.model_validate({**trial, "turns": turns})


def _own_reflection(step: Object) -> Reflection:
    left = {**step["extra"][OURS]}
    return Reflection.model_validate({**left, "completion": _own_completion(step, left.get("completion"))})


def _own_completion(step: Object, left: Object | None) -> Object | None:
    if left is None:
        return None
    metrics = step.get("metrics", {})
    own = {"token_ids": metrics.get("completion_token_ids"), "logprobs": metrics.get("logprobs")}
    return {**left, **own, "text": step["message"], "policy": step["model_name"]}


def _foreign(number: int, row: dict[str, JsonValue], at: datetime) -> Found:
    """Another agent's trajectory: its steps as messages; copied context is left out, as the format demands."""
    messages: list[Message] = []
    steps = row["steps"] if isinstance(row["steps"], list) else []
    notes = ["sub-agent trajectories left out"] if row.get("subagent_trajectories") else []
    for step in steps:
        if not isinstance(step, dict) or step.get("source") not in ("system", "user", "agent"):
            return Dropped(number, "a step has no known source", excerpt(step))
        if step.get("is_copied_context"):
            continue
        messages += _step_messages(step)
    agent, metrics = row.get("agent"), row.get("final_metrics")
    extra = metrics.get("extra") if isinstance(metrics, dict) else None
    outcome = extra if isinstance(extra, dict) else {}
    fields = {"trajectory": row.get("trajectory_id"), "steps": steps, **outcome}
    found = read_conversation("atif", number, fields, messages, at, ())
    if isinstance(found, Dropped):
        return found
    model = str(agent.get("model_name") or agent.get("name")) if isinstance(agent, dict) else "imported"
    return Entry(found.episode.model_copy(update={"planner": model}), row=number, notes=tuple(notes))


def _step_messages(step: dict[str, JsonValue]) -> list[Message]:
    text = content_text(step.get("message")) or ""
    calls = step.get("tool_calls")
    named = [
        {"name": call.get("function_name"), "arguments": call.get("arguments", {})}
        for call in (calls if isinstance(calls, list) else [])
        if isinstance(call, dict)
    ]
    observation = step.get("observation")
    results = observation.get("results") if isinstance(observation, dict) else None
    seen = [
        content_text(result.get("content")) or ""
        for result in (results if isinstance(results, list) else [])
        if isinstance(result, dict)
    ]
    if step["source"] != "agent":
        return [Message("system" if step["source"] == "system" else "user", text)]
    acted = content_text(None, [*named]) if named else None
    thought = step.get("reasoning_content")
    reply = text if acted is None else f"Thought: {thought or text}\nAction: {acted}"
    after = [Message("user", "\n".join(seen))] if seen else []
    return [Message("assistant", reply), *after]


FORMAT = FileFormat("atif", "ATIF 1.8 trajectories (JSON)", detect, read)
