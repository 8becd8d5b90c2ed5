"""A real hub process on a home, for tests that take something away from it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent.parent
BUSY = ("thinking", "acting", "reflecting")


class Hub:
    """Started, killed and started again at will. The scripted expert writes at a pace that leaves time to do so."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> httpx.Client:
        words = ["web", "--home", str(self.home), "--port", "0", "--no-browser", "--engine", "none"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "retro_dash.cli", *words],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "RETRO_EXPERT_WORDS_PER_SECOND": "150"},
        )
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "The hub ended by itself."
            try:
                known = json.loads((self.home / "hub.json").read_text())
                if known["pid"] == self.process.pid and httpx.get(f"{known['url']}/health").status_code == 200:
                    return httpx.Client(
                        base_url=f"{known['url']}/api/v1", headers={"authorization": f"Bearer {known['token']}"}
                    )
            except (OSError, ValueError, httpx.HTTPError):
                pass
            time.sleep(0.05)
        raise AssertionError("The hub did not start.")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        """Ask it to end and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def turns_of(client: httpx.Client, episode_id: str) -> dict[tuple[int, int], str]:
    """(trial, turn) -> action, as a page is shown it."""
    episode = client.get(f"/live/{episode_id}").raise_for_status().json()["episode"]
    numbered = [(t["index"], u["index"], u["action"]) for t in episode["trials"] for u in t["turns"]]
    assert len({(trial, turn) for trial, turn, _ in numbered}) == len(numbered), "A turn is there twice."
    return {(trial, turn): action for trial, turn, action in numbered}


def settled(client: httpx.Client, episode_id: str) -> dict:
    """The state of a live episode once nothing runs in it."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        state: dict = client.get(f"/live/{episode_id}").raise_for_status().json()
        if state["phase"] not in BUSY:
            return state
        time.sleep(0.05)
    raise AssertionError(f"The episode never settled: {state['phase']}")
