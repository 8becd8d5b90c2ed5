"""How fast is the store at 100,000 episodes, and how does SQLite (stdlib, indexed) do with the same rows?

    python benchmarks/store.py --json [--episodes 100000] [--turns 5] [--repeat 15] [--alone]

With `--turns 50` these are 5 million turns. `--alone` leaves SQLite out. Progress goes to stderr.

Generated text: words of a 4,000-word vocabulary drawn with Zipf frequencies, observations of about 40 words. Both
databases lie in one temporary folder, are asked the same questions in turn by one process, and every answer is
read to its end. The store answers with checked rows (total, page of 50, labels); SQLite with bare tuples (total, page
of 50). Times are milliseconds, medians unless named otherwise.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, count, islice, pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.events import EpisodeStarted, Event, LabelMade, TrialStarted, TurnTaken
from data.store import Store
from data.types import (
    Completion,
    Episode,
    EpisodeState,
    Label,
    LabelTarget,
    Reflection,
    StopReason,
    Task,
    Trial,
    Turn,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
BATCH_TURNS = 10_000
"""Turns that are stored at once."""
QUESTIONS = {
    # filter of the store: condition of SQLite over the same rows
    "": "1",
    "env:hotpotqa outcome:failed trials>2": "env = 'hotpotqa' AND success = 0 AND trial_count > 2",
    "planner:smollm2 reward>=0.5 gain>0": "planner LIKE '%smollm2%' AND last_reward >= 0.5 AND best_gain > 0",
    "-env:alfworld since:2026-11-05 turns<4": "env <> 'alfworld' AND created_at >= '2026-11-05' AND turn_count < 4",
}
SEARCHES = ("w7", "w3999", "no such text anywhere")
"""Frequent, rare and absent."""


class Generator:
    """Episodes from a seed."""

    def __init__(self, seed: int, turns: int) -> None:
        self.random = random.Random(seed)
        self.turns = turns
        self.words = [f"w{index}" for index in range(4000)]
        self.weights = list(accumulate(1 / (index + 1) for index in range(4000)))

    def text(self, words: int) -> str:
        return " ".join(self.random.choices(self.words, cum_weights=self.weights, k=words))

    def episodes(self, number: int) -> Iterator[Episode]:
        for index in range(number):
            yield self.episode(index)

    def episode(self, index: int) -> Episode:
        chosen = self.random
        trial_count = chosen.choice((1, 2, 2, 3))
        shares = [self.turns // trial_count + (place < self.turns % trial_count) for place in range(trial_count)]
        rewards = [0.0 if chosen.random() < 0.7 else 0.5] * (trial_count - 1) + [float(chosen.random() < 0.5)]
        at = START + timedelta(seconds=10 * index)
        trials = [self.trial(place + 1, shares[place], rewards[place], at) for place in range(trial_count)]
        reflections = [
            Reflection(after_trial=place, text=self.text(30), author="reflector", created_at=at)
            for place in range(1, trial_count)
        ]
        env = chosen.choice(("hotpotqa", "alfworld", "intercode_sql"))
        return Episode(
            id=f"{chosen.getrandbits(128):032x}",
            task=Task(id=f"task-{index % 5000}", env=env, split="train", instruction=self.text(15)),
            planner=chosen.choice(("smollm2-135m", "expert", "planner-v3")),
            reflector=chosen.choice(("smollm2-135m", "expert")),
            trials=tuple(trials),
            reflections=tuple(reflections),
            state=EpisodeState.SOLVED if rewards[-1] == 1 else EpisodeState.FAILED,
            run_id=f"run-{index // 1000}",
            created_at=at,
        )

    def trial(self, index: int, turns: int, reward: float, at: datetime) -> Trial:
        return Trial(
            index=index,
            prompt=self.text(60),
            opening=self.text(20),
            turns=tuple(self.turn(place + 1) for place in range(turns)),
            reward=reward,
            success=reward == 1,
            stop_reason=StopReason.SOLVED if reward == 1 else StopReason.FAILED,
            started_at=at,
            finished_at=at,
        )

    def turn(self, index: int) -> Turn:
        thought, action = self.text(12), self.text(4)
        ids = tuple(self.random.choices(range(49152), k=20))
        logprobs = tuple(-0.125 * (token % 16) for token in ids)
        text = f"Thought: {thought}\nAction: {action}"
        completion = Completion(policy="smollm2-135m", text=text, token_ids=ids, logprobs=logprobs)
        return Turn(
            index=index, thought=thought, action=action, observation=self.text(40), reward=0.0, completion=completion
        )


def open_sqlite(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.executescript(
        """PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
        CREATE TABLE episodes (number INTEGER PRIMARY KEY, id TEXT UNIQUE, run_id TEXT, env TEXT, task_id TEXT,
            instruction TEXT, planner TEXT, reflector TEXT, state TEXT, success INTEGER, trial_count INTEGER,
            turn_count INTEGER, last_reward REAL, best_gain REAL, created_at TEXT);
        CREATE TABLE turns (episode INTEGER, trial INTEGER, turn INTEGER, thought TEXT, action TEXT, observation TEXT,
            reward REAL, completion TEXT);
        CREATE TABLE reflections (episode INTEGER, after_trial INTEGER, text TEXT);"""
    )
    return database


def fill_sqlite(database: sqlite3.Connection, numbered: Sequence[tuple[int, Episode]]) -> None:
    episodes, turns, reflections = [], [], []
    for number, e in numbered:
        rewards = [trial.reward for trial in e.trials]
        gain = max((after - before for before, after in pairwise(rewards)), default=None)
        turn_count = sum(len(trial.turns) for trial in e.trials)
        episodes.append((number, e.id, e.run_id, e.task.env, e.task.id, e.task.instruction, e.planner, e.reflector,
                         e.state.value, any(t.success for t in e.trials), len(e.trials), turn_count, rewards[-1],
                         gain, e.created_at.isoformat()))  # fmt: skip
        turns += [
            (number, trial.index, turn.index, turn.thought, turn.action, turn.observation, turn.reward,
             turn.completion.model_dump_json() if turn.completion else None)
            for trial in e.trials for turn in trial.turns
        ]  # fmt: skip
        reflections += [(number, reflection.after_trial, reflection.text) for reflection in e.reflections]
    with database:
        for table, rows in (("episodes", episodes), ("turns", turns), ("reflections", reflections)):
            if rows:
                database.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)


def index_sqlite(database: sqlite3.Connection) -> None:
    for column in (
        "env",
        "planner",
        "success",
        "trial_count",
        "turn_count",
        "last_reward",
        "best_gain",
        "created_at",
    ):
        database.execute(f"CREATE INDEX episodes_{column} ON episodes ({column})")
    database.execute("CREATE INDEX turns_episode ON turns (episode, trial, turn)")
    database.execute("CREATE INDEX reflections_episode ON reflections (episode)")
    database.execute("ANALYZE")


def sqlite_page(database: sqlite3.Connection, condition: str, parameters: Sequence[Any] = ()) -> int:
    total = database.execute(f"SELECT count(*) FROM episodes WHERE {condition}", parameters).fetchone()[0]
    database.execute(
        f"SELECT * FROM episodes WHERE {condition} ORDER BY created_at DESC LIMIT 50", parameters
    ).fetchall()
    return int(total)


def sqlite_search(database: sqlite3.Connection, text: str) -> int:
    condition = """instruction LIKE ?1 OR number IN (SELECT episode FROM turns WHERE thought LIKE ?1 OR action LIKE ?1
        OR observation LIKE ?1) OR number IN (SELECT episode FROM reflections WHERE text LIKE ?1)"""
    return sqlite_page(database, condition, [f"%{text}%"])


def timed(question: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Median milliseconds and the last answer; one more call before is not counted."""
    answer = question()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        answer = question()
        times.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(times), 2), answer


def fill(
    store: Store, database: sqlite3.Connection | None, episodes: Iterator[Episode], at_once: int
) -> tuple[float, float, list[str]]:
    """Seconds that each database took to store all episodes, `at_once` at a time, and the episodes' ids."""
    store_seconds = sqlite_seconds = 0.0
    ids: list[str] = []
    while batch := list(islice(episodes, at_once)):
        first = len(ids)
        events = [
            Event(run_id="import", seq=first + place, at=START, body=EpisodeStarted(episode=episode))
            for place, episode in enumerate(batch)
        ]
        start = time.perf_counter()
        store.append(events)
        middle = time.perf_counter()
        if database is not None:
            fill_sqlite(database, list(enumerate(batch, start=first)))
        store_seconds += middle - start
        sqlite_seconds += time.perf_counter() - middle
        ids += [episode.id for episode in batch]
        if len(ids) // 5000 > first // 5000:
            print(f"{len(ids)} episodes stored", file=sys.stderr, flush=True)
    start = time.perf_counter()
    store.checkpoint()
    middle = time.perf_counter()
    if database is not None:
        index_sqlite(database)
    return store_seconds + middle - start, sqlite_seconds + time.perf_counter() - middle, ids


def ask(store: Store, database: sqlite3.Connection | None, ids: Sequence[str], repeat: int) -> dict[str, Any]:
    answers: dict[str, Any] = {"pages": {}, "searches": {}}

    def compare(text: str, their_question: Callable[[sqlite3.Connection], int], times: int, theirs: int) -> Any:
        ours, page = timed(lambda: store.episode_rows(text), times)
        answer: dict[str, Any] = {"store_ms": ours, "total": page.total}
        if database is not None:
            answer["sqlite_ms"], total = timed(lambda: their_question(database), theirs)
            assert page.total == total, (text, page.total, total)
        return answer

    for filter_, condition in QUESTIONS.items():
        answers["pages"][filter_ or "(all)"] = compare(
            filter_, lambda known, c=condition: sqlite_page(known, c), repeat, repeat
        )
    deep, _ = timed(lambda: store.episode_rows("", offset=len(ids) - 50), repeat)
    answers["last_page_ms"] = deep
    for text in SEARCHES:
        answers["searches"][text] = compare(
            f'text:"{text}"', lambda known, t=text: sqlite_search(known, t), min(repeat, 5), 1
        )
    chosen = random.Random(1).choices(ids, k=repeat)
    times = {True: [], False: []}
    for id_ in chosen:
        for with_tokens in times:
            times[with_tokens].append(timed(lambda i=id_, w=with_tokens: store.episode(i, w), 1)[0])
    answers["open_episode_ms"] = statistics.median(times[False])
    answers["open_episode_with_tokens_ms"] = statistics.median(times[True])
    answers["facets_ms"] = timed(store.facets, repeat)[0]
    return answers


def write(store: Store, ids: Sequence[str], number: int) -> dict[str, Any]:
    """Single events as people and agents make them: a label (journalled, synced), a turn of a live episode."""
    seq = count()
    labels, turns = [], []
    live = Generator(2, 1).episode(0).model_copy(update={"id": "live", "trials": (), "reflections": ()})
    trial = Trial(index=1, prompt="", opening="", started_at=START)
    for body in (EpisodeStarted(episode=live), TrialStarted(episode_id="live", trial=trial)):
        store.append([Event(run_id="live", seq=next(seq), at=START, body=body)])
    generator = Generator(3, 1)
    for index in range(number):
        target = LabelTarget(episode_id=ids[index % len(ids)], part="episode")
        label = Label(id=f"label-{index}", target=target, name="verdict", value="expert", annotator="kim", at=START)
        turn = TurnTaken(episode_id="live", trial=1, turn=generator.turn(index + 1))
        for body, times in ((LabelMade(label=label), labels), (turn, turns)):
            event = Event(run_id="live", seq=next(seq), at=START, body=body)
            start = time.perf_counter()
            store.append([event])
            times.append(1000 * (time.perf_counter() - start))
    return {
        f"{name}_ack_{quantile}_ms": round(statistics.quantiles(times, n=20)[place], 2)
        for name, times in (("label", labels), ("turn", turns))
        for quantile, place in (("p50", 9), ("p95", 18))
    }


def measure(folder: Path, episodes: int, turns: int, repeat: int, is_alone: bool) -> dict[str, Any]:
    database = None if is_alone else open_sqlite(folder / "reference.sqlite")
    with Store.open(folder / "home") as store:
        at_once = max(1, BATCH_TURNS // turns)
        ours, theirs, ids = fill(store, database, Generator(0, turns).episodes(episodes), at_once)
        result: dict[str, Any] = {
            "episodes": episodes,
            "turns": episodes * turns,
            "ingest": {
                "store_seconds": round(ours, 1),
                "store_turns_per_second": round(episodes * turns / ours),
            },
            "store_megabytes": round((folder / "home/retro.duckdb").stat().st_size / 2**20),
        }
        if database is not None:
            result["ingest"]["sqlite_seconds"] = round(theirs, 1)
            result["sqlite_megabytes"] = round((folder / "reference.sqlite").stat().st_size / 2**20)
        result |= ask(store, database, ids, repeat)
        result |= write(store, ids, 500)
        labelled, page = timed(lambda: store.episode_rows("label:expert"), repeat)
        result["pages"]["label:expert"] = {"store_ms": labelled, "total": page.total}
        start = time.perf_counter()
    result["close_seconds"] = round(time.perf_counter() - start, 2)
    start = time.perf_counter()
    with Store.open(folder / "home") as store:
        store.episode_rows("")
        result["open_and_first_page_seconds"] = round(time.perf_counter() - start, 2)
    if database is not None:
        database.close()
    result["peak_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of indented text")
    parser.add_argument("--episodes", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=5, help="turns an episode (50 gives 5 million in all)")
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--alone", action="store_true", help="without SQLite to compare with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), options.episodes, options.turns, options.repeat, options.alone)
    print(json.dumps(result, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
