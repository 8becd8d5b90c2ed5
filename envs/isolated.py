"""An environment in a process of its own: it may crash, hang or print nonsense, and only its trial is lost.

The parent holds an `EnvironmentPool`; each child (`python -m envs.isolated`) plays one trial at a time and is
used again. They speak JSON, one object a line: {"do": "open" | "start" | "step" | "view" | "close", ...} is
answered by {"ok": ...} or {"error": name, "text": sentence}. A child ends, with all that it started, when its
standard input ends, so it never outlives its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import JsonValue

from data import errors
from data.errors import BadInput, EnvironmentCrashed, RetroDashError
from data.types import StopReason, Task
from envs import environment_kind
from envs.base import Environment, EnvironmentKind, Options, StepOutcome

STEP_SECONDS = 60.0
IDLE_LIMIT = 4
MEMORY_LIMIT = 4 * 1024**3
"""Bytes of address space of a child and of what it starts."""
REQUEST_LIMIT = 128 * 1024**2
"""Bytes of one line to a child."""
REPLY_LIMIT = 64 * 1024**2
END_SECONDS = 2.0
"""How long a child may take to end by itself before it is killed."""

_ROOT = Path(__file__).resolve().parents[1]
_SET_CHILD_SUBREAPER = 36


class EnvironmentPool:
    """Opens environments in child processes and keeps a few idle ones. Safe to use from several threads.

    `deadlines` gives the seconds that one call may take, by environment; others have `deadline`. `command` is what
    runs a child.
    """

    def __init__(
        self,
        deadline: float = STEP_SECONDS,
        deadlines: Mapping[str, float] | None = None,
        idle_limit: int = IDLE_LIMIT,
        memory_limit: int = MEMORY_LIMIT,
        command: Sequence[str] | None = None,
    ) -> None:
        self._deadline = deadline
        self._deadlines = dict(deadlines or {})
        self._idle_limit = idle_limit
        self._memory_limit = memory_limit
        self._command = tuple(command or (sys.executable, "-P", "-m", "envs.isolated"))
        self._lock = threading.Lock()
        self._idle: list[tuple[str, _Child]] = []
        self._open: set[IsolatedEnvironment] = set()
        self._is_closed = False

    def open(self, task: Task, options: Options) -> IsolatedEnvironment:
        """Start a trial in a child. Raises what the environment's own `open` raises, or EnvironmentCrashed."""
        if self._is_closed:
            raise errors.Refused("The environment pool is closed; make a new one.")
        try:
            child = self._take(task.env)
        except OSError as error:
            raise EnvironmentCrashed(
                f"No process could be started for the environment {task.env}: {error}."
            ) from error
        environment = IsolatedEnvironment(self, child, task, self._deadlines.get(task.env, self._deadline))
        with self._lock:
            self._open.add(environment)
        environment._ask(
            {"do": "open", "task": task.model_dump(mode="json"), "options": dict(options)}, "being opened"
        )
        return environment

    def close(self) -> None:
        """End every child, those in the middle of a trial too. Safe to call twice."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            running, self._open = self._open, set()
        for _, child in idle:
            child.end()
        for environment in running:
            environment.close()

    def __enter__(self) -> EnvironmentPool:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _take(self, name: str) -> _Child:
        """An idle child that has played this environment, or a new one."""
        with self._lock:
            ready = [entry for entry in self._idle if entry[0] == name]
            for entry in ready:
                self._idle.remove(entry)
        alive = [child for _, child in ready if child.is_alive()]
        for _, child in ready:
            if child not in alive:
                child.end()
        if not alive:
            return _Child(self._command, self._memory_limit)
        for spare in alive[1:]:
            self._keep(name, spare)
        return alive[0]

    def _keep(self, name: str, child: _Child) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append((name, child))
            over = self._idle[: -self._idle_limit] if self._idle_limit else list(self._idle)
            for entry in over:
                self._idle.remove(entry)
        for _, spare in over:
            spare.end()
        if self._is_closed:
            child.end()

    def _give_back(self, environment: IsolatedEnvironment, child: _Child, is_usable: bool) -> None:
        with self._lock:
            self._open.discard(environment)
        if is_usable:
            self._keep(environment.task.env, child)
        else:
            child.end()


class IsolatedEnvironment:
    """An `Environment` whose work is done by a child. After EnvironmentCrashed it is of no more use."""

    def __init__(self, pool: EnvironmentPool, child: _Child, task: Task, deadline: float) -> None:
        self.task = task
        self._pool = pool
        self._child: _Child | None = child
        self._deadline = deadline
        self._busy = threading.Lock()
        self._view: dict[str, JsonValue] | None = None

    def start(self) -> str:
        reply = self._ask({"do": "start"}, "starting")
        self._view = reply["view"]
        return str(reply["observation"])

    def step(self, action: str) -> StepOutcome:
        reply = self._ask({"do": "step", "action": action}, f"doing {_cut(action)!r}")
        self._view = reply["view"]
        stop = reply["stop"]
        return StepOutcome(
            reply["observation"], reply["reward"], StopReason(stop) if stop else None, reply["is_valid"]
        )

    def view(self) -> dict[str, JsonValue]:
        """The view that came with the last answer: it costs no trip to the child."""
        if self._view is None:
            self._view = self._ask({"do": "view"}, "being looked at")["view"]
        return self._view

    def close(self) -> None:
        """Give the child back. One that is in the middle of a step is ended, and that step raises
        EnvironmentCrashed."""
        child = self._child
        if child is None:
            return
        if not self._busy.acquire(blocking=False):
            # Another thread waits for the child's answer; it sees the end of the child and cleans up.
            child.kill()
            self._busy.acquire()
        try:
            is_usable = False
            with contextlib.suppress(_ChildError, RetroDashError):
                is_usable = child.is_alive() and "ok" in child.ask({"do": "close"}, self._deadline)
            self._drop(is_usable)
        finally:
            self._busy.release()

    def _ask(self, request: dict[str, Any], doing: str) -> dict[str, Any]:
        """One question and its answer; `doing` says in an error what was going on."""
        with self._busy:
            if self._child is None:
                raise EnvironmentCrashed(f"The environment {self.task.env} of task {self.task.id} is closed or gone.")
            try:
                reply = self._child.ask(request, self._deadline)
                return _checked(reply)
            except _ChildError as error:
                problem = str(error)
            except RetroDashError as error:
                if request["do"] == "open" or isinstance(error, EnvironmentCrashed):
                    self._drop(is_usable=not isinstance(error, EnvironmentCrashed))
                raise
            self._drop(is_usable=False)
            raise EnvironmentCrashed(
                f"The environment {self.task.env} broke on task {self.task.id} while {doing}: {problem} "
                "Its process was ended; the next trial gets a new one."
            )

    def _drop(self, is_usable: bool) -> None:
        child, self._child = self._child, None
        if child is not None:
            self._pool._give_back(self, child, is_usable)


class _ChildError(Exception):
    """The child is gone, late, or talks nonsense; the text is a sentence."""


class _Child:
    """One process and the two pipes to it."""

    def __init__(self, command: Sequence[str], memory_limit: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="retro-env-")
        """Its TMPDIR: what it leaves behind goes with it."""
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        paths = [str(_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        surroundings = {
            "OMP_NUM_THREADS": "1",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
            "TMPDIR": self._folder,
        }
        self._process = subprocess.Popen(
            [*command, str(memory_limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=surroundings,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._input, self._output = self._stdin.fileno(), self._stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)
        self._ending = threading.Lock()
        self._is_ended = False

    def is_alive(self) -> bool:
        return not self._is_ended and self._process.poll() is None

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and return the reply. Raises _ChildError, and BadInput for a request that is too long."""
        line = json.dumps(request).encode() + b"\n"
        if len(line) > REQUEST_LIMIT:
            raise BadInput(f"The action has {len(line)} bytes; an environment takes {REQUEST_LIMIT // 1024**2} MiB.")
        deadline = time.monotonic() + seconds
        try:
            self._send(line, deadline)
            reply = json.loads(self._receive(deadline))
        except TimeoutError:
            raise _ChildError(f"it took longer than {seconds:g} seconds.") from None
        except ValueError:
            raise _ChildError("it answered something that is not JSON.") from None
        except OSError:
            raise _ChildError(self._last_words()) from None
        if not isinstance(reply, dict) or not ({"ok", "error"} & reply.keys()):
            raise _ChildError("it answered something that is no reply.")
        return reply

    def end(self) -> None:
        """End the child and everything that it started, and reap it. Safe to call twice and from other threads."""
        with self._ending:
            if self._is_ended:
                return
            self._is_ended = True
            has_crashed = self._process.poll() is not None
            with contextlib.suppress(OSError):
                self._stdin.close()
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                self._process.wait()
            if has_crashed:
                _kill_heirs(self._folder)
            self._stdout.close()
            self._complaints.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """Kill the child and everything that it started, now; `end` is still to be called."""
        _kill_tree(self._process.pid)

    def _send(self, line: bytes, deadline: float) -> None:
        rest = memoryview(line)
        while rest:
            _wait(self._input, select.POLLOUT, deadline)
            rest = rest[os.write(self._input, rest[: 1 << 16]) :]

    def _receive(self, deadline: float) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while not chunks or not chunks[-1].endswith(b"\n"):
            _wait(self._output, select.POLLIN, deadline)
            chunk = os.read(self._output, 1 << 20)
            if not chunk:
                raise BrokenPipeError
            chunks.append(chunk)
            size += len(chunk)
            if size > REPLY_LIMIT:
                raise ValueError
        return b"".join(chunks)

    def _last_words(self) -> str:
        """How the child ended, and the end of what it wrote to standard error."""
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "its process closed the connection."
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        size = self._complaints.seek(0, os.SEEK_END)
        self._complaints.seek(max(0, size - 400))
        words = " ".join(self._complaints.read().decode(errors="replace").split())
        return f"its process {how}{f' ({words[-200:]})' if words else ''}."


def _wait(descriptor: int, event: int, deadline: float) -> None:
    poller = select.poll()
    poller.register(descriptor, event)
    left = deadline - time.monotonic()
    if left <= 0 or not poller.poll(left * 1000):
        raise TimeoutError


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    """The content of a reply; raises the error that it carries, and _ChildError for one that is not ours."""
    if "ok" in reply:
        content = reply["ok"]
        if not isinstance(content, dict):
            raise _ChildError("it answered something that is no reply.")
        return content
    kind = getattr(errors, str(reply["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, RetroDashError)):
        raise _ChildError(f"{reply['error']}: {_cut(str(reply.get('text', '')))}.")
    error = kind.__new__(kind)
    Exception.__init__(error, str(reply.get("text", "")))
    raise error


def _cut(text: str) -> str:
    return text if len(text) <= 120 else text[:119] + "…"


def _kill_tree(pid: int) -> None:
    """Kill a process with all its descendants, those in other sessions too. It is stopped first, so that it
    starts no more."""
    import psutil

    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    with contextlib.suppress(psutil.NoSuchProcess):
        for descendant in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                descendant.kill()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _kill_heirs(folder: str) -> None:
    """Kill what a crashed child has left running: its descendants inherited its TMPDIR."""
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TMPDIR") == folder:
                process.kill()


# The child


def serve(find_kind: Callable[[str], EnvironmentKind] = environment_kind) -> None:
    """Answer requests on standard input until it ends. The only argument of the process is its memory limit in
    bytes."""
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[-1]),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Orphans of what an environment starts come to this process, which can then end and reap them.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    # Whatever an environment prints goes to standard error instead of between the replies.
    os.dup2(2, 1)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, requests), daemon=True).start()
    environment: Environment | None = None
    while True:
        request = json.loads(requests.get())
        try:
            environment, content = _answer(request, environment, find_kind)
            reply: dict[str, Any] = {"ok": content}
        except RetroDashError as error:
            reply = {"error": type(error).__name__, "text": str(error)}
        # Engines of games have ended their process (SystemExit) over a malformed one.
        except BaseException as error:
            reply = {"error": type(error).__name__, "text": str(error)}
        replies.write(json.dumps(reply).encode() + b"\n")


def _answer(
    request: dict[str, Any], environment: Environment | None, find_kind: Callable[[str], EnvironmentKind]
) -> tuple[Environment | None, dict[str, Any]]:
    """Do one request; returns the environment to go on with and the content of the reply."""
    if request["do"] == "open":
        task = Task.model_validate(request["task"])
        return find_kind(task.env).open(task, request["options"]), {}
    assert environment is not None, "a request before open"
    if request["do"] == "start":
        return environment, {"observation": environment.start(), "view": environment.view()}
    if request["do"] == "step":
        return environment, {**asdict(environment.step(request["action"])), "view": environment.view()}
    if request["do"] == "view":
        return environment, {"view": environment.view()}
    environment.close()
    _reap()
    return None, {}


def _listen(stream: BinaryIO, requests: queue.SimpleQueue[bytes]) -> None:
    """Hand on one line after the other; when the parent is gone, end this process with all that it started."""
    while line := stream.readline(REQUEST_LIMIT + 1):
        requests.put(line)
    _end_everything()


def _end_everything() -> None:
    import psutil

    while children := psutil.Process().children(recursive=True):
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        _reap()
    shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
    os._exit(0)


def _reap() -> None:
    """Take the exit status of every process that has ended, adopted orphans included."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    serve()
