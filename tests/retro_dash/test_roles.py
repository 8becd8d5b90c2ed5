"""Every route of the assembled application against every role."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from accounts_examples import BEARER, ROLES, add_users, client_of, hub
from fastapi import FastAPI
from fastapi.testclient import TestClient

from retro_dash.audit import AuditLog
from retro_dash.guard import Guard
from retro_dash.identity import Identity
from retro_dash.roles import CLOSED, RULES, Role, least_role, rules_table

DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"


class Shared(NamedTuple):
    client: TestClient
    routes: list[tuple[str, str]]
    tokens: dict[Role, str]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    home = tmp_path_factory.mktemp("home")
    tokens = add_users(home)
    with hub(home, has_pages=True) as app:
        yield Shared(client_of(app), sorted(set(routes_of(app._app.routes))), tokens)


def routes_of(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(method, path template) of every route, those of routers and mounted applications included."""
    for route in routes:
        path = prefix + getattr(route, "path", "")
        if hasattr(route, "effective_candidates"):  # How this FastAPI keeps an included router.
            yield from routes_of(route.effective_candidates(), prefix)
        elif getattr(route, "methods", None):
            yield from ((method, path.rstrip("/") or "/") for method in route.methods)
        elif getattr(route, "routes", None):
            yield from routes_of(route.routes, path)
        else:  # A mounted application without routes of its own: files.
            yield "GET", path + "/{path:path}"


def missing_rules(routes: Iterable[tuple[str, str]]) -> list[str]:
    """The lines that `retro_dash/roles.py` lacks."""
    rows = {(rule.method, rule.path) for rule in RULES}
    return [
        f'("{method}", "{path}", VIEWER),  # or ANNOTATOR, OPERATOR, ADMIN'
        for method, path in routes
        if (method.replace("HEAD", "GET"), path) not in rows and not is_closed(path)
    ]


def is_closed(path: str) -> bool:
    return path in CLOSED or (path.startswith("/gradio_api/") and path not in {rule.path for rule in RULES})


def example(path: str) -> str:
    """A concrete path for a template."""
    filled = re.sub(r"\{verb\}", "stop", path)
    return re.sub(r"\{[^}]+\}", "x1", filled)


def test_every_route_has_a_rule(shared: Shared):
    missing = missing_rules(shared.routes)
    assert not missing, "Add to RULES in retro_dash/roles.py:\n" + "\n".join(missing)


def test_a_new_route_without_a_rule_fails_with_the_line_to_add_and_is_not_served(tmp_path: Path):
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.get("/api/v1/secrets/{name}")(lambda name: {"secret": name})
    (line,) = missing_rules(routes_of(app.routes))
    assert line.startswith('("GET", "/api/v1/secrets/{name}", VIEWER),')
    guard = Guard(app, Identity(tmp_path, "a-long-random-token"), AuditLog(tmp_path / "audit.jsonl"), ["127.0.0.1"])
    assert client_of(guard).get("/api/v1/secrets/x", headers=BEARER).status_code == 404


def test_every_rule_has_a_route(shared: Shared):
    known = {(method, path) for method, path in shared.routes}
    assert [rule for rule in RULES if (rule.method, rule.path) not in known] == []
    paths = {path for _, path in shared.routes}
    assert [path for path in CLOSED if path not in paths and "{rest:path}" not in path] == []


def test_a_stranger_gets_nothing_but_sign_in_health_and_static_files(shared: Shared):
    open_to_all = set()
    for method, path in shared.routes:
        answer = shared.client.request(method, example(path))
        if answer.status_code != 401 or (method != "HEAD" and "SignInFirst" not in answer.text):
            open_to_all.add((method.replace("HEAD", "GET"), path))
    assert open_to_all == {
        ("GET", "/health"),
        ("GET", "/sign-in"),
        ("POST", "/sign-in"),
        ("GET", "/ui/{path:path}"),
        ("GET", "/ui/vendor/plotly.min.js"),
        ("GET", "/favicon.ico"),
    }


def asked_as(shared: Shared, method: str, path: str, role: Role) -> int:
    headers = {"authorization": f"Bearer {shared.tokens[role]}"}
    with shared.client.stream(method, example(path), headers=headers) as answer:
        return answer.status_code


def is_endless(path: str) -> bool:
    return path == "/api/v1/events"


def test_the_document_holds_the_table(shared: Shared):
    is_there = rules_table() in DOCUMENT.read_text()
    assert is_there, f"Replace the table at the end of docs/api.md by:\n{rules_table()}"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_let_through_exactly_where_the_table_says(shared: Shared, role: Role):
    wrong = []
    for method, path in shared.routes:
        least = least_role(method, example(path))
        if least is Role.ANYONE or (is_endless(path) and role.rank >= Role.VIEWER.rank):
            continue
        status = asked_as(shared, method, path, role)
        is_refused = status == 403 if least else status in (404, 405)
        if is_refused is (least is not None and role.rank >= least.rank):
            wrong.append((method, path, str(least), status))
    assert wrong == []


def test_roles_contain_each_other():
    assert [role.rank for role in Role] == [0, 1, 2, 3, 4]
    assert list(Role) == ["anyone", "viewer", "annotator", "operator", "admin"]


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", "/api/v1/episodes/ep-1", "viewer"),
        ("HEAD", "/api/v1/episodes/ep-1/", "viewer"),
        ("GET", "/api/v1/runs/rows", "viewer"),
        ("POST", "/api/v1/labels", "annotator"),
        ("POST", "/api/v1/live/ep-1/step", "operator"),
        ("POST", "/api/v1/live/ep-1/run_trial", "operator"),
        ("POST", "/api/v1/events", "admin"),
        ("GET", "/api/v1/snapshot", "admin"),
        ("DELETE", "/api/v1/episodes/ep-1", None),
        ("GET", "/api/v1/episodes/ep-1/unknown", None),
        ("GET", "/api/v1//status", None),
        ("GET", "/gradio_api/queue/join", None),
        ("GET", "/gradio_api/file=/etc/passwd", None),
        ("GET", "/API/v1/status", None),
    ],
)
def test_the_least_role_of_a_path(method: str, path: str, least: str | None):
    assert least_role(method, path) == least
