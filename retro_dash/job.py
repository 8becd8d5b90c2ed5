"""One run as the hub looks after it: its worker, what its folder says, how it is told to the store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import psutil

from data.errors import BadFile, RetroDashError, StorageError
from data.events import Event, EventBody, RunStateChanged
from data.store import Store
from data.types import RunState
from retro_dash.processes import RUN_VARIABLE, worker_process, write_identity
from retro_dash.run_folder import RunFolder, read_events
from retro_dash.serving.process import EMBEDDED_ENVIRONMENT

HUB_SEQ = 2**40
"""The hub's own events of a run are numbered from here, far above any worker's."""


@dataclass
class Job:
    """What the hub remembers of a run that has not ended."""

    folder: RunFolder
    state: RunState
    offset: int = 0
    process: subprocess.Popen[bytes] | None = None
    cancelled_at: float | None = None
    hub_seq: int = HUB_SEQ
    pulse: int | None = None
    """Time stamp of the newest heartbeat that was seen, only compared with itself: the clock may jump."""
    pulse_at: float = field(default_factory=time.monotonic)
    """When that one was first seen."""

    @property
    def run_id(self) -> str:
        return self.folder.run_id

    @cached_property
    def is_alone(self) -> bool:
        """Whether the engine has to let go of its memory for it."""
        try:
            return self.folder.config().get("memory") == "pause"
        except BadFile:
            return False

    def is_alive(self) -> bool:
        """Whether a worker lives: ours, or one of an earlier hub that holds the folder and turned ours away."""
        if self.process is not None and self.process.poll() is None:
            return True
        return worker_process(self.folder) is not None

    def pulse_age(self) -> float:
        """Seconds since the newest heartbeat was seen first."""
        try:
            pulse: int | None = self.folder.heartbeat.stat().st_mtime_ns
        except OSError:
            pulse = self.pulse
        if pulse != self.pulse:
            self.pulse, self.pulse_at = pulse, time.monotonic()
        return time.monotonic() - self.pulse_at

    def start(self, command: Sequence[str], engine_url: str | None) -> None:
        """Start its worker, in a session of its own. Raises OSError."""
        self.state, self.pulse, self.pulse_at = RunState.RUNNING, None, time.monotonic()
        if worker_process(self.folder) is not None:
            return  # Somebody started it by hand.
        self.folder.heartbeat.unlink(missing_ok=True)
        with self.folder.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, str(self.folder.path), *([engine_url] if engine_url else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**EMBEDDED_ENVIRONMENT, **os.environ, RUN_VARIABLE: self.run_id},
            )
        try:
            write_identity(self.folder, self.process.pid)
        except (psutil.Error, OSError):
            return  # It has ended already, or says itself who it is.

    def ingest(self, store: Store) -> None:
        """Store what the folder says from where we stopped; lines and events that make no sense are passed over.

        What the store knew already says nothing about the state: a run that waits to be resumed was cancelled before.
        """
        while True:
            events, offset, bad = read_events(self.folder.events, self.offset)
            own = [event for event in events if event.run_id == self.run_id and event.seq < HUB_SEQ]
            is_news = _append(store, own)
            if bad or len(own) < len(events):
                print(
                    f"jobs: {self.run_id}: {bad + len(events) - len(own)} lines are no events of it", file=sys.stderr
                )
            for event in own if is_news else ():
                if isinstance(event.body, RunStateChanged):
                    self.state = event.body.state
            if offset == self.offset:
                return
            self.offset = offset

    def say(self, store: Store, body: EventBody) -> None:
        """Store an event of the hub's own."""
        store.append([Event(run_id=self.run_id, seq=self.hub_seq, at=datetime.now(UTC), body=body)])
        self.hub_seq += 1
        if isinstance(body, RunStateChanged):
            self.state = body.state


def _append(store: Store, events: Sequence[Event]) -> bool:
    """Store them, all at once; where one does not fit, the others one by one. Says whether any was new."""
    try:
        return bool(events) and store.append(events) > 0
    except StorageError:
        raise
    except RetroDashError:
        return sum(_fits(store, event) for event in events) > 0


def _fits(store: Store, event: Event) -> bool:
    try:
        return store.append([event]) > 0
    except StorageError:
        raise
    except RetroDashError as error:
        print(f"jobs: {event.run_id}, event {event.seq}: {error}", file=sys.stderr, flush=True)
        return False
