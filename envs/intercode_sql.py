"""InterCode-SQL (2306.14898) as RetroAct (2503.01490) plays it: answer a question by querying a MySQL database.

Two actions: `execute[SQL]` and `submit`, which hands in the answer of the last query that ran. Only what is submitted
scores. The database is SQLite behind MySQL's dialect (no server needed) or a real server by URL;
docs/intercode_sql.md says where the two differ.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from data.errors import BadFile
from data.types import StopReason, Task
from envs import sandbox
from envs.base import Availability, EnvironmentKind, Options, StepOutcome
from envs.experts.intercode_sql import IntercodeSqlExpert
from envs.single_use import refuse_restart, refuse_step
from envs.sql_answer import ERROR, Answer, Session
from envs.sql_options import ENVIRONMENT, SqlOptions
from envs.sql_questions import generate_questions
from envs.sql_reward import sql_reward
from envs.sql_tasks import SPLITS, TURN_LIMIT, bundled_tasks, open_session, read_tasks

NO_CODE = f"{ERROR}Your last `execute` action did not contain sql code"
TOO_LONG = f"{ERROR}Got a packet bigger than 'max_allowed_packet' bytes"
LONGEST_ACTION = 20_000
"""Characters; a longer action is refused before anything reads it."""
LONGEST_OBSERVATION = 8_000
"""Characters of any observation: 25 rows can still hold very long texts."""
SHOWN_ROWS = 25
SHOWN_CELL = 80
SHOWN_TABLES = 40

_EXECUTE = re.compile(r"\s*execute\s*\[(.*)\]\s*", re.DOTALL | re.IGNORECASE)
_STATEMENT = re.compile(r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`|[^;])*", re.DOTALL)


class IntercodeSqlEnvironment:
    """One trial of one question. The database is read-only, so that no trial can change what another sees."""

    def __init__(self, task: Task, session: Session, options: SqlOptions) -> None:
        if not isinstance(task.metadata.get("gold"), str):
            raise BadFile(
                f"Task {task.id!r} has no gold query in its metadata; read it from a file of InterCode's format."
            )
        self._task = task
        self._session = session
        self._options = options
        self._last: Answer | None = None
        self._gold: Answer | None = None
        self._reward = 0.0
        self._turns_left = task.turn_limit or TURN_LIMIT
        self._is_started = False
        self._is_submitted = False

    def start(self) -> str:
        """Return the question. Raises Refused when called twice."""
        refuse_restart(self._task, self._is_started)
        self._is_started = True
        return f"Question: {self._task.instruction}"

    def step(self, action: str) -> StepOutcome:
        """Do one action. Raises Refused before the start and after submit, EnvironmentCrashed when the engine broke,
        Unavailable where model-written SQL may not run."""
        refuse_step(self._task, self._is_started, self._is_submitted)
        self._turns_left -= 1
        if len(action) > LONGEST_ACTION:
            return StepOutcome(TOO_LONG, is_valid=False)
        if action.strip().lower() in ("submit", "submit[]"):
            return self._submit()
        statement = statement_of(action)
        if statement is None:
            return StepOutcome(NO_CODE, is_valid=False)
        self._last = self._session.run(statement)
        return StepOutcome(self._shown(self._last), is_valid=self._last.error is None)

    def view(self) -> dict[str, JsonValue]:
        """The schema and the last answer; once the trial is over the gold query, both answers and the reward.

        Keys: database, tables [{name, columns [{name, type, key}], foreign_keys}], last_result {columns, rows,
        row_count, error} or None, reward_form, turns_left, outcome (None while the trial runs, then
        {gold_query, gold, answer, reward, is_submitted, would_score}).
        """
        is_over = self._is_submitted or self._turns_left <= 0
        return {
            "database": self._session.schema.name,
            "tables": show_tables(self._session),
            "last_result": None if self._last is None else show_answer(self._last),
            "reward_form": self._options.reward,
            "turns_left": max(0, self._turns_left),
            "outcome": self._outcome() if is_over else None,
        }

    def close(self) -> None:
        """End the engine's process or connection; safe to call twice."""
        self._session.close()

    def _submit(self) -> StepOutcome:
        self._is_submitted = True
        self._reward = self._score()
        is_right = self._reward == 1.0
        text = self._shown(self._last or Answer())
        return StepOutcome(text, self._reward, StopReason.SOLVED if is_right else StopReason.FAILED)

    def _score(self) -> float:
        """What the last answer scores. The gold query runs only once the trial is over."""
        if self._gold is None:
            self._gold = self._session.run(str(self._task.metadata["gold"]))
        answer = self._last or Answer()
        return sql_reward(answer.rows, self._gold.rows, self._options.reward)

    def _outcome(self) -> dict[str, JsonValue]:
        would_score = self._score()
        return {
            "gold_query": str(self._task.metadata["gold"]),
            "gold": show_answer(self._gold or Answer()),
            "answer": show_answer(self._last or Answer()),
            "reward": self._reward,
            "is_submitted": self._is_submitted,
            "would_score": would_score,
        }

    def _shown(self, answer: Answer) -> str:
        """An observation as RetroAct cuts it: some rows of a list, some characters of anything else."""
        if answer.rows is None:
            return cut(answer.observation(), self._options.observation_characters)
        return cut(str(answer.rows[: self._options.observation_rows]), LONGEST_OBSERVATION)


def statement_of(action: str) -> str | None:
    """The SQL of an `execute[...]` action up to its first semicolon; None when it is no such action."""
    found = _EXECUTE.fullmatch(action)
    if found is None:
        return None
    text = found.group(1).replace("\0", "")
    first = _STATEMENT.match(text)
    statement = first.group().strip() if first else text.strip()
    return statement or None


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit]


def show_answer(answer: Answer) -> dict[str, JsonValue]:
    """An answer for people: the first rows, long cells cut."""
    rows = answer.rows or []
    return {
        "columns": [cut(name, SHOWN_CELL) for name in answer.columns],
        "rows": [[show_cell(value) for value in row] for row in rows[:SHOWN_ROWS]]
        if answer.rows is not None
        else None,
        "row_count": len(rows),
        "error": None if answer.error is None else cut(answer.error, 400),
    }


def show_cell(value: Any) -> JsonValue:
    if value is None or isinstance(value, (int, float)):
        return value
    text = str(value)
    return text if len(text) <= SHOWN_CELL else text[: SHOWN_CELL - 1] + "…"


def show_tables(session: Session) -> list[JsonValue]:
    shown: list[JsonValue] = []
    for table in list(session.schema.tables.values())[:SHOWN_TABLES]:
        keys = [
            f"{', '.join(key.columns)} → {key.table} ({', '.join(key.table_columns)})" for key in table.foreign_keys
        ]
        columns: list[JsonValue] = [{"name": c.name, "type": c.type, "key": c.key} for c in table.columns]
        shown.append({"name": table.name, "columns": columns, "foreign_keys": list[JsonValue](keys)})
    return shown


def open_question(task: Task, options: Options) -> IntercodeSqlEnvironment:
    """A fresh trial. Raises BadConfig for a wrong option, BadFile, UnknownName for a database that is not in the
    dump, Unavailable where neither sandbox nor server can be used."""
    settings = SqlOptions.of(options)
    session = open_session(task, settings)
    try:
        return IntercodeSqlEnvironment(task, session, settings)
    except BaseException:
        session.close()
        raise


def read(path: Path, options: Options) -> list[Task]:
    """Tasks of a file or folder in InterCode's format (`ic_spider_dev.json` with its dump)."""
    return read_tasks(path, SqlOptions.of(options))


def instructions(task: Task, options: Options) -> str:
    settings = SqlOptions.of(options)
    return (
        "Interact with a MySQL database by SQL to answer the question. Look at the tables before you query them. "
        "There are two actions:\n"
        "execute[SQL]: runs one SQL statement (SELECT, SHOW TABLES, DESC table) and shows its answer, at most "
        f"{settings.observation_rows} rows; the database cannot be changed.\n"
        "submit: hands in the answer of your last execute. Its rows, columns and order must be what was asked for, "
        "nothing more."
    )


def check() -> Availability:
    found = sandbox.probe()
    if found.works:
        return Availability(True, f"SQLite in a child process inside the sandbox ({found.detail}).")
    return Availability(
        False, f"Model-written SQL runs only in a sandbox. {found.detail} Or use a server: option database=mysql://…"
    )


KIND = EnvironmentKind(
    name=ENVIRONMENT,
    title="InterCode SQL",
    summary="Answer questions about a database by looking at its tables and writing SQL.",
    turn_limit=TURN_LIMIT,
    reflection_memory=3,
    success_rule="The submitted answer has reward 1: the gold answer's rows in its order.",
    splits=SPLITS,
    bundled=bundled_tasks,
    read=read,
    open=open_question,
    instructions=instructions,
    expert=IntercodeSqlExpert(),
    careless=IntercodeSqlExpert(mistake_rate=0.5),
    check=check,
    generate=generate_questions,
    options=SqlOptions.described(),
)
