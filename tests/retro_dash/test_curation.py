"""Labels, tag set and queues over the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import accounts_examples
import pytest
from curation_examples import NOW, fill, make_episode, request, target
from fastapi import FastAPI
from fastapi.testclient import TestClient

from data.rows import Verdict
from data.store import Store
from data.types import Label
from retro_dash.api import add_api
from retro_dash.labels import audit, steps
from retro_dash.queues import Leases, Queues, review_state, verdicts_per_minute
from retro_dash.roles import Role
from retro_dash.service import Service
from retro_dash.settings import Settings


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as store:
        fill(store, make_episode("e1"), make_episode("e2", (0.0, 0.5)), make_episode("e3", (0.2,)))
        yield store


@pytest.fixture
def client(store: Store, tmp_path: Path) -> Iterator[TestClient]:
    with serving(store, tmp_path) as client:
        yield client


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One hub for the tests that look at single answers only."""
    home = tmp_path_factory.mktemp("home")
    store = Store.open(home)
    fill(store, make_episode("e1"), make_episode("e2"))
    with serving(store, home) as client:
        yield client


@contextmanager
def serving(store: Store, home: Path) -> Iterator[TestClient]:
    service = Service(Settings(home=home), store)
    app = FastAPI()
    add_api(app, service)
    yield TestClient(app)
    service.close()


def post(client: TestClient, *labels: dict[str, object]) -> list[dict]:
    answer = client.post("/api/v1/labels", json={"labels": labels})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(client: TestClient, *labels: dict[str, object]) -> tuple[int, str]:
    answer = client.post("/api/v1/labels", json={"labels": labels})
    return answer.status_code, answer.json()["detail"]


def standing(client: TestClient, **query: str) -> list[object]:
    return [label["value"] for label in client.get("/api/v1/labels", params=query).json()]


def test_a_label_sent_twice_is_stored_once(client: TestClient):
    label = request("expert", id_="mine")
    assert post(client, label)[0]["is_new"] is True
    assert post(client, label)[0]["is_new"] is False
    assert len(client.get("/api/v1/labels", params={"history": True}).json()) == 1
    assert client.get("/api/v1/episodes", params={"filter": "label:expert annotator:kim"}).json()["total"] == 1


def test_an_id_cannot_be_used_for_another_statement(client: TestClient):
    post(client, request("good", id_="mine"))
    status, detail = refusal(client, request("bad", id_="mine"))
    assert (status, "was used for another" in detail) == (409, True)
    assert standing(client) == ["good"]


def test_one_wrong_label_of_a_list_stores_none(client: TestClient):
    status, detail = refusal(client, request("good"), request("splendid"))
    assert status == 422
    assert "expert, good, bad, discard" in detail
    assert standing(client) == []


@pytest.mark.parametrize(
    ("name", "value", "on"),
    [
        ("verdict", "discard", target(part="reflection", trial=1)),
        ("tags", ["loop", "lucky"], target(part="trial", trial=2)),
        ("note", "odd", target()),
        ("rewrite", {"thought": "Look first.", "action": "search[Amazon]"}, target(part="turn", trial=1, turn=2)),
        ("rewrite", {"text": "Search both."}, target(part="reflection", trial=1)),
        ("step_reward", -1, target(part="turn", trial=1, turn=1)),
        ("first_error", 2, target(part="trial", trial=1)),
        ("first_error", 0, target(part="trial", trial=1)),
        ("quality", {"accurate": True, "followed": False}, target(part="reflection", trial=1)),
        ("adjudication", {"verdict": "bad"}, target()),
        (
            "preference",
            {"episode_id": "e2", "trial": 1, "winner": "this"},
            target(part="reflection", trial=1),
        ),
    ],
)
def test_every_kind_of_label_is_taken(shared: TestClient, name: str, value: object, on: object):
    id_ = post(shared, request(value, name, on))[0]["label"]["id"]
    stored = {label["id"]: label["value"] for label in shared.get("/api/v1/labels").json()}
    assert stored[id_] == value


@pytest.mark.parametrize(
    ("name", "value", "on", "words"),
    [
        ("mood", "fine", target(), "no label called 'mood'"),
        ("tags", ["no such tag"], target(), "tag set has no 'no such tag'"),
        ("tags", [["loop"]], target(), "tag set has no"),
        ("tags", ["loop", "loop"], target(), "different names"),
        ("step_reward", 2, target(part="turn", trial=1, turn=1), "1, 0 or -1"),
        ("step_reward", True, target(part="turn", trial=1, turn=1), "1, 0 or -1"),
        ("step_reward", 1, target(), "said of turn, not of episode"),
        ("first_error", 3, target(part="trial", trial=1), "a turn of trial 1"),
        ("quality", {"nice": True}, target(part="reflection", trial=1), "accurate, actionable, followed"),
        ("quality", {"accurate": "yes"}, target(part="reflection", trial=1), "true or false"),
        ("rewrite", {"action": " "}, target(part="turn", trial=1, turn=1), "cannot be empty"),
        ("rewrite", {"text": "x"}, target(part="turn", trial=1, turn=1), "action and thought"),
        ("adjudication", {"verdict": "so so"}, target(), "A verdict is"),
        ("verdict", "good", target(part="turn", trial=1, turn=9), "has no turn at trial 1 turn 9"),
        ("verdict", "good", target(part="turn"), "has no turn"),
        ("verdict", "good", target(trial=1), "has no episode at trial 1"),
    ],
)
def test_a_label_that_makes_no_sense_is_refused_with_the_reason(
    shared: TestClient, name: str, value: object, on: object, words: str
):
    status, detail = refusal(shared, request(value, name, on))
    assert status == 422
    assert words in detail


def test_a_label_of_an_unknown_episode_or_by_nobody_is_refused(shared: TestClient):
    assert refusal(shared, request(on=target("nowhere")))[0] == 404
    assert refusal(shared, request(annotator="  "))[0] == 422
    assert refusal(shared, request(annotator="kim\x07"))[0] == 422


def test_the_slower_of_two_tabs_is_told_and_overwrites_nothing(client: TestClient):
    first = post(client, request("good", seen=None))[0]["label"]["id"]
    answer = client.post("/api/v1/labels", json={"labels": [request("bad", seen=None)]})
    assert answer.status_code == 409
    assert answer.json()["title"] == "Refused"
    assert answer.json()["current"]["value"] == "good"
    assert standing(client) == ["good"]
    post(client, request("bad", seen=first))
    assert standing(client) == ["bad"]


def test_two_annotators_never_conflict(client: TestClient):
    post(client, request("good", seen=None))
    post(client, request("bad", seen=None, annotator="lee"))
    assert standing(client) == ["good", "bad"]


def test_undo_and_redo_go_over_any_number_of_steps_and_across_episodes(client: TestClient):
    post(client, request("good"), request("bad", on=target("e2")), request("expert", on=target("e2")))

    def press(verb: str, id_: str) -> int:
        return client.post(f"/api/v1/labels/{verb}", json={"annotator": "kim", "id": id_}).status_code

    assert [press("undo", f"u{n}") for n in range(3)] == [200, 200, 200]
    assert standing(client) == []
    assert press("undo", "u3") == 409
    assert press("undo", "u2") == 200, "sending an undo again changes nothing"
    assert [press("redo", f"r{n}") for n in range(2)] == [200, 200]
    assert standing(client) == ["good", "bad"]
    post(client, request("discard", on=target("e3")))
    assert press("redo", "r2") == 409, "a new statement ends the redo"
    assert [press("undo", f"v{n}") for n in range(2)] == [200, 200]
    assert standing(client) == ["good"]


def test_only_the_annotator_takes_back_a_label_and_only_once(client: TestClient):
    id_ = post(client, request("good"))[0]["label"]["id"]
    assert refusal(client, request(None, undoes=id_, annotator="lee"))[0] == 409
    assert refusal(client, request(None, undoes="nothing"))[0] == 404
    assert refusal(client, request(None, undoes=id_, on=target("e2")))[0] == 422
    post(client, request(None, undoes=id_))
    assert refusal(client, request(None, undoes=id_))[0] == 409


def test_the_audit_says_who_changed_what_from_what_to_what(client: TestClient):
    post(client, request("good"), request("bad"))
    client.post("/api/v1/labels/undo", json={"annotator": "kim", "id": "u"})
    changes = client.get("/api/v1/labels/audit", params={"episode": "e1"}).json()
    assert [(c["before"], c["after"]) for c in changes] == [("bad", "good"), ("good", "bad"), (None, "good")]
    assert {c["label"]["annotator"] for c in changes} == {"kim"}


def label(id_: str, value: object = "good", undoes: str | None = None) -> Label:
    return Label.model_validate(
        {
            "id": id_,
            "target": target(),
            "name": "verdict",
            "value": value,
            "annotator": "kim",
            "at": NOW,
            "undoes": undoes,
        }
    )


def test_an_older_statement_that_is_put_back_does_not_hide_a_newer_one():
    history = [label("a"), label("u", None, "a"), label("b", "bad"), label("r", None, "u")]
    assert [change.after for change in audit(history)] == ["good", None, "bad", "bad"]
    assert [step.id for step in steps(history).undoable] == ["b", "a"]


def test_the_tag_set_is_edited_as_versions_and_the_slower_editor_is_told(client: TestClient, tmp_path: Path):
    first = client.get("/api/v1/tagset").json()
    wanted = {"version": 0, "tags": [*first["tags"], {"name": "new tag"}]}
    assert client.put("/api/v1/tagset", json=wanted).json()["version"] == 1
    late = client.put("/api/v1/tagset", json=wanted)
    assert late.status_code == 409
    assert "new tag" in late.json()["detail"]
    post(client, request(["new tag"], "tags"))
    twice = {"version": 1, "tags": [{"name": "a"}, {"name": "A"}]}
    assert client.put("/api/v1/tagset", json=twice).status_code == 422
    (tmp_path / "curation" / "tagset-7.json").write_text("damaged")
    versions = client.get("/api/v1/tagset/versions").json()
    assert [one["version"] for one in versions] == [1, 0]
    assert versions[1] == first


# Queues


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def names(queues: Queues, annotator: str, **settings: object) -> list[str]:
    return [item.episode_id for item in queues.next(annotator, **settings).items]  # type: ignore[arg-type]


def test_two_annotators_get_different_episodes_until_a_lease_runs_out(store: Store):
    clock = Clock()
    queues = Queues(store, Leases(clock=clock))
    kim, lee, jo = (names(queues, who)[0] for who in ("kim", "lee", "jo"))
    assert {kim, lee, jo} == {"e1", "e2", "e3"}
    assert names(queues, "ann") == []
    assert names(queues, "kim") == [kim], "asking again gives the same one"
    clock.now = 601
    assert names(queues, "ann", limit=3) != []


def test_an_episode_given_back_is_free_at_once(store: Store):
    queues = Queues(store)
    assert len(names(queues, "kim", limit=3)) == 3
    assert names(queues, "lee") == []
    queues.release("kim", ["e2"])
    assert names(queues, "lee") == ["e2"]


def test_a_queue_counts_what_is_done_and_leaves_it_out(client: TestClient):
    post(client, request("good", on=target("e2")))
    page = client.get("/api/v1/queue", params={"annotator": "kim", "limit": 10}).json()
    assert {item["episode_id"] for item in page["items"]} == {"e1", "e3"}
    assert (page["total"], page["done"], page["mine"], page["left_for_me"]) == (3, 1, 1, 2)


def test_what_an_annotator_passed_over_is_neither_given_nor_leased(client: TestClient):
    asks = {"annotator": "kim", "limit": 10, "skip": ["e1", "e2"]}
    page = client.get("/api/v1/queue", params=asks).json()
    assert [item["episode_id"] for item in page["items"]] == ["e3"]
    assert page["left_for_me"] == 3
    lee = client.get("/api/v1/queue", params={"annotator": "lee", "limit": 10}).json()
    assert {item["episode_id"] for item in lee["items"]} == {"e1", "e2"}


def test_a_queue_says_where_its_episodes_are_on_their_way(client: TestClient):
    post(client, request("good", on=target("e1")), request("bad", on=target("e1"), annotator="lee"))
    post(client, request("good", on=target("e2")))
    asks = {"annotator": "jo", "overlap": 2, "limit": 1}
    assert client.get("/api/v1/queue", params=asks).json()["states"] == {
        "adjudication": 1,
        "needs_second": 1,
        "pending": 1,
    }
    post(client, request({"verdict": "good"}, "adjudication", target("e1"), annotator="zoe"))
    page = client.get("/api/v1/queue", params=asks).json()
    assert page["states"]["done"] == 1
    assert page["items"][0]["state"] == "in_review"


def test_with_accounts_a_blind_pair_is_about_who_is_signed_in(tmp_path: Path):
    with Store.open(tmp_path) as store:
        fill(store, make_episode("e1", task_id="t"), make_episode("e2", task_id="t", advice="Guess."))
    with accounts_examples.hub(tmp_path) as app:
        token = accounts_examples.add_users(tmp_path)[Role.ANNOTATOR]
        client = accounts_examples.client_of(app)
        client.headers["authorization"] = f"Bearer {token}"
        pair = client.get("/api/v1/agreement/pair", params={"annotator": "somebody else"}).json()
        other = {"episode_id": pair["other"]["episode_id"], "trial": 1, "winner": "tie"}
        on = target(pair["this"]["episode_id"], "reflection", 1)
        post(client, request(other, "preference", on))
        assert client.get("/api/v1/agreement/pair", params={"annotator": "somebody else"}).json() is None


def test_a_blind_pair_is_of_the_filters_episodes(client: TestClient, store: Store):
    fill(store, make_episode("p1", task_id="t"), make_episode("p2", task_id="t", advice="Guess."))
    asks = {"annotator": "kim", "filter": "id:p1,p2"}
    pair = client.get("/api/v1/agreement/pair", params=asks).json()
    assert {pair["this"]["episode_id"], pair["other"]["episode_id"]} == {"p1", "p2"}
    assert client.get("/api/v1/agreement/pair", params={**asks, "filter": "id:p1"}).json() is None
    assert client.get("/api/v1/agreement/pair", params={**asks, "filter": "nonsense:1"}).status_code == 422


def test_a_blind_vote_never_takes_the_place_of_an_earlier_one(tmp_path: Path):
    with Store.open(tmp_path) as store:
        fill(store, *(make_episode(f"e{i}", task_id="t", advice=f"Advice {i}.") for i in range(4)))
    with accounts_examples.hub(tmp_path) as app:
        token = accounts_examples.add_users(tmp_path)[Role.ANNOTATOR]
        client = accounts_examples.client_of(app)
        client.headers["authorization"] = f"Bearer {token}"
        votes = 0
        while pair := client.get("/api/v1/agreement/pair", params={"annotator": "kim"}).json():
            other = {"episode_id": pair["other"]["episode_id"], "trial": 1, "winner": "this"}
            post(client, request(other, "preference", target(pair["this"]["episode_id"], "reflection", 1)))
            votes += 1
            assert votes <= 4, "one vote stands on each of four reflections"
        assert votes >= 3
        standing = [label for label in client.get("/api/v1/labels").json() if label["name"] == "preference"]
        assert len(standing) == votes


def test_with_an_overlap_of_two_each_episode_goes_to_two_annotators(client: TestClient):
    post(client, request("good", on=target("e2")))
    asks = {"overlap": 2, "limit": 10}
    lee = client.get("/api/v1/queue", params={"annotator": "lee", **asks}).json()
    assert len(lee["items"]) == 3
    kim = client.get("/api/v1/queue", params={"annotator": "kim", **asks}).json()
    assert {item["episode_id"] for item in kim["items"]} == {"e1", "e3"}
    assert client.get("/api/v1/queue", params={"annotator": "jo", **asks}).json()["items"] == []


def test_worst_first_orders_by_the_signal(store: Store):
    store_order = Queues(store)
    assert store_order.ordered("", "worst:low_reward", []) == ["e3", "e2", "e1"]
    assert store_order.ordered("", "high_gain", [])[0] == "e1"
    fill(store, make_episode("e4", (0.0,), ("look", "look", "look", "go")))
    assert store_order.ordered("", "repeats", [])[0] == "e4"
    verdicts = [Verdict("e1", who, said, NOW) for who, said in (("kim", "good"), ("lee", "bad"), ("jo", "bad"))]
    assert store_order.ordered("", "disagreement", verdicts)[0] == "e1"


def test_an_unknown_order_is_refused_with_the_known_ones(client: TestClient):
    answer = client.get("/api/v1/queue", params={"annotator": "kim", "order": "best"})
    assert answer.status_code == 422
    assert "low_reward" in answer.json()["detail"]


def test_the_rate_leaves_breaks_out():
    from datetime import timedelta

    times = [NOW + timedelta(seconds=s) for s in (0, 20, 40, 60, 3600, 3620)]
    assert verdicts_per_minute(times) == pytest.approx(3.0)
    assert verdicts_per_minute(times[:2]) is None


@pytest.mark.parametrize(
    ("verdicts", "needed", "adjudicated", "leased", "state"),
    [
        ([], 1, False, False, "pending"),
        ([], 1, False, True, "in_review"),
        (["good"], 2, False, False, "needs_second"),
        (["good", "bad"], 2, False, False, "adjudication"),
        (["good", "bad"], 2, True, False, "done"),
        (["good", "good"], 2, False, False, "done"),
    ],
)
def test_the_review_state_follows_from_the_labels(
    verdicts: list[str], needed: int, adjudicated: bool, leased: bool, state: str
):
    assert review_state(verdicts, needed, adjudicated, leased) == state
