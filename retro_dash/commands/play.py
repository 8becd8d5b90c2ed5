"""`retro-dash play`: episodes without a page, one JSON line each with --json.

The episodes are stored like any others: through the hub when one runs on the home, else directly.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from data.errors import BadInput, RetroDashError
from data.events import Event, RunCreated, RunStateChanged
from data.store import Store
from data.types import Episode, Run, RunState, Strategy, Task
from envs import environment_kind
from envs.base import EnvironmentKind, Options
from envs.isolated import EnvironmentPool
from retro_dash.address import find_hub
from retro_dash.agent.batch import Append, BatchPlan, is_broken, play_many
from retro_dash.agent.policies import EXPERT, ModelServer, is_served, make_policy
from retro_dash.client import HubClient
from retro_dash.ids import new_id
from retro_dash.library import allowed_options, bundled_tasks, find_task, read_tasks, refuse_unavailable
from retro_dash.present import episode_line
from retro_dash.serving.engine import connect_engine, start_engine
from retro_dash.settings import Settings

GENERATED = "generated"
"""The split of tasks that are made when they are asked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_task_arguments(parser)
    parser.add_argument(
        "--planner", default=EXPERT, help="expert, expert:careless, scripted:FILE, or a model or adapter"
    )
    parser.add_argument("--reflector", default=EXPERT, help="the same choices; used after failed trials")
    parser.add_argument("--strategy", default="reflexion", help="none, last_attempt, reflexion or both")
    parser.add_argument("--trials", type=int, default=3, help="trials an episode may take (default 3)")
    parser.add_argument("--temperature", type=float, default=0.0, help="sampling temperature (default 0)")
    parser.add_argument("--parallel", type=int, default=1, help="episodes played at the same time (default 1)")


def add_task_arguments(parser: argparse.ArgumentParser) -> None:
    """Which tasks: shared with collection and evaluation."""
    parser.add_argument("--env", default="alfworld", help="alfworld, hotpotqa, intercode_sql or intercode_bash")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--task", help="id of one bundled task")
    which.add_argument("--tasks", type=Path, help="file or folder of tasks in the environment's public format")
    parser.add_argument("--count", type=int, help="so many tasks, drawn with the seed")
    parser.add_argument(
        "--split",
        help=f"bundled split (default: the environment's first), or {GENERATED}: --count new ones of the seed",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw and of sampling (default 0)")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="environment option")
    parser.add_argument("--database", help="SQL: dump file or mysql:// URL, with --tasks")
    parser.add_argument("--trees", help="Bash: folder of file trees, with --tasks")
    parser.add_argument(
        "--unsafe-run-model-code-on-host",
        action="store_const",
        const=True,
        help="run model-written SQL and shell WITHOUT a sandbox; it can read and destroy your files",
    )


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    kind = environment_kind(arguments.env)
    options = allowed_options(read_options(arguments), kind, settings)
    tasks = choose_tasks(arguments, options)
    refuse_unavailable(kind, options)
    if arguments.trials < 1 or arguments.parallel < 1:
        raise BadInput("--trials and --parallel take numbers from 1 up.")
    names = (arguments.planner, arguments.reflector)
    with open_storage(settings) as append, open_engine(settings, names) as server:
        plan = BatchPlan(
            run_id=new_id("play"),
            kind=kind,
            planner=make_policy(arguments.planner, "planner", kind, server),
            reflector=make_policy(arguments.reflector, "reflector", kind, server),
            strategy=_strategy(arguments.strategy),
            trial_limit=arguments.trials,
            temperature=arguments.temperature,
            seed=arguments.seed,
            options=options,
            parallel=arguments.parallel,
        )
        pool = EnvironmentPool(may_run_on_host=settings.unsafe_run_model_code_on_host)
        try:
            episodes = list(_play(plan, tasks, pool, append, arguments.json))
        finally:
            pool.close()
    if not arguments.json:
        solved = sum(any(trial.success for trial in episode.trials) for episode in episodes)
        first = sum(bool(episode.trials) and episode.trials[0].success for episode in episodes)
        print(f"{solved} of {len(episodes)} solved, {first} of them in the first trial.")
    return 5 if episodes and all(is_broken(episode) for episode in episodes) else 0


def _play(
    plan: BatchPlan, tasks: Sequence[Task], pool: EnvironmentPool, append: Append, as_json: bool
) -> Iterator[Episode]:
    run = Run(id=plan.run_id, kind="play", name="play", state=RunState.RUNNING, created_at=_now(), started_at=_now())
    append([Event(run_id=run.id, seq=0, at=run.created_at, body=RunCreated(run=run))])
    state = RunState.CANCELLED
    try:
        for episode in play_many(plan, tasks, pool.open, append, lambda: new_id("ep"), first_seq=1):
            print(json.dumps(episode_line(episode)) if as_json else _line(episode), flush=True)
            yield episode
        state = RunState.FINISHED
    finally:
        ended = RunStateChanged(state=state)
        append([Event(run_id=run.id, seq=2**40, at=_now(), body=ended)])


def _line(episode: Episode) -> str:
    trials = "  ".join(
        f"{'✓' if trial.success else '✕'} {trial.reward:g} in {len(trial.turns)} turns "
        f"({trial.error or trial.stop_reason})"
        for trial in episode.trials
    )
    return f"{episode.id}  {episode.task.id}  {trials}"


def read_options(arguments: argparse.Namespace) -> dict[str, JsonValue]:
    """`--option key=value` pairs, `--database` and `--trees`, as they may be stored: whole paths, no password.

    Raises BadInput for what is no pair, BadConfig for a server's URL that is none.
    """
    options: dict[str, JsonValue] = {}
    for pair in arguments.option:
        key, equals, value = pair.partition("=")
        if not equals:
            raise BadInput(f"--option takes KEY=VALUE, not {pair!r}.")
        options[key] = _value(value)
    for key in ("database", "trees"):
        value = getattr(arguments, key)
        if value is not None:
            options[key] = value
    database = options.get("database")
    if isinstance(database, str) and database.startswith("mysql://"):
        from envs.sql_server import name_server

        options["database"] = name_server(database)
    for key in ("database", "trees"):
        if isinstance(path := options.get(key), str) and "://" not in path:
            options[key] = str(Path(path).absolute())
    return options


class TaskChoice(Protocol):
    """Which tasks, in the words of the arguments."""

    env: str
    tasks: Path | None
    task: str | None
    split: str | None
    count: int | None
    seed: int


def choose_tasks(
    arguments: argparse.Namespace | TaskChoice, options: Options, is_wanted: Callable[[Task], bool] | None = None
) -> list[Task]:
    """The tasks that the arguments name, drawn from those that are wanted, with the turns that the options allow.

    Raises UnknownName, BadFile, BadInput.
    """
    limit = environment_kind(arguments.env).limit
    return [limit(task, options) for task in _draw_tasks(arguments, options, is_wanted)]


def _draw_tasks(
    arguments: argparse.Namespace | TaskChoice, options: Options, is_wanted: Callable[[Task], bool] | None
) -> list[Task]:
    if arguments.task is not None:
        return [find_task(arguments.env, arguments.task, arguments.split)]
    if arguments.tasks is not None:
        tasks = read_tasks(arguments.env, arguments.tasks, options)
        if arguments.split is not None:
            tasks = [task for task in tasks if task.split == arguments.split]
    else:
        kind = environment_kind(arguments.env)
        split = arguments.split or kind.splits[0]
        if split == GENERATED and kind.generate is not None:
            return list(filter(is_wanted, _generated(kind, arguments.seed, arguments.count)))
        if split not in kind.splits:
            known = [*kind.splits, *([GENERATED] if kind.generate is not None else [])]
            raise BadInput(f"{arguments.env} has no split {split!r}. Known: {', '.join(known)}.")
        tasks = bundled_tasks(arguments.env, split)
    tasks = list(filter(is_wanted, tasks))
    if arguments.count is not None:
        if not 1 <= arguments.count <= len(tasks):
            raise BadInput(f"--count {arguments.count} does not fit: there are {len(tasks)} tasks to choose from.")
        tasks = random.Random(arguments.seed).sample(tasks, arguments.count)  # noqa: S311 - no secret
    return tasks


def _generated(kind: EnvironmentKind, seed: int, count: int | None) -> list[Task]:
    """Tasks made now. Raises BadInput where nobody said how many, or fewer can be made."""
    if count is None or count < 1:
        raise BadInput(f"--split {GENERATED} needs --count, a number of tasks to make from --seed; it got {count}.")
    assert kind.generate is not None
    tasks = kind.generate(seed, count)
    if len(tasks) < count:
        raise BadInput(f"{kind.name} can make {len(tasks)} different tasks from seed {seed}, not {count}.")
    return tasks


@contextmanager
def open_storage(settings: Settings) -> Iterator[Append]:
    """Where events go: the running hub of the home, else its store."""
    address = find_hub(settings.home)
    if address is not None:
        with HubClient.at(address) as hub:
            yield hub.append
        return
    store = Store.open(settings.home)
    try:
        yield store.append
    finally:
        store.close()


@contextmanager
def open_engine(settings: Settings, names: Sequence[str]) -> Iterator[ModelServer | None]:
    """The engine when one of the policies needs it: the hub's, else one of our own for as long as it is needed."""
    if not any(is_served(name) for name in names):
        yield None
        return
    address = find_hub(settings.home)
    if address is not None:
        with HubClient.at(address) as hub:
            engine_status = hub.status()["engine"]
        url = engine_status.get("url") if isinstance(engine_status, dict) else None
        if url:
            yield connect_engine(settings, str(url))
            return
    engine = start_engine(settings)
    if engine is None:
        raise RetroDashError(f"The policies {', '.join(names)} need an engine, and --engine is none.")
    try:
        engine.wait_until_ready()
        yield engine
    finally:
        engine.stop()


def _strategy(name: str) -> Strategy:
    try:
        return Strategy(name)
    except ValueError as error:
        known = ", ".join(Strategy)
        raise BadInput(f"There is no strategy called {name!r}. Known: {known}.") from error


def _value(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
        return value
    except ValueError:
        return text


def _now() -> datetime:
    return datetime.now(UTC)
