"""A hub killed at random moments while an episode runs: every acknowledged turn is there afterwards, once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from retro_dash.agent.policies import EXPERT
from retro_dash.service import bundled_tasks

ROOT = Path(__file__).parent.parent.parent
KILLS = 20


class Hub:
    """A real hub process on a home, started again after every kill."""

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


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path)
    yield hub
    if hub.process is not None and hub.process.poll() is None:
        hub.kill()


def turns_of(client: httpx.Client, episode_id: str) -> dict[tuple[int, int], str]:
    """(trial, turn) -> action, as a page is shown it."""
    episode = client.get(f"/live/{episode_id}").raise_for_status().json()["episode"]
    numbered = [(t["index"], u["index"], u["action"]) for t in episode["trials"] for u in t["turns"]]
    assert len({(trial, turn) for trial, turn, _ in numbered}) == len(numbered), "A turn is there twice."
    return {(trial, turn): action for trial, turn, action in numbered}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_acknowledged_turn_survives_twenty_kills_once(hub: Hub):
    moments = random.Random(20)
    task = next(t for t in bundled_tasks("alfworld", "valid") if "large" in t.id)
    body = {"env": "alfworld", "task_id": task.id, "planner": EXPERT, "trial_limit": 60, "strategy": "none"}
    client = hub.start()
    episode_id = client.post("/live", json=body).raise_for_status().json()["episode_id"]
    acknowledged: dict[tuple[int, int], str] = {}
    for _ in range(KILLS):
        state = client.get(f"/live/{episode_id}").json()
        if state["phase"] == "finished":
            episode_id = client.post("/live", json=body).raise_for_status().json()["episode_id"]
            acknowledged = {}
        client.post(f"/live/{episode_id}/run_episode").raise_for_status()
        until = time.monotonic() + moments.uniform(0.05, 1.5)
        while time.monotonic() < until:
            acknowledged |= turns_of(client, episode_id)
        hub.kill()
        client = hub.start()
        found = turns_of(client, episode_id)
        assert {key: found.get(key) for key in acknowledged} == acknowledged
        acknowledged = found
    assert len(acknowledged) > 0
