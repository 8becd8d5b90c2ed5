"""The engine's operating-system process: started, watched, restarted with back-off, and never left behind."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from data.errors import EngineError, RetroDashError
from retro_dash.serving.client import EngineClient

_BACK_OFF = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before the first, second, ... restart in a row."""
_STEADY_SECONDS = 120.0
"""An engine that ran so long starts again with the shortest wait."""
_DRAIN_SECONDS = 60.0
"""The longest that a pause waits for requests in flight."""
_LOOK_SECONDS = 1.0
"""How often a ready server is asked for its load."""
SILENT_SECONDS = 60.0
"""A ready server that has not answered for so long is frozen, and started again."""

EMBEDDED_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false"}
"""Threads sleep while they wait for each other. Where others use the cores too (a training run, a browser), threads
that spin instead made a step take seconds that takes 40 ms so."""
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
    "MALLOC_ARENA_MAX": "2",
}
"""glibc returns a dropped buffer of keys and values to the system at once, instead of keeping a hole of its size."""


@dataclass(frozen=True)
class EngineRecord:
    """What `HOME/engine.json` (mode 0600) says about the process that serves."""

    url: str
    key: str
    pid: int
    started: float
    """Start time of the process as the kernel knows it: a recycled pid has another one."""
    command: list[str]


@dataclass(frozen=True)
class Launch:
    """How to start a server: argument vector and environment for a port and a key."""

    command: Callable[[int], Sequence[str]]
    environment: Callable[[str], Mapping[str, str]]
    start_seconds: float = 300.0
    """The longest that a start may take."""


def embedded_environment(key: str) -> dict[str, str]:
    """What the embedded engine's process wants to find in its environment; `key` is what its clients must show."""
    return {"RETRO_ENGINE_KEY": key, **EMBEDDED_ENVIRONMENT, **_MALLOC}


_READY = "The engine is ready"
Prepare = Callable[[Callable[[str], None]], None]
"""Something slow that has to happen first; it is given a function that shows a line of progress."""


class EngineProcess:
    """Keeps one server running on a free loopback port. All methods may be called from any thread."""

    def __init__(
        self, home: Path, launch: Launch, prepare: Prepare | None = None, silent_seconds: float = SILENT_SECONDS
    ) -> None:
        """`prepare` runs once before the first start, in the watching thread; it may raise `RetroDashError`."""
        self.home = home
        self.log_path = home / "logs" / "engine.log"
        self.state = "stopped"
        """`stopped`, `starting`, `ready`, `restarting`, `failed`, `pausing` or `paused`."""
        self.detail = ""
        self.record: EngineRecord | None = None
        self.load: dict[str, Any] = {}
        """How busy the ready server said it was a moment ago."""
        self.on_ready: Callable[[EngineClient], None] = lambda client: None
        """Called in the watching thread each time a new server answers, before it counts as ready."""
        self._launch = launch
        self._prepare = prepare
        self._silent_seconds = silent_seconds
        self._heard = 0.0
        """When the ready server answered last."""
        self._child: subprocess.Popen[bytes] | None = None
        self._client: EngineClient | None = None
        self._stop = threading.Event()
        self._pause = threading.Event()
        self._why_paused = ""
        self._changed = threading.Condition()
        self._watcher = threading.Thread(target=self._watch, name="engine", daemon=True)

    def start(self) -> None:
        """Returns at once; `wait_until_ready` waits. A server that an earlier hub left behind is ended first."""
        end_left_behind(self.home)
        self._set("starting", "Starting the engine")
        self._watcher.start()

    def stop(self) -> None:
        """Ends the server: politely, then after ten seconds not."""
        self._stop.set()
        self._end_child()
        if self._watcher.is_alive():
            self._watcher.join(timeout=15)
        with contextlib.suppress(OSError):  # A disk that turned read-only keeps it; the process it names is gone.
            (self.home / "engine.json").unlink(missing_ok=True)
        self._set("stopped", "The engine was stopped")

    def pause(self, why: str) -> None:
        """Let go of the memory until `resume`: requests in flight finish, then the server ends. Returns at once."""
        self._why_paused = why
        self._pause.set()

    def resume(self) -> None:
        """Serve again after a pause. Returns at once."""
        self._pause.clear()

    @property
    def holds_memory(self) -> bool:
        """Whether a server of ours runs, or is about to."""
        return self.state not in ("paused", "failed", "stopped")

    def wait_until_ready(
        self, timeout: float | None = None, progress: Callable[[str], None] | None = None
    ) -> EngineClient:
        """The client of the ready server. Raises `EngineError` when it does not come up in `timeout` seconds."""
        until = time.monotonic() + (timeout or self._launch.start_seconds)
        shown = ""
        with self._changed:
            while self.state != "ready":
                if progress and self.detail != shown:
                    shown = self.detail
                    progress(shown)
                if self.state in ("pausing", "paused"):
                    raise EngineError(f"The engine is {self.state}: {self.detail}. Try again when it is ready.")
                if self.state in ("failed", "stopped") or time.monotonic() > until:
                    raise EngineError(f"The engine is not ready: {self.detail or self.state}. See {self.log_path}.")
                self._changed.wait(0.5)
        return self.client()

    def client(self) -> EngineClient:
        """Raises `EngineError` while the server is not ready."""
        client = self._client
        if self.state != "ready" or client is None:
            raise EngineError(f"The engine is {self.state}: {self.detail}. Try again when it is ready.")
        return client

    def _set(self, state: str, detail: str) -> None:
        with self._changed:
            self.state, self.detail = state, detail
            self._changed.notify_all()

    def _watch(self) -> None:
        try:
            if self._prepare is not None:
                self._prepare(lambda line: self._set("starting", line))
        except RetroDashError as error:
            self._set("failed", str(error))
            return
        crashes = 0
        while not self._stop.is_set():
            if self._pause.is_set():
                self._set("paused", self._why_paused)
                self._sleep_while(self._pause.is_set)
                continue
            began = time.monotonic()
            problem = self._run_once()
            if self._stop.is_set():
                return
            if self._pause.is_set():
                continue
            crashes = 1 if time.monotonic() - began > _STEADY_SECONDS else crashes + 1
            if crashes > len(_BACK_OFF):
                self._set("failed", f"{problem} It failed {crashes} times in a row and is not started again")
                return
            wait = _BACK_OFF[crashes - 1]
            self._set("restarting", f"{problem} Starting it again in {wait:.0f} s")
            self._back_off(time.monotonic() + wait)

    def _back_off(self, until: float) -> None:
        self._sleep_while(lambda: time.monotonic() < until and not self._pause.is_set())

    def _sleep_while(self, is_needed: Callable[[], bool]) -> None:
        while is_needed() and not self._stop.wait(0.2):
            pass

    def _run_once(self) -> str:
        """One life of the server; returns what ended it."""
        try:
            self._spawn()
        except OSError as error:
            return f"The engine could not be started ({error})."
        assert self._child is not None
        assert self.record is not None
        client = EngineClient(self.record.url, self.record.key)
        until = time.monotonic() + self._launch.start_seconds
        while self._child.poll() is None and not self._stop.is_set():
            if self._pause.is_set():
                self._drain(client)
                self._end_child()
                return "The engine was paused."
            if self.state == "ready":
                if not self._is_heard(client):
                    self._end_child(patience=1.0)
                    return f"The engine was frozen: it did not answer for {self._silent_seconds:.0f} s."
            elif client.is_healthy():
                self.on_ready(client)
                self._client, self._heard = client, time.monotonic()
                self._set("ready", _READY)
            elif time.monotonic() > until:
                self._end_child()
                return f"The engine did not answer within {self._launch.start_seconds:.0f} s."
            self._stop.wait(0.2 if self.state != "ready" else _LOOK_SECONDS)
        if self._stop.is_set():
            self._end_child()
        code = self._child.poll()
        if code == -signal.SIGKILL:
            return "The engine was killed (exit code -9), as the system does when memory runs out."
        return f"The engine ended with exit code {code}: {last_line(self.log_path)}"

    def look(self) -> None:
        """Read the load now, after a change that people look for at once."""
        if self._client is not None:
            self.load = self._client.stats()

    def _is_heard(self, client: EngineClient) -> bool:
        """Note the load of a ready server, or how long it has been silent; False when that is too long."""
        try:
            self.load = client.stats()
        except EngineError:
            silent = time.monotonic() - self._heard
            self._set("ready", f"The engine has not answered for {silent:.0f} s")
            return silent < self._silent_seconds
        self._heard = time.monotonic()
        if self.detail != _READY:
            self._set("ready", _READY)
        return True

    def _drain(self, client: EngineClient) -> None:
        """New requests are refused from now on; the ones in flight may finish."""
        was_ready = self.state == "ready"
        self._set("pausing", self._why_paused)
        until = time.monotonic() + _DRAIN_SECONDS
        while was_ready and time.monotonic() < until and not self._stop.is_set():
            with contextlib.suppress(EngineError):  # One that does not answer is ended when the time is over.
                load = client.stats()
                if not load.get("running") and not load.get("waiting"):
                    return
            self._stop.wait(0.2)

    def _spawn(self) -> None:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        port, key = _free_port(), secrets.token_urlsafe(24)
        command = list(self._launch.command(port))
        self.load = {}
        self._set("starting", "Loading the model")
        with self.log_path.open("ab") as log:
            self._child = subprocess.Popen(
                command,
                env={**os.environ, **self._launch.environment(key)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started = psutil.Process(self._child.pid).create_time()
        self.record = EngineRecord(f"http://127.0.0.1:{port}", key, self._child.pid, started, command)
        write_record(self.home, self.record)

    def _end_child(self, patience: float = 10.0) -> None:
        child = self._child
        if child is not None and child.poll() is None:
            end_tree(child.pid, patience)
            child.wait()


def write_record(home: Path, record: EngineRecord) -> None:
    """Written whole or not at all, readable by the owner only."""
    scratch = home / f".engine-{os.getpid()}.json"
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(record), file)
    scratch.replace(home / "engine.json")


def read_record(home: Path) -> EngineRecord | None:
    """The recorded process if it still runs: same pid and same start time."""
    try:
        record = EngineRecord(**json.loads((home / "engine.json").read_text()))
        is_same = abs(psutil.Process(record.pid).create_time() - record.started) < 1
    except (OSError, ValueError, TypeError, psutil.Error):
        return None
    return record if is_same else None


def end_left_behind(home: Path) -> None:
    """Ends the server of a hub that died without stopping it."""
    record = read_record(home)
    if record is not None:
        end_tree(record.pid)
    (home / "engine.json").unlink(missing_ok=True)


def end_tree(pid: int, patience: float = 10.0) -> None:
    """Asks a process and all its children to end, and kills what is left after `patience` seconds."""
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        parent.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=patience)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def last_line(path: Path) -> str:
    """The last line of a log that says something."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return "there is no log"
    return lines[-1][:300] if lines else "the log is empty"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
