"""A hub killed at random moments while an episode runs: every acknowledged turn is there afterwards, once."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_process import Hub, turns_of

from retro_dash.agent.policies import EXPERT
from retro_dash.service import bundled_tasks

KILLS = 20


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path)
    yield hub
    hub.clear()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_acknowledged_turn_survives_twenty_kills_once(hub: Hub):
    moments = random.Random(20)
    task = next(t for t in bundled_tasks("alfworld", "valid") if "large" in t.id)
    body = {"env": "alfworld", "task_id": task.id, "planner": EXPERT, "trial_limit": 60, "strategy": "none"}
    hub.start()
    client = hub.api()
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
        hub.start()
        found = turns_of(client, episode_id)
        assert {key: found.get(key) for key in acknowledged} == acknowledged
        acknowledged = found
    assert len(acknowledged) > 0
