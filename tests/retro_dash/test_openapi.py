"""schemathesis on the OpenAPI document of a whole hub, with something in every table: nothing breaks it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import schemathesis
from accounts_examples import BEARER, URL, hub
from curation_examples import fill, make_episode
from hostile_home import EPISODE, EVALUATED, TRAINED
from hostile_home import fill as fill_home
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import response_schema_conformance

from data.store import Store
from retro_dash.guard import Guard

KNOWN = {
    "episode_id": ("e1", "e2", EPISODE),
    "run_id": (TRAINED, EVALUATED),
    "trial": (1, 2),
    "step": (1,),
    "hash_": ("d" * 64,),
    "old": ("d" * 64,),
    "new": ("d" * 64,),
    "format_": ("messages", "episodes", "csv", "hf"),
    "env": ("hotpotqa", "alfworld"),
    "task_id": ("hotpotqa-valid-7-0006",),
    "planner": ("expert",),
    "reflector": ("expert",),
    "annotator": ("ann",),
    "episode": ("e1",),
    "dataset": ("d" * 64,),
    "filter": ("env:hotpotqa", "outcome:failed label:none", "text:river"),
}
"""Names that are there, for most of the requests."""
HEADERS = {**BEARER, "host": urlsplit(URL).netloc}
RULES = settings(
    max_examples=4,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    home = tmp_path_factory.mktemp("home")
    fill_home(home, ["plain text"])
    with Store.open(home) as store:
        fill(store, make_episode("e1"), make_episode("e2", (0.0, 0.5)))
    with hub(home) as app:
        yield app


def test_every_request_that_the_document_allows_is_answered_as_it_says(app: Guard):
    document = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers=HEADERS)
    # Endless streams have tests of their own.
    routes = document.exclude(method="GET", path_regex=r"/events$")
    operations = [found.ok() for found in routes.get_all_operations()]
    assert len(operations) > 80
    for operation in operations:
        ask(operation)


def ask(operation: Any) -> None:
    """Some requests to one route."""

    @RULES
    @given(operation.as_strategy())
    def is_answered_as_documented(case: Any) -> None:
        choose = random.Random(repr(case))
        for part in ("path_parameters", "query", "body"):
            setattr(case, part, _with_known_names(getattr(case, part), choose))
        answer = case.call(headers=HEADERS)
        assert answer.status_code != 500, answer.text
        assert str(answer.status_code) in operation.responses.status_codes, answer.text
        case.validate_response(answer, checks=[response_schema_conformance])

    is_answered_as_documented()


def _with_known_names(value: Any, choose: random.Random) -> Any:
    if isinstance(value, list):
        return [_with_known_names(one, choose) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: choose.choice(KNOWN[key])
        if key in KNOWN and isinstance(child, str | int) and choose.random() < 0.6
        else _with_known_names(child, choose)
        for key, child in value.items()
    }
