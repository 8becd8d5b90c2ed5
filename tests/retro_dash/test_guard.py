"""The gate in front of every route."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from accounts_examples import BEARER, TOKEN, URL, client_of, hub
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from retro_dash import guard


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[guard.Guard]:
    with hub(tmp_path_factory.mktemp("home"), has_pages=True) as app:
        yield app


@pytest.fixture
def client(shared: guard.Guard) -> TestClient:
    return client_of(shared)


STATUS = "/api/v1/status"
CHANGE = "/api/v1/queue/release"
NOTHING = {"annotator": "ann", "episode_ids": []}


def test_only_health_answers_without_the_token(client: TestClient):
    assert client.get("/health").status_code == 200
    assert client.get(STATUS).status_code == 401
    assert client.post(CHANGE).status_code == 401
    assert client.get("/no-such-page").status_code == 401


def test_the_token_in_the_address_becomes_a_session_and_leaves_the_address(client: TestClient):
    answer = client.get(f"{STATUS}?token={TOKEN}&run=5&empty=")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{STATUS}?run=5&empty="
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert TOKEN not in cookie
    assert client.get(STATUS).status_code == 200


def test_a_session_outlives_the_hub_and_its_token(tmp_path: Path):
    with hub(tmp_path) as first:
        client = client_of(first)
        client.get(f"/?token={TOKEN}")
    with hub(tmp_path) as second:
        again = client_of(second)
        again.cookies = client.cookies
        assert again.get(STATUS).status_code == 200


def test_hubs_on_two_ports_of_a_machine_do_not_sign_each_other_out(client: TestClient):
    answer = client.get(f"/?token={TOKEN}")
    assert answer.headers["set-cookie"].startswith("retro_dash_7860=")


def test_a_wrong_token_signs_nobody_in(client: TestClient):
    assert client.get(f"{STATUS}?token=wrong").status_code == 401
    assert client.get(STATUS, headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get(STATUS, headers={"authorization": f"Basic {TOKEN}"}).status_code == 401
    assert client.get(STATUS, headers={"cookie": "retro_dash_7860=wrong"}).status_code == 401
    assert client.get(STATUS, headers={"cookie": f"retro_dash_7860={TOKEN}"}).status_code == 401
    assert client.get(STATUS, headers={"cookie": "\x00;;;=broken"}).status_code == 401
    assert client.get(STATUS, headers={"authorization": b"Bearer \xff\xfe"}).status_code == 401


def test_scripts_sign_in_with_a_header(client: TestClient):
    assert client.get(STATUS, headers=BEARER).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "", "evil.example:7860", "[::1", "127.0.0.1@evil.example", "a b"],
)
def test_a_foreign_host_name_is_refused_even_with_the_token(client: TestClient, host: str):
    assert client.get(STATUS, headers={**BEARER, "host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:7860", "[::1]:7860", "[::1]", "LOCALHOST"])
def test_every_name_of_this_machine_is_ours(client: TestClient, host: str):
    assert client.get(STATUS, headers={**BEARER, "host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:7860", "http://[", "", "file://"],
)
def test_another_page_may_not_change_anything(client: TestClient, origin: str):
    assert client.post(CHANGE, json=NOTHING, headers={**BEARER, "origin": origin}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_that_the_browser_calls_foreign_may_not_change_anything(client: TestClient, site: str):
    assert client.post(CHANGE, json=NOTHING, headers={**BEARER, "sec-fetch-site": site}).status_code == 403


def test_our_own_page_may(client: TestClient):
    headers = {**BEARER, "origin": URL, "sec-fetch-site": "same-origin"}
    assert client.post(CHANGE, json=NOTHING, headers=headers).status_code == 204


def test_a_form_of_another_page_is_no_json(client: TestClient):
    headers = {**BEARER, "content-type": "text/plain"}
    assert client.post(CHANGE, content='{"annotator": "ann", "episode_ids": []}', headers=headers).status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/mcp/schema",
        "/gradio_api/mcp/sse",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../etc/passwd",
        "/gradio_api/file/%2e%2e/%2e%2e/etc/passwd",
        "/gradio_api/file=http://169.254.169.254/latest",
        "/gradio_api/proxy=http://127.0.0.1:22/",
        "/gradio_api/queue/join",
        "/gradio_api/upload",
        "/gradio_api/openapi.json",
        "/static/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2f..%2fetc%2fpasswd",
        "/ui/..%2f..%2f..%2f..%2fpyproject.toml",
        "/ui/%2e%2e/%2e%2e/guard.py",
        "/ui/..%5c..%5cguard.py",
        "/ui//etc/passwd",
        "/ui/%00",
        "/static//etc/passwd",
        "/config",
        "/openapi.json",
        "/monitoring",
        "/login",
    ],
)
def test_files_and_gradios_own_endpoints_are_not_there_even_for_the_owner(client: TestClient, path: str):
    answer = client.get(path, headers=BEARER)
    assert answer.status_code in (403, 404)
    assert "root:" not in answer.text


def test_an_unknown_path_and_a_wrong_method_answer_with_problem_documents(client: TestClient):
    unknown = client.get("/api/v1/nothing", headers=BEARER)
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/problem+json")
    assert "roles.py" in unknown.json()["detail"]
    wrong = client.delete("/api/v1/labels", headers=BEARER)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, POST")
    assert wrong.json() == {
        "title": "Refused",
        "status": 405,
        "detail": "/api/v1/labels takes GET, POST, not DELETE.",
    }


def test_a_body_that_says_that_it_is_too_large_is_refused_unread(client: TestClient):
    headers = {**BEARER, "content-length": str(guard.BODY_LIMIT + 1)}
    answer = client.post(CHANGE, content=b"{}", headers=headers)
    assert answer.status_code == 413
    assert "16 MiB" in answer.json()["detail"]


def test_a_body_that_grows_too_large_without_saying_so_is_refused(client: TestClient):
    def endless() -> Iterator[bytes]:
        for _ in range(17):
            yield b" " * 2**20

    answer = client.post(CHANGE, content=endless(), headers={**BEARER, "content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


def test_a_body_just_within_the_limit_is_read(client: TestClient):
    body = b'{"annotator": "ann", "episode_ids": []}'
    padded = body + b" " * (guard.BODY_LIMIT - len(body))
    headers = {**BEARER, "content-type": "application/json"}
    assert client.post(CHANGE, content=padded, headers=headers).status_code == 204


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [500, 5_000, 100_000])
@pytest.mark.parametrize("path", ["/api/v1/labels", "/api/v1/live", "/api/v1/runs", "/api/v1/train/check"])
def test_deeply_nested_json_is_a_mistake_of_the_caller(client: TestClient, path: str, opening: str, depth: int):
    closing = "]" if opening == "[" else "1}"
    answer = client.post(
        path, content=opening * depth + closing * depth, headers={**BEARER, "content-type": "application/json"}
    )
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("path", ["/health", STATUS, "/no-such-page", "/sign-in", "/ui/sign_in.css", "/"])
@pytest.mark.parametrize("headers", [{}, BEARER])
def test_every_answer_carries_the_security_headers(client: TestClient, path: str, headers: dict[str, str]):
    answer = client.get(path, headers={**headers, "accept": "text/html"}).headers
    assert "'unsafe-inline'" not in answer["content-security-policy"].split("style-src")[0]
    assert "frame-ancestors 'none'" in answer["content-security-policy"]
    assert answer["x-frame-options"] == "DENY"
    assert answer["x-content-type-options"] == "nosniff"
    assert answer["referrer-policy"] == "no-referrer"


def test_no_web_socket_is_accepted(client: TestClient):
    with (
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect("/gradio_api/queue/join", headers=BEARER),
    ):
        pass
    assert caught.value.code == 1008
