"""How faithful and how fast is the SQL environment? `python -m benchmarks.intercode_sql --json`

Golds that run and score 1 against themselves; rewards of InterCode's recorded GPT-4 turns that come out the same, on
SQLite and, where `--server URL` names one that holds the dump, on MySQL or MariaDB; the time of a query in the
sandboxed child against sqlite3 in this process; and how long runaway queries live.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from envs import sql_functions
from envs.sql_answer import Session
from envs.sql_catalog import open_dump
from envs.sql_dialect import parse, translate
from envs.sql_reward import sql_reward
from envs.sql_server import ServerSession
from envs.sql_sqlite import SqliteSession
from envs.sql_tasks import bundled_dump

RUNAWAY = (
    "SELECT LENGTH(REPEAT('x', 4000000000))",
    "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
    "SELECT COUNT(*) FROM loan a, loan b, loan c, loan d, loan e, loan f",
)


class Sessions:
    """One session a database, opened when first asked for."""

    def __init__(self, make: Callable[[str], Session]) -> None:
        self.make, self.opened = make, dict[str, Session]()

    def __getitem__(self, database: str) -> Session:
        if database not in self.opened:
            self.opened[database] = self.make(database)
        return self.opened[database]

    def close(self) -> None:
        for session in self.opened.values():
            session.close()


@contextmanager
def sqlite_sessions(dump: Path) -> Iterator[Sessions]:
    catalog = open_dump(dump)
    sessions = Sessions(lambda database: SqliteSession(catalog, database))
    try:
        yield sessions
    finally:
        sessions.close()


@contextmanager
def server_sessions(url: str) -> Iterator[Sessions]:
    sessions = Sessions(lambda database: ServerSession(url, database))
    try:
        yield sessions
    finally:
        sessions.close()


def compare_golds(tasks: list[dict[str, Any]], sessions: Sessions) -> dict[str, Any]:
    """How many golds run, score 1 against themselves in both forms, and are empty."""
    answers = [sessions[task["db"]].run(task["gold"]) for task in tasks]
    failed = [task["task_id"] for task, answer in zip(tasks, answers, strict=True) if answer.error is not None]
    right = [
        sql_reward(a.rows, a.rows, "paper") == 1.0 and sql_reward(a.rows, a.rows, "intercode") == 1.0 for a in answers
    ]
    return {
        "count": len(tasks),
        "run": len(tasks) - len(failed),
        "failed": failed,
        "score_one": sum(right),
        "empty": sum(answer.rows == [] for answer in answers),
    }


def compare_recorded(path: Path, tasks: list[dict[str, Any]], sessions: Sessions) -> dict[str, Any]:
    """Replay InterCode's recorded turns: how many rewards (within rounding) and observations come out the same."""
    by_id = {task["task_id"]: task for task in tasks}
    golds = {number: sessions[task["db"]].run(task["gold"]).rows for number, task in by_id.items()}
    compared = rewards = observations = 0
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        row = json.loads(line)
        turns, task = row["turn_history"], by_id[row["task_id"]]
        for action, seen, reward in zip(turns["actions"], turns["observations"], turns["rewards"], strict=True):
            if seen.startswith("Format your SQL"):
                continue
            answer = sessions[task["db"]].run(action)
            compared += 1
            rewards += abs(sql_reward(answer.rows, golds[row["task_id"]], "intercode") - reward) < 0.006
            # The recorder's driver gave the types of DESC as bytes.
            observations += answer.observation() == re.sub(r"(?<=[(, ])b'([^']*)'", r"'\1'", seen)
    return {"compared": compared, "rewards_agree": rewards, "observations_agree": observations}


def milliseconds(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50_ms": round(1000 * statistics.median(ordered), 3),
        "p95_ms": round(1000 * ordered[int(0.95 * len(ordered))], 3),
    }


def measure_latency(repeats: int = 300) -> dict[str, Any]:
    """One joined query: in this process, translated and in this process, and through the sandboxed child."""
    query = (
        "SELECT b.title, COUNT(*) FROM book b JOIN copy c ON b.book_id = c.book_id GROUP BY b.title ORDER BY 2 DESC"
    )
    catalog = open_dump(bundled_dump())
    plain = sqlite3.connect(catalog.file("city_library"))
    sql_functions.register(plain)
    sql = translate(parse(query), catalog.schema("city_library")).sql
    session = SqliteSession(catalog, "city_library")
    starts = []
    for _ in range(10):
        started = time.perf_counter()
        session.ask("SELECT 1")
        starts.append(time.perf_counter() - started)
        session.close()

    def timed(work: Callable[[], object]) -> dict[str, float]:
        work()
        seconds = []
        for _ in range(repeats):
            started = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - started)
        return milliseconds(seconds)

    found = {
        "in_process_sqlite3": timed(lambda: plain.execute(sql).fetchall()),
        "translation": timed(lambda: translate(parse(query), catalog.schema("city_library"))),
        "sandboxed_child": timed(lambda: session.ask(sql)),
        "whole_statement": timed(lambda: session.run(query)),
        "child_start": milliseconds(starts),
    }
    session.close()
    plain.close()
    return found


def measure_runaway(seconds: float = 1.0) -> list[dict[str, Any]]:
    """How long each runaway query lives under a limit of `seconds`, and whether the next query works."""
    session = SqliteSession(open_dump(bundled_dump()), "city_library", seconds=seconds)
    session.run("SELECT 1")
    found: list[dict[str, Any]] = []
    for query in RUNAWAY:
        started = time.perf_counter()
        answer = session.run(query)
        lived = time.perf_counter() - started
        alive = session.run("SELECT 1").rows == [(1,)]
        found.append(
            {"query": query, "seconds": round(lived, 3), "answer": answer.observation(), "next_works": alive}
        )
    session.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/intercode/sql"))
    parser.add_argument("--server", help="mysql:// URL of a server that holds the dump")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"latency": measure_latency(), "runaway_limit_1_s": measure_runaway()}
    if arguments.data.is_dir():
        tasks = json.loads((arguments.data / "ic_spider_dev.json").read_text("utf-8"))
        recorded = arguments.data / "results_gpt-4_multiturn.jsonl.gz"
        engines = {"sqlite": sqlite_sessions(arguments.data / "ic_spider_dbs.sql.gz")}
        if arguments.server:
            engines["server"] = server_sessions(arguments.server)
        for name, engine in engines.items():
            with engine as sessions:
                report[f"golds_{name}"] = compare_golds(tasks, sessions)
                report[f"recorded_{name}"] = compare_recorded(recorded, tasks, sessions)
    else:
        report["skipped"] = f"{arguments.data} is not here, so nothing recorded was compared"
    print(json.dumps(report, indent=None if arguments.json else 2))


if __name__ == "__main__":
    main()
