"""Run folders over a tiny model and expert episodes of small rooms, for tests of the worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from data.events import MetricsLogged, RunStateChanged
from data.types import Episode, Run, Strategy, Task
from envs import environment_kind
from envs.alfworld import open_game
from envs.rooms import generate_tasks
from retro_dash.agent.batch import BatchPlan, play_many
from retro_dash.agent.expert_policy import ExpertPolicy
from retro_dash.agent.policy import Policy
from retro_dash.run_folder import RunFolder, all_events, make_run_folder
from training.tiny import create_model

NAMES = count()
KIND = environment_kind("alfworld")
SMALL = {
    "lora": {"enabled": False},
    "optimiser": {"learning_rate": 2e-3},
    "batch": {"epochs": 2, "tokens_per_step": 800, "tokens_per_pack": 2048, "max_length": 1600},
    "budget": {"checkpoint_every": 2},
}
"""Training settings for which a run takes a second or two."""


def rooms(count: int, seed: int = 5) -> list[Task]:
    return generate_tasks(seed, count, "tiny", task_types=("pick_and_place_simple",))


def expert_episodes(tasks: list[Task], run_id: str = "expert") -> list[Episode]:
    planner, reflector = (ExpertPolicy(KIND.expert, role) for role in ("planner", "reflector"))
    plan = BatchPlan(run_id=run_id, kind=KIND, planner=planner, reflector=reflector, strategy=Strategy.REFLEXION)
    return list(play_many(plan, tasks, open_game, lambda events: None, lambda: f"ep-{next(NAMES)}"))


def model_episodes(policy: Policy, tasks: list[Task], trials: int = 1) -> list[Episode]:
    """What a model samples at temperature 1, with its exact tokens; an untrained one solves nothing."""
    plan = BatchPlan(
        run_id="model", kind=KIND, planner=policy, reflector=policy, trial_limit=trials, temperature=1.0, parallel=8
    )
    return list(play_many(plan, tasks, open_game, lambda events: None, lambda: f"ep-{next(NAMES)}"))


def make_home(home: Path, episodes: Iterable[Episode]) -> Path:
    """A home with an untrained model `tiny` of 0.1 million parameters that knows the words of the episodes."""
    texts = [
        text
        for episode in episodes
        for text in (*(t.prompt for t in episode.trials), *(r.text for r in episode.reflections))
    ]
    create_model(home / "models" / "tiny", texts, vocabulary=600, width=64, layers=2)
    return home


def make_run(home: Path, kind: str, config: dict[str, object], lines: Iterable[str]) -> RunFolder:
    whole = {"kind": kind, "model": "tiny", **config}
    given = {"id": f"{kind}-{next(NAMES)}", "kind": kind, "config": whole, "state": "queued"}
    return make_run_folder(home / "runs", Run.model_validate({**given, "created_at": datetime.now(UTC)}), lines)


def make_train_run(home: Path, episodes: Iterable[Episode], **train: object) -> RunFolder:
    """A training run; an `exploration` among the settings goes beside them."""
    outer = {key: train.pop(key) for key in ("exploration",) if key in train}
    config = {**outer, "train": {"method": "sft", **SMALL, **train}}
    return make_run(home, "train", config, (episode.model_dump_json() for episode in episodes))


def start_worker(folder: RunFolder) -> subprocess.Popen[bytes]:
    """The folder's worker as a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "retro_dash.worker", str(folder.path)]
    with folder.log.open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def states(folder: RunFolder) -> list[tuple[str, str | None]]:
    """Every state that the run was in, with what went wrong."""
    bodies = [event.body for event in all_events(folder.events)]
    return [(str(body.state), body.error) for body in bodies if isinstance(body, RunStateChanged)]


def logged_steps(folder: RunFolder, job: str, prefix: str = "") -> Counter[int]:
    """How often each step of a job was logged."""
    bodies = [event.body for event in all_events(folder.events)]
    name = f"{prefix}{job}/gradient_norm"
    return Counter(body.step for body in bodies if isinstance(body, MetricsLogged) and name in body.values)


def losses(folder: RunFolder, job: str) -> list[float]:
    bodies = [event.body for event in all_events(folder.events)]
    name = f"{job}/il_loss"
    return [body.values[name] for body in bodies if isinstance(body, MetricsLogged) and name in body.values]


def sequence_numbers(folder: RunFolder) -> list[int]:
    return [json.loads(line)["seq"] for line in folder.events.read_text().splitlines()]
