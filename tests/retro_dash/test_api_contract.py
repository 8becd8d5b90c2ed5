"""The API as a whole: no request breaks it, and over HTTP it says what the service says in its own process."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import httpx
import pytest
import uvicorn
from accounts_examples import BEARER, TOKEN, client_of, hub
from curation_examples import NOW, fill, make_episode
from fastapi.testclient import TestClient

from data.errors import BadInput, UnknownName
from data.events import EpisodeStarted, Event, MetricsLogged, RunCreated
from data.store import Store
from data.types import Run, RunState
from retro_dash.client import HubClient
from retro_dash.guard import Guard
from retro_dash.query import query
from retro_dash.service import Service
from retro_dash.settings import Settings

KNOWN = ("e1", "e2", "l1", "collect-1", "hotpotqa", "ann", "verdict", "good", "alfworld", "valid")
ODD = (
    "",
    " ",
    "x" * 3000,
    "\x00",
    "\ud800",
    "\U0001f4a5",
    "../..",
    "a/b",
    "%2e",
    "'; DROP TABLE x; --",
    "<img src=x>",
    "-1",
)
ENDLESS = ("/api/v1/events", "/api/v1/live/{episode_id}/events")
"""Streams, which have tests of their own."""
NUMBERS = (0, 1, -1, 2, 50, 10**6, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 1e308, 0.5)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    home = tmp_path_factory.mktemp("home")
    with Store.open(home) as store:
        fill(store, make_episode("e1"), make_episode("e2", (0.0, 0.5)), make_episode("e3", (0.2,)))
    with hub(home) as app:
        yield app


@pytest.fixture(scope="module")
def http(app: Guard) -> TestClient:
    client = client_of(app)
    client.headers.update(BEARER)
    return client


# Nothing breaks it


class Fuzz:
    """Draws values that fit a JSON schema more or less: known names, odd texts, huge numbers, wrong types."""

    def __init__(self, seed: int, schemas: dict[str, Any]) -> None:
        self.random, self.schemas = random.Random(seed), schemas

    def value(self, schema: dict[str, Any], depth: int = 0) -> Any:
        if "$ref" in schema:
            return self.value(self.schemas[schema["$ref"].rpartition("/")[2]], depth)
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices:
            return self.value(self.random.choice(choices), depth)
        if "const" in schema or "enum" in schema:
            return self.random.choice([*schema.get("enum", [schema.get("const")]), "other"])
        if self.random.random() < 0.05 or depth > 6:
            return self.random.choice([None, [], {}, "text", 0, True, [[[]]], {"a": {"b": None}}])
        return self._of_type(schema, depth)

    def _of_type(self, schema: dict[str, Any], depth: int) -> Any:
        match schema.get("type"):
            case "object":
                fields = schema.get("properties", {})
                needed = schema.get("required", [])
                drawn = [name for name in fields if name in needed or self.random.random() < 0.5]
                return {name: self.value(fields[name], depth + 1) for name in drawn}
            case "array":
                size = self.random.choice([0, 1, 1, 2, 5])
                return [self.value(schema.get("items", {}), depth + 1) for _ in range(size)]
            case "string":
                return self.random.choice(KNOWN if self.random.random() < 0.6 else ODD)
            case "integer" | "number":
                return self.random.choice(NUMBERS)
            case "boolean":
                return self.random.random() < 0.5
            case _:
                return self.random.choice([None, *KNOWN, *ODD, *NUMBERS, {"text": "a"}, ["a"]])


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path not in ENDLESS or method != "get":
                yield method.upper(), path, operation


def request_of(fuzz: Fuzz, path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one request."""
    query_, made = {}, path
    for parameter in operation.get("parameters", []):
        value = fuzz.value(parameter["schema"])
        text = str(value).encode("utf-8", "replace").decode()
        if parameter["in"] == "path":
            made = made.replace("{" + parameter["name"] + "}", quote(text, safe="") or "x")
        elif parameter["in"] == "query" and (parameter.get("required") or fuzz.random.random() < 0.5):
            query_[parameter["name"]] = text
    arguments: dict[str, Any] = {"url": made, "params": query_}
    content = operation.get("requestBody", {}).get("content", {})
    if "application/octet-stream" in content:
        arguments["content"] = fuzz.random.choice(ODD).encode("utf-8", "replace")
    elif content:
        schema = content["application/json"]["schema"]
        arguments |= {"content": json.dumps(fuzz.value(schema)), "headers": {"content-type": "application/json"}}
    return arguments


@pytest.mark.parametrize("seed", range(3))
def test_no_request_that_the_document_allows_breaks_the_hub(http: TestClient, seed: int):
    document = http.get("/api/v1/openapi.json").json()
    fuzz = Fuzz(seed, document["components"]["schemas"])
    broken = []
    for method, path, operation in operations(document):
        for _ in range(6):
            arguments = request_of(fuzz, path, operation)
            answer = http.request(method, **arguments)
            if answer.status_code >= 400:
                problem = answer.json()
                is_problem = set(problem) >= {"title", "status", "detail"} and problem["detail"]
                if not is_problem or answer.status_code not in (400, 404, 405, 409, 422, 503):
                    broken.append((method, arguments, answer.status_code, answer.text[:300]))
    assert broken == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nul", b"\xff\xfe", b"[NaN]", b'{"labels": NaN}', b"[" * 50_000, b"1" * 5_000]
)
@pytest.mark.parametrize(
    "path", ["/api/v1/labels", "/api/v1/events", "/api/v1/train/check", "/api/v1/datasets/check"]
)
def test_a_body_that_is_no_json_is_a_mistake_of_the_caller(http: TestClient, path: str, body: bytes):
    answer = http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_value_that_json_cannot_say_is_not_given_back(http: TestClient):
    target = '{"episode_id": "e1", "part": "episode"}'
    for number, value in enumerate(("NaN", "Infinity", '"\\ud800"', '{"a": "\\udfff"}')):
        fields = f'"id": "n{number}", "target": {target}, "name": "note", "value": {value}, "annotator": "a"'
        body = f'{{"labels": [{{{fields}}}]}}'
        answer = http.post("/api/v1/labels", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422
    assert http.get("/api/v1/labels").status_code == 200


# Lists that go on


def pages_of(http: TestClient, path: str, **params: Any) -> list[list[Any]]:
    """The pages of a list, following its `Link` header."""
    found = []
    while True:
        answer = http.get(path, params=params).raise_for_status()
        found.append(answer.json())
        if "next" not in answer.links:
            return found
        params = httpx.URL(answer.links["next"]["url"]).params


def test_episodes_that_come_while_one_pages_neither_double_nor_hide_a_row(tmp_path: Path):
    with Store.open(tmp_path) as store:
        fill(store, *(make_episode(f"old-{n}") for n in range(5)))
    with hub(tmp_path) as app:
        http = client_of(app)
        http.headers.update(BEARER)
        first = http.get("/api/v1/episodes", params={"limit": 2}).json()
        assert [row["id"] for row in first["rows"]] == ["old-4", "old-3"]
        newer = EpisodeStarted(episode=make_episode("new").model_copy(update={"trials": (), "reflections": ()}))
        event = Event(run_id="later", seq=0, at=datetime.now(UTC), body=newer)
        assert http.post("/api/v1/events", json=[event.model_dump(mode="json")]).status_code == 200
        second = http.get("/api/v1/episodes", params={"limit": 2, "cursor": first["next_cursor"]}).json()
        assert [row["id"] for row in second["rows"]] == ["old-2", "old-1"]
        last = http.get("/api/v1/episodes", params={"limit": 2, "cursor": second["next_cursor"]}).json()
        assert [row["id"] for row in last["rows"]] == ["old-0"]
        assert (last["next_cursor"], last["total"]) == (None, 6)


@pytest.mark.parametrize("sort", ["-created", "gain", "-gain", "task,-turns", "state"])
def test_pages_by_cursor_are_the_pages_by_place(http: TestClient, sort: str):
    by_place = [row["id"] for row in http.get("/api/v1/episodes", params={"sort": sort}).json()["rows"]]
    by_cursor, cursor = [], None
    while True:
        given = {"sort": sort, "limit": 1, **({"cursor": cursor} if cursor else {})}
        page = http.get("/api/v1/episodes", params=given).json()
        by_cursor += [row["id"] for row in page["rows"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert by_cursor == by_place


def test_labels_and_their_history_go_on_from_a_cursor(http: TestClient):
    target = {"episode_id": "e3", "part": "episode"}
    said = [
        {"id": f"page-{n}", "target": target, "name": "note", "value": str(n), "annotator": f"p{n}"} for n in range(5)
    ]
    http.post("/api/v1/labels", json={"labels": said}).raise_for_status()
    pages = pages_of(http, "/api/v1/labels", episode="e3", limit=2)
    assert [[label["value"] for label in page] for page in pages] == [["0", "1"], ["2", "3"], ["4"]]
    changes = pages_of(http, "/api/v1/labels/audit", episode="e3", limit=3)
    assert [[change["label"]["value"] for change in page] for page in changes] == [["4", "3", "2"], ["1", "0"]]


def test_the_audit_log_goes_back_to_its_beginning(http: TestClient):
    for _ in range(7):
        http.post("/api/v1/queue/release", json={"annotator": "ann", "episode_ids": []}).raise_for_status()
    pages = pages_of(http, "/api/v1/audit", limit=5)
    assert len(pages) > 1
    assert [len(page) for page in pages[:-1]] == [5] * (len(pages) - 1)
    # A time of a whole second is written without its fraction, so the texts alone would sort wrongly.
    times = [datetime.fromisoformat(entry["at"]) for page in reversed(pages) for entry in page]
    assert times == sorted(times)


@pytest.mark.parametrize(
    "path",
    [f"/api/v1/{name}" for name in ("episodes", "labels", "labels/audit", "runs", "runs/rows", "results")],
)
def test_a_cursor_that_nobody_gave_is_refused(http: TestClient, path: str):
    answer = http.get(path, params={"cursor": "nothing"})
    assert (answer.status_code, "Begin again without a cursor" in answer.text) == (422, True)


# The same over HTTP and in the process


class Place(Protocol):
    def episodes(self, filter_text: str = ..., sort: str = ..., limit: int = ..., offset: int = ...) -> Any: ...
    def episode(self, episode_id: str) -> dict[str, Any]: ...
    def turns(self, episode_id: str, trial: int, start: int, stop: int) -> list[Any]: ...
    def markdown(self, episode_id: str) -> str: ...
    def filters(self) -> dict[str, Any]: ...
    def environments(self) -> list[Any]: ...
    def tasks(
        self, env: str, split: str | None = ..., query: str = ..., limit: int = ..., offset: int = ...
    ) -> Any: ...


@pytest.fixture(scope="module")
def client(app: Guard) -> Iterator[HubClient]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    with HubClient(f"http://127.0.0.1:{port}", TOKEN) as client:
        yield client
    server.should_exit = True
    thread.join(5)


@pytest.fixture(scope="module", params=["service", "client"])
def place(
    request: pytest.FixtureRequest, client: HubClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    if request.param == "client":
        yield client
        return
    home = tmp_path_factory.mktemp("local")
    service = Service(Settings(home=home, engine="none"), Store.open(client.snapshot(home / "retro.duckdb").parent))
    yield service
    service.close()


def test_a_page_of_episodes(place: Place):
    page = place.episodes("outcome:failed", sort="task", limit=1)
    assert (page.total, [row.id for row in page.rows]) == (2, ["e2"])


def test_an_episode_with_its_turns_and_text(place: Place):
    assert place.episode("e1")["turn_counts"] == {"1": 2, "2": 2}
    assert [turn.action for turn in place.turns("e1", 2, 2, 3)] == ["finish[Nile]"]
    assert "## Trial 2" in place.markdown("e1")


def test_what_can_be_asked_and_played(place: Place):
    assert "outcome" in {field["name"] for field in place.filters()["fields"]}
    assert {env["name"] for env in place.environments()} >= {"alfworld", "hotpotqa"}
    assert place.tasks("hotpotqa", limit=2, offset=1)["total"] > 2


def test_refusals_are_the_same_errors_with_the_same_words(place: Place):
    with pytest.raises(UnknownName, match="There is no episode called 'nothing'"):
        place.episode("nothing")
    with pytest.raises(BadInput, match="trials"):
        place.episodes("trials>many")
    with pytest.raises(UnknownName, match="nowhere"):
        place.tasks("nowhere")


# Scripts and notebooks


def made_run(number: int) -> Event:
    """A finished training run; those of one ten were made at the same moment."""
    at = NOW + timedelta(seconds=number // 10)
    run = Run(id=f"train-{number:04}", kind="train", state=RunState.FINISHED, created_at=at)
    return Event(run_id=run.id, seq=0, at=at, body=RunCreated(run=run))


def test_a_client_reads_all_of_a_thousand_runs_or_as_many_as_it_asks_for(client: HubClient):
    client.append([made_run(number) for number in range(1001)])
    ids = [run.id for run in client.runs(["train"])]
    assert (len(set(ids)), len(ids), ids[0]) == (1001, 1001, "train-1000")
    assert [row["run"]["id"] for row in client.run_rows()] == ids
    assert [run.id for run in client.runs(["train", "collect"], ["finished"], limit=3)] == ids[:3]
    assert client.runs(["train"], ["running"]) == []


def test_curves_become_a_pandas_table(client: HubClient):
    logged = [MetricsLogged(step=step, values={"planner/il_loss": 1 / step, "solved": 0.5}) for step in (1, 2)]
    events = [Event(run_id="train-0001", seq=seq, at=NOW, body=body) for seq, body in enumerate(logged, 1)]
    client.append([made_run(1), *events])
    table = client.curves("train-0001")
    assert list(table.columns) == ["name", "step", "value", "at"]
    assert list(table[table.name == "planner/il_loss"].value) == [1.0, 0.5]
    assert len(client.curves("train-0001", ["solved"])) == 2
    assert list(client.curves("train-0001", ["nothing"]).columns) == list(table.columns)


def test_a_filter_becomes_a_pandas_table(client: HubClient):
    table = client.frame("env:hotpotqa", sort="task")
    assert list(table.id) == ["e1", "e2", "e3"]
    assert list(table.rewards) == [[0, 1], [0, 0.5], [0.2]]
    assert table.created_at.dt.year.unique() == [2026]
    assert list(client.frame("env:alfworld").columns) == list(table.columns)


def test_a_filter_becomes_an_arrow_table_of_one_schema_however_few_rows(client: HubClient):
    table, nothing = client.arrow("env:hotpotqa", sort="task"), client.arrow("env:alfworld")
    assert table.column("rewards").to_pylist() == [[0.0, 1.0], [0.0, 0.5], [0.2]]
    assert (nothing.num_rows, nothing.schema) == (0, table.schema)
    say(client, "arrow", ["loop"], "tags")
    labels = client.arrow("id:e2").column("labels").to_pylist()[0]
    assert {"name": "tags", "value": '["loop"]', "annotator": "ann"} in labels


def test_a_snapshot_taken_over_http_answers_sql(client: HubClient, tmp_path: Path):
    copy = client.snapshot(tmp_path / "copy.duckdb")
    assert query(copy, "SELECT count(*) FROM episodes").rows == ((3,),)


def say(client: HubClient, id_: str, value: Any = "heard", name: str = "note") -> None:
    target = {"episode_id": "e2", "part": "episode"}
    request = {"id": id_, "target": target, "name": name, "value": value, "annotator": "ann"}
    client.label([request])


def test_what_one_does_the_other_hears_within_two_seconds(client: HubClient):
    heard: list[tuple[float, dict[str, Any]]] = []

    def listen() -> None:
        for event in client.events():
            heard.append((time.monotonic(), event))
            return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    time.sleep(0.5)
    said = time.monotonic()
    say(client, "heard")
    listener.join(5)
    ((at, event),) = heard
    assert (event["kind"], event["episode_id"]) == ("label_made", "e2")
    assert at - said < 2
    assert event["cursor"] == event["position"]


def test_a_stream_goes_on_from_its_cursor_and_misses_nothing(client: HubClient):
    stream = client.events(0)
    first = [next(stream) for _ in range(2)]
    stream.close()
    again = client.events(first[0]["cursor"])
    assert next(again) == first[1]
    again.close()


# Sent twice


def started(http: TestClient, key: str, **headers: str):
    body = {"env": "hotpotqa", "task_id": "hotpotqa-valid-7-0006", "planner": "expert"}
    return http.post("/api/v1/live", json=body, headers={"idempotency-key": key, **headers})


def test_an_episode_opened_twice_with_one_key_is_one_episode(http: TestClient):
    first, again, other = started(http, "k1"), started(http, "k1"), started(http, "k2")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert other.json()["episode_id"] != first.json()["episode_id"]


def test_a_key_used_for_another_request_is_refused(http: TestClient):
    first = started(http, "k3")
    answer = http.post("/api/v1/live", json={"env": "alfworld", "task_id": "x"}, headers={"idempotency-key": "k3"})
    assert (first.status_code, answer.status_code) == (201, 422)
    assert "k3" in answer.json()["detail"]


def test_a_step_sent_twice_is_played_once(http: TestClient):
    episode = started(http, "k4").json()["episode_id"]
    path = f"/api/v1/live/{episode}/step"
    steps = [http.post(path, json={}, headers={"idempotency-key": "s1"}) for _ in range(2)]
    assert [step.status_code for step in steps] == [200, 200]
    assert steps[1].headers["idempotency-replayed"] == "true"
