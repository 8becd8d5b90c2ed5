"""A run folder: the whole contract between the hub and a background job.

    runs/RUN_ID/config.json      what to do, frozen when the run was made
    runs/RUN_ID/dataset.jsonl    what to do it with: episodes (train) or tasks (collect, evaluate), one a line
    runs/RUN_ID/source.json      where the dataset came from: filter, split, count, seed, hash of a frozen dataset
    runs/RUN_ID/events.jsonl     what happened, appended by the worker, ingested by the hub
    runs/RUN_ID/adapters/        what it made; each appears by a rename, its manifest written last
    runs/RUN_ID/checkpoints/     where it goes on after a stop
    runs/RUN_ID/tensorboard/     the metrics again, for TensorBoard
    runs/RUN_ID/report.json      an evaluation's numbers; report.md is the table, report.html the figure
    runs/RUN_ID/worker.json      pid and start time of the process that works on it
    runs/RUN_ID/heartbeat        touched while it works
    runs/RUN_ID/worker.log       what it printed

The worker reads and writes nothing else, so `retro-dash worker RUN_FOLDER` repeats any run without a hub.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import IO

from pydantic import JsonValue, ValidationError

from data.errors import BadFile, Refused, StorageError
from data.events import Event, EventBody, RunCreated
from data.types import Run

SYNC_SECONDS = 1.0


@dataclass(frozen=True)
class RunFolder:
    """Names and reads the files of one run."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def dataset(self) -> Path:
        return self.path / "dataset.jsonl"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def adapters(self) -> Path:
        return self.path / "adapters"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        return self.path / "report.json"

    @property
    def log(self) -> Path:
        return self.path / "worker.log"

    @property
    def worker(self) -> Path:
        return self.path / "worker.json"

    @property
    def heartbeat(self) -> Path:
        return self.path / "heartbeat"

    def source(self) -> dict[str, JsonValue]:
        """What the dataset was chosen by; empty where nobody said."""
        try:
            source: dict[str, JsonValue] = json.loads((self.path / "source.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return source

    def config(self) -> dict[str, JsonValue]:
        """The frozen config. Raises BadFile."""
        try:
            config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadFile(f"{self.path} is not a run folder: config.json cannot be read ({error}).") from error
        if not isinstance(config, dict):
            raise BadFile(f"{self.path}/config.json must hold one JSON object.")
        return config


def make_run_folder(
    runs: Path,
    run: Run,
    dataset: Iterable[str] = (),
    source: Mapping[str, JsonValue] | None = None,
    checkpoints: Path | None = None,
) -> RunFolder:
    """Write a new run folder at once: it appears complete or not at all. `dataset` gives JSON lines.

    The first event says that the run was created, with the hash of the frozen dataset that `source` names when it
    trains on one, else with the SHA-256 of its lines. `checkpoints` is a folder of another run to go on from.
    Raises Refused when the run exists, StorageError when the disk refuses.
    """
    final, temporary = runs / run.id, runs / f".tmp-{run.id}"
    if final.exists():
        raise Refused(f"The run {run.id} exists already in {runs}.")
    digest = hashlib.sha256()
    try:
        temporary.mkdir(parents=True, mode=0o700)
        with (temporary / "dataset.jsonl").open("w", encoding="utf-8") as file:
            for line in dataset:
                digest.update(f"{line}\n".encode())
                file.write(f"{line}\n")
            _sync(file)
        _write_json(temporary / "config.json", run.config)
        _write_json(temporary / "source.json", dict(source or {}))
        if checkpoints is not None:
            shutil.copytree(checkpoints, temporary / "checkpoints")
        frozen = (source or {}).get("dataset") if run.kind == "train" else None
        run = run.model_copy(update={"dataset_hash": str(frozen) if frozen else digest.hexdigest()})
        created = Event(run_id=run.id, seq=0, at=run.created_at, body=RunCreated(run=run))
        with (temporary / "events.jsonl").open("w", encoding="utf-8") as file:
            file.write(created.model_dump_json() + "\n")
            _sync(file)
        temporary.rename(final)
        sync_folder(runs)
    except OSError as error:
        raise StorageError(f"Cannot write the run folder {final}: {error.strerror}. Free some space.") from error
    return RunFolder(final)


class EventLog:
    """Appends a run's events to its file; goes on after the last whole line of an earlier worker. Thread-safe."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._next_seq, end = _last_whole_line(folder.events)
        try:
            if folder.events.exists():
                os.truncate(folder.events, end)  # A line torn by a kill is not an event.
            self._file = folder.events.open("a", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"Cannot open {folder.events}: {error.strerror}. Free some space.") from error
        self._synced = monotonic()

    @property
    def run_id(self) -> str:
        return self._folder.run_id

    def append(self, body: EventBody) -> Event:
        """Write one event as one line. Raises StorageError when the disk refuses."""
        with self._lock:
            event = Event(run_id=self._folder.run_id, seq=self._next_seq, at=datetime.now(UTC), body=body)
            try:
                self._file.write(event.model_dump_json() + "\n")
                self._file.flush()
                if monotonic() - self._synced > SYNC_SECONDS:
                    os.fsync(self._file.fileno())
                    self._synced = monotonic()
            except OSError as error:
                raise StorageError(
                    f"Cannot write {self._folder.events}: {error.strerror}. Free some space."
                ) from error
            self._next_seq += 1
            return event

    def append_all(self, events: Iterable[Event]) -> None:
        """Take events made elsewhere in this process; they get this run's numbers."""
        for event in events:
            self.append(event.body)

    def close(self) -> None:
        _sync(self._file)
        self._file.close()


def read_events(path: Path, offset: int, limit: int = 5000) -> tuple[list[Event], int, int]:
    """Whole lines from byte `offset` on: the events, the offset to go on from, and how many lines were not events."""
    events: list[Event] = []
    bad = 0
    if not path.exists():
        return events, offset, bad
    with path.open("rb") as file:
        file.seek(offset)
        for line in _whole_lines(file):
            offset += len(line)
            try:
                events.append(Event.model_validate_json(line))
            except ValidationError:
                bad += 1
            if len(events) >= limit:
                break
    return events, offset, bad


def all_events(path: Path) -> Iterator[Event]:
    """Every whole event of a run so far, in order."""
    offset = 0
    while True:
        events, new_offset, _ = read_events(path, offset)
        yield from events
        if new_offset == offset:
            return
        offset = new_offset


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    for line in file:
        if not line.endswith(b"\n"):
            return
        yield line


def _last_whole_line(path: Path) -> tuple[int, int]:
    """The next sequence number and the offset behind the last whole line."""
    next_seq, end = 0, 0
    offset = 0
    while True:
        events, new_offset, _ = read_events(path, offset)
        if events:
            next_seq = max(next_seq, events[-1].seq + 1)
        if new_offset == offset:
            return next_seq, end
        offset = end = new_offset


def sync_folder(path: Path) -> None:
    """Make renames in a folder last."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_json(path: Path, value: dict[str, JsonValue]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        _sync(file)


def _sync(file: IO[str]) -> None:
    file.flush()
    os.fsync(file.fileno())
