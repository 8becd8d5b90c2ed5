"""The process of an environment: plays one trial after the other for the parent on its standard input and output.

It ends, with everything that its environments started, when its standard input ends, so it never outlives its parent.
The protocol is described in `envs.isolated_child`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import resource
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, BinaryIO

from data.errors import RetroDashError
from data.types import Task
from envs import environment_kind
from envs.base import Environment, EnvironmentKind
from envs.isolated_child import REQUEST_LIMIT

_SET_CHILD_SUBREAPER = 36


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
    if request["do"] == "ping":
        return environment, {}
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
