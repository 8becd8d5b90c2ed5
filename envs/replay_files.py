"""Reads recorded trials of other programs and our own, to be replayed by `envs.replay`.

| rows | known by | replayed with |
| --- | --- | --- |
| InterCode result files | `turn_history` | the tasks file of the environment; rewards as InterCode's code
computes them |
| RetroAct's SFT and RL rows | `input`, `output`, `type` | the tasks file; reflector rows hold no actions |
| Reflexion's HotpotQA runs | `status`, `correct_answer`, `text` | only the finished answer: its pages were the
live Wikipedia |
| Reflexion's ALFWorld runs | `memory`, `is_success` | nothing: they hold no actions |
| our episodes, exported or plain | `task`, `trials` | the task that they hold |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from data.errors import BadFile
from data.types import Episode, Task
from envs import environment_kind
from envs.base import Options
from envs.replay import RecordedTrial, RecordedTurn, recorded_trials
from envs.task_files import read_json

LARGEST_FILE = 1 << 30
"""Bytes of a recorded file once unpacked."""
BASH_TOLERANCE = 0.03
"""Bash rewards hold a cosine of outputs with host names, dates and process ids."""

NO_ACTIONS = "The recording holds no actions, only whether the task was solved."
REFLECTOR_ROW = "A reflector's row holds a reflection, not a trial."
LIVE_WIKIPEDIA = (
    "Reflexion searched the live Wikipedia, so its observations cannot come again from a question's own paragraphs; "
    "only the finished answer was scored again."
)
HALTED = "The run searched the live Wikipedia and was halted before it finished: nothing of it can be replayed."
NO_TASK = "Its task is not among the tasks; give the file that has it as tasks."

_OPTIONS: Mapping[str, dict[str, JsonValue]] = {
    "intercode_sql": {"reward": "intercode"},
    "alfworld": {"dialect": "put"},
    "hotpotqa": {"dialect": "reflexion", "reward": "em"},
}
"""How the recorded programs played; our own episodes are played with the options given."""
_BLOCK = re.compile(r"^(Thought|Action|Observation) (\d+):", re.MULTILINE)
_FOOTER = re.compile(r"\n+STATUS: (OK|FAIL)(\nREWARD: \S+)?\s*$")


def read_recorded(path: Path, tasks_path: Path | None, options: Options) -> tuple[list[RecordedTrial], Options]:
    """The trials of a file and the options to play them with. Raises BadFile for rows of no known kind."""
    # Our own export wraps each episode.
    rows = [row["episode"] if isinstance(row.get("episode"), dict) else row for row in _read_rows(path)]
    first = rows[0]
    if "trials" in first and "task" in first:
        return [trial for row in rows for trial in _own_trials(path, row)], options
    env = _environment_of(path, first)
    asked = {**_OPTIONS.get(env, {}), **options}
    tasks = _Tasks(environment_kind(env).read(tasks_path, asked) if tasks_path else [])
    read = _reader(first)
    return [read(str(number), env, row, tasks) for number, row in enumerate(rows, start=1)], asked


class _Tasks:
    """Tasks by what recordings say of them."""

    def __init__(self, tasks: list[Task]) -> None:
        self.by_instruction: dict[str, list[Task]] = {}
        for task in tasks:
            self.by_instruction.setdefault(_key(task.instruction), []).append(task)

    def find(self, instruction: str, number: str | None = None) -> tuple[Task, ...]:
        """Tasks with that instruction; only the one with the recorded number where there is one."""
        found = self.by_instruction.get(_key(instruction), [])
        exact = [
            task
            for task in found
            if number is not None and task.id in (number, task.id.rpartition("-")[0] + f"-{number}")
        ]
        return tuple(exact or found)


def _reader(row: Mapping[str, Any]) -> Callable[[str, str, Mapping[str, Any], _Tasks], RecordedTrial]:
    if "turn_history" in row:
        return _intercode
    if "correct_answer" in row:
        return _reflexion_question
    if "is_success" in row:
        return _reflexion_household
    return _retroact_household if _is_household(row) else _retroact_sql


def _environment_of(path: Path, row: Mapping[str, Any]) -> str:
    if isinstance(row.get("turn_history"), dict):
        return "intercode_bash" if "bash" in str(row.get("environment")) else "intercode_sql"
    if {"correct_answer", "text", "status"} <= row.keys():
        return "hotpotqa"
    if {"memory", "is_success"} <= row.keys():
        return "alfworld"
    if {"input", "output", "type"} <= row.keys():
        return "alfworld" if _is_household(row) else "intercode_sql"
    raise BadFile(
        f"{path} is no recording that can be replayed: its first row has {', '.join(sorted(row)[:8])}. Known are "
        "InterCode results (turn_history), RetroAct rows (input, output, type), Reflexion runs, and our episodes "
        "(task, trials), as `retro-dash export episodes` writes them."
    )


def _is_household(row: Mapping[str, Any]) -> bool:
    return "household" in str(row.get("input"))


def _own_trials(path: Path, row: Mapping[str, Any]) -> Iterator[RecordedTrial]:
    try:
        yield from recorded_trials(Episode.model_validate(row))
    except ValidationError as error:
        raise BadFile(f"{path}: the episode {row.get('id')!r} does not parse: {error.errors()[0]['msg']}.") from None


def _intercode(number: str, env: str, row: Mapping[str, Any], tasks: _Tasks) -> RecordedTrial:
    history = row["turn_history"]
    identity = str(row.get("task_id", number))
    found = tasks.find(str(row.get("query", "")), identity)
    actions, observations, rewards = (list(history.get(key, [])) for key in ("actions", "observations", "rewards"))
    is_wrapped = "thoughts" in history
    turns = [
        RecordedTurn(
            action if is_wrapped or action.strip() == "submit" else f"execute[{action}]", str(observation), reward
        )
        for action, observation, reward in zip(actions, observations, rewards, strict=False)
    ]
    is_bash = env == "intercode_bash"
    return RecordedTrial(
        identity,
        env,
        found,
        tuple(turns),
        scoring="as_played" if is_wrapped or is_bash else "submit_each",
        tolerance=BASH_TOLERANCE if is_bash else 0.005,
        no_replay=None if found else NO_TASK,
    )


def _reflexion_question(number: str, env: str, row: Mapping[str, Any], tasks: _Tasks) -> RecordedTrial:
    """Only Finish is replayed, against the recorded verdict (exact match)."""
    identity = f"{number} (trial {row.get('trial')})"
    question = str(row.get("question", ""))
    answers = re.findall(r"^Action \d+: (Finish\[.+\])\s*$", str(row["text"]), re.MULTILINE)
    if row["status"] == "halted" or not answers:
        return RecordedTrial(identity, env, (), (), no_replay=HALTED)
    gold: dict[str, JsonValue] = {"answer": str(row["correct_answer"]), "supporting_facts": [], "context": []}
    own = Task(id=question, env=env, split="recorded", instruction=question, metadata=gold)
    turn = RecordedTurn(answers[-1], None, float(row["status"] == "correct"))
    return RecordedTrial(identity, env, tasks.find(question) or (own,), (turn,), no_replay=LIVE_WIKIPEDIA)


def _reflexion_household(number: str, env: str, row: Mapping[str, Any], tasks: _Tasks) -> RecordedTrial:
    return RecordedTrial(str(row.get("name", number)), env, (), (), no_replay=NO_ACTIONS)


def _retroact_sql(number: str, env: str, row: Mapping[str, Any], tasks: _Tasks) -> RecordedTrial:
    identity = str(row.get("row", number))
    if row["type"] != "planner":
        return RecordedTrial(identity, env, (), (), no_replay=REFLECTOR_ROW)
    found = tasks.find(str(row["input"]).rpartition("Question: ")[2])
    turns = _react_turns(_FOOTER.sub("", str(row["output"])))
    return RecordedTrial(identity, env, found, _with_end(turns, row), no_replay=None if found else NO_TASK)


def _retroact_household(number: str, env: str, row: Mapping[str, Any], tasks: _Tasks) -> RecordedTrial:
    identity = str(row.get("row", number))
    if row["type"] != "planner":
        return RecordedTrial(identity, env, (), (), no_replay=REFLECTOR_ROW)
    opening = str(row["input"]).rpartition("Here is the task:")[2].rstrip("> \n").strip()
    found = tasks.find(opening.rpartition("Your task is to: ")[2])
    blocks = _FOOTER.sub("", str(row["output"])).lstrip("> ").split("\n> ")
    parts = [block.partition("\n") for block in blocks]
    turns = [RecordedTurn(action, observation.strip()) for action, _, observation in parts]
    return RecordedTrial(
        identity, env, found, _with_end(turns, row), opening=opening, no_replay=None if found else NO_TASK
    )  # fmt: skip


def _react_turns(text: str) -> list[RecordedTurn]:
    """Turns of a transcript of numbered `Thought`, `Action` and `Observation` blocks."""
    marks = list(_BLOCK.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    blocks = {(mark[1], int(mark[2])): text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)}
    numbers = sorted({number for kind, number in blocks if kind == "Action"})
    return [RecordedTurn(blocks["Action", number], blocks.get(("Observation", number))) for number in numbers]


def _with_end(turns: list[RecordedTurn], row: Mapping[str, Any]) -> tuple[RecordedTurn, ...]:
    """The turns, the last one with the trial's reward: a row's own, else 1 for `STATUS: OK`."""
    status = _FOOTER.search(str(row["output"]))
    reward = row.get("reward", None if status is None else float(status[1] == "OK"))
    if not turns or reward is None:
        return tuple(turns)
    last = turns[-1]
    return (*turns[:-1], RecordedTurn(last.action, last.observation, float(reward)))


def _key(instruction: str) -> str:
    return " ".join(instruction.lower().split()).rstrip(".")


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSON list, JSON lines, or an object of objects (InterCode's layout), gzipped or not."""
    rows = read_json(path, LARGEST_FILE)
    if isinstance(rows, dict):
        is_table = bool(rows) and "trials" not in rows and all(isinstance(row, dict) for row in rows.values())
        rows = list(rows.values()) if is_table else [rows]
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise BadFile(f"{path} holds no list of recorded trials (JSON objects).")
    return rows
