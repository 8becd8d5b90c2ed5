"""A page and a terminal on one hub: a label of one is on the other; frozen, killed, started again, both go on."""

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
from fixture_episodes import kitchen_episode
from hub_process import ROOT, Hub
from playwright.sync_api import Page

from data.events import EpisodeStarted, Event

SECONDS = 5.0
PATIENCE = 60.0
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


def test_a_label_of_one_is_on_the_other(
    open_page: Callable[..., Page], hub: Hub, terminal: Callable[[], Terminal]
) -> None:
    address = hub.start()
    episode = kitchen_episode()
    event = Event(run_id="run-play", seq=0, at=episode.created_at, body=EpisodeStarted(episode=episode))
    with hub.api() as api:
        api.post("/events", json=[event.model_dump(mode="json")]).raise_for_status()
    table = open_page(address.removeprefix(hub.url), base=hub.url, expects="ERR_")
    table.goto(f"{hub.url}/episodes")
    table.wait_for_selector(f"tr[data-id={episode.id}]")
    page = table.context.new_page()
    page.goto(hub.url)
    page.evaluate("localStorage.setItem('retro-annotator', JSON.stringify('kim'))")
    page.goto(f"{hub.url}/curate?episode={episode.id}")
    page.wait_for_selector(".item-head")
    page.wait_for_selector(".tag")
    tui = terminal()

    def seconds_until(holds: Callable[[], bool], what: str) -> float:
        began = time.monotonic()
        while not holds():
            assert time.monotonic() - began < PATIENCE, f"{what}\n{tui.screen()}"
            page.wait_for_timeout(50)
        return time.monotonic() - began

    seconds_until(lambda: "1 Play" in tui.screen(), "no terminal")
    tui("send-keys", "-t", "tui", "F3")
    seconds_until(lambda: "Whole episode" in tui.screen() and "all saved" in tui.screen(), "no item")
    page.keyboard.press("Shift+A")
    tui("send-keys", "-t", "tui", "A")
    tui("send-keys", "-t", "tui", "3")
    print("terminal to Curate:", seconds_until(lambda: "bad" in page.inner_text(".item-head"), "not on Curate"))
    print("and to the table:", seconds_until(lambda: "bad" in table.inner_text("table.episodes"), "not in the table"))
    page.keyboard.press("1")
    print("page to terminal:", seconds_until(lambda: "kim: ★ expert" in tui.screen(), "not in the terminal"))
