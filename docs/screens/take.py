"""Takes the text screens of this folder: `python docs/screens/take.py` drives the real terminal interface in tmux.

It starts a dashboard on a home of its own, plays, labels, evaluates and trains a little, and captures every place at
80x24 and 200x50.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from retro_dash.address import find_hub
from retro_dash.client import HubClient
from retro_dash.tui.setup import FIRST
from training.tiny import create_model

FOLDER = Path(__file__).parent
SOCKET = f"retro-screens-{os.getpid()}"
EVALUATION: dict[str, JsonValue] = {
    "kind": "evaluate",
    "env": "alfworld",
    "trials": 3,
    "arms": [
        {"name": "no reflection", "planner": "expert", "strategy": "none"},
        {"name": "reflexion", "planner": "expert"},
    ],
}
SOLVED = "env:alfworld outcome:solved"
TRAINING: dict[str, JsonValue] = {
    "kind": "train",
    "model": "tiny",
    "train": {
        "method": "sft",
        "lora": {"rank": 8},
        "optimiser": {"learning_rate": 2e-3},
        "batch": {"epochs": 3, "tokens_per_step": 1600, "tokens_per_pack": 2048, "max_length": 1600},
    },
}


def tmux(*words: str) -> str:
    return subprocess.run(["tmux", "-L", SOCKET, *words], capture_output=True, text=True, check=True).stdout


def screen() -> str:
    return tmux("capture-pane", "-p", "-t", "tui")


def wait_for(*texts: str, seconds: float = 90) -> str:
    """The screen as soon as it holds all texts. Raises TimeoutError with what it shows instead."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        shown = screen()
        if all(text in shown for text in texts):
            return shown
        time.sleep(0.2)
    raise TimeoutError(f"{texts} never came:\n{screen()}")


def press(*keys: str) -> None:
    for key in keys:
        tmux("send-keys", "-t", "tui", key)
        time.sleep(0.15)


def save(name: str, size: str) -> None:
    """Wait until the screen rests, then keep it."""
    before = ""
    while (shown := screen()) != before:
        before = shown
        time.sleep(0.6)
    text = "\n".join(line.rstrip() for line in shown.splitlines()).rstrip() + "\n"
    (FOLDER / f"{name}-{size}.txt").write_text(text, encoding="utf-8")


def start(home: Path, width: int, height: int) -> None:
    words = ["-m", "retro_dash.cli", "tui", "--home", str(home), "--engine", "none"]
    command = " ".join(map(shlex.quote, [sys.executable, *words]))
    tmux("new-session", "-d", "-s", "tui", "-x", str(width), "-y", str(height), command)


def take(size: str) -> None:
    take_play(size)
    take_episodes(size)
    take_curate(size)
    take_runs(size)
    press("C-q")
    while subprocess.run(["tmux", "-L", SOCKET, "has-session"], check=False, capture_output=True).returncode == 0:
        time.sleep(0.2)


def take_play(size: str) -> None:
    wait_for("put a hot egg in garbagecan")
    save("play-start", size)
    press("R")
    wait_for("after 1 reflection")
    press("Home")
    save("play-solved", size)
    press("o", "r")
    wait_for("What should the next one know?")
    press("f")
    wait_for("gain after the next trial")
    save("play-reflection", size)
    press("s")
    wait_for("Ready", "2 ●")
    press("e")
    wait_for("The planner waits")
    save("play-hold", size)
    press("Escape", "x")


def take_episodes(size: str) -> None:
    press("2")
    wait_for("episodes, sorted by")
    save("episodes", size)
    press("/", *"gain>0", "Enter")
    wait_for("filter=gain")
    press("Enter")
    wait_for("Trial 2 ✓ solved")
    press("D")
    save("episode", size)
    press("?")
    wait_for("Keys of Episodes")
    save("episode-keys", size)
    press("?")
    wait_for("first difference", "esc Back")
    press("Escape")
    wait_for("episodes, sorted by")


def take_curate(size: str) -> None:
    press("F3")
    wait_for("Whole episode", "all saved")
    press("/", *"gain>0", "Enter")
    wait_for("filter=gain", "◆")
    press("j", "j", "+", "-", "o", "r", "a")
    wait_for("✓ accurate", "✓ all saved")
    save("curate", size)
    press("/", "C-u", "Enter")  # The other reflection of a pair gained nothing.
    wait_for("all saved", "annotator" if size != "80x24" else "/curate?episode")
    press("V")
    wait_for("◆ A", "◆ B")
    save("votes", size)
    press("Escape", "R")
    wait_for("agreeing pairs", "2 without a decision")
    save("review", size)
    press("Escape")
    wait_for("all saved")
    press("/", *"gain>0", "Enter")
    wait_for("filter=gain", "all saved")
    press("D")
    wait_for("J/K Scroll")
    press("n")
    wait_for("Freeze: Ctrl+S looks")
    press("C-s")
    wait_for("Ctrl+S freezes it.")
    press("C-s")
    wait_for("Frozen as", "of the tasks kept for evaluation")
    save("datasets", size)
    press("Escape", "T")
    wait_for("key | name | meaning", "| lucky |")
    save("tags", size)
    press("Escape", "u", "u", "u", "u")  # So that the next size finds what this one found.
    wait_for("all saved")


def take_runs(size: str) -> None:
    press("F4")
    wait_for("✓ finished", "Planner · loss terms")
    save("train", size)
    press("c")
    wait_for("[data]")
    press("C-s")
    wait_for("Ctrl+S starts it.")
    save("draft", size)
    press("Escape", "j")
    wait_for("Solved so far")
    save("train-evaluation", size)
    press("5")
    wait_for("Nothing trains", "planner@")
    press("j", "j")
    wait_for("ships with Retro Dash")
    save("serving", size)
    press("6")
    wait_for("95 % interval", "IR (first)")
    save("results", size)
    press("f", "Enter")
    wait_for("Before: ", "After: ")
    save("pair", size)
    press("Escape", "C-p")
    wait_for("Search for commands")
    save("palette", size)
    press("Escape")
    time.sleep(1)


def prepare(home: Path, client: HubClient) -> None:
    """Some episodes, two annotators who differ, an evaluation, and a training run of a tiny model."""
    question = client.open_live({"env": "hotpotqa", "task_id": "hotpotqa-valid-7-0001"})
    client.press(str(question["episode_id"]), "run_episode")
    client.submit_run({"kind": "evaluate", "name": "rooms", "config": EVALUATION, "split": "valid", "count": 16})
    other = str(client.open_live({"env": "alfworld", "task_id": FIRST["alfworld"], "seed": 1})["episode_id"])
    client.press(other, "run_trial")
    wait_until(lambda: client.live_state(other)["phase"] == "between_trials")
    client.press(
        other, "reflect", {"text": "Look into the fridge and the cabinets before the tables, then heat the egg."}
    )
    client.press(other, "stop")
    wait_until(lambda: len(client.run_queue()) == 0 and client.runs(["evaluate"])[0].state == "finished")
    for number, row in enumerate(client.episodes("gain>0", limit=3).rows):
        for who, verdict in (("kim", "good"), ("lee", "good" if number else "bad")):
            say(client, f"{who}-{number}", row.id, who, verdict)
    say(client, "max-2", client.episodes("gain>0", limit=3).rows[2].id, "max", "discard")
    texts = [trial.prompt for episode in client.whole_episodes("outcome:solved") for trial in episode.trials]
    create_model(home / "models" / "tiny", texts, vocabulary=600, width=64, layers=2)
    client.submit_run({"kind": "train", "name": "imitate solved rooms", "config": TRAINING, "filter": SOLVED})
    wait_until(lambda: client.runs(["train"])[0].state in ("finished", "failed"))


def say(client: HubClient, label_id: str, episode_id: str, who: str, verdict: str) -> None:
    target: dict[str, JsonValue] = {"episode_id": episode_id, "part": "episode"}
    client.label([{"id": label_id, "target": target, "name": "verdict", "value": verdict, "annotator": who}])


def wait_until(holds: Callable[[], object], seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("The hub did not get there.")
        time.sleep(0.3)


def main() -> None:
    """`take.py [SIZE]`: one size, such as 80x24, or both."""
    sizes = sys.argv[1:] or ["80x24", "200x50"]
    with tempfile.TemporaryDirectory(prefix="screens") as folder:
        home = Path(folder) / "home"
        os.environ["RETRO_EXPERT_WORDS_PER_SECOND"] = "0"
        os.environ["RETRO_PORT"] = "0"
        try:
            start(home, *map(int, sizes[0].split("x")))
            wait_for("put a hot egg in garbagecan", seconds=150)
            address = find_hub(home)
            assert address is not None
            with HubClient.at(address) as client:
                prepare(home, client)
            take(sizes[0])
            for size in sizes[1:]:
                start(home, *map(int, size.split("x")))
                take(size)
        finally:
            subprocess.run(["tmux", "-L", SOCKET, "kill-server"], check=False, capture_output=True)
            running = find_hub(home)
            if running is not None:
                os.kill(running.pid, signal.SIGTERM)
                time.sleep(3)


if __name__ == "__main__":
    main()
