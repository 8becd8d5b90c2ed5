"""Whatever a server does wrong, the client says it in one sentence; it tries again only when nothing was lost."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data.errors import EngineError
from retro_dash.serving.client import EngineClient
from retro_dash.serving.load import Throughput

Answer = Callable[[BaseHTTPRequestHandler], None]


class ScriptedServer(ThreadingHTTPServer):
    """Answers each request with the next entry of its script."""

    daemon_threads = True

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                outer.asked += 1
                outer.script[min(outer.asked, len(outer.script)) - 1](self)

            do_GET = do_POST

            def log_request(self, *arguments: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    made = ScriptedServer()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def status(code: int, body: object) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(code)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def events(*lines: str) -> Answer:
    """A stream that ends after these lines, complete or not."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.end_headers()
        for line in lines:
            handler.wfile.write(f"{line}\n\n".encode())
        handler.wfile.flush()

    return answer


def chunk(text: str, ids: list[int] | None = None, finish: str | None = None) -> str:
    logprobs = {"token_logprobs": [-0.5] * len(ids)} if ids is not None else None
    choice = {"index": 0, "text": text, "token_ids": ids, "logprobs": logprobs, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}"


GOOD = events(": waiting", chunk("a", [5]), chunk("b", [6], "stop"), "data: [DONE]")


def ask(server: ScriptedServer, **wishes: object) -> object:
    known = {"timeout": 0.5, "deadline": 5.0}
    client = EngineClient(server.url, **{name: wishes.pop(name, value) for name, value in known.items()})  # type: ignore[arg-type]
    return client.complete([1, 2], model="m", max_tokens=4, **wishes)  # type: ignore[arg-type]


def test_a_streamed_answer_is_shown_piece_by_piece_and_keeps_its_tokens(server: ScriptedServer) -> None:
    server.script = [GOOD]
    shown: list[str] = []
    done = ask(server, on_text=shown.append)
    assert shown == ["a", "b"]
    assert (done.text, done.token_ids, done.logprobs, done.finish_reason) == ("ab", (5, 6), (-0.5, -0.5), "stop")  # type: ignore[attr-defined]


def test_a_busy_server_is_asked_again(server: ScriptedServer) -> None:
    server.script = [status(503, {"error": {"message": "busy"}}), status(429, b""), GOOD]
    assert ask(server).text == "ab"  # type: ignore[attr-defined]
    assert server.asked == 3


def test_a_server_that_stays_busy_is_given_up_with_its_own_words(server: ScriptedServer) -> None:
    server.script = [status(503, {"error": {"message": "all slots taken"}})]
    with pytest.raises(EngineError, match=r"HTTP 503.*all slots taken"):
        ask(server)
    assert server.asked == 3


def test_a_refusal_is_not_repeated(server: ScriptedServer) -> None:
    server.script = [status(401, {"error": {"message": "bad key"}})]
    with pytest.raises(EngineError, match="bad key Check the API key"):
        ask(server)
    assert server.asked == 1


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (events(chunk("a", [5])), "cut its answer off after 1 characters"),
        (events("data: {not json"), "not a chunk of an answer"),
        (events("data: [1, 2]"), "not a chunk of an answer"),
        (events(), "cut its answer off after 0 characters"),
        (events('data: {"error": {"message": "out of memory"}}'), "failed: out of memory"),
        (events(*[chunk("x", [5])] * 9), "more than the 4 tokens"),
        (events(chunk("ab", None, "stop"), "data: [DONE]"), "gave no token ids"),
        (status(404, b"<html>"), "HTTP 404.*<html>"),
    ],
    ids=["cut", "malformed", "not an object", "empty", "error", "endless", "no ids", "other server"],
)
def test_a_bad_answer_is_one_sentence(server: ScriptedServer, answer: Answer, sentence: str) -> None:
    server.script = [answer]
    with pytest.raises(EngineError, match=sentence):
        ask(server)
    assert server.asked == 1


def test_a_connection_that_breaks_in_the_middle_is_not_asked_again(server: ScriptedServer) -> None:
    def broken(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "9999")
        handler.end_headers()
        handler.wfile.write(f"{chunk('a', [5])}\n\n".encode())

    server.script = [broken, GOOD]
    with pytest.raises(EngineError, match="broke"):
        ask(server)
    assert server.asked == 1


def test_a_silent_server_is_given_up(server: ScriptedServer) -> None:
    release = threading.Event()
    server.script = [lambda handler: release.wait(20) and None]  # type: ignore[func-returns-value]
    with pytest.raises(EngineError, match="silent for too long"):
        ask(server, timeout=0.2)
    release.set()


def test_an_answer_that_takes_longer_than_the_deadline_is_given_up(server: ScriptedServer) -> None:
    server.script = [events(*[": waiting"] * 50)]
    with pytest.raises(EngineError, match="longer than 0 s"):
        ask(server, deadline=0.0)


def test_a_person_who_presses_stop_keeps_what_was_written(server: ScriptedServer) -> None:
    server.script = [events(chunk("a", [5]), chunk("b", [6]), chunk("c", [7]))]
    shown: list[str] = []
    done = ask(server, on_text=shown.append, should_stop=lambda: len(shown) == 2)
    assert (done.text, done.token_ids, done.finish_reason) == ("ab", (5, 6), "abort")  # type: ignore[attr-defined]


def test_a_missing_server_is_named_with_what_to_do() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(EngineError, match=r"No engine answers at .* start it"):
        EngineClient(url).models()


def test_a_chat_server_without_token_ids_can_chat_and_says_what_it_cannot(server: ScriptedServer) -> None:
    def delta(text: str, finish: str | None) -> str:
        return f"data: {json.dumps({'choices': [{'delta': {'content': text}, 'finish_reason': finish}]})}"

    server.script = [events(delta("hel", None), delta("lo", "stop"), "data: [DONE]")]
    client = EngineClient(server.url)
    done = client.chat([{"role": "user", "content": "hi"}], model="m", max_tokens=9)
    assert (done.text, done.token_ids) == ("hello", None)
    server.script = [status(404, {"error": {"message": "no such route"}})]
    can = client.capabilities("m")
    assert not can.exact_tokens
    assert "not for RL" in can.detail


METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="base"}} 3.0
vllm:num_requests_waiting{{engine="0",model_name="base"}} 2.0
vllm:prefix_cache_queries_total{{engine="0",model_name="base"}} 400.0
vllm:prefix_cache_hits_total{{engine="0",model_name="base"}} 300.0
vllm:generation_tokens_total{{engine="0",model_name="base"}} {tokens}
vllm:generation_tokens_created{{engine="0",model_name="base"}} 1.7e9
process_open_fds 30.0
"""


def text(content: str) -> Answer:
    return status(200, content.encode())


def test_the_load_of_vllm_is_read_from_its_metrics(server: ScriptedServer) -> None:
    first, second = METRICS.format(tokens=1000.0), METRICS.format(tokens="1.5e+03")
    server.script = [status(404, {}), text(first), text(second), text("process_open_fds 30.0\n")]
    client = EngineClient(server.url)
    busy = {"running": 3, "waiting": 2, "prefix_hit_rate": 0.75}
    assert client.stats() == {**busy, "tokens_per_second": 0.0}
    load = client.stats()
    assert load["tokens_per_second"] > 0
    assert {**load, "tokens_per_second": 0.0} == {**busy, "tokens_per_second": 0.0}
    assert client.stats() == {}, "metrics of another program say nothing about a queue"
    assert server.asked == 4, "a server without /stats is asked for its metrics from then on"


def test_throughput_is_that_of_the_last_ten_seconds() -> None:
    throughput = Throughput()
    assert throughput.rate(100, now=0) == 0
    assert throughput.rate(150, now=5) == 10  # 50 tokens in 5 s
    assert throughput.rate(300, now=10) == 20  # 200 tokens in 10 s
    assert throughput.rate(300, now=15) == 15  # 150 tokens in the last 10 s
    assert throughput.rate(300, now=40) == 0


def test_a_server_that_is_silent_has_no_load_to_tell() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(EngineError, match="No engine answers"):
            EngineClient(f"http://127.0.0.1:{taken.getsockname()[1]}").stats()
