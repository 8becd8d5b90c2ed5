"""The parent's end of an environment's process: ask it with a deadline, and end it with all that it started.

Parent and child speak JSON, one object a line: {"do": "open" | "start" | "step" | "view" | "close" | "ping", ...} is
answered by {"ok": ...} or {"error": name, "text": sentence}.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.errors import BadInput

REQUEST_LIMIT = 128 * 1024**2
"""Bytes of one line to a child."""
REPLY_LIMIT = 64 * 1024**2
PING_SECONDS = 5.0
END_SECONDS = 2.0
"""How long a child may take to end by itself before it is killed."""

_ROOT = Path(__file__).resolve().parents[1]


class ChildError(Exception):
    """The child is gone, late, or talks nonsense; the text is a sentence."""


class Child:
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

    def is_ready(self) -> bool:
        """Whether the child is there and answers."""
        with contextlib.suppress(ChildError):
            return "ok" in self.ask({"do": "ping"}, PING_SECONDS)
        return False

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and return the reply. Raises ChildError, and BadInput for a request that is too long."""
        line = json.dumps(request).encode() + b"\n"
        if len(line) > REQUEST_LIMIT:
            raise BadInput(f"The action has {len(line)} bytes; an environment takes {REQUEST_LIMIT // 1024**2} MiB.")
        deadline = time.monotonic() + seconds
        try:
            self._send(line, deadline)
            reply = json.loads(self._receive(deadline))
        except TimeoutError:
            raise ChildError(f"it took longer than {seconds:g} seconds.") from None
        except ValueError:
            raise ChildError("it answered something that is not JSON.") from None
        except OSError:
            raise ChildError(self._last_words()) from None
        if not isinstance(reply, dict) or not ({"ok", "error"} & reply.keys()):
            raise ChildError("it answered something that is no reply.")
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
