"""Tools for agents, asked by the SDK's own client: over HTTP behind the guard, and over standard input and output."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hostile_home
import httpx2
import psutil
import pytest
import uvicorn
from accounts_examples import BEARER, TOKEN, add_users, client_of, hub
from curation_examples import fill, make_episode
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from data.store import Store
from retro_dash.address import HubAddress
from retro_dash.audit import AuditLog
from retro_dash.guard import Guard
from retro_dash.hub import LOCAL_HOSTS, build_api
from retro_dash.identity import Identity
from retro_dash.limits import Attempts
from retro_dash.mcp_tools import LONGEST_TEXT, _piece, comparison
from retro_dash.roles import Role
from retro_dash.service import Service
from retro_dash.sessions import write_private
from retro_dash.settings import Settings

READING = {
    "filter_language",
    "list_episodes",
    "read_episode",
    "compare_trials",
    "list_labels",
    "list_runs",
    "read_run",
    "list_results",
    "read_result",
    "query_sql",
}
WRITING = {"label", "undo_label"}
VERDICT = {"episode_id": "e1", "name": "verdict", "value": "good"}
Asked = Callable[[Client], Awaitable[Any]]


@contextmanager
def running(home: Path, mode: str) -> Iterator[HubAddress]:
    """A hub that serves tools, with its address in the home."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = HubAddress(f"http://127.0.0.1:{port}", TOKEN, os.getpid(), psutil.Process().create_time())
    service = Service(Settings(home=home, engine="none", mcp=mode), Store.open(home))
    identity = Identity(home, TOKEN)
    api = build_api(service, identity, Attempts(), address)
    app = Guard(api, identity, AuditLog(home / "audit.jsonl"), LOCAL_HOSTS)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    write_private(home / "hub.json", json.dumps(address.__dict__))
    yield address
    (home / "hub.json").unlink()
    server.should_exit = True
    thread.join(10)
    service.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    with Store.open(home) as store:
        fill(store, make_episode("e1"), make_episode("e2", (0.0, 0.5)))
    return home


@pytest.fixture(scope="module")
def tokens(home: Path) -> dict[Role, str]:
    return add_users(home)


@pytest.fixture(scope="module")
def address(home: Path, tokens: dict[Role, str]) -> Iterator[HubAddress]:
    with running(home, "write") as address:
        yield address


def ask(address: HubAddress, question: Asked, mode: str = "auto", **headers: str) -> Any:
    """The answer of a real client to one question."""

    async def asked() -> Any:
        everything = {"authorization": f"Bearer {address.token}", **headers}
        async with (
            httpx2.AsyncClient(headers=everything, trust_env=False, timeout=60) as http,
            Client(streamable_http_client(f"{address.url}/mcp", http_client=http), mode=mode) as client,
        ):
            return await question(client)

    return asyncio.run(asked())


def call(address: HubAddress, tool: str, mode: str = "auto", **arguments: Any) -> Any:
    return ask(address, lambda client: client.call_tool(tool, arguments), mode)


def text_of(result: Any) -> str:
    return "\n".join(part.text for part in result.content)


def said(result: Any) -> str:
    """The sentence of a tool that failed."""
    assert result.is_error, text_of(result)
    return text_of(result)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_agent_finds_reads_and_compares_by_either_revision_of_the_protocol(address: HubAddress, mode: str):
    page = call(address, "list_episodes", mode, filter="outcome:solved").structured_content
    assert (page["total"], page["rows"][0]["id"], page["rows"][0]["best_gain"]) == (1, "e1", 1.0)
    whole = text_of(call(address, "read_episode", mode, episode_id="e1"))
    assert "## Trial 2" in whole
    assert "Compare both rivers" in whole
    assert "the Nile" not in whole, "the gold answer"
    compared = call(address, "compare_trials", mode, episode_id="e1").structured_content
    assert compared["rows"] == [["1: search[Nile]", "1: search[Nile]"], ["2: finish[Nile]", "2: finish[Nile]"]]
    assert [(trial["success"], trial["gain"]) for trial in compared["trials"]] == [(False, 1.0), (True, None)]


def test_runs_results_and_the_filter_language_are_told(address: HubAddress):
    assert "outcome" in text_of(call(address, "filter_language"))
    assert call(address, "list_runs").is_error is False
    assert call(address, "list_results").is_error is False
    assert "There is no run called 'none'" in said(call(address, "read_run", run_id="none"))


def test_a_run_comes_with_its_newest_metrics_and_log_and_an_evaluation_with_its_scores(tmp_path: Path):
    hostile_home.fill(tmp_path, ["<b>text</b>", "[/nope]"])
    with running(tmp_path, "read") as address:
        trained = json.loads(text_of(call(address, "list_runs", kinds=["train"])))
        assert (trained["id"], trained["state"], "config" in trained) == (hostile_home.TRAINED, "failed", False)
        run = json.loads(text_of(call(address, "read_run", run_id=hostile_home.TRAINED)))
        assert run["metrics"]["planner/il_loss"] == {"step": 3, "value": 2 / 3}
        assert run["log"] == "<b>text</b> [/nope]"
        result = json.loads(text_of(call(address, "list_results")))
        assert (result["run_id"], result["tasks"], result["trials"]) == (hostile_home.EVALUATED, 1, 2)
        assert [arm["final"]["mean"] for arm in result["methods"]] == [1.0, 1.0]
        assert [arm["difference_from_first"] is None for arm in result["methods"]] == [True, False]
        report = json.loads(text_of(call(address, "read_result", run_id=hostile_home.EVALUATED)))
        assert len(report["arms"]) == 2
        assert "has no report" in said(call(address, "read_result", run_id=hostile_home.TRAINED))


def test_sql_is_answered_from_a_copy(address: HubAddress):
    table = call(address, "query_sql", sql="SELECT id FROM episodes ORDER BY id", limit=1).structured_content
    assert (table["columns"], table["rows"], table["is_cut"]) == (["id"], [["e1"]], True)
    assert "read-only" in said(call(address, "query_sql", sql="DELETE FROM episodes"))
    assert "Parser Error" in said(call(address, "query_sql", sql="SELEC 1"))


def test_what_the_hub_refuses_the_agent_reads_as_a_sentence(address: HubAddress):
    assert "trials" in said(call(address, "list_episodes", filter="trials>many"))
    assert "There is no episode called 'e9'" in said(call(address, "read_episode", episode_id="e9"))
    assert "There is nothing there" in said(call(address, "read_episode", episode_id="../../etc"))
    assert "less than or equal to 100" in said(call(address, "list_episodes", limit=10_000))
    assert "A verdict is" in said(call(address, "label", **{**VERDICT, "value": "wonderful"}))


def test_a_role_holds_for_an_agent_as_for_a_person(address: HubAddress, home: Path, tokens: dict[Role, str]):
    viewer, annotator = (replace(address, token=tokens[role]) for role in (Role.VIEWER, Role.ANNOTATOR))
    assert call(viewer, "list_episodes").structured_content["total"] == 2
    assert "needs the role annotator" in said(call(viewer, "label", **VERDICT))
    assert "needs the role admin" in said(call(annotator, "query_sql", sql="SELECT 1"))
    made = call(annotator, "label", **VERDICT, annotator="somebody else").structured_content
    assert (made["annotator"], made["value"]) == ("annotator", "good")
    standing = call(viewer, "list_labels", episode_id="e1").structured_content["result"]
    assert [(one["annotator"], one["value"]) for one in standing] == [("annotator", "good")]
    assert call(annotator, "undo_label").is_error is False
    assert call(viewer, "list_labels", episode_id="e1").structured_content["result"] == []
    log = (home / "audit.jsonl").read_text()
    assert log.count('"path": "/api/v1/labels"') >= 2, "one made, one refused"


def test_a_stranger_and_a_foreign_page_get_no_tools(address: HubAddress):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}

    def status(**headers: str) -> int:
        with httpx2.Client(trust_env=False) as http:
            return http.post(f"{address.url}/mcp", json=body, headers=headers).status_code

    bearer = {"authorization": f"Bearer {address.token}"}
    assert status() == 401
    assert status(authorization="Bearer wrong") == 401
    assert status(**bearer, origin="http://evil.example") == 403
    assert status(**bearer, origin="null") == 403
    assert status(**bearer, host="evil.example") == 400


def test_tools_that_write_are_there_only_where_they_are_switched_on(address: HubAddress, tmp_path: Path):
    async def tools(client: Client) -> dict[str, bool | None]:
        found = (await client.list_tools()).tools
        return {tool.name: tool.annotations.read_only_hint for tool in found}

    there = ask(address, tools)
    assert {name for name, reads in there.items() if reads} == READING
    assert {name for name, reads in there.items() if not reads} == WRITING
    with running(tmp_path, "read") as reading:
        assert set(ask(reading, tools)) == READING
        assert "Unknown tool" in said(call(reading, "label", **VERDICT))


def test_without_the_setting_there_is_only_a_sentence_that_says_how(tmp_path: Path):
    with hub(tmp_path) as app:
        answer = client_of(app).post("/mcp", json={}, headers=BEARER)
    assert answer.status_code == 404
    assert "--mcp read" in answer.json()["detail"]


def test_many_calls_at_once_do_not_wait_for_each_other_for_ever(address: HubAddress):
    async def many(client: Client) -> list[Any]:
        return await asyncio.gather(*(client.call_tool("list_episodes", {}) for _ in range(60)))

    began = time.monotonic()
    results = ask(address, many)
    assert [result.is_error for result in results] == [False] * 60
    assert time.monotonic() - began < 50, "each waits for a thread that the others hold"


def over_stdio(home: Path, question: Asked, *flags: str) -> Any:
    command = ["-m", "retro_dash.cli", "mcp", "--home", str(home), *flags]

    async def asked() -> Any:
        here = str(Path(__file__).parents[2])
        async with Client(StdioServerParameters(command=sys.executable, args=command, cwd=here)) as client:
            return await question(client)

    return asyncio.run(asked())


def test_the_command_speaks_for_the_hub_of_a_home_and_finds_it_again(tmp_path: Path):
    with Store.open(tmp_path) as store:
        fill(store, make_episode("e1"))

    async def before_and_after(client: Client) -> tuple[set[str], Any, Any]:
        names = {tool.name for tool in (await client.list_tools()).tools}
        nothing = await client.call_tool("list_episodes", {})
        with running(tmp_path, "off"):
            return names, nothing, await client.call_tool("list_episodes", {})

    names, nothing, page = over_stdio(tmp_path, before_and_after)
    assert names == READING
    assert "Start it with: retro-dash web" in said(nothing)
    assert page.structured_content["total"] == 1


def test_the_command_labels_when_it_may(address: HubAddress, home: Path):
    made = over_stdio(home, lambda client: client.call_tool("label", {**VERDICT, "annotator": "robot"}), "--write")
    assert made.structured_content["annotator"] == "robot"
    assert call(address, "undo_label", annotator="robot").structured_content["undoes"] is not None


def test_a_long_text_comes_in_pieces_that_say_how_to_go_on():
    text = "x" * (LONGEST_TEXT + 5)
    first = _piece(text, 0)
    assert first.endswith(f"go on with start={LONGEST_TEXT}]")
    assert _piece(text, LONGEST_TEXT) == "x" * 5
    assert _piece(text, 10**9) == ""


def test_turns_that_the_api_left_out_are_named_by_their_number():
    trial = {"index": 1, "reward": 0.0, "success": False, "stop_reason": None, "turns": [{"action": "look"}]}
    episode = {"reflections": [], "trials": [trial], "turn_counts": {"1": 2}}
    compared = comparison(episode, {"rows": [[1], [2], [None]], "divergences": [], "repeats": {}})
    assert compared.rows == (("1: look",), ("2: …",), (None,))
    assert compared.trials[0].turns == 2
