"""A real hub process on a home, for tests that take something away from it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent.parent
BUSY = ("thinking", "acting", "reflecting")


class Hub:
    """Started, killed and started again at will, always on the same port.

    The scripted expert writes at a pace that leaves time to do so. `words` go to `retro-dash web` as they are.
    """

    def __init__(self, home: Path, *words: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.home, self.words = home, words
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """The address that signs a browser in, once the hub answers."""
        words = ["web", "--home", str(self.home), "--port", str(self.port), "--no-browser", "--engine", "none"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "retro_dash.cli", *words, *self.words],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "RETRO_EXPERT_WORDS_PER_SECOND": "150"},
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "The hub ended by itself."
            try:
                known = self._known()
                if known["pid"] == self.process.pid and self.api().get("/status").status_code == 200:
                    return f"{known['url']}/?token={known['token']}"
            except (OSError, ValueError, httpx.HTTPError):
                pass
            time.sleep(0.05)
        raise AssertionError("The hub did not start.")

    def _known(self) -> dict[str, Any]:
        known: dict[str, Any] = json.loads((self.home / "hub.json").read_text())
        return known

    def api(self) -> httpx.Client:
        """A signed-in client of the hub that runs now."""
        headers = {"authorization": f"Bearer {self._known()['token']}"}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, trust_env=False, timeout=30)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def end(self) -> int:
        """Ask it to end and return its exit code."""
        self.send(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(60)

    def clear(self) -> None:
        """Leave no process, whatever the test did to it."""
        if self.process is not None and self.process.poll() is None:
            self.kill()


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
