"""A home with runs of every kind: trained, training now, queued, evaluated; and adapters. No worker of ours runs."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from fixture_episodes import HOSTILE, NOW, kitchen_episode
from web_serving import serving

from data.events import AdapterPublished, EpisodeStarted, Event, EventBody, MetricsLogged, RunCreated, RunStateChanged
from data.store import Store
from data.types import Adapter, Episode, EpisodeState, Run, RunState
from retro_dash.evaluating import make_report
from retro_dash.hub import build_app
from retro_dash.processes import write_identity
from retro_dash.run_config import EvaluateConfig
from retro_dash.run_folder import EventLog, RunFolder, make_run_folder
from retro_dash.service import Service
from retro_dash.settings import Settings

TOKEN = "a-token-for-tests"
SIGNED = f"token={TOKEN}"


class RunSite(NamedTuple):
    url: str
    service: Service
    live: EventLog
    """What the run that trains now writes."""


def rl_metrics(step: int) -> dict[str, float]:
    wobble = math.sin(step * 1.7) * 0.1 / (1 + step / 60)
    return {
        "planner/rl_loss": 0.4 * math.exp(-step / 90) + wobble,
        "planner/il_loss": 2.2 * math.exp(-step / 120) + 0.3 + wobble,
        "reflector/rl_loss": 0.5 * math.exp(-step / 150) - wobble,
        "reflector/il_loss": 2.6 * math.exp(-step / 100) + 0.5 - wobble,
        "planner/ratio_mean": 1 + wobble,
        "planner/clip_high": 0.05 + abs(wobble),
        "planner/clip_low": 0.03 + abs(wobble) / 2,
        "planner/gradient_norm": 0.8 + abs(wobble),
        "planner/entropy": 1.2 * math.exp(-step / 400),
        "planner/kl_behaviour": 0.001 * step / (1 + step / 50),
        "planner/tokens_per_second": 5200 + 900 * wobble,
        "planner/eta_seconds": max(0.0, 600 - step),
        "planner/learning_rate": 2e-4 * (1 - step / 1000),
    }


def train_config(method: str = "retroact") -> dict[str, Any]:
    return {"kind": "train", "model": "tiny", "train": {"method": method, "preset": "fixed", "seed": 3}}


def finished(run_id: str, config: EvaluateConfig) -> dict[str, list[Episode]]:
    """Twelve tasks by arm: the first solves four, the second those but one, and five more."""
    played: dict[str, list[Episode]] = {}
    for arm_number, arm in enumerate(config.arms):
        for task in range(12):
            solved = task in ({0, 1, 2, 3}, {0, 1, 2, 4, 5, 6, 7, 8})[arm_number]
            example = kitchen_episode(f"{run_id}-{arm_number}-{task}", NOW - timedelta(minutes=task))
            trials = example.trials if solved else example.trials[:1]
            episode = example.model_copy(
                update={
                    "task": example.task.model_copy(update={"id": f"kitchen-{task:03}"}),
                    "trials": trials,
                    "state": EpisodeState.SOLVED if solved else EpisodeState.FAILED,
                    "planner": arm.planner,
                    "reflector": arm.reflector,
                    "run_id": run_id,
                }
            )
            played.setdefault(arm.name, []).append(episode)
    return played


class _Home:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = Store.open(home)

    def add(
        self, run_id: str, kind: str, config: dict[str, Any], bodies: Sequence[EventBody], **more: Any
    ) -> RunFolder:
        given = {"id": run_id, "kind": kind, "config": config, "state": "queued", "created_at": NOW, **more}
        run = Run.model_validate(given)
        lines = [kitchen_episode(f"of-{run_id}").model_dump_json()]
        folder = make_run_folder(self.home / "runs", run, lines, {"filter": "outcome:solved", "split": None})
        log = EventLog(folder)
        for body in (RunStateChanged(state=RunState.RUNNING), *bodies):
            log.append(body)
        log.close()
        made = RunCreated(run=run)
        all_bodies = [made, RunStateChanged(state=RunState.RUNNING), *bodies]
        self.store.append(
            [
                Event(run_id=run_id, seq=seq, at=NOW + timedelta(seconds=seq), body=b)
                for seq, b in enumerate(all_bodies)
            ]
        )
        return folder

    def adapter(self, role: str, run_id: str) -> Adapter:
        path = self.home / "adapters" / f"{role}-{run_id}"
        path.mkdir(parents=True, exist_ok=True)
        (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "tiny"}))
        name = f"{role}@{run_id}"
        given = {"name": name, "role": role, "base_model": "tiny", "path": str(path), "run_id": run_id}
        return Adapter.model_validate({**given, "created_at": NOW})


@contextmanager
def found_site(home: Path) -> Iterator[RunSite]:
    """The hub of `run_site`, where a command finds it through its home."""
    with run_site(home) as site:
        pid = os.getpid()
        known = {"url": site.url, "token": TOKEN, "pid": pid, "started": psutil.Process(pid).create_time()}
        (home / "hub.json").write_text(json.dumps(known))
        yield site


@contextmanager
def run_site(home: Path, with_runs: bool = True) -> Iterator[RunSite]:
    """The real hub over such a home. The worker of the run that trains now is a process that only sleeps."""
    (home / "models" / "tiny").mkdir(parents=True)
    shape = {"num_hidden_layers": 2, "hidden_size": 64, "vocab_size": 400, "dtype": "float32"}
    (home / "models" / "tiny" / "config.json").write_text(json.dumps(shape))
    made = _Home(home)
    sleeper = subprocess.Popen(["sleep", "900"])
    try:
        live = _fill(made, sleeper.pid) if with_runs else None
        service = Service(Settings(home=home, engine="none", model="tiny"), made.store)
        if with_runs:
            for number in (1, 2):
                name = f"queued {number} {HOSTILE[1]}"
                service.jobs.submit("train", name, train_config("sft"), [kitchen_episode().model_dump_json()])
        with serving(build_app(service, TOKEN)) as url:
            yield RunSite(url, service, live or EventLog(RunFolder(home)))
        for run_id in service.jobs.queue():
            service.jobs.cancel(run_id)
        service.close()
    finally:
        sleeper.kill()
        sleeper.wait()


def _fill(made: _Home, pid: int) -> EventLog:
    metrics = [MetricsLogged(step=step, values=rl_metrics(step)) for step in range(1, 301)]
    done = "train-done"
    adapters = [AdapterPublished(adapter=made.adapter(role, done)) for role in ("planner", "reflector")]
    ended = RunStateChanged(state=RunState.FINISHED)
    made.add(done, "train", train_config(), [*metrics, *adapters, ended], name="RetroAct on rooms")
    broken = RunStateChanged(state=RunState.FAILED, error="It ran out of memory. Last line of its log: Killed")
    made.add("train-broken", "train", train_config("sft"), [*metrics[:20], broken], name="too large")
    arms = [
        {"name": "base", "planner": "tiny", "reflector": "tiny"},
        {"name": "RetroAct", "planner": "planner@train-done", "reflector": "reflector@train-done"},
    ]
    config = EvaluateConfig.model_validate({"env": "alfworld", "model": "tiny", "trials": 2, "arms": arms})
    played = finished("evaluate-done", config)
    bodies = [EpisodeStarted(episode=episode) for episodes in played.values() for episode in episodes]
    whole = config.model_dump(mode="json")
    folder = made.add("evaluate-done", "evaluate", whole, [*bodies, ended], name="base against RetroAct")
    report = make_report(config, "evaluate-done", played)
    folder.report.write_text(report.model_dump_json())
    live = made.add("train-live", "train", train_config(), metrics[:120], name="RetroAct, longer")
    write_identity(live, pid)
    live.heartbeat.touch()
    live.log.write_text("".join(f"step {step}\n" for step in range(1, 121)))
    return EventLog(live)
