"""Any OpenAI-compatible server as the teacher: it plays and reflects in a collection that evaluators filter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from conftest import make_tiny, tiny_launch

from data.store import Store
from data.types import Episode
from retro_dash.serving.process import EngineProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[3]
TEACHER = "teacher"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """Our engine as somebody's server; its model has random weights, so that it solves nothing."""
    folder = make_tiny(tmp_path_factory.mktemp("models") / TEACHER, positions=4096)
    process = EngineProcess(tmp_path_factory.mktemp("elsewhere"), tiny_launch(folder))
    process.start()
    process.wait_until_ready(120)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def chat_only(teacher: EngineProcess) -> Iterator[str]:
    """The same server as a hosted one looks: models and chats, no token ids, nothing else."""
    assert teacher.record is not None
    behind = teacher.record.url

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.pass_on("GET", "/v1/models", b"")

        def do_POST(self) -> None:
            self.pass_on("POST", "/v1/chat/completions", self.rfile.read(int(self.headers["content-length"])))

        def pass_on(self, method: str, known: str, body: bytes) -> None:
            headers = {"authorization": self.headers.get("authorization", ""), "content-type": "application/json"}
            if self.path != known:
                self.send_error(404)
                return
            answer = httpx.request(method, behind + known, content=body, headers=headers, timeout=60)
            lines = [without_ids(line) for line in answer.text.split("\n")]
            self.send_response(answer.status_code)
            self.send_header("content-type", answer.headers["content-type"])
            self.end_headers()
            self.wfile.write("\n".join(lines).encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


def without_ids(line: str) -> str:
    if not line.startswith("data: {"):
        return line
    chunk = json.loads(line.removeprefix("data: "))
    for choice in chunk["choices"]:
        choice.pop("token_ids", None)
        choice.pop("logprobs", None)
    return f"data: {json.dumps(chunk)}"


def retro_dash(home: Path, key: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "retro_dash.cli", words[0], "--home", str(home), *words[1:]],
        capture_output=True, text=True, cwd=ROOT, timeout=200,
        env={**os.environ, "RETRO_API_KEY_VARIABLE": "TEACHER_KEY", "TEACHER_KEY": key},
    )  # fmt: skip


def collect(home: Path, key: str, url: str) -> list[Episode]:
    """Two short episodes that the teacher plays and reflects on, from the home's store."""
    who = ["--planner", TEACHER, "--reflector", TEACHER, "--engine", url]
    how = ["--env", "hotpotqa", "--count", "2", "--trials", "2", "--temperature", "1", "--parallel", "2"]
    done = retro_dash(home, key, "collect", *who, *how, "--json")
    assert done.returncode == 0, done.stderr
    with Store.open(home) as store:
        return [store.episode(id_, with_tokens=True) for id_ in store.episode_ids(f"planner:{TEACHER}")]


def test_a_server_by_its_url_plays_and_reflects_with_exact_tokens(teacher: EngineProcess, tmp_path: Path) -> None:
    assert teacher.record is not None
    episodes = collect(tmp_path, teacher.record.key, teacher.record.url)
    assert len(episodes) == 2
    for episode in episodes:
        assert (episode.planner, episode.reflector, episode.state) == (TEACHER, TEACHER, "failed")
        assert [reflection.author for reflection in episode.reflections] == ["reflector"]
        turns = [turn for trial in episode.trials for turn in trial.turns]
        assert turns
        assert all(turn.completion and turn.completion.token_ids and turn.completion.logprobs for turn in turns)


def test_a_server_that_only_chats_collects_too_and_evaluators_keep_what_is_good(
    teacher: EngineProcess, chat_only: str, tmp_path: Path
) -> None:
    assert teacher.record is not None
    key = teacher.record.key
    episodes = collect(tmp_path, key, chat_only)
    assert len(episodes) == 2
    completions = [turn.completion for episode in episodes for trial in episode.trials for turn in trial.turns]
    assert completions
    assert all(one and one.policy == TEACHER and one.token_ids is None for one in completions)

    experts = retro_dash(tmp_path, key, "collect", "--env", "hotpotqa", "--count", "3", "--trials", "1")
    assert experts.returncode == 0, experts.stderr
    filters = ["--filter", "env:hotpotqa", "--evaluator", "em", "--evaluator", "no_malformed", "--share", "0"]
    frozen = retro_dash(tmp_path, key, "dataset", "freeze", "experts", *filters, "--json")
    assert frozen.returncode == 0, frozen.stderr
    ids = set(json.loads(frozen.stdout)["episode_ids"])
    with Store.open(tmp_path) as store:
        assert ids == set(store.episode_ids("planner:expert"))
        assert store.episode_rows("").total == 5
    none = retro_dash(tmp_path, key, "dataset", "freeze", "none", "--filter", f"planner:{TEACHER}", *filters[2:])
    assert none.returncode == 2
    assert len(none.stderr.strip().splitlines()) == 1


def test_a_wrong_key_is_one_sentence_and_the_run_can_go_on_with_the_right_one(
    teacher: EngineProcess, tmp_path: Path
) -> None:
    assert teacher.record is not None
    url = teacher.record.url
    words = ["collect", "--env", "hotpotqa", "--count", "1", "--trials", "1", "--planner", TEACHER, "--engine", url]
    refused = retro_dash(tmp_path, "not the key", *words)
    assert refused.returncode == 8
    assert "Check the API key" in refused.stderr.strip().splitlines()[-1]
    (folder,) = (tmp_path / "runs").iterdir()
    done = retro_dash(tmp_path, teacher.record.key, "worker", str(folder), "--engine", url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"episode_finished"' in (folder / "events.jsonl").read_text()
