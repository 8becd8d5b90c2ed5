"""Everything that a person or a script can do, in one place. The hub holds one; pages, API and CLI call it."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from data.errors import BadFile, BadInput, Refused, Unavailable, UnknownName
from data.events import EpisodeStarted, Event, EventBody, RunCreated
from data.filters import describe
from data.rows import EpisodePage
from data.store import Store
from data.types import Adapter, Episode, Run, RunState, Strategy, Task, Turn
from envs import ENVIRONMENTS, environment_kind
from envs.base import EnvironmentKind, Options
from envs.isolated import EnvironmentPool
from envs.replay import ReplayReport, replay_episode
from retro_dash.adapters import adapter_damage, known_adapters
from retro_dash.agent.fork import fork_episode
from retro_dash.agent.limits import Limits
from retro_dash.agent.policies import EXPERT, ModelServer, Role, make_policy, policy_choices
from retro_dash.agent.policy import AbsentPolicy, Policy
from retro_dash.agent.rollout import Player
from retro_dash.curation import Curation
from retro_dash.evaluating import read_report
from retro_dash.ids import new_id
from retro_dash.jobs import Jobs
from retro_dash.judging import Judging, find_judge
from retro_dash.live import LiveEpisode
from retro_dash.machine import MachineMeter
from retro_dash.memory import Room
from retro_dash.preflight import Check, check_training, chosen_by_dataset, chosen_by_filter
from retro_dash.present import episode_markdown, page_episode, public_metadata
from retro_dash.settings import Settings

VERSION = "0.1.0"
WHOLE_EPISODE_TURNS = 200
"""An episode with more turns than this is read in pieces."""
FIRST_TURNS = 50


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


class EngineHandle(ModelServer, Protocol):
    """The engine as the hub sees it."""

    def status(self) -> dict[str, JsonValue]: ...

    def load_adapter(self, name: str, path: Path) -> None: ...

    def unload_adapter(self, name: str) -> None: ...

    def pause(self, why: str) -> bool: ...

    def resume(self) -> None: ...

    def pid(self) -> int | None: ...

    def stop(self) -> None: ...


class Service:
    """One store, one pool of environments, one engine, the live episodes."""

    def __init__(self, settings: Settings, store: Store, engine: EngineHandle | None = None) -> None:
        self.settings, self.store, self.engine = settings, store, engine
        self.pool = EnvironmentPool()
        self.meter = MachineMeter()
        self.jobs = Jobs(settings.home, store, self._engine_url, make_room=self._make_room)
        self.curation = Curation(settings.home, store)
        self.judging = Judging(self.curation, lambda name: find_judge(settings, self.engine, name))
        self._live: OrderedDict[str, LiveEpisode] = OrderedDict()
        self._lock = threading.Lock()

    # Environments, tasks, policies

    def environments(self) -> list[dict[str, JsonValue]]:
        """All environments and whether they work here."""
        return [_describe(environment_kind(name)) for name in ENVIRONMENTS]

    def tasks(
        self, env: str, split: str | None = None, query: str = "", limit: int = 50, offset: int = 0
    ) -> dict[str, JsonValue]:
        """A page of an environment's bundled tasks whose id or instruction holds `query`."""
        kind = environment_kind(env)
        words = query.lower().split()
        found = [
            task
            for task in bundled_tasks(env, _known_split(kind, split))
            if all(word in f"{task.id} {task.instruction}".lower() for word in words)
        ]
        page = found[offset : offset + limit]
        return {"total": len(found), "tasks": [_public_task(task, kind) for task in page]}

    def random_task(self, env: str, split: str | None = None, seed: int | None = None) -> dict[str, JsonValue]:
        """One bundled task, drawn at random."""
        kind = environment_kind(env)
        draw = random.Random(seed)  # noqa: S311 - a choice of task, no secret
        return _public_task(draw.choice(bundled_tasks(env, _known_split(kind, split))), kind)

    def policies(self) -> dict[str, JsonValue]:
        """Planners and reflectors that can be chosen now."""
        choices: list[JsonValue] = [
            {**asdict(choice), "envs": list(choice.envs)} for choice in policy_choices(self.engine)
        ]
        return {"planners": choices, "reflectors": choices}

    def status(self) -> dict[str, JsonValue]:
        """What the top bar shows."""
        engine: JsonValue = (
            self.engine.status() if self.engine else {"state": "stopped", "model": None, "detail": "No engine."}
        )
        with self._lock:
            busy = sum(live.is_busy for live in self._live.values())
        return {
            "version": VERSION,
            "home": str(self.settings.home),
            "engine": engine,
            "live": {"open": len(self._live), "busy": busy},
            "runs": dict(self.jobs.counts()),
            "storage": {"read_only": self.store.read_only_reason},
        }

    # Live episodes

    def open_live(self, request: LiveRequest) -> dict[str, JsonValue]:
        """Begin a live episode; nothing is played yet."""
        kind = environment_kind(request.env)
        task = find_task(request.env, request.task_id, request.split)
        options = allowed_options(request.options, kind, self.settings)
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

    def live(self, episode_id: str) -> LiveEpisode:
        """The live episode, rebuilt from the store when this hub does not hold it. Raises UnknownName, Refused."""
        with self._lock:
            live = self._live.get(episode_id)
            if live is not None:
                self._live.move_to_end(episode_id)
                return live
        episode = self.store.episode(episode_id, with_tokens=True)
        live = self._make_live(episode, (self.store.last_seq(episode.run_id) or 0) + 1)
        return self._keep(live)

    def live_state(self, episode_id: str) -> dict[str, JsonValue]:
        return self.live(episode_id).state()

    def live_list(self) -> list[dict[str, JsonValue]]:
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
        parent = self.store.episode(episode_id, with_tokens=True)
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
        self.store.append(
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
            self.store.append([Event(run_id=episode.run_id, seq=next(numbers), at=_now(), body=body)])

        def make_player(record: Callable[[EventBody], None]) -> Player:
            return Player(
                episode,
                kind,
                self.pool.open,
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
        return make_policy(name, role, kind, self.engine, self.settings.expert_words_per_second or None)

    def _policy(self, name: str, role: Role, kind: EnvironmentKind) -> Policy:
        """The same, whether it can be asked now or not."""

        def find() -> Policy:
            return self._find_policy(name, role, kind)

        return find() if name == EXPERT else AbsentPolicy(name, find)

    def _keep(self, live: LiveEpisode) -> LiveEpisode:
        with self._lock:
            kept = self._live.setdefault(live.episode.id, live)
            idle = [key for key, other in self._live.items() if not other.is_busy and other is not kept]
            surplus = len(self._live) - self.settings.live_limit
            closing = [self._live.pop(key) for key in idle[: max(0, surplus)]]
        for other in closing:
            other.close()
        return kept

    # Stored episodes

    def episodes(
        self,
        filter_text: str = "",
        sort: str = "-created",
        limit: int = 50,
        offset: int = 0,
        cursor: str | None = None,
    ) -> EpisodePage:
        """A page of stored episodes. Raises BadInput for a filter, sort or cursor that does not read."""
        return self.store.episode_rows(filter_text, sort=sort, limit=limit, offset=offset, after=cursor)

    def filters(self) -> dict[str, JsonValue]:
        """The fields of the filter language and the known values of some, for completion."""
        fields: list[JsonValue] = [
            {"name": field.name, "type": field.kind, "example": field.example, "meaning": field.meaning}
            for field in describe()
        ]
        facets: dict[str, JsonValue] = {name: list(values) for name, values in self.store.facets().values.items()}
        return {"fields": fields, "facets": facets}

    def episode(self, episode_id: str) -> dict[str, JsonValue]:
        """An episode without token ids; of a very long one only the first turns of each trial."""
        episode = self.store.episode(episode_id)
        counts: dict[str, JsonValue] = {str(trial.index): len(trial.turns) for trial in episode.trials}
        total = sum(len(trial.turns) for trial in episode.trials)
        if total > WHOLE_EPISODE_TURNS:
            cut = tuple(t.model_copy(update={"turns": t.turns[:FIRST_TURNS]}) for t in episode.trials)
            episode = episode.model_copy(update={"trials": cut})
        return {**page_episode(episode), "turn_counts": counts}

    def turns(self, episode_id: str, trial: int, start: int, stop: int) -> list[Turn]:
        """Turns `start` to `stop` (from 1, `stop` not included) of a trial."""
        return list(self.store.turns(episode_id, trial, start, stop))

    def markdown(self, episode_id: str) -> str:
        return episode_markdown(self.store.episode(episode_id))

    def replay(self, episode_id: str) -> ReplayReport:
        """Play the recorded actions again and say whether the environment answers the same."""
        episode = self.store.episode(episode_id)
        return replay_episode(episode, lambda task: self.pool.open(task, episode.options))

    # Background runs and adapters

    def run_dataset(
        self,
        kind: str,
        config: dict[str, JsonValue],
        filter_text: str,
        split: str | None,
        count: int | None,
        seed: int,
        dataset: str | None = None,
    ) -> Iterator[str]:
        """The JSON lines of a new run's dataset: whole episodes to train on, else tasks. Raises BadInput for none."""
        if dataset is not None and kind == "train":
            return (episode.model_dump_json() for episode in self.curation.datasets.training_episodes(dataset))
        if kind == "train":
            ids = self.store.episode_ids(filter_text)
            if not ids:
                raise BadInput(f"The filter {filter_text!r} finds no episodes to train on. Widen it or collect some.")
            return (self.store.episode(id_, with_tokens=True).model_dump_json() for id_ in ids)
        env = str(config.get("env", ""))
        if dataset is not None:
            tasks = [task for task in self.curation.datasets.evaluation_tasks(dataset) if task.env == env]
        elif split is not None or not filter_text:
            tasks = bundled_tasks(env, _known_split(environment_kind(env), split))
        else:
            rows = [self.store.episode(id_) for id_ in self.store.episode_ids(filter_text)]
            tasks = list({e.task.id: e.task for e in rows if e.task.env == env}.values())
        if count is not None and count < len(tasks):
            tasks = random.Random(seed).sample(tasks, count)  # noqa: S311 - a draw of tasks, no secret
        if not tasks:
            where = f"The dataset {dataset} keeps no" if dataset else f"The filter {filter_text!r} finds no"
            raise BadInput(f"{where} {env} episodes, so there are no tasks to play again.")
        return (task.model_dump_json() for task in tasks)

    def with_adapters(self, config: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """The config of a run that plays, with the folders of the published adapters that it names."""
        arms = config.get("arms")
        players = [arm for arm in arms if isinstance(arm, dict)] if isinstance(arms, list) else [config]
        names = {str(player.get(role)) for player in players for role in ("planner", "reflector")}
        folders: dict[str, JsonValue] = {a.name: a.path for a in self.adapters() if a.name in names}
        given = config.get("adapters")
        if not folders:
            return config
        return {**config, "adapters": {**folders, **(given if isinstance(given, dict) else {})}}

    def check_training(self, config: dict[str, JsonValue], filter_text: str, dataset: str | None) -> Check:
        """A train config looked at with the episodes of a filter, or of a frozen dataset, and the memory of now."""
        if dataset is not None:
            chosen = chosen_by_dataset(self.curation.datasets, dataset)
        else:
            chosen = chosen_by_filter(self.store, filter_text)
        return check_training(self.store, self.settings.home, config, chosen, self.room())

    def room(self) -> Room:
        """The device that training and serving share, and what our processes hold of it."""
        machine, engine = self.meter.read(), self.engine.pid() if self.engine else None
        held = self.meter.held({**self.jobs.pids(), **({"engine": engine} if engine else {})})
        total = machine.gpus[0].memory_total if machine.gpus else machine.memory_total
        return Room(device=machine.device, total=total, free=machine.free, engine=held.pop("engine", 0), workers=held)

    def report(self, run_id: str) -> dict[str, JsonValue] | None:
        """The report of a finished evaluation; None before it is finished."""
        return read_report(self.jobs.folder(run_id))

    def load_adapter(self, name: str) -> dict[str, JsonValue]:
        """Let the engine serve a published adapter by its name.

        Raises UnknownName, BadFile when it is damaged, Unavailable, EngineError.
        """
        adapter = next((a for a in self.adapters() if a.name == name), None)
        if adapter is None:
            raise UnknownName("adapter", name, [a.name for a in self.adapters()])
        if damage := adapter_damage(Path(adapter.path)):
            raise BadFile(f"The adapter {name} in {adapter.path} is damaged: {damage}. Train it again.")
        self._needed_engine().load_adapter(name, Path(adapter.path))
        return self.status()

    def unload_adapter(self, name: str) -> dict[str, JsonValue]:
        """Stop serving an adapter; requests in flight finish."""
        self._needed_engine().unload_adapter(name)
        return self.status()

    def adapters(self) -> list[Adapter]:
        """Published and imported adapters, then the bundled ones of the model that the engine serves."""
        return known_adapters(self.store, Path(self.settings.model).name)

    def _needed_engine(self) -> EngineHandle:
        if self.engine is None:
            raise Unavailable("No engine runs here. Start the dashboard without --engine none.")
        return self.engine

    def _make_room(self, run_id: str | None) -> bool:
        """Pause the engine for a run that needs the device alone, and say whether it has let go; else resume it."""
        if self.engine is None:
            return True
        if run_id is None:
            self.engine.resume()
            return True
        return self.engine.pause(f"The run {run_id} trains with its memory")

    def _engine_url(self) -> str | None:
        status = self.engine.status() if self.engine else {}
        url = status.get("url")
        return str(url) if url and status.get("state") == "ready" else None

    def close(self) -> None:
        """Interrupt live episodes (they can be continued) and free everything."""
        with self._lock:
            lives = list(self._live.values())
            self._live.clear()
        for live in lives:
            live.close()
        self.jobs.close()
        self.pool.close()
        self.store.close()


@lru_cache(maxsize=64)
def bundled_tasks(env: str, split: str) -> list[Task]:
    """Bundled tasks of a split, read once."""
    return environment_kind(env).bundled(split)


def find_task(env: str, task_id: str, split: str | None = None) -> Task:
    """The bundled task called `task_id`. Raises UnknownName with some known ids."""
    kind = environment_kind(env)
    splits = [_known_split(kind, split)] if split else list(kind.splits)
    known: list[str] = []
    for name in splits:
        for task in bundled_tasks(env, name):
            if task.id == task_id:
                return task
            known.append(task.id)
    raise UnknownName(f"{env} task", task_id, known[:12])


def read_tasks(env: str, path: Path, options: Options) -> list[Task]:
    """Tasks from a file in the environment's public format. Raises BadFile, BadInput when it holds none."""
    tasks = environment_kind(env).read(path, options)
    if not tasks:
        raise BadInput(f"{path} holds no tasks for {env}.")
    return tasks


UNSAFE_OPTION = "unsafe_run_model_code_on_host"


def allowed_options(given: Options, kind: EnvironmentKind, settings: Settings) -> dict[str, JsonValue]:
    """The options of an episode. Only the setting can turn the sandbox off, and then every episode records it.

    Raises BadInput for an option that the environment does not have.
    """
    for name in given:
        if name not in kind.options or name == UNSAFE_OPTION:
            known = ", ".join(sorted(set(kind.options) - {UNSAFE_OPTION}))
            raise BadInput(f"{kind.name} has no option {name!r}. Known: {known or 'none'}.")
    is_unsafe = settings.unsafe_run_model_code_on_host and UNSAFE_OPTION in kind.options
    return {**given, UNSAFE_OPTION: True} if is_unsafe else dict(given)


def refuse_unavailable(kind: EnvironmentKind, options: Options) -> None:
    """Raises Refused with the reason when the environment cannot be played here."""
    availability = kind.check()
    if not availability.works and UNSAFE_OPTION not in options:
        raise Refused(f"{kind.title} does not work on this machine: {availability.detail}")


def _known_split(kind: EnvironmentKind, split: str | None) -> str:
    if split is None or split == "":
        return kind.splits[0]
    if split not in kind.splits:
        raise UnknownName(f"split of {kind.name}", split, kind.splits)
    return split


def _describe(kind: EnvironmentKind) -> dict[str, JsonValue]:
    availability = kind.check()
    return {
        "name": kind.name,
        "title": kind.title,
        "summary": kind.summary,
        "turn_limit": kind.turn_limit,
        "success_rule": kind.success_rule,
        "splits": list(kind.splits),
        "options": dict(kind.options),
        "works": availability.works,
        "detail": availability.detail,
    }


def _public_task(task: Task, kind: EnvironmentKind) -> dict[str, JsonValue]:
    """A task without its gold."""
    return {
        "id": task.id,
        "env": task.env,
        "split": task.split,
        "instruction": task.instruction,
        "turn_limit": task.turn_limit or kind.turn_limit,
        "metadata_public": public_metadata(task),
    }


def _now() -> datetime:
    return datetime.now(UTC)
