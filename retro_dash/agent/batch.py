"""Many episodes at once, without a page: what `play`, collection and evaluation run on."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count

from data.errors import BadFile, BadInput, EngineError, EnvironmentCrashed, Refused, Unavailable
from data.events import EpisodeStarted, Event, EventBody
from data.types import Episode, EpisodeState, Strategy, Task
from envs.base import Environment, EnvironmentKind, Options
from retro_dash.agent.limits import Limits
from retro_dash.agent.policy import Policy, ShouldStop
from retro_dash.agent.rollout import Player

Append = Callable[[Sequence[Event]], object]
"""Stores events of one run; called from several threads."""


@dataclass(frozen=True)
class BatchPlan:
    """How every task of a batch is played."""

    run_id: str
    kind: EnvironmentKind
    planner: Policy
    reflector: Policy
    strategy: Strategy = Strategy.REFLEXION
    trial_limit: int = 3
    temperature: float = 0.0
    seed: int = 0
    options: Options | None = None
    limits: Limits | None = None
    parallel: int = 1
    """Episodes played at the same time; the engine batches what they ask."""


def play_many(
    plan: BatchPlan,
    tasks: Sequence[Task],
    open_environment: Callable[[Task, Options], Environment],
    append: Append,
    new_episode_id: Callable[[], str],
    first_seq: int = 0,
    should_stop: ShouldStop | None = None,
) -> Generator[Episode]:
    """Play every task to its end and yield the episodes in the order of the tasks; none is begun after a stop.

    A model or environment that breaks ends its episode with state ERROR and the reason on its last trial; the
    others go on.
    """
    numbers = count(first_seq)

    def record(body: EventBody) -> None:
        append([Event(run_id=plan.run_id, seq=next(numbers), at=datetime.now(UTC), body=body)])

    def play(task: Task) -> Episode | None:
        if should_stop is not None and should_stop():
            return None
        episode = _new_episode(plan, task, new_episode_id())
        record(EpisodeStarted(episode=episode))
        player = Player(
            episode, plan.kind, open_environment, plan.planner, plan.reflector, record, limits=plan.limits
        )
        return play_to_end(player, should_stop)

    threads = ThreadPoolExecutor(max_workers=max(1, plan.parallel), thread_name_prefix="episode")
    try:
        for episode in threads.map(play, tasks):
            if episode is not None:
                yield episode
    finally:
        threads.shutdown(cancel_futures=True)


def play_to_end(player: Player, should_stop: ShouldStop | None = None) -> Episode:
    """Run the episode; what breaks is recorded on it instead of raised.

    What would break every other one too is raised (Unavailable, Refused, BadInput but for BadFile: a task may name
    what is not there any more); the episode ends as stopped, so that it is played again when its run goes on.
    """
    try:
        player.run_episode(should_stop)
        if not player.is_over:
            player.stop()
    except (EngineError, EnvironmentCrashed, BadFile) as error:
        player.give_up(error)
    except (BadInput, Refused, Unavailable):
        player.stop()
        raise
    finally:
        player.close()
    return player.episode


def is_broken(episode: Episode) -> bool:
    """Whether the model or the environment broke the episode."""
    return episode.state is EpisodeState.ERROR


def _new_episode(plan: BatchPlan, task: Task, id_: str) -> Episode:
    return Episode(
        id=id_,
        task=task,
        planner=plan.planner.name,
        reflector=plan.reflector.name,
        strategy=plan.strategy,
        trial_limit=plan.trial_limit,
        temperature=plan.temperature,
        seed=plan.seed,
        options=dict(plan.options or {}),
        run_id=plan.run_id,
        created_at=datetime.now(UTC),
    )
