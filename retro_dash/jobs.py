"""Background runs as the hub sees them: a queue, one worker process at a time, and what their folders say.

A worker is detached from the hub: it survives the hub's restart and is adopted again by pid and start time. The hub
only reads its events (as often as it likes: appending twice is harmless) and signals it. A worker that dies without a
last word gets one from the hub, with the cause that its log or its signal shows.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from data.errors import Refused, RetroDashError, StorageError, UnknownName
from data.events import RunStateChanged
from data.store import Store
from data.types import Run, RunState
from retro_dash.extending import longer_config
from retro_dash.ids import new_id
from retro_dash.job import HUB_SEQ, Job
from retro_dash.processes import cause_of_death, kill_tree, tail, tell_worker, worker_process
from retro_dash.run_config import parse_run_config
from retro_dash.run_folder import RunFolder, make_run_folder

POLL_SECONDS = 0.5
STALLED_SECONDS = 30.0
GRACE_SECONDS = 30.0
KINDS = ("collect", "train", "evaluate")
ENDED = frozenset({RunState.FINISHED, RunState.FAILED, RunState.CANCELLED})
_OPEN = frozenset(RunState) - ENDED


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
        make_room: Callable[[str | None], bool] = lambda run_id: True,
    ) -> None:
        """`make_room` hears twice a second which run needs the device without the engine, or None, and says whether
        the engine has let go."""
        self._runs, self._store, self._engine_url = home / "runs", store, engine_url
        self._make_room = make_room
        self._command, self._grace, self._stalled = worker_command, grace_seconds, stalled_seconds
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._queue: list[str] = []
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
        parent: RunFolder | None = None,
    ) -> Run:
        """Put a run at the end of the queue. The same `key` again gives the same run. Raises BadConfig, BadInput.

        What is frozen is the complete config: presets and defaults filled in. It starts from the checkpoints of
        `parent`, where one is given.
        """
        whole = parse_run_config(config, f"{kind} run").model_dump(mode="json")
        run_id = new_id(kind) if key is None else f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        with self._lock:
            folder = RunFolder(self._runs / run_id)
            if not folder.path.exists():
                values = {"id": run_id, "kind": kind, "name": name, "config": whole, "state": RunState.QUEUED}
                of = {"parent_id": parent.run_id if parent else None, "created_at": datetime.now(UTC)}
                run = Run.model_validate({**values, **of})
                make_run_folder(self._runs, run, dataset, source, parent.checkpoints if parent else None)
            return self._enlist(folder)

    def extend(self, run_id: str, epochs: int, key: str | None = None) -> Run:
        """Queue a run that goes on from the end of a finished one. Raises Refused, BadInput, UnknownName."""
        run, folder = self._store.run(run_id), self.folder(run_id)
        config = longer_config(run, folder, epochs).model_dump(mode="json")
        with folder.dataset.open(encoding="utf-8") as lines:
            whole = (line.rstrip("\n") for line in lines)
            return self.submit("train", f"{run.name or run.id}, longer", config, whole, key, folder.source(), folder)

    def cancel(self, run_id: str, at_once: bool = False) -> None:
        """Ask a run to save and end; its whole process tree is killed after a grace period, or at once.

        Ended runs stay as they ended.
        """
        with self._lock:
            if run_id not in self._jobs:
                self._store.run(run_id)
                return
            job = self._jobs[run_id]
            if run_id in self._queue:
                self._queue.remove(run_id)
                self._write_queue()
                job.say(self._store, RunStateChanged(state=RunState.CANCELLED))
                del self._jobs[run_id]
                return
            job.ingest(self._store)
            if job.state in ENDED:
                return
            if job.cancelled_at is None:
                job.cancelled_at = time.monotonic()
                tell_worker(job.folder)
                job.say(self._store, RunStateChanged(state=RunState.CANCELLING))
            if at_once:
                job.cancelled_at = time.monotonic() - self._grace
                kill_tree(job.folder)

    def resume(self, run_id: str) -> None:
        """Queue a cancelled or failed run again; it goes on after its newest checkpoint. Raises Refused."""
        with self._lock:
            run = self._store.run(run_id)
            if run.state is RunState.FINISHED:
                raise Refused(f"The run {run_id} is finished. Clone it to run it again, or extend it.")
            if run.state in ENDED and run_id in self._jobs:
                self._look_after(run_id)
            if run_id in self._jobs:
                raise Refused(f"The run {run_id} has not ended ({run.state}), so there is nothing to resume.")
            folder = RunFolder(self._runs / run_id)
            folder.config()
            seq = max(HUB_SEQ, (self._store.last_seq(run_id) or 0) + 1)
            job = self._jobs[run_id] = Job(folder, RunState.QUEUED, offset=_size(folder.events), hub_seq=seq)
            job.say(self._store, RunStateChanged(state=RunState.QUEUED))
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

    def pids(self) -> dict[str, int]:
        """The workers that live now, by run."""
        with self._lock:
            folders = [job.folder for run_id, job in self._jobs.items() if run_id not in self._queue]
        workers = {folder.run_id: worker_process(folder) for folder in folders}
        return {run_id: worker.pid for run_id, worker in workers.items() if worker is not None}

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

    def close(self) -> None:
        """Stop watching; workers go on."""
        self._done.set()
        self._thread.join(timeout=5)

    # Inside

    def _enlist(self, folder: RunFolder) -> Run:
        """Queue the run of a new folder, unless the store knows it already: then it is what it is."""
        run_id = folder.run_id
        try:
            return self._store.run(run_id)
        except UnknownName:
            job = self._jobs[run_id] = Job(folder, RunState.QUEUED)
            job.ingest(self._store)
            if job.state is RunState.QUEUED:
                self._queue.append(run_id)
                self._write_queue()
            return self._store.run(run_id)

    def _adopt(self) -> None:
        """Take up the runs that had not ended when the last hub stopped."""
        order = self._read_queue()
        for run in self._store.runs(kinds=KINDS, states=tuple(_OPEN)):
            folder = RunFolder(self._runs / run.id)
            seq = max(HUB_SEQ, (self._store.last_seq(run.id) or 0) + 1)
            job = self._jobs[run.id] = Job(folder, run.state, hub_seq=seq)
            if run.state is RunState.CANCELLING:
                job.cancelled_at = time.monotonic()
            self._try(self._ingest, run.id)
            if job.state is RunState.QUEUED and worker_process(folder) is None:
                self._queue.append(run.id)
        self._queue.sort(key=lambda run_id: (order.index(run_id) if run_id in order else len(order), run_id))
        for path in sorted(self._runs.glob("*/config.json")):  # Made, but the hub died before it was stored.
            if path.parent.name.startswith(KINDS) and worker_process(RunFolder(path.parent)) is None:
                self._enlist(RunFolder(path.parent))

    def _watch(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            with self._lock:
                for run_id in list(self._jobs):
                    self._try(self._look_after, run_id)
                self._try(self._start_next)

    def _try(self, work: Callable[..., None], *arguments: str) -> None:
        """A full disk passes, and one broken folder must not keep the others from being looked after."""
        try:
            work(*arguments)
        except (RetroDashError, OSError) as error:
            print(f"jobs: {' '.join(arguments)} {error}", file=sys.stderr, flush=True)

    def _ingest(self, run_id: str) -> None:
        self._jobs[run_id].ingest(self._store)

    def _look_after(self, run_id: str) -> None:
        if run_id in self._queue:
            return
        job = self._jobs[run_id]
        is_alive = job.is_alive()  # Asked before its last words are read.
        job.ingest(self._store)
        if not is_alive:
            self._bury(run_id, job)
        elif job.cancelled_at is not None and time.monotonic() - job.cancelled_at > self._grace:
            kill_tree(job.folder)
        elif job.cancelled_at is None:
            self._judge_pulse(job)

    def _bury(self, run_id: str, job: Job) -> None:
        """The worker is gone: nothing that it started stays, and the run gets its one last state."""
        kill_tree(job.folder)
        if job.state not in ENDED:
            if job.cancelled_at is not None:
                last = RunStateChanged(state=RunState.CANCELLED)
            else:
                code = job.process.returncode if job.process is not None else None
                last = RunStateChanged(state=RunState.FAILED, error=cause_of_death(job.folder, code))
            job.say(self._store, last)
        del self._jobs[run_id]

    def _judge_pulse(self, job: Job) -> None:
        """A worker that has not given a sign for long is stalled; one that gives one again is running."""
        age = job.pulse_age()
        if age > self._stalled and job.state in (RunState.RUNNING, RunState.QUEUED):
            error = f"No sign of life for {age:.0f} seconds."
            job.say(self._store, RunStateChanged(state=RunState.STALLED, error=error))
        elif age <= self._stalled and job.state is RunState.STALLED:
            job.say(self._store, RunStateChanged(state=RunState.RUNNING))

    def _alone(self) -> str | None:
        """The run, at work or next, that needs the device without the engine."""
        at_work = [run_id for run_id in self._jobs if run_id not in self._queue]
        return next((run_id for run_id in at_work or self._queue[:1] if self._jobs[run_id].is_alone), None)

    def _start_next(self) -> None:
        has_room = self._make_room(self._alone())
        if not self._queue or len(self._jobs) > len(self._queue) or not has_room:
            return
        run_id = self._queue.pop(0)
        job = self._jobs[run_id]
        try:
            self._write_queue()
            job.start(self._command, self._engine_url())
        except OSError as error:
            problem = f"Its worker could not be started: {error}."
            job.say(self._store, RunStateChanged(state=RunState.FAILED, error=problem))
            del self._jobs[run_id]

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
