"""An engine process comes up, comes back after a crash, and is never left behind."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from data.errors import EngineError, Unavailable
from retro_dash.serving.engine import Engine
from retro_dash.serving.process import EngineProcess, Launch, end_left_behind, read_record, write_record

SERVER = """
import sys, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def launch(code: str = SERVER, seconds: float = 90) -> Launch:
    """A server without a model."""
    return Launch(lambda port: [sys.executable, "-c", code, str(port)], lambda key: {}, seconds)


def wait_for(condition: Callable[[], bool], seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[EngineProcess]:
    made = EngineProcess(tmp_path, launch())
    made.start()
    yield made
    made.stop()


def test_a_killed_server_comes_back_at_another_address(process: EngineProcess) -> None:
    served: list[str] = []
    process.on_ready = lambda client: served.append(client.url)
    process.wait_until_ready(90)
    first = process.record
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: process.state != "ready")
    assert "killed (exit code -9), as the system does when memory runs out" in process.detail
    with pytest.raises(EngineError, match=r"restarting|starting"):
        process.client()
    assert process.wait_until_ready(90).is_healthy()
    assert process.record is not None
    assert process.record.pid != first.pid


BUSY_SERVER = """
import json, os, sys, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-type", "application/json"); self.end_headers()
        self.wfile.write(json.dumps({"running": int(os.path.exists(sys.argv[2]))}).encode())
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_pause_lets_requests_finish_then_gives_the_memory_back_until_it_is_over(tmp_path: Path) -> None:
    request = tmp_path / "request-in-flight"
    request.touch()
    busy = Launch(lambda port: [sys.executable, "-c", BUSY_SERVER, str(port), str(request)], lambda key: {}, 90)
    process = EngineProcess(tmp_path, busy)
    process.start()
    try:
        process.wait_until_ready(90)
        first = process.record
        assert first is not None
        process.pause("The run train-1 trains with its memory")
        wait_for(lambda: process.state == "pausing")
        assert process.holds_memory
        with pytest.raises(EngineError, match=r"pausing: The run train-1"):
            process.client()
        time.sleep(0.5)
        assert psutil.pid_exists(first.pid)
        request.unlink()
        wait_for(lambda: process.state == "paused")
        assert not process.holds_memory
        assert not psutil.pid_exists(first.pid)
        with pytest.raises(EngineError, match=r"paused: The run train-1"):
            process.wait_until_ready(90)
        process.resume()
        wait_for(lambda: process.state == "ready")
        assert process.record is not None
        assert process.record.pid != first.pid
    finally:
        process.stop()


@pytest.mark.slow
def test_a_frozen_server_holds_nobody_up_says_so_and_is_started_again(tmp_path: Path) -> None:
    request = tmp_path / "no-request"
    busy = Launch(lambda port: [sys.executable, "-c", BUSY_SERVER, str(port), str(request)], lambda key: {}, 90)
    process = EngineProcess(tmp_path, busy, silent_seconds=1.0)
    engine = Engine("model", None, process)
    process.start()
    try:
        process.wait_until_ready(90)
        wait_for(lambda: engine.status()["load"] == {"running": 0})
        first = process.record
        assert first is not None
        os.kill(first.pid, signal.SIGSTOP)
        assert engine.status()["load"] == {"running": 0}, "what it said last, without asking it again"
        wait_for(lambda: process.state == "restarting")
        assert "The engine was frozen: it did not answer" in process.detail
        assert engine.status()["load"] == {}
        wait_for(lambda: process.state == "ready" and process.record != first)
        wait_for(lambda: not psutil.pid_exists(first.pid))
    finally:
        process.stop()


def test_a_server_that_waits_to_be_started_again_is_paused_at_once(tmp_path: Path) -> None:
    process = EngineProcess(tmp_path, launch("raise SystemExit(3)", 5))
    process.start()
    try:
        wait_for(lambda: process.state == "restarting" and "5 s" in process.detail)
        process.pause("A run trains")
        wait_for(lambda: process.state == "paused", 2)
    finally:
        process.stop()


def test_a_stopped_server_is_gone_with_its_record(process: EngineProcess) -> None:
    process.wait_until_ready(90)
    record = read_record(process.home)
    assert record is not None
    assert stat.S_IMODE((process.home / "engine.json").stat().st_mode) == 0o600
    process.stop()
    assert not psutil.pid_exists(record.pid)
    assert read_record(process.home) is None
    with pytest.raises(EngineError, match="stopped"):
        process.client()


def test_a_server_that_a_dead_hub_left_is_ended_but_a_stranger_with_its_pid_is_not(process: EngineProcess) -> None:
    process.wait_until_ready(90)
    record = process.record
    assert record is not None
    write_record(process.home, type(record)(record.url, record.key, record.pid, record.started - 60, record.command))
    end_left_behind(process.home)
    assert psutil.pid_exists(record.pid)
    write_record(process.home, record)
    end_left_behind(process.home)
    wait_for(lambda: not psutil.pid_exists(record.pid) or psutil.Process(record.pid).status() == "zombie")


def test_a_server_that_ends_at_once_is_reported_with_the_last_line_of_its_log(tmp_path: Path) -> None:
    process = EngineProcess(tmp_path, launch("import sys; sys.exit('the model file is cut off')"))
    process.start()
    wait_for(lambda: process.state == "restarting")
    assert "exit code 1: the model file is cut off" in process.detail
    assert "Starting it again in 1 s" in process.detail
    process.stop()


def test_what_cannot_be_prepared_is_said_and_nothing_is_started(tmp_path: Path) -> None:
    def prepare(progress: Callable[[str], None]) -> None:
        progress("Downloading")
        raise Unavailable("No package index answers.")

    process = EngineProcess(tmp_path, launch(), prepare)
    process.start()
    with pytest.raises(EngineError, match=r"No package index answers."):
        process.wait_until_ready(60)
    assert process.record is None
    process.stop()


def test_a_tethered_server_ends_with_its_hub_and_hands_on_its_exit_code(tmp_path: Path) -> None:
    tether = [sys.executable, "-m", "retro_dash.serving.tether"]
    failed = subprocess.run([*tether, str(os.getpid()), sys.executable, "-c", "raise SystemExit(7)"], check=False)
    assert failed.returncode == 7
    hub = """
import os, subprocess, sys, time
server = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
subprocess.Popen([sys.executable, "-m", "retro_dash.serving.tether", str(os.getpid()), *server])
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", hub], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = psutil.Process(int(parent.stdout.readline()))
        tethered = server.parent()
        parent.send_signal(signal.SIGKILL)
        wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
        assert tethered is not None
        wait_for(lambda: not tethered.is_running() or tethered.status() == psutil.STATUS_ZOMBIE)
