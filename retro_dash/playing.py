"""Live episodes: begun, found again, forked. The hub holds a few; any other is rebuilt from the store."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from data.events import EpisodeStarted, Event, EventBody, RunCreated
from data.store import Store
from data.types import Episode, Run, RunState, Strategy
from envs import environment_kind
from envs.base import EnvironmentKind
from envs.isolated import EnvironmentPool
from retro_dash.agent.fork import fork_episode
from retro_dash.agent.limits import Limits
from retro_dash.agent.policies import EXPERT, AbsentPolicy, ModelServer, Role, is_expert, make_policy
from retro_dash.agent.policy import Policy
from retro_dash.agent.rollout import Player
from retro_dash.ids import new_id
from retro_dash.library import allowed_options, find_task, refuse_unavailable
from retro_dash.live import LiveEpisode
from retro_dash.settings import Settings


class LiveRequest(BaseModel):
    """What a new live episode is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    env: str
    task_id: str
    split: str | None = None
    planner: str = EXPERT
    reflector: str = EXPERT
    strategy: Strategy = Strategy.REFLEXION
    temperature: float = Field(default=0.0, ge=0, le=5)
    seed: int = Field(default=0, ge=0)
    trial_limit: int = Field(default=3, ge=1, le=100)
    options: dict[str, JsonValue] = Field(default_factory=dict)


class Playing:
    """The live episodes of one hub. All methods may be called from any thread."""

    def __init__(
        self, settings: Settings, store: Store, pool: EnvironmentPool, engine: Callable[[], ModelServer | None]
    ) -> None:
        self._settings, self._store, self._pool, self._engine = settings, store, pool, engine
        self._live: OrderedDict[str, LiveEpisode] = OrderedDict()
        self._lock = threading.Lock()

    def counts(self) -> dict[str, JsonValue]:
        """How many are `open` here, and how many of those are `busy`."""
        with self._lock:
            return {"open": len(self._live), "busy": sum(live.is_busy for live in self._live.values())}

    def open(self, request: LiveRequest) -> dict[str, JsonValue]:
        """Begin a live episode; nothing is played yet."""
        kind = environment_kind(request.env)
        task = find_task(request.env, request.task_id, request.split)
        options = allowed_options(request.options, kind, self._settings)
        refuse_unavailable(kind, options)
        self._find_policy(request.planner, "planner", kind)
        self._find_policy(request.reflector, "reflector", kind)
        episode_id, run_id = new_id("ep"), new_id("play")
        episode = Episode(
            id=episode_id,
            task=task,
            run_id=run_id,
            created_at=_now(),
            options=options,
            **request.model_dump(exclude={"env", "task_id", "split", "options"}),
        )
        return self._begin(episode).state()

    def find(self, episode_id: str) -> LiveEpisode:
        """The live episode, rebuilt from the store when this hub does not hold it. Raises UnknownName, Refused."""
        with self._lock:
            live = self._live.get(episode_id)
            if live is not None:
                self._live.move_to_end(episode_id)
                return live
        episode = self._store.episode(episode_id, with_tokens=True)
        live = self._make_live(episode, (self._store.last_seq(episode.run_id) or 0) + 1)
        return self._keep(live)

    def states(self) -> list[dict[str, JsonValue]]:
        """The episodes that are live in this hub, newest first."""
        with self._lock:
            lives = list(self._live.values())
        return [live.state(with_episode=False) for live in reversed(lives)]

    def fork(
        self,
        episode_id: str,
        trial: int,
        turn: int,
        *,
        planner: str | None = None,
        thought: str | None = None,
        action: str | None = None,
    ) -> dict[str, JsonValue]:
        """A new live episode that leaves the old one at a turn; with an action, that action is played first."""
        parent = self._store.episode(episode_id, with_tokens=True)
        if planner:
            self._find_policy(planner, "planner", environment_kind(parent.task.env))
        child = fork_episode(
            parent, trial, turn, episode_id=new_id("ep"), run_id=new_id("play"), planner=planner or None
        )
        live = self._begin(child)
        if thought is not None or action is not None:
            live.step(thought=thought, action=action)
        return live.state()

    def _begin(self, episode: Episode) -> LiveEpisode:
        run = Run(
            id=episode.run_id,
            kind="play",
            name=f"play {episode.task.id}",
            state=RunState.RUNNING,
            created_at=episode.created_at,
            started_at=episode.created_at,
        )
        live = self._make_live(episode, 2)
        started = EpisodeStarted(episode=episode)
        self._store.append(
            [
                Event(run_id=run.id, seq=0, at=run.created_at, body=RunCreated(run=run)),
                Event(run_id=run.id, seq=1, at=run.created_at, body=started),
            ]
        )
        return self._keep(live)

    def _make_live(self, episode: Episode, next_seq: int) -> LiveEpisode:
        kind = environment_kind(episode.task.env)
        planner = self._policy(episode.planner, "planner", kind)
        reflector = self._policy(episode.reflector, "reflector", kind)
        numbers = count(next_seq)

        def store(body: EventBody) -> None:
            self._store.append([Event(run_id=episode.run_id, seq=next(numbers), at=_now(), body=body)])

        def make_player(record: Callable[[EventBody], None]) -> Player:
            return Player(
                episode,
                kind,
                self._pool.open,
                planner,
                reflector,
                record,
                limits=Limits(),
                on_text=lambda role, text: live.stream_text(role, text),
            )

        live = LiveEpisode(make_player, store)
        return live

    def _find_policy(self, name: str, role: Role, kind: EnvironmentKind) -> Policy:
        """Raises UnknownName, BadFile or EngineError when it cannot be asked now."""
        return make_policy(name, role, kind, self._engine(), self._settings.expert_words_per_second or None)

    def _policy(self, name: str, role: Role, kind: EnvironmentKind) -> Policy:
        """The same, whether it can be asked now or not."""

        def find() -> Policy:
            return self._find_policy(name, role, kind)

        return find() if is_expert(name) else AbsentPolicy(name, find)

    def _keep(self, live: LiveEpisode) -> LiveEpisode:
        with self._lock:
            kept = self._live.setdefault(live.episode.id, live)
            idle = [key for key, other in self._live.items() if not other.is_busy and other is not kept]
            surplus = len(self._live) - self._settings.live_limit
            closing = [self._live.pop(key) for key in idle[: max(0, surplus)]]
        for other in closing:
            other.close()
        return kept

    def close(self) -> None:
        """Interrupt all; they can be continued."""
        with self._lock:
            lives = list(self._live.values())
            self._live.clear()
        for live in lives:
            live.close()


def _now() -> datetime:
    return datetime.now(UTC)
