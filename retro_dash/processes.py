"""The processes behind run folders: who works on one, ending all that it started, and why it died."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

import psutil

from retro_dash.run_folder import RunFolder

RUN_VARIABLE = "RETRO_RUN"
"""In the environment of a worker and of all that it starts, so that none is missed when it is cancelled."""


def write_identity(folder: RunFolder, pid: int) -> None:
    """Note who works on a folder: the pid, and its start time, which tells it from a later process of that number."""
    identity = {"pid": pid, "started": psutil.Process(pid).create_time()}
    temporary = folder.worker.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(identity), encoding="utf-8")
    temporary.replace(folder.worker)


def worker_process(folder: RunFolder) -> psutil.Process | None:
    """The folder's living worker; None when there is none, or only a stranger with its pid."""
    try:
        known = json.loads(folder.worker.read_text(encoding="utf-8"))
        process = psutil.Process(int(known["pid"]))
        is_same = abs(process.create_time() - float(known["started"])) < 1
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def tell_worker(folder: RunFolder) -> None:
    """SIGTERM to the worker, which saves and ends its own children; to all that is left when there is no worker."""
    worker = worker_process(folder)
    for process in [worker] if worker is not None else _tree(folder):
        _send(process, signal.SIGTERM)


def kill_tree(folder: RunFolder) -> None:
    """SIGKILL to the worker and everything that it started, also what moved to a session of its own."""
    worker = worker_process(folder)
    tree = _tree(folder)
    for process in tree:
        _send(process, signal.SIGKILL)
    _reap([process.pid for process in tree if worker is None or process.pid != worker.pid])


def _reap(pids: list[int], seconds: float = 0.5) -> None:
    """Wait for processes that became ours when their parent died: the sandbox makes this process adopt orphans."""
    deadline = time.monotonic() + seconds
    waiting = set(pids)
    while waiting and time.monotonic() < deadline:
        for pid in list(waiting):
            try:
                if os.waitpid(pid, os.WNOHANG)[0]:
                    waiting.discard(pid)
            except ChildProcessError:  # Not ours, or not yet: its parent may be ending now.
                if not psutil.pid_exists(pid):
                    waiting.discard(pid)
        time.sleep(0.01)


def cause_of_death(folder: RunFolder, code: int | None) -> str:
    """Why a worker ended without a last word; `code` is its exit code as subprocess gives it, None when not known."""
    if code is None:
        how = "Its process is gone"
    elif code == -signal.SIGKILL:
        how = "Its process was killed (signal 9), as the system does when memory runs out"
    elif code < 0:
        how = f"Its process was ended by {signal.Signals(-code).name}"
    else:
        how = f"Its process ended with exit code {code}"
    log = tail(folder.log, 50)
    known = next((f" {cause}" for pattern, cause in _CAUSES if pattern.search(log)), "")
    last = log.strip().splitlines()[-1:]
    return f"{how}.{known}" + (f" Last line of its log: {last[0][:300]}" if last else " Its log is empty.")


def tail(path: Path, lines: int) -> str:
    """The last lines of a text file that may be huge; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * lines))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


_CAUSES = (
    (re.compile(r"out of memory|OutOfMemory|MemoryError|Cannot allocate memory", re.I), "It ran out of memory."),
    (re.compile(r"No space left on device", re.I), "The disk is full."),
    (re.compile(r"\bnan\b", re.I), "The loss is not a number."),
)


def _tree(folder: RunFolder) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    worker = worker_process(folder)
    if worker is not None:
        try:
            found = {process.pid: process for process in [worker, *worker.children(recursive=True)]}
        except psutil.Error:
            found = {}
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(RUN_VARIABLE) == folder.run_id:
                found[process.pid] = process
        except (psutil.Error, OSError):
            continue
    return list(found.values())


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return
