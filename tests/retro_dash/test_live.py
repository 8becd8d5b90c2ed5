"""Live episodes over the service: watched, pressed, left, found again."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from data.errors import BadFile
from data.store import Store
from retro_dash.api import add_api
from retro_dash.library import bundled_tasks
from retro_dash.playing import LiveRequest
from retro_dash.service import Service
from retro_dash.settings import Settings


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(Settings(home=tmp_path, expert_words_per_second=0), Store.open(tmp_path))
    yield service
    service.close()


@pytest.fixture
def client(service: Service) -> TestClient:
    app = FastAPI()
    add_api(app, service)
    return TestClient(app)


def task_id() -> str:
    return bundled_tasks("hotpotqa", "valid")[0].id


def scripted(tmp_path: Path, *replies: str) -> str:
    path = tmp_path / "replies.json"
    path.write_text(json.dumps(replies))
    return f"scripted:{path}"


def open_live(client: TestClient, **changes: object) -> str:
    answer = client.post("/api/v1/live", json={"env": "hotpotqa", "task_id": task_id(), **changes})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["episode_id"])


def settled(client: TestClient, episode_id: str) -> dict:
    for _ in range(400):
        state = client.get(f"/api/v1/live/{episode_id}").json()
        if state["phase"] not in ("thinking", "acting", "reflecting"):
            return state
        time.sleep(0.02)
    raise AssertionError(f"The episode never settled: {state['phase']}")


def test_one_press_of_run_plays_an_episode_to_its_end(client: TestClient):
    episode_id = open_live(client)
    client.post(f"/api/v1/live/{episode_id}/run_episode")
    state = settled(client, episode_id)
    assert state["phase"] == "finished"
    assert state["episode"]["state"] == "solved"
    assert client.get("/api/v1/episodes").json()["rows"][0]["id"] == episode_id


def test_a_step_is_one_turn_and_a_held_step_waits(client: TestClient):
    episode_id = open_live(client)
    client.post(f"/api/v1/live/{episode_id}/step")
    assert len(settled(client, episode_id)["episode"]["trials"][0]["turns"]) == 1
    client.post(f"/api/v1/live/{episode_id}/step", json={"hold": True})
    state = settled(client, episode_id)
    assert state["phase"] == "proposed"
    assert state["proposal"]["action"]
    client.post(f"/api/v1/live/{episode_id}/step", json={"action": "Search[something else]"})
    turns = settled(client, episode_id)["episode"]["trials"][0]["turns"]
    assert [turn["author"] for turn in turns] == ["expert", "human"]


def test_a_hub_that_starts_again_continues_at_the_same_turn(client: TestClient, service: Service, tmp_path: Path):
    episode_id = open_live(client)
    client.post(f"/api/v1/live/{episode_id}/step")
    before = settled(client, episode_id)["episode"]
    service.close()
    again = Service(Settings(home=tmp_path, expert_words_per_second=0), Store.open(tmp_path))
    try:
        live = again.playing.find(episode_id)
        assert live.state()["episode"] == before
        live.run_episode()
        assert live.wait(20)
        assert live.episode.state == "solved"
        turns = again.store.episode(episode_id).trials[0].turns
        assert [turn.index for turn in turns] == list(range(1, len(turns) + 1))
    finally:
        again.close()


def test_watchers_get_what_happened_in_order_and_a_late_one_is_told_to_load_anew(service: Service):
    state = service.playing.open(LiveRequest(env="hotpotqa", task_id=task_id()))
    live = service.playing.find(str(state["episode_id"]))
    live.run_episode()
    assert live.wait(20)
    notices = live.notices(0)
    assert notices is not None
    assert [notice.cursor for notice in notices] == list(range(1, len(notices) + 1))
    types = [notice.type for notice in notices]
    assert (
        types.index("trial_started") < types.index("turn") < types.index("trial_finished") < types.index("finished")
    )
    assert live.notices(len(notices)) == []
    assert live.notices(10_000) is None


def test_gold_answers_and_token_ids_never_reach_a_page(client: TestClient):
    answer = str(bundled_tasks("hotpotqa", "valid")[0].metadata["answer"])
    tasks = client.get("/api/v1/tasks", params={"env": "hotpotqa"}).json()
    assert "answer" not in json.dumps([task["metadata_public"] for task in tasks["tasks"]])
    episode_id = open_live(client)
    state = client.get(f"/api/v1/live/{episode_id}").json()
    assert "answer" not in state["episode"]["task"]["metadata"]
    client.post(f"/api/v1/live/{episode_id}/next_trial")
    view = settled(client, episode_id)["view"]
    assert f'"{answer}"' not in json.dumps(view)


def test_reflecting_editing_and_the_next_trial_by_hand(client: TestClient, tmp_path: Path):
    planner = scripted(tmp_path, "Action: Finish[nobody]")
    episode_id = open_live(client, planner=planner, reflector="expert")
    client.post(f"/api/v1/live/{episode_id}/run_trial")
    assert settled(client, episode_id)["phase"] == "between_trials"
    client.post(f"/api/v1/live/{episode_id}/reflect")
    assert settled(client, episode_id)["episode"]["reflections"][0]["author"] == "expert"
    client.post(f"/api/v1/live/{episode_id}/edit_reflection", json={"text": "Read the other paragraph."})
    state = settled(client, episode_id)
    assert state["pending_reflections"] == ["Read the other paragraph."]
    assert state["episode"]["reflections"][0]["author"] == "human"
    client.post(f"/api/v1/live/{episode_id}/next_trial")
    assert "Read the other paragraph." in settled(client, episode_id)["episode"]["trials"][1]["prompt"]


def test_forking_makes_a_second_episode_and_leaves_the_first(client: TestClient, tmp_path: Path):
    planner = scripted(tmp_path, "Action: Search[x]", "Action: Finish[nobody]")
    parent = open_live(client, planner=planner, trial_limit=1)
    client.post(f"/api/v1/live/{parent}/run_episode")
    settled(client, parent)
    answer = client.post(f"/api/v1/live/{parent}/fork", json={"trial": 1, "turn": 2, "action": "Search[y]"})
    child = answer.json()["episode_id"]
    turns = settled(client, child)["episode"]["trials"][0]["turns"]
    assert [turn["action"] for turn in turns] == ["Search[x]", "Search[y]"]
    assert client.get(f"/api/v1/episodes/{parent}").json()["state"] == "failed"
    assert client.get(f"/api/v1/episodes/{child}").json()["parent_id"] == parent


def test_stop_interrupts_a_run_and_keeps_every_turn(client: TestClient, service: Service, tmp_path: Path):
    planner = scripted(tmp_path, "Action: Search[x]")
    episode_id = open_live(client, planner=planner, trial_limit=50)
    client.post(f"/api/v1/live/{episode_id}/run_episode")
    time.sleep(0.1)
    client.post(f"/api/v1/live/{episode_id}/stop")
    state = settled(client, episode_id)
    stored = service.store.episode(episode_id)
    assert len(stored.trials) == len(state["episode"]["trials"])
    assert len(stored.trials) < 50


@pytest.mark.parametrize(
    ("request_body", "status", "words"),
    [
        ({"env": "atari", "task_id": "x"}, 404, "atari"),
        ({"env": "hotpotqa", "task_id": "no-such-task"}, 404, "no-such-task"),
        ({"env": "hotpotqa", "task_id": "x", "planner": "gpt-9"}, 404, "x"),
        ({"env": "hotpotqa", "task_id": "x", "strategy": "prayer"}, 422, "strategy"),
        ({"env": "hotpotqa", "task_id": "x", "trial_limit": 0}, 422, "trial_limit"),
        ({"env": "hotpotqa", "task_id": "x", "colour": "red"}, 422, "colour"),
    ],
)
def test_a_wrong_request_gets_one_sentence_with_the_value(client, request_body, status: int, words: str):
    answer = client.post("/api/v1/live", json=request_body)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_an_unknown_episode_is_not_found(client: TestClient):
    for path in ("/api/v1/episodes/nope", "/api/v1/live/nope", "/api/v1/episodes/nope/markdown"):
        assert client.get(path).status_code == 404


def test_two_verbs_at_once_are_refused(service: Service, tmp_path: Path):
    planner = scripted(tmp_path, "Action: Search[x]")
    state = service.playing.open(LiveRequest(env="hotpotqa", task_id=task_id(), planner=planner, trial_limit=50))
    live = service.playing.find(str(state["episode_id"]))
    live.run_episode()
    with pytest.raises(Exception, match=r"busy|ended"):
        live.step()
    live.stop()
    live.wait(10)


def test_an_ended_episode_can_be_replayed_and_read_as_markdown(client: TestClient):
    episode_id = open_live(client)
    client.post(f"/api/v1/live/{episode_id}/run_episode")
    settled(client, episode_id)
    report = client.post(f"/api/v1/episodes/{episode_id}/replay").json()
    assert report["compared"] > 0
    assert report["first_divergence"] is None
    text = client.get(f"/api/v1/episodes/{episode_id}/markdown").text
    assert "## Trial 1 (solved" in text


def test_an_episode_whose_planner_is_away_is_read_said_so_and_gone_on_with_by_another(
    client: TestClient, service: Service, tmp_path: Path
):
    planner = scripted(tmp_path, "Action: Search[x]")
    episode_id = open_live(client, planner=planner)
    client.post(f"/api/v1/live/{episode_id}/step")
    before = settled(client, episode_id)["episode"]
    service.close()
    script = tmp_path / "replies.json"
    script.rename(tmp_path / "elsewhere.json")
    again = Service(Settings(home=tmp_path, expert_words_per_second=0), Store.open(tmp_path))
    try:
        live = again.playing.find(episode_id)
        assert live.state()["episode"] == before
        live.step()
        assert live.wait(20)
        assert "replies.json" in str(live.state()["error"])
        assert live.state()["episode"] == before
        child = again.playing.find(str(again.playing.fork(episode_id, 1, 2, planner="expert")["episode_id"]))
        child.step()
        assert child.wait(20)
        assert [turn.author for turn in child.episode.trials[0].turns] == ["planner", "expert"]
        with pytest.raises(BadFile, match=r"replies.json"):
            again.playing.fork(episode_id, 1, 2, planner=planner)
        (tmp_path / "elsewhere.json").rename(script)
        live.step()
        assert live.wait(20)
        assert [turn.index for turn in again.store.episode(episode_id).trials[0].turns] == [1, 2]
        assert live.state()["error"] is None
    finally:
        again.close()
