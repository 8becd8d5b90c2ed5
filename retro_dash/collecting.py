"""Playing the tasks of a run folder: what collection, evaluation and exploration share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from pydantic import ValidationError

from data.episodes import apply
from data.errors import BadFile, EngineError
from data.events import EpisodeFinished, EpisodeStarted, Event
from data.types import Episode, EpisodeState, Task
from envs import environment_kind
from envs.isolated import EnvironmentPool
from envs.sandbox import UNSAFE_OPTION
from retro_dash.agent.batch import BatchPlan, play_many
from retro_dash.agent.policies import is_served, make_policy
from retro_dash.agent.policy import Policy
from retro_dash.ids import new_id
from retro_dash.run_config import Arm, CollectConfig, Playing
from retro_dash.run_folder import EventLog, RunFolder, all_events
from retro_dash.serving.engine import Engine, start_engine
from retro_dash.settings import Settings

log = logging.getLogger("retro_dash.worker")
ShouldStop = Callable[[], bool]


def collect(
    config: CollectConfig, folder: RunFolder, events: EventLog, settings: Settings, should_stop: ShouldStop
) -> None:
    """Play every task of the dataset that has no finished episode yet."""
    arm = Arm(
        name="collect",
        planner=config.planner,
        reflector=config.reflector,
        strategy=config.strategy,
        temperature=config.temperature,
    )
    done = finished_episodes(folder, events)
    with engine_for(config, [arm], settings) as engine:
        for episode in play_arm(
            config, arm, config.seed, config.trials, read_dataset_tasks(folder), done, events, engine, should_stop
        ):
            log.info("%s %s %s", episode.id, episode.task.id, episode.state)


def play_arm(
    config: Playing,
    arm: Arm,
    seed: int,
    trials: int,
    tasks: Sequence[Task],
    done: Sequence[Episode],
    events: EventLog,
    engine: Engine | None,
    should_stop: ShouldStop,
    reflector: Policy | None = None,
) -> Iterator[Episode]:
    """Episodes of one arm and seed in the order of the tasks; finished ones of an earlier worker are not repeated.

    `reflector` is the arm's where its name alone does not say what it is.
    """
    kind = environment_kind(config.env)
    known = {e.task.id: e for e in done if was_played_by(e, arm, seed)}
    missing = [task for task in tasks if task.id not in known]
    plan = BatchPlan(
        run_id=events.run_id,
        kind=kind,
        planner=make_policy(arm.planner, "planner", kind, engine),
        reflector=reflector or make_policy(arm.reflector, "reflector", kind, engine),
        strategy=arm.strategy,
        trial_limit=trials,
        temperature=arm.temperature,
        seed=seed,
        options=config.options,
        parallel=config.parallel,
    )
    with (
        EnvironmentPool(may_run_on_host=bool(config.options.get(UNSAFE_OPTION))) as pool,
        # Closed before the pool: episodes that a stop finds running end as stopped, not for want of an environment.
        closing(
            play_many(plan, missing, pool.open, events.append_all, lambda: new_id("ep"), should_stop=should_stop)
        ) as played,
    ):
        for task in tasks:
            if should_stop():
                return
            yield known[task.id] if task.id in known else next(played)


def was_played_by(episode: Episode, arm: Arm, seed: int) -> bool:
    """Whether an episode belongs to this arm and seed of its run."""
    return (episode.planner, episode.reflector, episode.strategy, episode.temperature, episode.seed) == (
        arm.planner,
        arm.reflector,
        arm.strategy,
        arm.temperature,
        seed,
    )


def read_dataset_tasks(folder: RunFolder) -> list[Task]:
    """The tasks of `dataset.jsonl`. Raises BadFile."""
    tasks = []
    for number, line in enumerate(folder.dataset.read_text(encoding="utf-8").splitlines(), 1):
        try:
            tasks.append(Task.model_validate_json(line))
        except ValidationError as error:
            raise BadFile(f"{folder.dataset}, line {number}, is not a task: {error.errors()[0]['msg']}.") from error
    if not tasks:
        raise BadFile(f"{folder.dataset} holds no tasks.")
    return tasks


def finished_episodes(folder: RunFolder, events: EventLog) -> list[Episode]:
    """Episodes that an earlier worker of this folder finished; the ones it left open are closed as stopped."""
    episodes: dict[str, Episode] = {}
    for event in all_events(folder.events):
        _take(episodes, event)
    for episode in episodes.values():
        if episode.state is EpisodeState.RUNNING:
            events.append(EpisodeFinished(episode_id=episode.id, state=EpisodeState.STOPPED))
    whole = (EpisodeState.SOLVED, EpisodeState.FAILED, EpisodeState.ERROR)
    return [episode for episode in episodes.values() if episode.state in whole]


def _take(episodes: dict[str, Episode], event: Event) -> None:
    body = event.body
    if isinstance(body, EpisodeStarted):
        episodes[body.episode.id] = body.episode
    elif (episode_id := getattr(body, "episode_id", None)) in episodes:
        episodes[str(episode_id)] = apply(episodes[str(episode_id)], body)


@contextmanager
def engine_for(config: Playing, arms: Sequence[Arm], settings: Settings) -> Iterator[Engine | None]:
    """An engine when an arm needs one, with the config's adapters loaded. Raises EngineError."""
    names = {name for arm in arms for name in (arm.planner, arm.reflector)}
    if not any(is_served(name) for name in names):
        yield None
        return
    engine = start_engine(settings)
    if engine is None:
        raise EngineError(f"The policies {', '.join(sorted(names))} need an engine, and the engine is set to none.")
    try:
        engine.wait_until_ready()
        served = set(engine.model_names())
        for name, path in config.adapters.items():
            if name not in served:
                engine.load_adapter(name, Path(path))
        yield engine
    finally:
        engine.stop()
