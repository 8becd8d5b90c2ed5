"""One worker's work on a training run: its metrics become events, what it trains becomes published adapters."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from data.events import AdapterPublished, MetricsLogged
from data.types import Adapter
from retro_dash.event_files import EventFiles
from retro_dash.machine import MachineMeter
from retro_dash.run_config import TrainRunConfig
from retro_dash.run_folder import EventLog, RunFolder, all_events
from retro_dash.settings import Settings
from training.config import Job, TrainConfig
from training.samples import Sample
from training.train import train

LOAD_SECONDS = 5.0
"""Between two readings of the machine."""
log = logging.getLogger("retro_dash.worker")


@dataclass
class Sitting:
    """One worker's work on a training run: what it was told, and where its results go."""

    config: TrainRunConfig
    folder: RunFolder
    events: EventLog
    event_files: EventFiles
    settings: Settings
    model_dir: Path
    should_stop: Callable[[], bool]
    meter: MachineMeter = field(default_factory=MachineMeter)
    load_at: float = -math.inf
    """When the machine was read last."""

    def log_metrics(self, step: int, values: Mapping[str, float]) -> None:
        values = {**values, **self._load(values)}
        self.events.append(MetricsLogged(step=step, values=values))
        self.event_files.add(step, values)
        _print(step, values)

    def _load(self, values: Mapping[str, float]) -> dict[str, float]:
        """What the machine does beside a training step, every few seconds, under the name of the step's job."""
        job = next((name.rsplit("/", 1)[0] for name in values if name.endswith("/tokens_per_second")), None)
        if job is None or time.monotonic() - self.load_at < LOAD_SECONDS:
            return {}
        self.load_at = time.monotonic()
        held = self.meter.held({"worker": os.getpid()})["worker"]
        shares = {f"{job}/system/{name}": value for name, value in self.meter.read().shares().items()}
        return {**shares, f"{job}/system/worker_gib": held / 2**30}

    def train(self, config: TrainConfig, samples: Sequence[Sample], iteration: int = 0) -> Mapping[Job, Path]:
        """One call of the loop, in a folder of its own when it is one of several; empty when it was told to stop."""
        run_dir = self.folder.path / f"iteration-{iteration}" if iteration else self.folder.path
        run_dir.mkdir(exist_ok=True)
        prefix = f"iteration{iteration}/" if iteration else ""

        def log_metrics(step: int, metrics: Mapping[str, float]) -> None:
            self.log_metrics(step, {prefix + name: value for name, value in metrics.items()})

        last_logged = _last_logged(self.folder, config, prefix)
        outcome = train(config, samples, self.model_dir, run_dir, log_metrics, self.should_stop, last_logged)
        if outcome.was_stopped:
            return {}
        suffix = f"-{iteration}" if iteration else ""
        for job, path in outcome.artefacts.items():
            self._publish(job, path, f"{job}@{self.folder.run_id}{suffix}", is_full=not config.lora.enabled)
        return outcome.artefacts

    def _publish(self, job: Job, path: Path, name: str, *, is_full: bool) -> None:
        """Say once that there is a new adapter."""
        if name not in _published(self.folder):
            adapter = Adapter(
                name=name,
                role=job,
                base_model=self.model_dir.name,
                path=str(path),
                is_full_weights=is_full,
                run_id=self.folder.run_id,
                created_at=datetime.now(UTC),
            )
            self.events.append(AdapterPublished(adapter=adapter))
        log.info("Published %s at %s", name, path)


def _last_logged(folder: RunFolder, config: TrainConfig, prefix: str) -> dict[Job, int]:
    """The last step of each job that an earlier worker logged."""
    last: dict[Job, int] = {}
    for event in all_events(folder.events):
        if isinstance(event.body, MetricsLogged):
            for job in config.jobs:
                if any(name.startswith(f"{prefix}{job}/") for name in event.body.values):
                    last[job] = max(last.get(job, -1), event.body.step)
    return last


def _published(folder: RunFolder) -> set[str]:
    """Names of the adapters that an earlier worker published."""
    bodies = (event.body for event in all_events(folder.events))
    return {body.adapter.name for body in bodies if isinstance(body, AdapterPublished)}


def _print(step: int, metrics: Mapping[str, float]) -> None:
    shown = {
        name: value
        for name, value in metrics.items()
        if name.endswith(("loss", "solved", "tokens_per_second", "eta_seconds"))
    }
    log.info("step %s  %s", step, "  ".join(f"{name} {value:.4g}" for name, value in shown.items()))
