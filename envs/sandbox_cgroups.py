"""Memory and process limits over a whole sandbox, where this process may make control groups (v1 or v2).

Resource limits count per process (memory) or per user (processes); a control group counts everything in the sandbox
together. Where none can be made the sandbox falls back on those limits and a watchdog.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_counter = itertools.count()


@dataclass(frozen=True)
class _Layout:
    """Where groups of ours go, and what the files in them are called."""

    memory: Path
    processes: Path
    memory_file: str
    swap_file: str
    events_file: str

    @property
    def has_threads(self) -> bool:
        """On v1 a thread can be in a group of its own, and what it starts is born there."""
        return self.memory_file == "memory.limit_in_bytes"


class Group:
    """One control group (two folders on v1, one on v2) around one sandbox."""

    def __init__(self, layout: _Layout, memory_bytes: int, processes: int) -> None:
        name = f"retro-dash-{os.getpid()}-{next(_counter)}"
        self._layout = layout
        self._events = layout.memory / name / layout.events_file
        self._folders = tuple(dict.fromkeys((layout.memory / name, layout.processes / name)))
        try:
            for folder in self._folders:
                folder.mkdir()
            (layout.memory / name / layout.memory_file).write_text(str(memory_bytes))
            (layout.processes / name / "pids.max").write_text(str(processes))
        except OSError:
            self.remove()
            raise
        # Swap accounting is often off; without it the memory limit alone holds.
        with suppress(OSError):
            limit = "0" if layout.swap_file == "memory.swap.max" else str(memory_bytes)
            (layout.memory / name / layout.swap_file).write_text(limit)

    @contextmanager
    def around(self) -> Iterator[None]:
        """On v1: what this thread starts meanwhile starts in the group. Moving ourselves is a hundred times faster
        than moving another process, for which the kernel waits until every CPU has been idle or switched."""
        if not self._layout.has_threads:
            yield
            return
        try:
            for folder in self._folders:
                (folder / "tasks").write_text("0")
            yield
        finally:
            for folder in (self._layout.memory, self._layout.processes):
                (folder / "tasks").write_text("0")

    def add(self, pid: int) -> None:
        """On v2: move a process in; its later children follow. Raises OSError."""
        if not self._layout.has_threads:
            for folder in self._folders:
                (folder / "cgroup.procs").write_text(str(pid))

    def was_out_of_memory(self) -> bool:
        """Whether the kernel ended a process for the group's memory."""
        try:
            events = dict(line.split() for line in self._events.read_text().splitlines())
        except (OSError, ValueError):
            return False
        return events.get("oom_kill", "0") != "0"

    def remove(self) -> None:
        """Give the folders back; every process in them must have ended."""
        for folder in self._folders:
            with suppress(FileNotFoundError):
                folder.rmdir()


def make(memory_bytes: int, processes: int) -> Group | None:
    """A fresh group with these limits, or None where this process may not make one."""
    layout = _layout()
    if layout is None:
        return None
    try:
        return Group(layout, memory_bytes, processes)
    except OSError:
        return None


def version() -> str:
    """`v1`, `v2` or `none`: what limits sandboxes on this machine."""
    layout = _layout()
    if layout is None:
        return "none"
    return "v2" if layout.memory_file == "memory.max" else "v1"


@functools.cache
def _layout() -> _Layout | None:
    own = _own_groups()
    if own is None:
        return None
    v1 = _Layout(
        memory=_ROOT / "memory" / own.get("memory", "."),
        processes=_ROOT / "pids" / own.get("pids", "."),
        memory_file="memory.limit_in_bytes",
        swap_file="memory.memsw.limit_in_bytes",
        events_file="memory.oom_control",
    )
    unified = _ROOT / own.get("", ".")
    v2 = _Layout(
        memory=unified,
        processes=unified,
        memory_file="memory.max",
        swap_file="memory.swap.max",
        events_file="memory.events",
    )
    found = next((layout for layout in (v2, v1) if _works(layout)), None)
    if found is not None:
        _sweep(found)
    return found


def _own_groups() -> dict[str, str] | None:
    """Controller -> path of the group that this process is in ("" is the unified hierarchy)."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    groups: dict[str, str] = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            groups[controller] = path.lstrip("/") or "."
    return groups


def _sweep(layout: _Layout) -> None:
    """Remove the groups of processes that were killed; the kernel refuses while anything is in one."""
    for parent in {layout.memory, layout.processes}:
        for folder in parent.glob("retro-dash-*"):
            if not Path("/proc", folder.name.split("-")[2]).exists():
                with suppress(OSError):
                    folder.rmdir()


def _works(layout: _Layout) -> bool:
    try:
        Group(layout, memory_bytes=1 << 26, processes=16).remove()
    except OSError:
        return False
    return True
