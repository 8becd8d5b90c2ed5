"""A run in several processes on this machine, one GPU each where there are any.

The caller's process computes nothing: it starts the others, is told every metric by the first of them before that one
goes on, and is asked at every step whether to stop. So the caller's log is never behind a checkpoint, and a process
that dies takes the run down with a sentence instead of leaving the others waiting for it.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from data.errors import RetroDashError, TrainingError, Unavailable
from training.config import Job, TrainConfig
from training.loop import LogMetrics, ShouldStop, TrainOutcome, stop_on_sigterm, train_jobs
from training.peers import join_peers
from training.samples import Sample

LAST_WORDS_SECONDS = 5.0
"""For the first process to say why it ends, after another one has ended."""


@dataclass(frozen=True)
class Work:
    """What every process is given."""

    config: TrainConfig
    samples: Sequence[Sample]
    model_dir: Path
    run_dir: Path
    last_logged: Mapping[Job, int]


def train_in_parallel(
    config: TrainConfig,
    samples: Sequence[Sample],
    model_dir: Path,
    run_dir: Path,
    log_metrics: LogMetrics,
    should_stop: ShouldStop,
    last_logged: Mapping[Job, int] | None = None,
) -> TrainOutcome:
    """`train_jobs` in `batch.processes` processes; the same curve up to the order of float additions.

    Raises what `train_jobs` raises, Unavailable when there are fewer GPUs than processes, and TrainingError when a
    process ended by itself.
    """
    count = config.batch.processes
    if torch.cuda.is_available() and torch.cuda.device_count() < count:
        raise Unavailable(
            f"batch.processes is {count} and this machine has {torch.cuda.device_count()} GPUs: each needs one."
        )
    work = Work(config, samples, model_dir, run_dir, last_logged or {})
    with stop_on_sigterm(should_stop) as stopping, _started(work, count) as (processes, first):
        return _serve(processes, first, {"log": log_metrics, "should_stop": stopping})


@contextmanager
def _started(work: Work, count: int) -> Iterator[tuple[list[BaseProcess], Connection]]:
    """The processes at work, and the line to the first; none of them outlives the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        processes: list[BaseProcess] = [
            context.Process(target=_take_part, args=(index, count, meeting, work, line), name=str(index), daemon=True)
            for index, line in enumerate([theirs] + [None] * (count - 1))
        ]
        try:
            for process in processes:
                process.start()
            theirs.close()
            yield processes, ours
        finally:
            for process in processes:
                if process.pid is not None:
                    process.kill()
                    process.join()


def _serve(
    processes: Sequence[BaseProcess], first: Connection, answers: Mapping[str, Callable[..., object]]
) -> TrainOutcome:
    """Answer the first process until it is done."""
    while True:
        wait([first, *(process.sentinel for process in processes if process.exitcode is None)])
        has_ended = any(process.exitcode for process in processes)
        if not first.poll(LAST_WORDS_SECONDS if has_ended else 0):
            if has_ended:
                raise _lost(processes)
            continue
        try:
            what, *arguments = first.recv()
        except EOFError:
            processes[0].join()
            raise _lost(processes) from None
        if what == "done":
            outcome: TrainOutcome = arguments[0]
            return outcome
        if what == "refused":
            kind, text = arguments
            raise kind(text)
        first.send(answers[what](*arguments))


def _lost(processes: Sequence[BaseProcess]) -> TrainingError:
    """What to say when a process ended by itself; one that was killed comes before those that missed it."""
    lost = min(processes, key=lambda process: process.exitcode or math.inf)
    return TrainingError(
        f"Process {lost.name} of {len(processes)} (from 0) ended with exit code {lost.exitcode}; its last words are "
        "in the log. Resume the run: it goes on from its last checkpoint."
    )


def _take_part(index: int, count: int, meeting: Path, work: Work, line: Connection | None) -> None:
    """One process of the run; the first speaks for all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole terminal, and the caller decides.
    _end_with_parent()
    peers = join_peers(index, count, meeting)

    def ask(what: str, *arguments: object) -> Any:
        if line is None:
            return None
        line.send((what, *arguments))
        return line.recv()

    def log_metrics(step: int, metrics: Mapping[str, float]) -> None:
        ask("log", step, dict(metrics))

    def should_stop() -> bool:
        return bool(ask("should_stop"))

    given = (work.config, work.samples, work.model_dir, work.run_dir)
    try:
        outcome = train_jobs(*given, log_metrics, should_stop, work.last_logged, peers)
        last: tuple[object, ...] = ("done", outcome)
    except RetroDashError as error:
        last = ("refused", type(error), str(error))
    if line is not None:
        line.send(last)


def _end_with_parent() -> None:
    """A caller that is killed leaves nobody behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()
