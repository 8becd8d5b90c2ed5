"""A page and a terminal on one hub that is frozen, killed, started again: both notice and go on within 5 s."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_process import ROOT, Hub
from playwright.sync_api import Page

SECONDS = 5.0
GONE = "the hub does not answer"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux on this machine: apt-get install tmux"),
]


class Terminal:
    """The terminal interface in a tmux of its own."""

    def __init__(self, folder: Path, home: Path) -> None:
        self._socket = str(folder / "tmux")
        command = [sys.executable, "-m", "retro_dash.cli", "tui", "--home", str(home)]
        self("new-session", "-d", "-s", "tui", "-x", "160", "-y", "40", " ".join(map(shlex.quote, command)))

    def __call__(self, *words: str) -> str:
        command = ["tmux", "-S", self._socket, "-f", "/dev/null", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout

    def screen(self) -> str:
        return self("capture-pane", "-p", "-t", "tui")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    (tmp_path / "home").mkdir()
    hub = Hub(tmp_path / "home")
    yield hub
    hub.clear()


@pytest.fixture
def terminal(hub: Hub, tmp_path: Path) -> Iterator[Callable[[], Terminal]]:
    made: list[Terminal] = []

    def open_() -> Terminal:
        made.append(Terminal(tmp_path, hub.home))
        return made[-1]

    yield open_
    for one in made:
        one("kill-server")


def test_a_frozen_and_a_restarted_hub(
    open_page: Callable[..., Page], hub: Hub, terminal: Callable[[], Terminal]
) -> None:
    address = hub.start()
    page = open_page(address.removeprefix(hub.url), base=hub.url, expects="ERR_")
    tui = terminal()

    def both(holds: Callable[[str, str], bool], seconds: float) -> float:
        """Seconds until page and terminal both show it."""
        began = time.monotonic()
        while True:
            shown = page.inner_text(".top .engine"), tui.screen()
            if holds(*shown):
                return time.monotonic() - began
            assert time.monotonic() - began < seconds, shown
            page.wait_for_timeout(100)

    def gone(top: str, screen: str) -> bool:
        return GONE in top and GONE in screen

    def back(top: str, screen: str) -> bool:
        return "engine stopped" in top and "engine stopped" in screen

    both(back, 60)
    hub.send(signal.SIGSTOP)
    print("frozen: noticed after", both(gone, SECONDS + 1))
    hub.send(signal.SIGCONT)
    print("thawed: both go on after", both(back, SECONDS))
    hub.kill()
    print("killed: noticed after", both(gone, SECONDS))
    hub.start()
    print("restarted: both go on after", both(back, SECONDS))
    page.keyboard.press("s")
    page.wait_for_selector(".turn")
    tui("send-keys", "-t", "tui", "2")
    both(lambda _, screen: "1–1 of 1 episode" in screen, 20)
