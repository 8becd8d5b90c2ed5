"""The stages of learning on rooms with a hidden habit (`habit_rooms.py`): demonstrate, imitate, explore, train, play.

One small model from scratch is planner and reflector. Everything goes through the product: play, samples, the loop,
the engine. What the stages are told (rooms, steps, rates) stands here once, for the test `test_it_learns` and for the
benchmark `methods`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.habit_rooms import NAMES, BlindSearcher, make_rooms
from data.types import Episode, Strategy, Task
from envs import environment_kind
from envs.alfworld import open_game
from retro_dash.agent.batch import BatchPlan, play_many
from retro_dash.agent.briefing import brief_planner, brief_reflector
from retro_dash.agent.encode import EpisodeEncoder
from retro_dash.agent.expert_policy import ExpertPolicy
from retro_dash.agent.limits import Limits
from retro_dash.agent.policy import Policy
from retro_dash.agent.reply import format_reply
from retro_dash.local_tokenizer import LocalTokenizer
from retro_dash.serving.local import LocalEngine
from retro_dash.serving.scheduler import Limits as EngineLimits
from training.config import merge, parse_config
from training.episodes import demonstration_samples, sampled_samples
from training.loop import LogMetrics, TrainOutcome
from training.samples import Sample
from training.tiny import create_model
from training.train import train

KIND = environment_kind("alfworld")
LIMITS = Limits(reply_tokens=16, reflection_tokens=24)
ENGINE = EngineLimits(kv_bytes=8 * 2**20, step_tokens=4096)
TRIALS = 3
DEMONSTRATED, EXPLORED = 9000, 800
"""Rooms of these stages."""
HELD_OUT = (3, 200)
"""(seed, number) of the rooms that are played at the end."""
HABIT = 0.65
SHARED: dict[str, Any] = {
    "shared_adapter": True,
    "lora": {"enabled": False},
    "budget": {"checkpoint_every": 10_000, "diagnostics_every": 50},
}
BATCH = {"tokens_per_pack": 4096, "max_length": 1024, "precision": "fp32"}
IMITATION: dict[str, Any] = {
    "optimiser": {"learning_rate": 3e-3, "schedule": "cosine"},
    "batch": {**BATCH, "epochs": 4, "tokens_per_step": 1024},
}
RETROACT: dict[str, Any] = {
    "optimiser": {"learning_rate": 3e-4},
    "batch": {**BATCH, "epochs": 4, "tokens_per_step": 4096},
}
NUMBERS = count()


@dataclass(frozen=True)
class Seeds:
    """Of one repetition: what differs between repetitions. The held-out rooms are the same in all."""

    demonstrated: int = 1
    explored: int = 2
    weights: int = 0
    """Of the first weights, and of the order of the samples."""


@dataclass(frozen=True)
class Imitated:
    """What every method starts from."""

    model: Path
    """The untrained model with its tokenizer."""
    demonstrations: list[Sample]
    weights: Path


def play(
    tasks: Sequence[Task],
    planner: Policy,
    reflector: Policy,
    strategy: Strategy = Strategy.REFLEXION,
    temperature: float = 0.0,
) -> list[Episode]:
    """Up to three trials of every task; greedy unless a temperature is given."""
    plan = BatchPlan(
        run_id="learning",
        kind=KIND,
        planner=planner,
        reflector=reflector,
        strategy=strategy,
        trial_limit=TRIALS,
        limits=LIMITS,
        parallel=1 if planner.is_expert else 64,
        temperature=temperature,
    )
    return list(play_many(plan, tasks, open_game, lambda events: None, lambda: f"ep-{next(NUMBERS)}"))


def imitate(folder: Path, seeds: Seeds) -> Imitated:
    """Show the blind search in rooms without a habit, and train a model from scratch to do likewise."""
    shown = demonstrate(make_rooms(seeds.demonstrated, DEMONSTRATED, habit=0.0, looks=(1, 2, 3, 4)))
    model = create_model(
        folder / "tiny", texts(shown[:300]), vocabulary=3000, names=NAMES, width=64, head_size=16, layers=2,
        context=1024, seed=seeds.weights,
    )  # fmt: skip
    demonstrations = encode(shown, model)
    settings = {**IMITATION, "seed": seeds.weights}
    weights = learn("sft", demonstrations, model, folder / "imitation", settings).artefacts["both"]
    return Imitated(model, demonstrations, weights)


def explore(engine: LocalEngine, name: str, seeds: Seeds) -> list[Sample]:
    """Samples for RL: hurried rooms with the habit, played by the loaded weights `name` at temperature 1."""
    rooms = make_rooms(seeds.explored, EXPLORED, habit=HABIT, looks=(1,))
    policy = engine.policy(name)
    explored = play(rooms, policy, policy, temperature=1.0)
    return [sample for episode in explored for sample in sampled_samples(episode)]


def learn(
    method: str,
    samples: Sequence[Sample],
    model: Path,
    folder: Path,
    settings: Mapping[str, Any],
    log: LogMetrics = lambda step, metrics: None,
) -> TrainOutcome:
    """Train all weights; one set for both roles unless the settings say otherwise."""
    config = parse_config({"method": method, **merge(SHARED, dict(settings))})
    return train(config, samples, model, folder, log)


def held_out_rooms(looks: int) -> list[Task]:
    """The rooms for evaluation, with turns for so many looks; their combinations are in no other rooms."""
    return make_rooms(*HELD_OUT, habit=HABIT, looks=(looks,), held_out=True)


def demonstrate(tasks: Sequence[Task]) -> list[Episode]:
    expert = BlindSearcher()
    return play(tasks, ExpertPolicy(expert, "planner"), ExpertPolicy(expert, "reflector"))


def texts(episodes: Sequence[Episode]) -> Iterator[str]:
    """All that is said in the episodes, message by message."""
    for episode in episodes:
        for trial in episode.trials:
            yield from (message.content for message in brief_planner(episode, KIND, trial, LIMITS).messages)
            for turn in trial.turns:
                yield from (format_reply(turn.thought, turn.action), turn.observation)
        for reflection in episode.reflections:
            messages = brief_reflector(episode, KIND, episode.trials[reflection.after_trial - 1], LIMITS).messages
            yield from (*(message.content for message in messages), reflection.text)


def encode(episodes: Sequence[Episode], model: Path) -> list[Sample]:
    encoder = EpisodeEncoder(model.name, LocalTokenizer(model), LIMITS)
    return [
        sample
        for episode in episodes
        for sample in demonstration_samples(episode, partial(encoder.encode, episode, KIND))
    ]
