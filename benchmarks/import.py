"""How fast are files imported, against reading the same lines with the json module and nothing else?

    python benchmarks/import.py --json [--episodes 2000] [--turns 10] [--repeat 3]

Three generated files of the same episodes: our own format, OpenAI messages, and RetroAct rows. For each the median
over the repeats of: `json` (json.loads of every line, the floor), `preview` (read, checked, counted, nothing stored),
`import` (preview not counted; into a new store, on the disk) and `again` (importing it a second time). Rates are
turns per second.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.formats.entry import About, Entry
from data.formats.episodes import write
from data.store import Store
from data.types import Episode, EpisodeState, StopReason, Task, Trial, Turn
from retro_dash.importing import choose_format, import_file, preview

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def sentence(dice: random.Random, words: int) -> str:
    return " ".join(f"w{dice.randrange(4000)}" for _ in range(words))


def make_episodes(count: int, turns: int) -> Iterator[Episode]:
    """Episodes of one trial each, text drawn from a seed."""
    dice = random.Random(1)
    for number in range(count):
        played = tuple(
            Turn(
                index=k,
                thought=sentence(dice, 12),
                action=f"search[{sentence(dice, 2)}]",
                observation=sentence(dice, 40),
                reward=0.0,
            )
            for k in range(1, turns + 1)
        )
        trial = Trial(
            index=1,
            prompt=sentence(dice, 100),
            opening=sentence(dice, 20),
            turns=played,
            stop_reason=StopReason.FAILED,
            started_at=NOW,
            finished_at=NOW,
        )
        yield Episode(
            id=f"e{number}",
            task=Task(id=f"t{number}", env="hotpotqa", split="train", instruction=sentence(dice, 12)),
            planner="p",
            reflector="r",
            trials=(trial,),
            state=EpisodeState.FAILED,
            run_id="generated",
            created_at=NOW,
        )


def write_messages(episodes: Iterator[Episode], path: Path) -> None:
    with path.open("w") as file:
        for episode in episodes:
            (trial,) = episode.trials
            messages = [{"role": "user", "content": trial.prompt}]
            for turn in trial.turns:
                messages.append({"role": "assistant", "content": f"Thought: {turn.thought}\nAction: {turn.action}"})
                messages.append({"role": "user", "content": turn.observation})
            file.write(json.dumps({"messages": messages, "task_id": episode.task.id, "reward": 0.0}) + "\n")


def write_retroact(episodes: Iterator[Episode], path: Path) -> None:
    with path.open("w") as file:
        for episode in episodes:
            (trial,) = episode.trials
            lines = [
                f"Thought {k}: {turn.thought}\nAction {k}: {turn.action}\nObservation {k}: {turn.observation}"
                for k, turn in enumerate(trial.turns, 1)
            ]
            output = "\n".join(lines) + "\n\nSTATUS: FAIL\nREWARD: 0.0"
            row = {"instruction": "", "input": f"Question: {episode.task.instruction}", "output": output}
            file.write(json.dumps({**row, "type": "planner", "reward": 0.0}) + "\n")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(path: Path, repeat: int) -> dict[str, float]:
    """Median seconds of every step."""
    found = choose_format(path)
    taken: dict[str, list[float]] = {"json": [], "preview": [], "import": [], "again": []}
    for _ in range(repeat):
        taken["json"].append(seconds(lambda: [json.loads(line) for line in path.open()]))
        taken["preview"].append(seconds(lambda: preview(path, found, lambda ids: set())))
        with tempfile.TemporaryDirectory() as home, Store.open(Path(home)) as store:
            taken["import"].append(seconds(lambda store=store: import_file(path, found, store)))
            taken["again"].append(seconds(lambda store=store: import_file(path, found, store)))
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    turns = arguments.episodes * arguments.turns
    result: dict[str, object] = {"episodes": arguments.episodes, "turns": turns}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.jsonl" for name in ("episodes", "messages", "retroact")}
        made = lambda: make_episodes(arguments.episodes, arguments.turns)  # noqa: E731
        write((Entry(episode) for episode in made()), files["episodes"], About())
        write_messages(made(), files["messages"])
        write_retroact(made(), files["retroact"])
        for name, path in files.items():
            taken = measure(path, arguments.repeat)
            result[name] = {
                "megabytes": round(path.stat().st_size / 1e6, 1),
                "seconds": {step: round(value, 3) for step, value in taken.items()},
                "turns_per_second": {step: round(turns / value) for step, value in taken.items()},
            }
    print(json.dumps(result, indent=None if arguments.json else 1))


if __name__ == "__main__":
    main()
