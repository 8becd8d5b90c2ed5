"""Environments in processes of their own: one may crash, hang or print nonsense, and only its trial is lost.

The parent holds an `EnvironmentPool`; each child (`envs.isolated_server`) plays one trial at a time and is used
again. Experts are pure functions and stay in the parent.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from data import errors
from data.errors import EnvironmentCrashed, Refused, RetroDashError
from data.types import StopReason, Task
from envs.base import Options, StepOutcome
from envs.isolated_child import Child, ChildError
from envs.sandbox import UNSAFE_FLAG, UNSAFE_OPTION

STEP_SECONDS = 60.0
OPEN_SECONDS = 60.0
"""What opening may take at least: a new process starts and imports its environment first."""
IDLE_LIMIT = 4
MEMORY_LIMIT = 4 * 1024**3
"""Bytes of address space of a child and of what it starts."""


class EnvironmentPool:
    """Opens environments in child processes and keeps a few idle ones. Safe to use from several threads.

    `deadlines` gives the seconds that one call may take, by environment; others have `deadline`. `command` is what
    runs a child. `may_run_on_host` lets options turn the sandbox off; those of an episode may be anybody's.
    """

    def __init__(
        self,
        deadline: float = STEP_SECONDS,
        deadlines: Mapping[str, float] | None = None,
        idle_limit: int = IDLE_LIMIT,
        memory_limit: int = MEMORY_LIMIT,
        command: Sequence[str] | None = None,
        *,
        may_run_on_host: bool = False,
    ) -> None:
        self._may_run_on_host = may_run_on_host
        self._deadline = deadline
        self._deadlines = dict(deadlines or {})
        self._idle_limit = idle_limit
        self._memory_limit = memory_limit
        self._command = tuple(command or (sys.executable, "-P", "-m", "envs.isolated_server"))
        self._lock = threading.Lock()
        self._idle: list[tuple[str, Child]] = []
        self._open: set[IsolatedEnvironment] = set()
        self._is_closed = False

    def open(self, task: Task, options: Options) -> IsolatedEnvironment:
        """Start a trial in a child. Raises what the environment's own `open` raises, or EnvironmentCrashed."""
        if self._is_closed:
            raise Refused("The environment pool is closed; make a new one.")
        if options.get(UNSAFE_OPTION) and not self._may_run_on_host:
            raise Refused(f"{task.id} was played without a sandbox; only {UNSAFE_FLAG} plays it so again.")
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

    def _take(self, name: str) -> Child:
        """An idle child that has played this environment, or a new one."""
        with self._lock:
            ready = [entry for entry in self._idle if entry[0] == name]
            for entry in ready:
                self._idle.remove(entry)
        alive = [child for _, child in ready if child.is_ready()]
        for _, child in ready:
            if child not in alive:
                child.end()
        if not alive:
            return Child(self._command, self._memory_limit)
        for spare in alive[1:]:
            self._keep(name, spare)
        return alive[0]

    def _keep(self, name: str, child: Child) -> None:
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

    def _give_back(self, environment: IsolatedEnvironment, child: Child, is_usable: bool) -> None:
        with self._lock:
            self._open.discard(environment)
        if is_usable:
            self._keep(environment.task.env, child)
        else:
            child.end()


class IsolatedEnvironment:
    """An `Environment` whose work is done by a child. After EnvironmentCrashed it is of no more use."""

    def __init__(self, pool: EnvironmentPool, child: Child, task: Task, deadline: float) -> None:
        self.task = task
        self._pool = pool
        self._child: Child | None = child
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
            if self._child is not None:
                is_usable = False
                with contextlib.suppress(ChildError, RetroDashError):
                    is_usable = "ok" in child.ask({"do": "close"}, self._deadline)
                self._drop(is_usable)
        finally:
            self._busy.release()

    def _ask(self, request: dict[str, Any], doing: str) -> dict[str, Any]:
        """One question and its answer; `doing` says in an error what was going on."""
        with self._busy:
            if self._child is None:
                raise EnvironmentCrashed(f"The environment {self.task.env} of task {self.task.id} is closed or gone.")
            try:
                is_opening = request["do"] == "open"
                seconds = max(self._deadline, OPEN_SECONDS) if is_opening else self._deadline
                reply = self._child.ask(request, seconds)
                return _checked(reply)
            except ChildError as error:
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


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    """The content of a reply; raises the error that it carries, and ChildError for one that is not ours."""
    if "ok" in reply:
        content = reply["ok"]
        if not isinstance(content, dict):
            raise ChildError("it answered something that is no reply.")
        return content
    kind = getattr(errors, str(reply["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, RetroDashError)):
        raise ChildError(f"{reply['error']}: {_cut(str(reply.get('text', '')))}.")
    error = kind.__new__(kind)
    Exception.__init__(error, str(reply.get("text", "")))
    raise error


def _cut(text: str) -> str:
    return text if len(text) <= 120 else text[:119] + "…"
