"""Is our ALFWorld simulator the real engine, how much faster is it, and what do expert and reflections win?

    python benchmarks/alfworld.py all --json
    python benchmarks/alfworld.py parity --part 1/2 --out parity-1.jsonl --json

`parity` and `speed` need the TextWorld engine (see envs/alfworld_engine.py); the games are those of shared/data
(RETRO_SHARED_DATA or ../shared/data). `parity` appends a line a game to --out and goes on where it stopped.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from data.types import StopReason, Task, Trial, Turn
from envs.alfworld import KIND, TextEngine
from envs.alfworld_engine import TextWorldEngine
from envs.alfworld_files import problem_text
from envs.household import Dialect, Household
from envs.household_problem import read_problem

REPOSITORY = Path(__file__).resolve().parent.parent
HOSTILE = (
    *("", " ", "\x00", "look\x00", "\x1b[2J", "go to", "go to fridge 99", "go to cabinet", "GO TO FRIDGE 1"),
    *("go  to fridge 1", "take all", "put apple 1 in/on", "open", "open open", "use", "examine agent1 ", "help me"),
    *("inventory; look", "{r.name}", "take {o} from {r}", "#look.feedback#", "[x | y]", "think: hello", "look\nlook"),
    *("\x1flook\x1c", "\uff41pple", "\ud800", "\U0001f34e", "' or 1=1 --", "$(reboot)", "go to loc 1"),
    *("slice apple 1 with apple 1", "move apple 1 to apple 1", "a" * 100_000),
)
"""What a careless or hostile player types; neither engine may do anything but answer."""


@dataclass(frozen=True)
class Row:
    """One official game."""

    game_id: str
    task: str
    problem: str
    walkthrough: list[str]


def shared_data() -> Path:
    return Path(os.environ.get("RETRO_SHARED_DATA", REPOSITORY.parent / "shared" / "data")) / "alfworld"


def official_games(split: str) -> list[Row]:
    with gzip.open(shared_data() / f"games_{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Row(row["game_id"], row["task"], row["pddl_problem"], row["walkthrough"]) for row in rows]


def parity_games() -> list[Row]:
    """Every valid game and 200 train games, drawn with a fixed seed."""
    train = random.Random(20).sample(official_games("train"), 200)
    return official_games("valid_seen") + official_games("valid_unseen") + train


# Parity: both engines side by side.


@dataclass
class Walk:
    """Both engines at the same point of the same game."""

    ours: Household
    real: TextEngine
    steps: int = 0
    mismatch: str = ""

    def start(self) -> str:
        ours = self.ours.start()
        self._compare("(opening)", ours, self.real.start())
        return ours

    def do(self, command: str) -> str:
        """One command in both; text, admissible commands and won must be equal after it."""
        ours, real = self.ours.step(command), self.real.step(command)
        self.steps += 1
        self._compare(command, ours, real)
        return ours

    def _compare(self, command: str, ours: str, real: str) -> None:
        if self.mismatch:
            return
        if ours != real:
            self.mismatch = f"{command[:80]!r}: ours {ours[:200]!r}, real {real[:200]!r}"
        elif self.ours.commands() != self.real.commands():
            odd = sorted(set(self.ours.commands()) ^ set(self.real.commands()))
            self.mismatch = f"after {command[:80]!r} only one engine admits {odd[:5]}"
        elif self.ours.won != self.real.won:
            self.mismatch = f"after {command[:80]!r} won is {self.ours.won}, real {self.real.won}"


def walk_game(walk: Walk, row: Row, rng: random.Random) -> Iterator[str]:
    """The searching expert until it wins, then at random, then hostile; yields what kind each step was."""
    task = Task(id=row.game_id, env="alfworld", split="", instruction=row.task)
    trial = blank_trial(walk.start())
    while not walk.ours.won and len(trial.turns) < 50:
        action = KIND.expert.move(task, (), trial).action
        trial = with_turn(trial, action, walk.do(action))
        yield "expert"
    for _ in range(80):
        walk.do(random_command(walk.ours.commands(), rng))
        yield "random"
    for _ in range(60):
        walk.do(hostile_command(walk.ours.commands(), rng))
        yield "hostile"


def walk_recording(walk: Walk, row: Row, rng: random.Random) -> Iterator[str]:
    walk.start()
    for command in row.walkthrough:
        walk.do(command)
        yield "recorded"


def random_command(commands: list[str], rng: random.Random) -> str:
    """Commands that change something come as often as all others."""
    acting = [one for one in commands if not one.startswith(("go to", "look", "help", "inventory", "examine"))]
    return rng.choice(acting if acting and rng.random() < 0.5 else commands)


def hostile_command(commands: list[str], rng: random.Random) -> str:
    """A malformed command, a slightly spoiled one, or an admissible one."""
    command, kind = rng.choice(commands), rng.random()
    if kind < 0.35:
        return rng.choice(HOSTILE)
    if kind < 0.6:
        cut = rng.randrange(len(command))
        return rng.choice([command[:cut] + command[cut + 1 :], command.upper(), f"  {command}\t", command + "0"])
    return command


Walker = Callable[[Walk, Row, random.Random], Iterator[str]]


def parity_jobs() -> Iterator[tuple[Walker, Dialect, Row]]:
    """Every game once, in both dialects by turns, then every fourth recording of the older dialect."""
    for number, row in enumerate(parity_games()):
        yield walk_game, (Dialect.MOVE, Dialect.PUT)[number % 2], row
    for recording in recordings()[::4]:
        yield walk_recording, Dialect.PUT, recording.as_row()


def run_parity(part: str, out: Path | None) -> dict[str, Any]:
    """Walk the jobs of one part (`1/2`: every second one), skipping those that `out` already has."""
    index, parts = (int(number) for number in part.split("/"))
    done = _lines(out) if out else []
    known = {line["job"] for line in done}
    for number, (walker, dialect, row) in enumerate(parity_jobs()):
        if number % parts != index - 1 or number in known:
            continue
        line = {"job": number, "game": row.game_id, **_walk_both(walker, dialect, row, random.Random(number))}
        done.append(line)
        if out:
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    return summary(done)


def _walk_both(walker: Walker, dialect: Dialect, row: Row, rng: random.Random) -> dict[str, Any]:
    real = TextWorldEngine(row.problem, row.task, dialect)
    started = time.perf_counter()
    try:
        walk = Walk(Household(read_problem(row.problem), row.task, dialect), real)
        kinds = Counter(walker(walk, row, rng))
    finally:
        real.close()
    seconds = round(time.perf_counter() - started, 3)
    return {"steps": walk.steps, "kinds": dict(kinds), "mismatch": walk.mismatch, "seconds": seconds}


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def summary(lines: list[dict[str, Any]]) -> dict[str, Any]:
    steps, seconds = sum(line["steps"] for line in lines), sum(line["seconds"] for line in lines)
    kinds = Counter[str]()
    for line in lines:
        kinds.update(line["kinds"])
    return {
        "games": len({line["game"] for line in lines}),
        "steps": steps,
        "steps_by_kind": dict(kinds),
        "mismatches": [line for line in lines if line["mismatch"]],
        "steps_per_second_both_engines": round(steps / seconds, 1) if seconds else None,
    }


# Recorded actions of RetroAct's agents (the older dialect).


@dataclass(frozen=True)
class Recording:
    """One recorded trial, and the game of ours that it was played in (the one that agrees best)."""

    row: int
    turns: list[tuple[str, str]]
    game: Row

    def as_row(self) -> Row:
        return Row(f"recorded-{self.row}", self.game.task, self.game.problem, [action for action, _ in self.turns])

    def replay(self) -> list[bool]:
        """For every turn, whether our simulator answers as the recording says."""
        ours = Household(read_problem(self.game.problem), self.game.task, Dialect.PUT)
        return [ARRIVAL.sub("", ours.step(action)) == observation for action, observation in self.turns]


ARRIVAL = re.compile(r"^You arrive at loc \d+\. ")
NOT_THE_GAME = "Please generate an action follow the action format in the examples."
"""RetroAct's own harness said this for a long line without asking the game."""


def recordings() -> list[Recording]:
    """RetroAct's imitation rows whose room and task are those of an official game that we have."""
    by_opening: dict[tuple[str, str], list[Row]] = {}
    for split in ("train", "valid_seen", "valid_unseen"):
        for game in official_games(split):
            room = Household(read_problem(game.problem), game.task, Dialect.PUT).start().split("\n\n")[1]
            by_opening.setdefault((room, game.task), []).append(game)
    found = []
    with gzip.open(shared_data() / "retroact_sft.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            room, sentence, turns = _recorded_trial(row)
            games = by_opening.get((room, sentence), [])
            if games:
                candidates = [Recording(row["row"], turns, game) for game in games]
                found.append(max(candidates, key=lambda recording: sum(recording.replay())))
    return found


def _recorded_trial(row: dict[str, Any]) -> tuple[str, str, list[tuple[str, str]]]:
    """Room, task and turns of the row's last trial, without thoughts."""
    text = row["input"] + (" " + row["output"] if row["type"] == "planner" else "")
    text = text[text.rindex("You are in the middle of a room.") :]
    room, sentence, body = re.match(r"(.*?)\n\s*Your task is to: (.*?)\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    body = re.split(r"\n\s*STATUS:", body)[0]
    turns = []
    for part in re.split(r"\n> ?", "\n" + body):
        action, _, observation = part.partition("\n")
        if action.strip() and not action.strip().startswith("think:"):
            turns.append((action.strip(), observation.strip()))
    return room.strip(), sentence.strip(), turns


def run_recorded() -> dict[str, Any]:
    compared = agree = whole = 0
    classes: Counter[str] = Counter()
    found = recordings()
    for recording in found:
        replayed = recording.replay()
        compared, agree, whole = compared + len(replayed), agree + sum(replayed), whole + all(replayed)
        for (_, observation), same in zip(recording.turns, replayed, strict=True):
            if not same:
                harness = observation == NOT_THE_GAME
                classes["the recorder's own message" if harness else "another trial of the room, not at hand"] += 1
    return {
        "rows": len(found),
        "rows_that_agree_throughout": whole,
        "observations": compared,
        "agree": agree,
        "share": round(agree / compared, 4),
        "mismatch_classes": dict(classes),
    }


# What is won.


def blank_trial(opening: str) -> Trial:
    return Trial(index=1, prompt="", opening=opening, started_at=datetime.now(UTC))


def with_turn(trial: Trial, action: str, observation: str) -> Trial:
    turn = Turn(index=len(trial.turns) + 1, thought="", action=action, observation=observation, reward=0.0)
    return trial.model_copy(update={"turns": (*trial.turns, turn)})


def play(task: Task, reflections: list[str]) -> Trial:
    """One trial of the expert in the environment, with its stop rules."""
    environment = KIND.open(task, {})
    trial, stop = blank_trial(environment.start()), None
    for _ in range(task.turn_limit or KIND.turn_limit):
        action = KIND.expert.move(task, reflections, trial).action
        outcome = environment.step(action)
        trial, stop = with_turn(trial, action, outcome.observation), outcome.stop
        if stop is not None:
            break
    environment.close()
    return trial.model_copy(
        update={"stop_reason": stop or StopReason.TURN_LIMIT, "success": stop is StopReason.SOLVED}
    )


def run_wins() -> dict[str, Any]:
    report: dict[str, Any] = {}
    for split in ("valid_seen", "valid_unseen", "train"):
        games = official_games(split)
        plans = sum(_plan_wins(row) for row in games)
        tasks = KIND.read(shared_data() / f"games_{split}.jsonl.gz", {})
        trials = [play(task, []) for task in tasks]
        won = sum(trial.success for trial in trials)
        report[split] = {
            "games": len(games),
            "stored_plans_won": plans,
            "expert_won": won,
            "expert_share_95_percent": [round(x, 4) for x in wilson(won, len(trials))],
            "expert_mean_turns": round(sum(len(trial.turns) for trial in trials) / len(trials), 2),
        }
    report["bundled"] = {split: _by_trial(KIND.bundled(split)) for split in KIND.splits}
    return report


def _plan_wins(row: Row) -> bool:
    game = Household(read_problem(row.problem), row.task)
    for command in row.walkthrough:
        game.step(command)
    return game.won


def _by_trial(tasks: list[Task]) -> dict[str, Any]:
    """Solved by trial 1, 2, 3 with reflections; and of those failed first, the second trial with and without."""
    solved, second, second_without, failed_first = [0, 0, 0], 0, 0, 0
    for task in tasks:
        reflections: list[str] = []
        for number in range(3):
            trial = play(task, reflections)
            if number == 1:
                second += trial.success
                second_without += play(task, []).success
            if trial.success:
                for later in range(number, 3):
                    solved[later] += 1
                break
            failed_first += number == 0
            reflections.append(KIND.expert.reflect(task, reflections, trial))
    return {
        "tasks": len(tasks),
        "solved_within_1_2_3_trials": [round(count / len(tasks), 4) for count in solved],
        "failed_first": failed_first,
        "second_trial_reward_with_reflection": round(second / failed_first, 4),
        "second_trial_reward_without": round(second_without / failed_first, 4),
    }


def wilson(won: int, total: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    z, share = 1.96, won / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return (middle - spread) / (1 + z * z / total), (middle + spread) / (1 + z * z / total)


# Speed.


def run_speed() -> dict[str, Any]:
    """Steps a second of both engines on the same commands, taking turns; admissible commands asked for every time."""
    rows = random.Random(3).sample(official_games("valid_unseen"), 6)
    ours, real = list(_timed_both(rows)), 0.0
    steps = sum(count for count, _, _ in ours)
    mine, real = sum(seconds for _, seconds, _ in ours), sum(seconds for _, _, seconds in ours)
    task = KIND.read(shared_data() / "games_valid_unseen.jsonl.gz", {})[0]
    started = time.perf_counter()
    for _ in range(20):
        Household(read_problem(problem_text(task)), task.instruction)
    return {
        "steps": steps,
        "simulator_steps_per_second": round(steps / mine),
        "engine_steps_per_second": round(steps / real, 1),
        "ratio": round(real / mine),
        "simulator_milliseconds_to_open_a_game": round((time.perf_counter() - started) / 20 * 1000, 2),
    }


def _timed_both(rows: list[Row]) -> Iterator[tuple[int, float, float]]:
    for number, row in enumerate(rows):
        rng, ours = random.Random(number), Household(read_problem(row.problem), row.task)
        commands = []
        started = time.perf_counter()
        for _ in range(100):
            commands.append(rng.choice(ours.commands()))
            ours.step(commands[-1])
        middle = time.perf_counter()
        real = TextWorldEngine(row.problem, row.task)
        loaded = time.perf_counter()
        for command in commands:
            real.step(command)
        yield len(commands), middle - started, time.perf_counter() - loaded
        real.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["parity", "recorded", "wins", "speed", "all"])
    parser.add_argument("--part", default="1/1", help="for parity: which of how many parts, as 1/2")
    parser.add_argument("--out", type=Path, help="for parity: a file that gets one line a walk, and is gone on with")
    parser.add_argument("--json", action="store_true", help="one line instead of indented")
    asked = parser.parse_args()
    jobs: dict[str, Callable[[], dict[str, Any]]] = {
        "wins": run_wins,
        "recorded": run_recorded,
        "speed": run_speed,
        "parity": lambda: run_parity(asked.part, asked.out),
    }
    report = {name: job() for name, job in jobs.items() if asked.what in (name, "all")}
    print(json.dumps(report, indent=None if asked.json else 2))


if __name__ == "__main__":
    main()
