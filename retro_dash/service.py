"""Everything that a person or a script can do, in one place. The hub holds one; pages, API and CLI call it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from data.errors import BadFile, BadInput, Unavailable, UnknownName
from data.filters import describe
from data.rows import EpisodePage
from data.store import Store
from data.types import Adapter, Turn
from envs import environment_kind
from envs.isolated import EnvironmentPool
from envs.replay import replay_episode
from envs.replay_report import ReplayReport
from retro_dash import library
from retro_dash.adapters import adapter_damage, known_adapters
from retro_dash.agent.policies import ModelServer, policy_choices
from retro_dash.curation import Curation
from retro_dash.evaluating import read_report
from retro_dash.jobs import Jobs
from retro_dash.judging import Judging, find_judge
from retro_dash.library import bundled_tasks, known_split
from retro_dash.machine import MachineMeter
from retro_dash.memory import Room
from retro_dash.playing import Playing
from retro_dash.preflight import Check, check_training, chosen_by_dataset, chosen_by_filter
from retro_dash.present import episode_markdown, page_episode
from retro_dash.settings import Settings

VERSION = "0.1.0"
WHOLE_EPISODE_TURNS = 200
"""An episode with more turns than this is read in pieces."""
FIRST_TURNS = 50


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
        self.pool = EnvironmentPool(may_run_on_host=settings.unsafe_run_model_code_on_host)
        self.meter = MachineMeter()
        self.jobs = Jobs(settings.home, store, self._engine_url, make_room=self._make_room)
        self.curation = Curation(settings.home, store)
        self.judging = Judging(self.curation, lambda name: find_judge(settings, self.engine, name))
        self.playing = Playing(settings, store, self.pool, lambda: self.engine)

    # What can be played, and by whom

    def environments(self) -> list[dict[str, JsonValue]]:
        """All environments and whether they work here."""
        return library.environments()

    def tasks(
        self, env: str, split: str | None = None, query: str = "", limit: int = 50, offset: int = 0
    ) -> dict[str, JsonValue]:
        """A page of an environment's bundled tasks whose id or instruction holds every word of `query`."""
        return library.find_tasks(env, split, query, limit, offset)

    def random_task(self, env: str, split: str | None = None, seed: int | None = None) -> dict[str, JsonValue]:
        """One bundled task, drawn at random."""
        return library.random_task(env, split, seed)

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
        return {
            "version": VERSION,
            "home": str(self.settings.home),
            "engine": engine,
            "live": self.playing.counts(),
            "runs": dict(self.jobs.counts()),
            "storage": {"read_only": self.store.read_only_reason},
        }

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
            tasks = bundled_tasks(env, known_split(environment_kind(env), split))
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
        self.playing.close()
        self.jobs.close()
        self.pool.close()
        self.store.close()
