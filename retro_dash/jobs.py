"""Background runs as the hub sees them: a queue, one worker process at a time, and what their folders say.

A worker is detached from the hub: it survives the hub's restart and is adopted again by pid and start time. The hub
only reads its events (as often as it likes: appending twice is harmless) and signals it. A worker that dies without a
last word gets one from the hub, with the cause that its log or its signal shows.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import JsonValue

from data.errors import Refused, StorageError, UnknownName
from data.events import Event, EventBody, RunStateChanged
from data.store import Store
from data.types import Run, RunState
from retro_dash.ids import new_id
from retro_dash.run_config import parse_run_config
from retro_dash.run_folder import RunFolder, make_run_folder, read_events

POLL_SECONDS = 0.5
STALLED_SECONDS = 30.0
GRACE_SECONDS = 30.0
HUB_SEQ = 2**40
"""The hub's own events of a run are numbered from here, far above any worker's."""
RUN_VARIABLE = "RETRO_RUN"
"""In the environment of a worker and of all that it starts, so that none is missed when it is cancelled."""
ENDED = frozenset({RunState.FINISHED, RunState.FAILED, RunState.CANCELLED})
_OPEN = frozenset(RunState) - ENDED


@dataclass
class _Job:
    """What the hub remembers of a run that has not ended."""

    folder: RunFolder
    state: RunState
    offset: int = 0
    process: subprocess.Popen[bytes] | None = None
    cancelled_at: float | None = None
    hub_seq: int = HUB_SEQ
    started_at: float = field(default_factory=time.monotonic)


class Jobs:
    """Runs of one home. All methods may be called from any thread."""

    def __init__(
        self,
        home: Path,
        store: Store,
        engine_url: Callable[[], str | None] = lambda: None,
        worker_command: tuple[str, ...] = (sys.executable, "-m", "retro_dash.worker"),
        grace_seconds: float = GRACE_SECONDS,
        stalled_seconds: float = STALLED_SECONDS,
    ) -> None:
        self._runs, self._store, self._engine_url = home / "runs", store, engine_url
        self._command, self._grace, self._stalled = worker_command, grace_seconds, stalled_seconds
        self._lock = threading.RLock()
        self._jobs: dict[str, _Job] = {}
        self._queue: list[str] = []
        self._adapter_watchers: list[Callable[[Event], None]] = []
        self._done = threading.Event()
        self._adopt()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="jobs")
        self._thread.start()

    # What people do

    def submit(
        self,
        kind: str,
        name: str,
        config: dict[str, JsonValue],
        dataset: Iterable[str],
        key: str | None = None,
        source: Mapping[str, JsonValue] | None = None,
    ) -> Run:
        """Put a run at the end of the queue. The same `key` again gives the same run. Raises BadConfig, BadInput.

        What is frozen is the complete config: presets and defaults filled in.
        """
        whole = parse_run_config(config, f"{kind} run").model_dump(mode="json")
        run_id = new_id(kind) if key is None else f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        with self._lock:
            if (self._runs / run_id).exists():
                return self._store.run(run_id)
            run = Run.model_validate(
                {
                    "id": run_id,
                    "kind": kind,
                    "name": name,
                    "config": whole,
                    "state": RunState.QUEUED,
                    "created_at": datetime.now(UTC),
                }
            )
            folder = make_run_folder(self._runs, run, dataset, source)
            self._jobs[run.id] = _Job(folder, RunState.QUEUED)
            self._ingest(run.id)
            self._queue.append(run.id)
            self._write_queue()
            return self._store.run(run.id)

    def cancel(self, run_id: str) -> None:
        """Ask a run to save and end; its whole process tree is killed after a grace period. Ended runs stay ended."""
        with self._lock:
            job = self._jobs.get(run_id)
            if job is None:
                self._store.run(run_id)
                return
            if run_id in self._queue:
                self._queue.remove(run_id)
                self._write_queue()
                self._say(run_id, RunStateChanged(state=RunState.CANCELLED))
                del self._jobs[run_id]
                return
            if job.cancelled_at is None:
                job.cancelled_at = time.monotonic()
                self._say(run_id, RunStateChanged(state=RunState.CANCELLING))
                for process in _tree(job.folder):
                    _signal(process, signal.SIGTERM, only_worker=job.folder)

    def resume(self, run_id: str) -> None:
        """Queue a cancelled or failed run again; it goes on after its newest checkpoint. Raises Refused."""
        with self._lock:
            run = self._store.run(run_id)
            if run_id in self._jobs:
                raise Refused(f"The run {run_id} has not ended ({run.state}), so there is nothing to resume.")
            if run.state is RunState.FINISHED:
                raise Refused(f"The run {run_id} is finished. Clone it to run it again.")
            folder = RunFolder(self._runs / run_id)
            folder.config()
            seq = max(HUB_SEQ, (self._store.last_seq(run_id) or 0) + 1)
            self._jobs[run_id] = _Job(folder, RunState.QUEUED, offset=_size(folder.events), hub_seq=seq)
            self._say(run_id, RunStateChanged(state=RunState.QUEUED))
            self._queue.append(run_id)
            self._write_queue()

    def move(self, run_id: str, position: int) -> list[str]:
        """Put a queued run at another place (0 is next). Returns the queue. Raises UnknownName."""
        with self._lock:
            if run_id not in self._queue:
                raise UnknownName("queued run", run_id, self._queue)
            self._queue.remove(run_id)
            self._queue.insert(max(0, position), run_id)
            self._write_queue()
            return list(self._queue)

    def queue(self) -> list[str]:
        """Ids of the waiting runs, the next one first."""
        with self._lock:
            return list(self._queue)

    def counts(self) -> dict[str, int]:
        with self._lock:
            return {"queued": len(self._queue), "running": len(self._jobs) - len(self._queue)}

    def log_tail(self, run_id: str, lines: int = 50) -> str:
        """The last lines that a run's worker printed."""
        self._store.run(run_id)
        return tail(RunFolder(self._runs / run_id).log, lines)

    def folder(self, run_id: str) -> RunFolder:
        self._store.run(run_id)
        return RunFolder(self._runs / run_id)

    def watch_adapters(self, watcher: Callable[[Event], None]) -> None:
        """Call `watcher` with every AdapterPublished event that arrives from now on."""
        self._adapter_watchers.append(watcher)

    def close(self) -> None:
        """Stop watching; workers go on."""
        self._done.set()
        self._thread.join(timeout=5)

    # Inside

    def _adopt(self) -> None:
        """Take up the runs that had not ended when the last hub stopped."""
        order = self._read_queue()
        for run in self._store.runs(kinds=("collect", "train", "evaluate"), states=tuple(_OPEN), limit=10_000):
            folder = RunFolder(self._runs / run.id)
            seq = max(HUB_SEQ, (self._store.last_seq(run.id) or 0) + 1)
            is_waiting = run.state is RunState.QUEUED and _worker_process(folder) is None
            offset = _size(folder.events) if is_waiting else 0
            self._jobs[run.id] = _Job(folder, run.state, offset=offset, hub_seq=seq)
            if is_waiting:
                self._queue.append(run.id)
        self._queue.sort(key=lambda run_id: (order.index(run_id) if run_id in order else len(order), run_id))

    def _watch(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            try:
                with self._lock:
                    for run_id in list(self._jobs):
                        self._look_after(run_id)
                    self._start_next()
            except StorageError as error:  # A full disk passes; the next round tries again.
                print(f"jobs: {error}", file=sys.stderr, flush=True)

    def _look_after(self, run_id: str) -> None:
        if run_id in self._queue:
            return
        job = self._jobs[run_id]
        is_alive = _is_worker_alive(job)
        self._ingest(run_id)
        if job.state in ENDED and not is_alive:
            del self._jobs[run_id]
        elif not is_alive:
            state, error = _cause_of_death(job)
            self._say(run_id, RunStateChanged(state=state, error=error))
            del self._jobs[run_id]
        elif job.cancelled_at is not None and time.monotonic() - job.cancelled_at > self._grace:
            _kill_tree(job.folder)
        elif job.cancelled_at is None:
            self._judge_pulse(run_id, job)

    def _judge_pulse(self, run_id: str, job: _Job) -> None:
        """A worker that has not given a sign for long is stalled; one that gives one again is running."""
        try:
            age = time.time() - job.folder.heartbeat.stat().st_mtime
        except OSError:
            age = time.monotonic() - job.started_at
        if age > self._stalled and job.state is RunState.RUNNING:
            self._say(
                run_id, RunStateChanged(state=RunState.STALLED, error=f"No sign of life for {age:.0f} seconds.")
            )
        elif age <= self._stalled and job.state is RunState.STALLED:
            self._say(run_id, RunStateChanged(state=RunState.RUNNING))

    def _start_next(self) -> None:
        busy = len(self._jobs) > len(self._queue)
        if busy or not self._queue:
            return
        run_id = self._queue.pop(0)
        self._write_queue()
        job = self._jobs[run_id]
        job.started_at = time.monotonic()
        job.folder.heartbeat.unlink(missing_ok=True)
        url = self._engine_url()
        command = [*self._command, str(job.folder.path), *([url] if url else [])]
        with job.folder.log.open("ab") as log:
            job.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, RUN_VARIABLE: run_id},
            )
        job.state = RunState.RUNNING

    def _ingest(self, run_id: str) -> None:
        job = self._jobs[run_id]
        while True:
            events, offset, _ = read_events(job.folder.events, job.offset)
            if events:
                self._store.append(events)
            for event in events:
                if isinstance(event.body, RunStateChanged):
                    job.state = event.body.state
                if event.body.kind == "adapter_published":
                    for watcher in self._adapter_watchers:
                        watcher(event)
            if offset == job.offset:
                return
            job.offset = offset

    def _say(self, run_id: str, body: EventBody) -> None:
        job = self._jobs[run_id]
        self._store.append([Event(run_id=run_id, seq=job.hub_seq, at=datetime.now(UTC), body=body)])
        job.hub_seq += 1
        if isinstance(body, RunStateChanged):
            job.state = body.state

    def _write_queue(self) -> None:
        path = self._runs / "queue.json"
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(self._queue), encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise StorageError(f"Cannot write {path}: {error.strerror}. Free some space.") from error

    def _read_queue(self) -> list[str]:
        try:
            return [str(run_id) for run_id in json.loads((self._runs / "queue.json").read_text(encoding="utf-8"))]
        except (OSError, ValueError):
            return []


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


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


def _worker_process(folder: RunFolder) -> psutil.Process | None:
    """The folder's worker, told from a stranger with the same pid by its start time."""
    try:
        known = json.loads(folder.worker.read_text(encoding="utf-8"))
        process = psutil.Process(int(known["pid"]))
        is_same = abs(process.create_time() - float(known["started"])) < 1
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def _is_worker_alive(job: _Job) -> bool:
    if job.process is not None:
        return job.process.poll() is None
    return _worker_process(job.folder) is not None


def _tree(folder: RunFolder) -> list[psutil.Process]:
    """The worker and everything it started, also what moved to a session of its own."""
    found: dict[int, psutil.Process] = {}
    worker = _worker_process(folder)
    if worker is not None:
        found = {process.pid: process for process in [worker, *worker.children(recursive=True)]}
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(RUN_VARIABLE) == folder.run_id:
                found[process.pid] = process
        except psutil.Error:
            continue
    return list(found.values())


def _signal(process: psutil.Process, number: signal.Signals, only_worker: RunFolder) -> None:
    """SIGTERM goes to the worker alone, which ends its own children in order."""
    worker = _worker_process(only_worker)
    try:
        if worker is None or process.pid == worker.pid:
            process.send_signal(number)
    except psutil.Error:
        return


def _kill_tree(folder: RunFolder) -> None:
    for process in _tree(folder):
        try:
            process.kill()
        except psutil.Error:
            continue


_CAUSES = (
    (re.compile(r"out of memory|OutOfMemory|MemoryError|Cannot allocate memory", re.I), "It ran out of memory."),
    (re.compile(r"No space left on device", re.I), "The disk is full."),
    (re.compile(r"\bnan\b", re.I), "The loss is not a number."),
)


def _cause_of_death(job: _Job) -> tuple[RunState, str | None]:
    """State and reason of a worker that ended without saying so itself."""
    if job.cancelled_at is not None or job.state is RunState.CANCELLING:
        return RunState.CANCELLED, None
    code = job.process.returncode if job.process is not None else None
    if code is None:
        how = "Its process is gone"
    elif code == -signal.SIGKILL:
        how = "Its process was killed (signal 9), as the system does when memory runs out"
    elif code < 0:
        how = f"Its process was ended by {signal.Signals(-code).name}"
    else:
        how = f"Its process ended with exit code {code}"
    log = tail(job.folder.log, 50)
    known = next((cause for pattern, cause in _CAUSES if pattern.search(log)), "")
    last = log.strip().splitlines()[-1:] or [""]
    return RunState.FAILED, f"{how}. {known} Last line of its log: {last[0][:300]}".replace("  ", " ")
