"""Takes the text screens of this folder: `python docs/screens/take.py` drives the real terminal interface in tmux.

It starts a dashboard on a home of its own, plays and labels a little, and captures every place at 80x24 and 200x50.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from retro_dash.address import find_hub
from retro_dash.client import HubClient

FOLDER = Path(__file__).parent
SOCKET = f"retro-screens-{os.getpid()}"
EVALUATION = {
    "kind": "evaluate",
    "env": "alfworld",
    "trials": 3,
    "arms": [
        {"name": "no reflection", "planner": "expert", "strategy": "none"},
        {"name": "reflexion", "planner": "expert"},
    ],
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
        time.sleep(1.2)
    text = "\n".join(line.rstrip() for line in shown.splitlines()).rstrip() + "\n"
    (FOLDER / f"{name}-{size}.txt").write_text(text, encoding="utf-8")


def start(home: Path, width: int, height: int) -> None:
    words = ["-m", "retro_dash.cli", "tui", "--home", str(home), "--engine", "none"]
    command = " ".join(map(shlex.quote, [sys.executable, *words]))
    tmux("new-session", "-d", "-s", "tui", "-x", str(width), "-y", str(height), command)


def take(size: str) -> None:
    wait_for("look at tissuebox under the des")
    save("play-start", size)
    press("R")
    wait_for("after 1 reflection")
    press("C-Home")
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
    press("2")
    wait_for("episodes, sorted by")
    save("episodes", size)
    press("/", "g", "a", "i", "n", ">", "0", "Enter")
    wait_for("filter=gain")
    press("Enter")
    wait_for("Trial 2 ✓ solved")
    press("D")
    save("episode", size)
    press("?")
    save("episode-keys", size)
    press("?", "Escape")
    time.sleep(0.5)
    press("3")
    wait_for("Whole episode", "all saved")
    press("/", "g", "a", "i", "n", ">", "0", "Enter")
    wait_for("filter=gain", "◆")
    press("j", "j", "+", "-", "o", "r", "a")
    wait_for("✓ accurate", "✓ all saved")
    save("curate", size)
    press("F4")
    wait_for("✓ finished", "Solved so far")
    save("train", size)
    press("5")
    wait_for("No engine.")
    save("serving", size)
    press("6")
    wait_for("95 % interval", "IR (first)")
    save("results", size)
    press("C-p")
    save("palette", size)
    press("Escape")
    time.sleep(1)
    press("C-q")
    while subprocess.run(["tmux", "-L", SOCKET, "has-session"], check=False, capture_output=True).returncode == 0:
        time.sleep(0.2)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="screens") as folder:
        home = Path(folder) / "home"
        os.environ["RETRO_EXPERT_WORDS_PER_SECOND"] = "0"
        os.environ["RETRO_PORT"] = "0"
        try:
            start(home, 80, 24)
            wait_for("look at tissuebox under the des", seconds=150)
            address = find_hub(home)
            assert address is not None
            with HubClient.at(address) as client:
                live = client.open_live({"env": "hotpotqa", "task_id": "hotpotqa-valid-7-0001"})
                client.press(str(live["episode_id"]), "run_episode")
                request = {"kind": "evaluate", "name": "rooms", "config": EVALUATION, "split": "valid", "count": 24}
                client.submit_run(request)
            take("80x24")
            start(home, 200, 50)
            take("200x50")
        finally:
            subprocess.run(["tmux", "-L", SOCKET, "kill-server"], check=False, capture_output=True)
            running = find_hub(home)
            if running is not None:
                os.kill(running.pid, signal.SIGTERM)
                time.sleep(3)


if __name__ == "__main__":
    main()
