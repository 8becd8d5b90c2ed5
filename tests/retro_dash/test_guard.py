"""The gate in front of every route."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from retro_dash.guard import COOKIE, Guard

TOKEN = "a-long-random-token"


@pytest.fixture
def client() -> TestClient:
    app = FastAPI(openapi_url=None)
    app.get("/health")(lambda: {"status": "ok"})
    app.get("/secret")(lambda: {"secret": 1})
    app.post("/change")(lambda: {"changed": True})
    app.get("/gradio_api/mcp/schema")(lambda: {"tools": []})
    return TestClient(Guard(app, TOKEN, ("127.0.0.1", "localhost")), base_url="http://127.0.0.1:7860")


BEARER = {"authorization": f"Bearer {TOKEN}"}


def test_only_health_answers_without_the_token(client: TestClient):
    assert client.get("/health").status_code == 200
    assert client.get("/secret").status_code == 401
    assert client.post("/change").status_code == 401
    assert client.get("/no-such-page").status_code == 401


def test_the_token_in_the_address_becomes_a_cookie_and_leaves_the_address(client: TestClient):
    answer = client.get(f"/secret?token={TOKEN}&run=5", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/secret?run=5"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert client.get("/secret").status_code == 200


def test_a_wrong_token_signs_nobody_in(client: TestClient):
    assert client.get("/secret?token=wrong").status_code == 401
    assert client.get("/secret", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/secret", headers={"cookie": f"{COOKIE}=wrong"}).status_code == 401
    assert client.get("/secret", headers={"cookie": "\x00;;;=broken"}).status_code == 401


def test_scripts_sign_in_with_a_header(client: TestClient):
    assert client.get("/secret", headers=BEARER).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "evil.example:7860"])
def test_a_foreign_host_name_is_refused_even_with_the_token(client: TestClient, host: str):
    assert client.get("/secret", headers={**BEARER, "host": host}).status_code == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:7860"])
def test_another_page_may_not_change_anything(client: TestClient, origin: str):
    assert client.post("/change", headers={**BEARER, "origin": origin}).status_code == 403


def test_our_own_page_may(client: TestClient):
    answer = client.post("/change", headers={**BEARER, "origin": "http://127.0.0.1:7860"})
    assert answer.json() == {"changed": True}


def test_gradios_mcp_server_is_not_there(client: TestClient):
    assert client.get("/gradio_api/mcp/schema", headers=BEARER).status_code == 404


@pytest.mark.parametrize("path", ["/health", "/secret", "/no-such-page"])
def test_every_answer_carries_the_security_headers(client: TestClient, path: str):
    headers = client.get(path).headers
    assert "'unsafe-inline'" not in headers["content-security-policy"].split("style-src")[0]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["x-content-type-options"] == "nosniff"
