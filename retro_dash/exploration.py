"""RetroAct's Algorithm 1: imitate first, then explore, add what was done to the buffer, train, and so on.

The buffer keeps every iteration's samples: older ones are weighed by their importance ratio and carry their age.
A sample's reward is compared with those of its own iteration, whose policy made it.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue

from data.errors import TrainingError
from data.events import MetricsLogged
from data.types import Episode, Strategy, Task
from envs.sandbox import UNSAFE_OPTION
from retro_dash.collecting import engine_for, finished_episodes, play_arm, was_played_by
from retro_dash.run_config import Arm, Exploration, Playing
from retro_dash.run_folder import RunFolder, all_events
from retro_dash.sitting import Sitting
from training.config import Job, TrainConfig, imitation_of
from training.credit import sample_reward
from training.episodes import sampled_samples
from training.samples import Sample

log = logging.getLogger("retro_dash.worker")


def explore_and_train(
    sitting: Sitting, exploration: Exploration, episodes: Sequence[Episode], demonstrations: Sequence[Sample]
) -> None:
    """All iterations on the tasks of `episodes`; imitation comes first where no adapter is given.

    Raises TrainingError when exploration earns the same everywhere, and what training and playing raise.
    """
    config = sitting.config.train
    adapters: dict[Job, Path] = {job: Path(path) for job, path in config.start_adapters.items()}
    if not adapters:
        adapters = dict(sitting.train(imitation_of(config), demonstrations))
    games = games_of(episodes)
    buffer: list[Sample] = []
    for iteration in range(1, exploration.iterations + 1):
        if sitting.should_stop() or not adapters:
            return
        explored = Explorer(sitting, exploration, iteration, adapters).explore(games)
        if sitting.should_stop():
            return
        buffer = [replace(sample, age=sample.age + 1) for sample in buffer] + samples_of(explored, iteration)
        roles = config.roles if config.method == "expert_iteration" else learnable_roles(buffer, config)
        if not roles:
            raise TrainingError(
                f"In iteration {iteration} every trial of a task earned the same reward, so there is nothing to "
                "learn. Raise exploration.temperature or exploration.repeats, or take harder tasks."
            )
        start = {job: str(path) for job, path in adapters.items()}
        now = config.model_copy(update={"start_adapters": start, "roles": roles})
        adapters |= sitting.train(now, [*demonstrations, *buffer], iteration)


@dataclass(frozen=True)
class Game:
    """A task and the environment's options with which it is played."""

    task: Task
    options: Mapping[str, JsonValue]


def games_of(episodes: Sequence[Episode]) -> list[Game]:
    """The tasks of episodes, each once, played as the last episode of it was, but never without a sandbox."""
    return list({episode.task.id: Game(episode.task, _sandboxed(episode.options)) for episode in episodes}.values())


def _sandboxed(options: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: value for name, value in options.items() if name != UNSAFE_OPTION}


def samples_of(explored: Sequence[Episode], iteration: int) -> list[Sample]:
    """What an iteration adds to the buffer."""
    fresh = [sample for episode in explored for sample in sampled_samples(episode, age=0)]
    return [replace(sample, group=f"{sample.group} in iteration {iteration}") for sample in fresh]


@dataclass(frozen=True)
class Explorer:
    """The newest policies at play in one iteration."""

    sitting: Sitting
    exploration: Exploration
    iteration: int
    adapters: Mapping[Job, Path]

    def explore(self, games: Sequence[Game]) -> list[Episode]:
        """Episodes on some of the games, at the exploration temperature; those that are there are not repeated."""
        arm, sitting = self._arm(), self.sitting
        drawn = self._draw(games)
        done = finished_episodes(sitting.folder, sitting.events)
        explored: list[Episode] = []
        for options, tasks in _by_settings(drawn):
            explored += self._play(arm, options, tasks, done)
        solved = sum(any(trial.success for trial in episode.trials) for episode in explored)
        log.info("Exploration %s: %s of %s solved", self.iteration, solved, len(explored))
        if not sitting.should_stop() and self.iteration not in _explored(sitting.folder):
            sitting.log_metrics(self.iteration, {"explore/solved": solved / max(1, len(explored))})
        return explored

    def _play(
        self, arm: Arm, options: Mapping[str, JsonValue], tasks: Sequence[Task], done: Sequence[Episode]
    ) -> list[Episode]:
        """Every repeat of the tasks of one environment; no engine is started when all of them are done."""
        sitting, exploration = self.sitting, self.exploration
        seeds = [self._seed(repeat) for repeat in range(exploration.repeats)]
        known = [{e.task.id: e for e in done if was_played_by(e, arm, seed)} for seed in seeds]
        if all(task.id in one for one in known for task in tasks):
            return [one[task.id] for one in known for task in tasks]
        playing = Playing(
            env=tasks[0].env,
            model=sitting.settings.model,
            adapters={self._name(job): str(path) for job, path in self.adapters.items()},
            parallel=exploration.parallel,
            options=dict(options),
        )
        played: list[Episode] = []
        with engine_for(playing, [arm], sitting.settings) as engine:
            for seed in seeds:
                given = (playing, arm, seed, exploration.trials, tasks, done)
                played += play_arm(*given, sitting.events, engine, sitting.should_stop)
        return played

    def _arm(self) -> Arm:
        model = Path(self.sitting.settings.model).name  # As the engine calls it.
        names = {job: self._name(job) for job in self.adapters}
        return Arm(
            name=f"explore {self.iteration}",
            planner=names.get("planner") or names.get("both") or model,
            reflector=names.get("reflector") or names.get("both") or model,
            strategy=Strategy.REFLEXION,
            temperature=self.exploration.temperature,
        )

    def _draw(self, games: Sequence[Game]) -> list[Game]:
        count = self.exploration.tasks
        if count is None or count >= len(games):
            return list(games)
        draw = random.Random(f"{self.sitting.config.train.seed}/{self.iteration}/tasks")  # noqa: S311
        return draw.sample(list(games), count)

    def _seed(self, repeat: int) -> int:
        return (self.sitting.config.train.seed * 1000 + self.iteration) * 1000 + repeat

    def _name(self, job: Job) -> str:
        """What the engine calls an adapter: a new name for new weights."""
        return f"{job}@{self.sitting.folder.run_id}-explore{self.iteration}"


def _by_settings(games: Sequence[Game]) -> list[tuple[Mapping[str, JsonValue], list[Task]]]:
    """Tasks that one environment with the same options plays."""
    groups: dict[tuple[str, str], tuple[Mapping[str, JsonValue], list[Task]]] = {}
    for game in games:
        key = (game.task.env, json.dumps(game.options, sort_keys=True))
        groups.setdefault(key, (game.options, []))[1].append(game.task)
    return list(groups.values())


def learnable_roles(samples: Sequence[Sample], config: TrainConfig) -> tuple[Job, ...]:
    """The roles whose samples differ in reward, compared as the baseline compares them."""
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


def _explored(folder: RunFolder) -> set[int]:
    """Iterations whose exploration an earlier worker logged."""
    bodies = (event.body for event in all_events(folder.events))
    return {body.step for body in bodies if isinstance(body, MetricsLogged) and "explore/solved" in body.values}
