"""The loop that every method trains with: steps, checkpoints, metrics, and how a run ends.

    prepare_rows → open the model → score what must be scored → check the ratio → step after step → publish

A run is resumed by calling it again with the same arguments: it goes on after the newest whole checkpoint and gives
the curve that it would have given without the break.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Literal, Protocol

import torch
from torch import nn

from data.errors import TrainingError
from training import heap
from training.checkpoint import Progress, resume, save_checkpoint
from training.config import Job, TrainConfig
from training.folders import keep_newest, problem_of
from training.lora import open_model, save_trained
from training.optimiser import MasterAdamW
from training.peers import ALONE, Peers
from training.prepare import Prepared, prepare_rows
from training.samples import Sample
from training.schedule import Step, learning_rate, plan_steps, step_tokens
from training.start import check_samples, score_rows
from training.step import Row, accumulate_gradients


class LogMetrics(Protocol):
    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record metrics of an optimiser step (from 1; 0 for what is known before the first)."""


ShouldStop = Callable[[], bool]
PACE: Mapping[str, set[str]] = {"budget": {"checkpoint_every", "max_seconds"}, "batch": {"processes"}}
"""Settings that change nothing about the steps that are taken."""
LENGTH: Mapping[str, set[str]] = {
    "budget": {*PACE["budget"], "max_tokens"},
    "batch": {*PACE["batch"], "epochs"},
}
"""The same, with those that only say how many steps there are."""


@dataclass(frozen=True)
class TrainOutcome:
    """How a run ended."""

    artefacts: Mapping[Job, Path] = field(default_factory=dict)
    """The published adapter (or full weights) of each finished job."""
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    was_stopped: bool = False
    """True when it was told to stop: call it again to go on."""


def train_jobs(
    config: TrainConfig,
    samples: Sequence[Sample],
    model_dir: Path,
    run_dir: Path,
    log: LogMetrics,
    should_stop: ShouldStop = lambda: False,
    last_logged: Mapping[Job, int] | None = None,
    peers: Peers = ALONE,
) -> TrainOutcome:
    """Train every job of the config on fixed samples and publish `run_dir/adapters/JOB`.

    `last_logged` says which step of each job was logged last before a crash: earlier ones, computed again after the
    checkpoint, are not logged twice. SIGTERM saves and ends like `should_stop`. Of several `peers` the first logs,
    saves, publishes and is asked whether to stop.
    Raises TrainingError (no data, ratio off, loss not a number, disk full), BadFile, BadInput, Refused.
    """
    prepared = {job: prepare_rows(samples, config, job) for job in config.jobs}
    outcome = TrainOutcome()
    with stop_on_sigterm(should_stop) as stopping:
        for job in config.jobs:
            last = (last_logged or {}).get(job, -1)
            one = train_job(config, job, prepared[job], model_dir, run_dir, log, stopping, last, peers)
            outcome = TrainOutcome(
                artefacts={**outcome.artefacts, **one.artefacts},
                steps=outcome.steps + one.steps,
                tokens=outcome.tokens + one.tokens,
                seconds=outcome.seconds + one.seconds,
                was_stopped=one.was_stopped,
            )
            if one.was_stopped:
                break
    return outcome


def train_job(
    config: TrainConfig,
    job: Job,
    prepared: Prepared,
    model_dir: Path,
    run_dir: Path,
    log: LogMetrics,
    should_stop: ShouldStop,
    last_logged: int = -1,
    peers: Peers = ALONE,
) -> TrainOutcome:
    """Train one adapter (or all weights) and publish it; a job that was published before is not run again.

    The last state of an adapter stays in `run_dir/checkpoints/JOB`, so that a longer run can go on from it; that of
    all weights, three times as large as they are, does not.
    """
    plan, published = plan_hash(config, prepared.samples), run_dir / "adapters" / job
    is_done = problem_of(published) is None and json.loads((published / "training.json").read_text())["plan"] == plan
    peers.agree((plan, is_done))
    if is_done:
        return TrainOutcome({job: published})
    run, start_metrics = open_job(config, job, prepared, model_dir, run_dir / "checkpoints" / job, peers)
    progress = resume(run.checkpoints, run.optimiser, plan, plan_hash(config, prepared.samples, LENGTH))
    peers.agree(progress.step)
    if progress.step == 0 and last_logged < 0:
        first = {**prepared.metrics, **start_metrics}
        log(0, {_metric_name(job, name): value for name, value in first.items()})
    if peers.is_main:
        write_plan(run_dir / "plan" / f"{job}.json", prepared.samples, run.steps)
    progress, was_stopped = run.go(progress, log, should_stop, last_logged)
    if not was_stopped and peers.is_main:
        run.publish(progress, model_dir, published)
    artefacts = {} if was_stopped else {job: published}
    return TrainOutcome(artefacts, progress.step, progress.tokens, progress.seconds, was_stopped)


def open_job(
    config: TrainConfig, job: Job, prepared: Prepared, model_dir: Path, checkpoints: Path, peers: Peers
) -> tuple[JobRun, dict[str, float]]:
    """A job before its first step, and what is known of its start. Raises as `score_rows` and `open_model` do."""
    torch.manual_seed(config.seed)
    start = config.start_adapters.get(job)
    model = open_model(model_dir, config, Path(start) if start else None)
    check_samples(model, prepared.samples, config)
    rows, metrics = score_rows(model, prepared.samples, config, peers)
    optimiser, steps = MasterAdamW(model, config.optimiser), plan_steps(prepared.samples, config)
    return JobRun(config, job, model, optimiser, rows, steps, checkpoints, peers), metrics


@dataclass
class JobRun:
    """One job on its way through its steps."""

    config: TrainConfig
    job: Job
    model: nn.Module
    optimiser: MasterAdamW
    rows: Sequence[Row]
    steps: Sequence[Step]
    checkpoints: Path
    peers: Peers = ALONE

    def go(
        self, progress: Progress, log: LogMetrics, should_stop: ShouldStop, last_logged: int = -1
    ) -> tuple[Progress, bool]:
        """Run the remaining steps; returns where it got to and whether it was told to stop."""
        started, earlier = time.monotonic(), progress.seconds
        first = progress.step
        samples = [row.sample for row in self.rows]
        self.model.train()
        while progress.step < len(self.steps):
            order = self.peers.gather(self._order(progress, should_stop))[0]
            if order == "stop":
                self._save(progress)
                return progress, True
            if order == "end":
                break
            metrics = self._take_step(progress)
            tokens = progress.tokens + step_tokens(self.steps[progress.step], samples)
            sitting = time.monotonic() - started
            speed = (tokens - progress.tokens) / max(earlier + sitting - progress.seconds, 1e-9)
            progress = replace(progress, step=progress.step + 1, tokens=tokens, seconds=earlier + sitting)
            left = (len(self.steps) - progress.step) * sitting / (progress.step - first)
            metrics |= {"tokens_per_second": speed, "tokens": tokens, "eta_seconds": left}
            if progress.step > last_logged:
                log(progress.step, {_metric_name(self.job, name): value for name, value in metrics.items()})
            if progress.step % heap.STEPS == 0:
                heap.return_freed_memory()
            if progress.step % self.config.budget.checkpoint_every == 0:
                self._save(progress)
        return progress, False

    def publish(self, progress: Progress, model_dir: Path, folder: Path) -> None:
        """Make the trained adapter or weights of the finished job `folder`."""
        is_lora = self.config.lora.enabled
        if is_lora:
            self._save(progress)
            keep_newest(self.checkpoints, "step", 1)
        facts = {**asdict(progress), "job": self.job, "config": self.config.model_dump(mode="json")}
        save_trained(self.model, model_dir, folder, facts)
        if not is_lora:
            shutil.rmtree(self.checkpoints, ignore_errors=True)

    def _order(self, progress: Progress, should_stop: ShouldStop) -> Literal["go", "stop", "end"]:
        limit = self.config.budget.max_seconds
        if should_stop():
            return "stop"
        return "end" if limit is not None and progress.seconds >= limit else "go"

    def _save(self, progress: Progress) -> Path:
        """The checkpoint of a step, written by one process for all."""
        if self.peers.is_main:
            save_checkpoint(self.checkpoints, self.optimiser, progress)
        return self.checkpoints / f"step-{progress.step}"

    def _take_step(self, progress: Progress) -> dict[str, float]:
        number = progress.step
        # Each step has its own random stream, so that a resumed run draws the same dropout.
        stream = f"{self.config.seed}/{number}" + (f"/{self.peers.index}" if self.peers.index else "")
        torch.manual_seed(int.from_bytes(hashlib.sha256(stream.encode()).digest()[:7], "big"))
        rows = [self.rows[i] for i in self.steps[number]]
        rate = learning_rate(number, len(self.steps), self.config.optimiser)
        is_detailed = number % self.config.budget.diagnostics_every == 0
        try:
            metrics = accumulate_gradients(self.model, self.optimiser, rows, self.config, is_detailed, self.peers)
            norm = self.optimiser.step(rate)
            if not math.isfinite(norm):
                raise TrainingError(
                    f"the gradient's norm is {norm} on samples {', '.join(r.sample.id for r in rows[:5])}"
                )
        except TrainingError as error:
            raise TrainingError(
                f"Training stopped at step {number + 1} of {len(self.steps)}: {error}. The last good state is "
                f"{self._save(progress)}. Look at these samples, or lower optimiser.learning_rate."
            ) from error
        metrics |= {"learning_rate": rate, "gradient_norm": norm}
        metrics["sample_age"] = sum(row.sample.age for row in rows) / len(rows)
        return metrics


def plan_hash(config: TrainConfig, samples: Sequence[Sample], ignored: Mapping[str, set[str]] = PACE) -> str:
    """Identity of a job: config, without the ignored keys, and samples."""
    digest = hashlib.sha256(
        config.model_dump_json(exclude={key: set(names) for key, names in ignored.items()}).encode()
    )
    for sample in samples:
        digest.update(repr((sample.id, sample.input_ids, sample.policy_mask, sample.advantages)).encode())
    return digest.hexdigest()


def write_plan(path: Path, samples: Sequence[Sample], steps: Sequence[Step]) -> None:
    """Note which samples every step is made of, so that a point of a curve leads to its episodes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"samples": [sample.id for sample in samples], "steps": steps}))


@contextmanager
def stop_on_sigterm(should_stop: ShouldStop) -> Iterator[ShouldStop]:
    """A `should_stop` that SIGTERM also turns on, while in the block (main thread only).

    The handler before it hears of the signal too: the caller has to know that it was told to stop.
    """
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield should_stop
        return
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        told.set()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield lambda: told.is_set() or should_stop()
    finally:
        signal.signal(signal.SIGTERM, before)


def _metric_name(job: Job, name: str) -> str:
    """`role/what` stays; anything else belongs to the job."""
    return name if name.startswith(("planner/", "reflector/")) else f"{job}/{name}"
