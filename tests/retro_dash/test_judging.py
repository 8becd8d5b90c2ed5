"""A language model as judge: what it reads, what its answers mean, and how far it agrees with people."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from curation_examples import NOW, fill, make_episode, request, target
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from data.errors import EngineError
from data.store import Store
from data.types import Label
from retro_dash.agent.scripted_policy import ScriptedPolicy
from retro_dash.agreement import agreement, judge_agreement
from retro_dash.api import add_api
from retro_dash.cli import main
from retro_dash.judgement import Matter, parse_judgement, parse_quality
from retro_dash.judging import judge_matter, judgements
from retro_dash.service import Service
from retro_dash.settings import Settings


@pytest.mark.parametrize(
    ("answer", "verdict", "reason"),
    [
        ('{"reason": "solved", "verdict": "good"}', "good", "solved"),
        ('Sure! {"verdict": "Bad", "reason": "loops"} I hope it helps.', "bad", "loops"),
        ('{"verdict": "good"} or rather {"verdict": "bad"}', "bad", ""),
        ("The verdict: **bad**, since it loops", "bad", ""),
        ('{"verdict": "excellent"}', None, None),
        ('then "verdict", which is good or bad. verdict: good or bad', None, None),
        ("", None, None),
        ("{" * 5000, None, None),
    ],
)
def test_an_answer_is_read_whatever_stands_around_it(answer: str, verdict: str | None, reason: str | None):
    found = parse_judgement(answer)
    assert (found and found.verdict, found and found.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("answer", "accurate", "actionable"),
    [
        ('{"reason": "vague", "accurate": true, "actionable": false}', True, False),
        ('{"accurate": "yes", "actionable": "No"} is what I think', True, False),
        ('{"accurate": true, "actionable": true} no: {"accurate": false, "actionable": true}', False, True),
        ("It is accurate: yes. Is it actionable? Actionable: no.", True, False),
        ('{"accurate": true}', None, None),
        ('{"accurate": "perhaps", "actionable": "yes"}', None, None),
        ("inaccurate: yes, actionable: yes", None, None),
        ("", None, None),
    ],
)
def test_an_answer_on_a_reflection_says_both_or_nothing(answer: str, accurate: bool | None, actionable: bool | None):
    found = parse_quality(answer)
    assert (found and found.accurate, found and found.actionable) == (accurate, actionable)
    assert found is None or found.verdict == ("good" if accurate and actionable else "bad")


def test_the_judge_reads_what_was_done_and_not_what_came_of_it():
    episode = make_episode("e1", rewards=(0.0, 0.73))
    text = Matter(episode).messages()[1].content
    assert "Which river is longer?" in text
    assert "> finish[Nile]" in text
    assert "Compare both rivers" in text
    assert "0.73" not in text


def test_a_long_episode_is_cut_in_the_middle():
    episode = make_episode("e1", actions=("first", *[f"search[{n}]" for n in range(500)], "last"))
    text = Matter(episode).messages(1000)[1].content
    assert "> first" in text
    assert "> last" in text
    assert "[… cut …]" in text
    assert len(text) < 1200


def test_the_judge_of_a_reflection_reads_the_trial_before_it_and_nothing_of_the_next():
    first, second = make_episode("e1", (0.0, 1.0)).trials
    later = second.model_copy(update={"opening": "The next attempt begins."})
    episode = make_episode("e1", (0.0, 1.0), advice="Look closer.").model_copy(update={"trials": (first, later)})
    text = Matter(episode, episode.reflections[0]).messages()[1].content
    assert "> finish[Nile]" in text
    assert "Reflection: Look closer." in text
    assert "The next attempt" not in text
    assert "1.0" not in text


def test_an_unreadable_answer_is_no_judgement():
    judge = ScriptedPolicy(["I like rivers.", '{"verdict": "good"}'], "scripted")
    assert judge_matter(judge, Matter(make_episode("e1"))) is None


def test_a_server_that_keeps_failing_ends_the_judging():
    class Broken(ScriptedPolicy):
        def begin(self, *_: Any) -> Any:
            raise EngineError("gone")

    matters = [Matter(make_episode(f"e{n}")) for n in range(5)]
    said = judgements(Broken(["x"], "broken"), matters)
    assert [next(said)[1], next(said)[1]] == [None, None]
    with pytest.raises(EngineError, match="gone"):
        next(said)


def verdict_of(who: str, episode: str, value: str) -> Label:
    return Label(id=f"{who}{episode}", target=target(episode), name="verdict", value=value, annotator=who, at=NOW)


def judged(model: str, episode: str, verdict: str) -> Label:
    value = {"verdict": verdict, "reason": "", "model": model}
    return Label(
        id=f"{model}{episode}", target=target(episode), name="judgement", value=value, annotator=model, at=NOW
    )


def test_the_agreement_of_a_judge_is_kappa_on_good_or_bad():
    """Pairs gg, bb, gb, gg: observed 3/4; the judge says good 3/4, people 1/2; expected 1/2; kappa 1/2."""
    people = [verdict_of("kim", f"e{n}", value) for n, value in enumerate(("expert", "bad", "discard", "good"))]
    judge = [judged("m", f"e{n}", value) for n, value in enumerate(("good", "bad", "good", "good", "bad"))]
    (found,) = judge_agreement([*people, *judge])
    assert (found.judged, found.items, found.percent) == (5, 4, 0.75)
    assert (found.both_good, found.only_judge, found.only_people, found.both_bad) == (2, 1, 0, 1)
    assert found.cohen_kappa == pytest.approx(0.5)


def test_a_judge_is_compared_with_the_final_word_of_people_and_is_no_annotator():
    people = [verdict_of("kim", "e0", "good"), verdict_of("lee", "e0", "bad")]
    final = Label(id="f", target=target("e0"), name="adjudication", value={"verdict": "bad"}, annotator="z", at=NOW)
    labels = [*people, final, judged("m", "e0", "bad")]
    (found,) = judge_agreement(labels)
    assert (found.both_bad, found.items) == (1, 1)
    assert agreement(labels).annotators == 2


def quality_of(who: str, episode: str, accurate: bool, actionable: bool) -> Label:
    value = {"accurate": accurate, "actionable": actionable}
    on = target(episode, "reflection", 1)
    return Label(id=f"{who}{episode}", target=on, name="quality", value=value, annotator=who, at=NOW)


def judged_advice(model: str, episode: str, accurate: bool, actionable: bool) -> Label:
    said = {"verdict": "bad", "reason": "", "accurate": accurate, "actionable": actionable, "model": model}
    on = target(episode, "reflection", 1)
    return Label(id=f"{model}{episode}", target=on, name="judgement", value=said, annotator=model, at=NOW)


def test_the_agreement_on_reflections_has_a_row_for_each_quality():
    """Accurate: yy, nn, yn, yy as for verdicts, kappa 1/2. Actionable: the judge always says yes, people every second
    time: agreement 1/2, and 1/2 is expected, kappa 0."""
    people = [quality_of("kim", f"e{n}", n not in (1, 2), n < 2) for n in range(4)]
    judge = [judged_advice("m", f"e{n}", n != 1, True) for n in range(5)]
    accurate, actionable = judge_agreement([*people, *judge])
    assert (accurate.about, accurate.judged, accurate.items, accurate.percent) == ("accurate", 5, 4, 0.75)
    assert accurate.cohen_kappa == pytest.approx(0.5)
    assert (actionable.about, actionable.both_good, actionable.only_judge) == ("actionable", 2, 2)
    assert actionable.cohen_kappa == pytest.approx(0.0)


# Over HTTP, against a server that speaks the OpenAI protocol


@pytest.fixture
def server() -> Iterator[str]:
    """Calls good what holds `finish[Nile]`, answers nonsense about e3, and refuses token ids, as many servers do."""
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "critic", "object": "model"}]}

    @app.post("/v1/chat/completions")
    def chat(body: dict[str, Any]) -> StreamingResponse:
        asked = body["messages"][-1]["content"]
        verdict = "good" if "finish[Nile]" in asked else "bad"
        said = (
            {"accurate": True, "actionable": "Compare" in asked} if "Reflection:" in asked.split("\n\n")[-2] else {}
        )
        text = "?" if "nonsense" in asked else json.dumps({"reason": "I read it.", "verdict": verdict, **said})
        chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}
        return StreamingResponse(
            iter([f"data: {json.dumps(chunk)}\n\n", "data: [DONE]\n\n"]), media_type="text/event-stream"
        )

    @app.post("/v1/completions")
    def complete() -> None:
        raise HTTPException(404)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    running = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}/v1"
    running.should_exit = True
    thread.join(5)


@pytest.fixture
def client(server: str, tmp_path: Path) -> Iterator[TestClient]:
    store = Store.open(tmp_path)
    bad = make_episode("e2", actions=("look", "look"))
    fill(store, make_episode("e1"), bad, make_episode("e3", actions=("nonsense",)))
    service = Service(Settings(home=tmp_path, judge=server), store)
    app = FastAPI()
    add_api(app, service)
    yield TestClient(app)
    service.close()


def until_done(client: TestClient) -> dict[str, Any]:
    for _ in range(200):
        state = client.get("/api/v1/judge").json()
        if state["state"] != "judging":
            return dict(state)
        time.sleep(0.05)
    raise AssertionError("the judge does not end")


def test_a_filter_is_judged_once_and_a_dataset_is_filtered_by_it(client: TestClient):
    assert client.post("/api/v1/judge", json={}).status_code == 202
    state = until_done(client)
    assert (state["state"], state["model"], state["done"], state["unreadable"]) == ("done", "critic", 3, 1)
    labels = client.get("/api/v1/labels").json()
    said = {one["target"]["episode_id"]: one["value"] for one in labels}
    assert said["e1"] == {"verdict": "good", "reason": "I read it.", "model": "critic"}
    assert {one["annotator"] for one in labels} == {"judge:critic"}
    # Only the episode without a judgement is asked about again.
    client.post("/api/v1/judge", json={})
    assert until_done(client)["total"] == 1
    frozen = client.post("/api/v1/datasets", json={"name": "judged", "evaluators": ["judge"]}).json()
    assert frozen["episode_ids"] == ["e1"]


def test_reflections_are_judged_for_themselves_and_once(client: TestClient):
    assert client.post("/api/v1/judge", json={"what": "reflections", "filter": "id:e1"}).status_code == 202
    state = until_done(client)
    assert (state["state"], state["what"], state["done"], state["unreadable"]) == ("done", "reflections", 1, 0)
    (label,) = client.get("/api/v1/labels").json()
    assert label["target"] == {"episode_id": "e1", "part": "reflection", "trial": 1, "turn": None}
    assert (label["value"]["accurate"], label["value"]["actionable"], label["value"]["verdict"]) == (
        True,
        True,
        "good",
    )
    again = client.post("/api/v1/judge", json={"what": "reflections", "filter": "id:e1"})
    assert (again.status_code, "judged all reflections" in again.json()["detail"]) == (422, True)
    quality = request({"accurate": True, "actionable": False}, "quality", target("e1", "reflection", 1))
    client.post("/api/v1/labels", json={"labels": [quality]}).raise_for_status()
    rows = {one["about"]: one for one in client.get("/api/v1/agreement/judges").json()}
    assert (rows["accurate"]["percent"], rows["actionable"]["percent"]) == (1.0, 0.0)
    # A judged reflection says nothing of its episode.
    answer = client.post("/api/v1/datasets", json={"name": "judged", "evaluators": ["judge"]})
    assert answer.status_code == 422


def test_a_judgement_is_not_a_verdict_of_a_person(client: TestClient):
    client.post("/api/v1/judge", json={})
    until_done(client)
    page = client.get("/api/v1/queue", params={"annotator": "kim", "limit": 5}).json()
    assert (page["done"], page["left_for_me"]) == (0, 3)
    client.post("/api/v1/labels", json={"labels": [request("good", on=target("e1"))]})
    (found,) = client.get("/api/v1/agreement/judges").json()
    assert (found["judged"], found["items"], found["both_good"]) == (2, 1, 1)


def test_the_command_judges_what_is_stored_and_says_how_far_it_agrees(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with Store.open(tmp_path) as store:
        fill(store, make_episode("e1"), make_episode("e2", actions=("look",)))
    words = ["judge", "--home", str(tmp_path), "--engine", server, "--filter", "id:e1", "--json"]
    assert main(words) == 0
    judged, agreed = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert judged == {"episode": "e1", "verdict": "good", "reason": "I read it."}
    assert (agreed["model"], agreed["judged"], agreed["items"]) == ("critic", 1, 0)
    assert main(["judge", "--home", str(tmp_path), "--agreement"]) == 0
    assert "critic: 1 of 1 episodes judged good" in capsys.readouterr().out
    words = ["judge", "--home", str(tmp_path), "--engine", server, "--reflections", "--filter", "id:e1"]
    assert main(words) == 0
    assert "e1 reflection 1  accurate, actionable  I read it." in capsys.readouterr().out


def test_a_judge_that_does_not_answer_is_said_so(tmp_path: Path):
    store = Store.open(tmp_path)
    fill(store, make_episode("e1"))
    service = Service(Settings(home=tmp_path, judge="http://127.0.0.1:9/v1"), store)
    app = FastAPI()
    add_api(app, service)
    answer = TestClient(app).post("/api/v1/judge", json={})
    assert answer.status_code in (502, 503)
    assert "judge" in answer.json()["detail"]
    service.close()


def test_without_any_model_the_refusal_says_what_to_set(tmp_path: Path):
    service = Service(Settings(home=tmp_path), Store.open(tmp_path))
    app = FastAPI()
    add_api(app, service)
    answer = TestClient(app).post("/api/v1/judge", json={})
    assert "judge = " in answer.json()["detail"]
    service.close()
