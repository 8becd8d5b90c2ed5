"""A training run: episodes become samples, `training` makes adapters of them, adapters become events.

With an exploration section this is RetroAct's Algorithm 1: explore with the newest planner and reflector, add what
they did to the buffer, train, repeat. Without one it is a single pass over the fixed episodes, as published.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError
from transformers import AutoConfig, AutoTokenizer

from data.errors import BadFile, TrainingError, Unavailable
from data.events import AdapterPublished, MetricsLogged
from data.types import Adapter, Episode, Reflection, Strategy, Task, Trial
from envs import environment_kind
from retro_dash.agent.encode import EpisodeEncoder
from retro_dash.agent.policy import OnText, SampledTokens, Sampling, ShouldStop
from retro_dash.agent.prompts import Message
from retro_dash.collecting import engine_for, finished_episodes, play_arm
from retro_dash.event_files import EventFiles
from retro_dash.machine import MachineMeter
from retro_dash.run_config import Arm, Exploration, Playing, TrainRunConfig
from retro_dash.run_folder import EventLog, RunFolder, all_events
from retro_dash.serving.model import EMBEDDED_MODEL, prepare_embedded_model
from retro_dash.settings import Settings
from training.config import Job, TrainConfig
from training.credit import sample_reward
from training.samples import Sample, Segment, demonstration_samples, sampled_samples
from training.train import train

log = logging.getLogger("retro_dash.worker")


class LocalTokenizer:
    """A model folder's tokenizer and chat template, asked in the words of `agent.policy.TokenServer`."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._context_length = int(AutoConfig.from_pretrained(folder).max_position_embeddings)

    def context_length(self, model: str) -> int:
        return self._context_length

    def tokenize(self, model: str, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def tokenize_chat(self, model: str, messages: Sequence[Message]) -> list[int]:
        chat = [{"role": message.role, "content": message.content} for message in messages]
        text = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def sample(
        self,
        model: str,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        max_tokens: int,
        on_text: OnText | None,
        should_stop: ShouldStop | None,
    ) -> SampledTokens:
        raise TrainingError("This tokenizer has no model to sample from.")


LOAD_SECONDS = 5.0
"""Between two readings of the machine."""


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


def train_run(
    config: TrainRunConfig, folder: RunFolder, events: EventLog, settings: Settings, should_stop: Callable[[], bool]
) -> None:
    """Do the run and publish its adapters. Raises TrainingError, BadFile, BadInput with what to change."""
    model_dir = model_folder(settings)
    episodes = read_dataset_episodes(folder)
    encoder = EpisodeEncoder(settings.model, LocalTokenizer(model_dir))
    demonstrations = [s for episode in episodes for s in _demonstrations(episode, encoder)]
    sampled = [s for episode in episodes for s in sampled_samples(episode, age=0)]
    _log_counts(demonstrations, sampled)
    if not demonstrations and not sampled:
        raise TrainingError(
            f"None of the {len(episodes)} episodes has anything to train on: no successful trial, no reflection that "
            "the next trial proved right, no sampled tokens. Widen the dataset's filter or add expert episodes."
        )
    with closing(EventFiles(folder.path)) as event_files:
        sitting = Sitting(config, folder, events, event_files, settings, model_dir, should_stop)
        if config.exploration is None:
            _train_once(sitting, config.train, [*demonstrations, *sampled], 0)
        else:
            _iterate(sitting, config.exploration, episodes, demonstrations)


def model_folder(settings: Settings) -> Path:
    """The base model's folder; the embedded one is prepared when it is missing. Raises Unavailable."""
    for folder in (Path(settings.model), settings.home / "models" / settings.model):
        if (folder / "config.json").is_file():
            return folder.resolve()
    if settings.model == EMBEDDED_MODEL:
        return prepare_embedded_model(settings.home, log.info)
    raise Unavailable(
        f"There is no model folder {settings.model!r}, here or in {settings.home}/models. Training needs its weights."
    )


def read_dataset_episodes(folder: RunFolder) -> list[Episode]:
    """The episodes of `dataset.jsonl`. Raises BadFile with the line."""
    episodes = []
    with folder.dataset.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                episodes.append(Episode.model_validate_json(line))
            except ValidationError as error:
                message = error.errors()[0]["msg"]
                raise BadFile(f"{folder.dataset}, line {number}, is not an episode: {message}.") from error
    if not episodes:
        raise BadFile(f"{folder.dataset} holds no episodes. Choose a filter or dataset that has some.")
    return episodes


def _demonstrations(episode: Episode, encoder: EpisodeEncoder) -> list[Sample]:
    kind = environment_kind(episode.task.env)

    def encode(part: Trial | Reflection) -> list[Segment]:
        return encoder.encode(episode, kind, part)

    return demonstration_samples(episode, encode)


def _train_once(
    sitting: Sitting, config: TrainConfig, samples: Sequence[Sample], iteration: int
) -> Mapping[Job, Path]:
    """One call of the loop; its metrics become events, its artefacts published adapters. Empty when stopped."""
    folder = sitting.folder
    run_dir = folder.path if iteration == 0 else folder.path / f"iteration-{iteration}"
    run_dir.mkdir(exist_ok=True)
    prefix = "" if iteration == 0 else f"iteration{iteration}/"

    def log_metrics(step: int, metrics: Mapping[str, float]) -> None:
        sitting.log_metrics(step, {prefix + name: value for name, value in metrics.items()})

    last_logged = _last_logged(folder, config, prefix)
    outcome = train(config, samples, sitting.model_dir, run_dir, log_metrics, sitting.should_stop, last_logged)
    if outcome.was_stopped:
        return {}
    published = _published(folder)
    for job, path in outcome.artefacts.items():
        name = f"{job}@{folder.run_id}" + (f"-{iteration}" if iteration else "")
        if name not in published:
            adapter = Adapter(
                name=name,
                role=job,
                base_model=sitting.model_dir.name,
                path=str(path),
                is_full_weights=not config.lora.enabled,
                run_id=folder.run_id,
                created_at=datetime.now(UTC),
            )
            sitting.events.append(AdapterPublished(adapter=adapter))
        log.info("Published %s at %s", name, path)
    return outcome.artefacts


def _iterate(
    sitting: Sitting, exploration: Exploration, episodes: Sequence[Episode], demonstrations: Sequence[Sample]
) -> None:
    """Algorithm 1: imitation first where no adapter is given, then explore and train in turn."""
    config = sitting.config.train
    adapters: dict[Job, Path] = {job: Path(path) for job, path in config.start_adapters.items()}
    if not adapters:
        imitation = TrainConfig.model_validate({**_given(config), "method": "sft"})
        adapters = dict(_train_once(sitting, imitation, demonstrations, 0))
    tasks = list({episode.task.id: episode.task for episode in episodes}.values())
    for iteration in range(1, exploration.iterations + 1):
        if sitting.should_stop() or not adapters:
            return
        explored = _explore(sitting, exploration, iteration, tasks, adapters)
        if sitting.should_stop():
            return
        fresh = [s for episode in explored for s in sampled_samples(episode, age=0)]
        roles = learnable_roles(fresh, config)
        if not roles:
            raise TrainingError(
                f"In iteration {iteration} every trial of a task earned the same reward, so there is nothing to "
                "learn. Raise exploration.temperature or exploration.repeats, or take harder tasks."
            )
        start = {job: str(path) for job, path in adapters.items()}
        now = config.model_copy(update={"start_adapters": start, "roles": roles})
        adapters |= _train_once(sitting, now, [*demonstrations, *fresh], iteration)


def _explore(
    sitting: Sitting, exploration: Exploration, iteration: int, tasks: Sequence[Task], adapters: Mapping[Job, Path]
) -> list[Episode]:
    """Episodes of the newest policies on training tasks, at the exploration temperature."""
    folder, events, settings = sitting.folder, sitting.events, sitting.settings
    names = {job: f"{job}@{folder.run_id}-explore{iteration}" for job in adapters}
    planner = names.get("planner") or names.get("both") or settings.model
    reflector = names.get("reflector") or names.get("both") or settings.model
    arm = Arm(
        name=f"explore {iteration}",
        planner=planner,
        reflector=reflector,
        strategy=Strategy.REFLEXION,
        temperature=exploration.temperature,
    )
    drawn = list(tasks)
    if exploration.tasks is not None and exploration.tasks < len(drawn):
        drawn = random.Random(iteration).sample(drawn, exploration.tasks)  # noqa: S311 - a draw of tasks
    playing = Playing(
        env=drawn[0].env,
        model=settings.model,
        adapters={names[job]: str(path) for job, path in adapters.items()},
        parallel=exploration.parallel,
    )
    done = finished_episodes(folder, events)
    explored: list[Episode] = []
    with engine_for(playing, [arm], settings) as engine:
        for repeat in range(exploration.repeats):
            seed = iteration * 1000 + repeat
            explored += play_arm(
                playing, arm, seed, exploration.trials, drawn, done, events, engine, sitting.should_stop
            )
    solved = sum(any(trial.success for trial in episode.trials) for episode in explored)
    log.info("Exploration %s: %s of %s solved", iteration, solved, len(explored))
    if not sitting.should_stop() and iteration not in _explored(folder):
        sitting.log_metrics(iteration, {"explore/solved": solved / max(1, len(explored))})
    return explored


def _explored(folder: RunFolder) -> set[int]:
    """Iterations whose exploration an earlier worker logged."""
    bodies = (event.body for event in all_events(folder.events))
    return {body.step for body in bodies if isinstance(body, MetricsLogged) and "explore/solved" in body.values}


def learnable_roles(samples: Sequence[Sample], config: TrainConfig) -> tuple[Job, ...]:
    """The roles whose fresh samples differ in reward, compared as the baseline compares them."""
    found: list[Job] = []
    for role in config.roles:
        groups: dict[str, set[float]] = {}
        for sample in samples:
            if sample.role == role:
                key = sample.group if config.credit.baseline == "group" else ""
                groups.setdefault(key, set()).add(sample_reward(sample, config.credit))
        if any(len(rewards) > 1 for rewards in groups.values()):
            found.append(role)
    return tuple(found)


def _given(config: TrainConfig) -> dict[str, object]:
    """The config's settings without what its method fixes."""
    return config.model_dump(exclude={"method"})


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


def _log_counts(demonstrations: Sequence[Sample], sampled: Sequence[Sample]) -> None:
    counts = {
        f"{role} {what}": sum(sample.role == role for sample in samples)
        for what, samples in (("demonstrations", demonstrations), ("sampled", sampled))
        for role in ("planner", "reflector")
    }
    log.info("Samples: %s", json.dumps(counts))


def _print(step: int, metrics: Mapping[str, float]) -> None:
    shown = {
        name: value
        for name, value in metrics.items()
        if name.endswith(("loss", "solved", "tokens_per_second", "eta_seconds"))
    }
    log.info("step %s  %s", step, "  ".join(f"{name} {value:.4g}" for name, value in shown.items()))
