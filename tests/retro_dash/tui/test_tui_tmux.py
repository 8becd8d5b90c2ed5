"""The real command in a real terminal: tmux, 16 colours, resizes, and a dashboard that it starts."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from retro_dash.address import find_hub

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux on this machine: apt-get install tmux"),
]


class Tmux:
    """A tmux server of its own."""

    def __init__(self, folder: Path) -> None:
        self.socket = str(folder / "tmux")

    def __call__(self, *words: str) -> str:
        command = ["tmux", "-S", self.socket, "-f", "/dev/null", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def start(self, command: list[str], width: int, height: int, **variables: str) -> None:
        options = [part for name, value in variables.items() for part in ("-e", f"{name}={value}")]
        size = ["-x", str(width), "-y", str(height)]
        self("new-session", "-d", "-s", "tui", *size, *options, " ".join(map(shlex.quote, command)))
        self("set-option", "-t", "tui", "remain-on-exit", "on")

    def screen(self, *options: str) -> str:
        return self("capture-pane", "-p", "-t", "tui", *options)

    def sees(self, *texts: str, seconds: float = 120) -> str:
        end = time.monotonic() + seconds
        while any(text not in self.screen() for text in texts):
            assert time.monotonic() < end, f"{texts} never came:\n{self.screen()}"
            time.sleep(0.2)
        return self.screen()

    def resize(self, width: int, height: int) -> None:
        self("resize-window", "-t", "tui", "-x", str(width), "-y", str(height))

    def press(self, *keys: str) -> None:
        self("send-keys", "-t", "tui", *keys)


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Tmux]:
    tmux = Tmux(tmp_path)
    yield tmux
    subprocess.run(["tmux", "-S", tmux.socket, "kill-server"], check=False, capture_output=True)
    running = find_hub(tmp_path / "home")
    if running is not None:
        os.kill(running.pid, signal.SIGTERM)
        psutil.Process(running.pid).wait(20)


def test_it_starts_a_dashboard_plays_in_16_colours_is_resized_and_leaves_the_dashboard_running(
    tmux: Tmux, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "retro_dash.cli", "tui", "--home", str(home), "--engine", "none"]
    fast = {"RETRO_EXPERT_WORDS_PER_SECOND": "0", "RETRO_PORT": "0"}
    # Some shells export the size that they had when they began.
    tmux.start(command, 80, 24, TERM="xterm-16color", COLORTERM="", COLUMNS="80", LINES="24", **fast)
    tmux.sees("put a hot egg", "s Step")
    tmux.press("R")
    tmux.sees("Solved in trial 2", "◆ +1")
    coloured = tmux.screen("-e")
    assert "38;2;" not in coloured, "true colours on a terminal of 16"
    for width, height in ((200, 50), (80, 24), (120, 40), (81, 25), (200, 50)):
        tmux.resize(width, height)
    wide = tmux.sees("Retro Dash  1 Play", "Room 3 of 32 visited", "◆ Reflection by the scripted expert  gain +1")
    assert max(map(len, wide.splitlines())) > 150
    tmux.resize(80, 24)
    tmux.sees("1 Play 2 Episodes 3 Curate", "r Run trial")
    tmux.press("C-q")
    left = tmux.sees("The dashboard goes on at http://127.0.0.1:", "Stop it with").replace("\n", "")
    running = find_hub(home)
    assert running is not None
    assert f"kill {running.pid}" in left


def test_without_a_terminal_it_says_what_to_use_instead(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "retro_dash.cli", "tui", "--home", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert answer.returncode == 3
    assert "needs a terminal" in answer.stderr
