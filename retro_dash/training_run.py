"""A training run: episodes become samples, `training` makes adapters of them, adapters become events.

With an exploration section this is RetroAct's Algorithm 1 (`exploration.py`). Without one it is a single pass over
the fixed episodes, as published.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from pydantic import ValidationError

from data.errors import BadFile, Unavailable
from data.types import Episode, Reflection, Trial
from envs import environment_kind
from retro_dash.agent.encode import EpisodeEncoder
from retro_dash.event_files import EventFiles
from retro_dash.exploration import explore_and_train
from retro_dash.forecast import nothing_to_learn
from retro_dash.local_tokenizer import LocalTokenizer
from retro_dash.memory import model_folder_here
from retro_dash.run_config import TrainRunConfig
from retro_dash.run_folder import EventLog, RunFolder
from retro_dash.serving.model import EMBEDDED_MODEL, prepare_embedded_model
from retro_dash.settings import Settings
from retro_dash.sitting import Sitting
from training.episodes import demonstration_samples, sampled_samples
from training.samples import Sample, Segment

log = logging.getLogger("retro_dash.worker")


def train_run(
    config: TrainRunConfig, folder: RunFolder, events: EventLog, settings: Settings, should_stop: Callable[[], bool]
) -> None:
    """Do the run and publish its adapters. Raises TrainingError, BadFile, BadInput with what to change."""
    model_dir = model_folder(settings)
    episodes = read_dataset_episodes(folder)
    encoder = EpisodeEncoder(settings.model, LocalTokenizer(model_dir))
    demonstrations = [s for episode in episodes for s in _demonstrations(episode, encoder)]
    # Imitation has no use for log-probabilities, and exploration samples anew.
    needs_sampled = config.train.method != "sft" and config.exploration is None
    sampled = [s for episode in episodes for s in sampled_samples(episode, age=0)] if needs_sampled else []
    _log_counts(demonstrations, sampled)
    comes_later = config.exploration is not None and config.train.start_adapters
    if not demonstrations and not sampled and not comes_later:
        raise nothing_to_learn(len(episodes))
    with closing(EventFiles(folder.path)) as event_files:
        sitting = Sitting(config, folder, events, event_files, settings, model_dir, should_stop)
        if config.exploration is None:
            sitting.train(config.train, [*demonstrations, *sampled])
        else:
            explore_and_train(sitting, config.exploration, episodes, demonstrations)


def model_folder(settings: Settings) -> Path:
    """The base model's folder; the embedded one is prepared when it is missing. Raises Unavailable."""
    folder = model_folder_here(settings.model, settings.home)
    if folder is not None:
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


def _log_counts(demonstrations: Sequence[Sample], sampled: Sequence[Sample]) -> None:
    counts = {
        f"{role} {what}": sum(sample.role == role for sample in samples)
        for what, samples in (("demonstrations", demonstrations), ("sampled", sampled))
        for role in ("planner", "reflector")
    }
    log.info("Samples: %s", json.dumps(counts))
