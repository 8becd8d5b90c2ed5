"""An experiment: a TOML file of stages, each a run of its own, done in order and never twice.

    name = "alfworld"

    [[stage]]                                   # episodes of the expert
    name = "expert"
    tasks = { tasks = "games_train.jsonl.gz", count = 1400, seed = 11 }
    run = { kind = "collect", env = "alfworld", trials = 1 }

    [[stage]]                                   # imitation of them
    name = "imitation"
    episodes = ["run:@expert outcome:solved"]
    run = { kind = "train", train = { method = "sft", roles = ["planner"] } }

    [[stage]]                                   # what it learned
    name = "test"
    tasks = { split = "valid" }
    run = { kind = "evaluate", env = "alfworld", arms = [{ name = "SFT", planner = "@imitation/planner" }] }

`@STAGE` is an earlier stage's run, `@STAGE/ROLE` the adapter that it published. The run of a stage is called
EXPERIMENT-STAGE, so that an experiment that was stopped goes on where it was.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from data.errors import BadConfig, BadInput, Refused
from data.events import RunStateChanged
from data.types import RunState, Task
from envs import environment_kind
from retro_dash.commands.episodes import stored_episodes
from retro_dash.commands.play import choose_tasks, open_storage
from retro_dash.foreground import follow_worker, queued_run
from retro_dash.library import allowed_options, refuse_unavailable
from retro_dash.run_config import TrainRunConfig, parse_run_config
from retro_dash.run_folder import RunFolder, all_events, make_run_folder
from retro_dash.settings import Settings

_NAME = r"[a-z0-9][a-z0-9-]*"
_ADAPTER = re.compile(rf"@({_NAME})/(planner|reflector|both)")
_RUN = re.compile(rf"@({_NAME})")


class TaskChoice(BaseModel):
    """Which tasks a stage plays, in the words of `retro-dash collect`."""

    model_config = ConfigDict(extra="forbid")

    tasks: Path | None = None
    task: str | None = None
    split: str | None = None
    count: int | None = None
    seed: int = 0
    without: str = Field("", pattern=f"^(@{_NAME})?$")
    """`@STAGE`: not what that earlier stage plays, nor the same question in other words."""
    env: str = ""
    """Filled in from the run."""


class Stage(BaseModel):
    """One run of an experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=f"^{_NAME}$")
    run: dict[str, JsonValue]
    """The run's config, as in `run_config`; it may name earlier stages."""
    tasks: TaskChoice | None = None
    episodes: tuple[str, ...] = ()
    """Filters of stored episodes to train on."""


class Experiment(BaseModel):
    """Stages in the order in which they are done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=f"^{_NAME}$")
    stage: tuple[Stage, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Done:
    """A stage whose run has finished."""

    stage: str
    folder: RunFolder
    was_done: bool
    """An earlier call had finished it."""


def read_experiment(path: Path) -> Experiment:
    """Raises BadConfig with the place and the value."""
    try:
        experiment = Experiment.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadConfig(f"The experiment {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"The experiment {path} is not TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadConfig(f"{path}: {where}: {first['msg']} (got {str(first['input'])[:80]!r}).") from error
    names = [stage.name for stage in experiment.stage]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise BadConfig(f"{path}: two stages are called {repeated!r}. Give each a name of its own.")
    return experiment


def reproduce(experiment: Experiment, settings: Settings, as_json: bool) -> Iterator[Done]:
    """Do the stages that are not done; yields each when it is.

    Raises Refused when a stage was done with another config, TrainingError when its worker failed, and what choosing
    tasks and episodes raises.
    """
    for number, stage in enumerate(experiment.stage):
        earlier = [before.name for before in experiment.stage[:number]]
        config = stage_config(experiment.name, stage, earlier, settings)
        folder = RunFolder(settings.home / "runs" / f"{experiment.name}-{stage.name}")
        if not folder.path.exists():
            _make_folder(folder.run_id, experiment.name, stage, earlier, config, settings)
        elif parse_run_config(folder.config(), str(folder.path)) != parse_run_config(config, stage.name):
            raise Refused(
                f"The stage {stage.name!r} was begun with another config ({folder.path}/config.json). Give the "
                "experiment another name, or use another --home."
            )
        was_done = _state(folder) is RunState.FINISHED
        if not was_done:
            with open_storage(settings) as append:
                follow_worker(folder, append, as_json, settings.engine)
        yield Done(stage.name, folder, was_done)


def stage_config(experiment: str, stage: Stage, earlier: Sequence[str], settings: Settings) -> dict[str, JsonValue]:
    """The frozen config of the stage's run, with the names of earlier stages turned into runs and adapters."""
    runs = settings.home.resolve() / "runs"
    given: dict[str, JsonValue] = {"model": settings.model, **stage.run}
    is_training = given.get("kind") == "train"
    adapters: dict[str, JsonValue] = {}

    def adapter(match: re.Match[str]) -> str:
        run_id, role = _run_id(experiment, stage, match[1], earlier), match[2]
        folder = str(runs / run_id / "adapters" / role)
        adapters[f"{role}@{run_id}"] = folder
        return folder if is_training else f"{role}@{run_id}"

    resolved = {key: _replace(value, adapter) for key, value in given.items()}
    if adapters and not is_training:
        resolved["adapters"] = adapters
    config = parse_run_config(resolved, f"stage {stage.name}")
    if isinstance(config, TrainRunConfig) == bool(stage.tasks):
        needed = "episodes to train on" if isinstance(config, TrainRunConfig) else "tasks to play"
        raise BadConfig(f"The stage {stage.name!r} needs {needed}.")
    frozen: dict[str, JsonValue] = config.model_dump(mode="json")
    return frozen


def _replace(value: JsonValue, adapter: object) -> JsonValue:
    """`value` with every `@STAGE/ROLE` in its strings replaced."""
    if isinstance(value, str):
        return _ADAPTER.sub(adapter, value)  # type: ignore[call-overload, no-any-return]
    if isinstance(value, list):
        return [_replace(item, adapter) for item in value]
    if isinstance(value, dict):
        return {key: _replace(item, adapter) for key, item in value.items()}
    return value


def _run_id(experiment: str, stage: Stage, named: str, earlier: Sequence[str]) -> str:
    if named not in earlier:
        known = ", ".join(earlier) or "none"
        raise BadConfig(f"The stage {stage.name!r} names @{named}, which is no earlier stage. Earlier: {known}.")
    return f"{experiment}-{named}"


def _named_runs(text: str, experiment: str, stage: Stage, earlier: Sequence[str]) -> str:
    """`text` with every `@STAGE` replaced by its run."""
    return _RUN.sub(lambda match: _run_id(experiment, stage, match[1], earlier), text)


def _make_folder(
    run_id: str,
    experiment: str,
    stage: Stage,
    earlier: Sequence[str],
    config: dict[str, JsonValue],
    settings: Settings,
) -> None:
    run = queued_run(run_id, str(config["kind"]), f"{experiment}: {stage.name}", config)
    if stage.tasks is not None:
        left_out = _named_runs(stage.tasks.without, experiment, stage, earlier)
        taken = _questions(RunFolder(settings.home / "runs" / left_out)) if left_out else set()
        lines = list(_task_lines(stage.tasks, config, settings, taken))
        source = stage.tasks.model_dump(mode="json", exclude_defaults=True)
    else:
        filters = [_named_runs(text, experiment, stage, earlier) for text in stage.episodes]
        lines = [line for text in filters for line in stored_episodes(text, settings)]
        source = {"filter": " | ".join(filters)}
        if not lines:
            raise BadInput(f"The stage {stage.name!r} finds no episodes by {source['filter']!r}.")
    make_run_folder(settings.home / "runs", run, lines, source)


def _questions(folder: RunFolder) -> set[str]:
    """What the tasks of a run ask."""
    with folder.dataset.open(encoding="utf-8") as lines:
        return {_question(Task.model_validate_json(line)) for line in lines}


def _question(task: Task) -> str:
    """The same text for wordings of one question: those with the same gold query, where tasks have one."""
    gold = task.metadata.get("gold")
    return f"{task.metadata.get('database')}: {' '.join(str(gold).lower().split())}" if gold else task.id


def _task_lines(
    choice: TaskChoice, config: dict[str, JsonValue], settings: Settings, taken: Container[str]
) -> Iterator[str]:
    env, given = str(config["env"]), config["options"]
    kind = environment_kind(env)
    options = allowed_options(given if isinstance(given, dict) else {}, kind, settings)
    refuse_unavailable(kind, options)
    chosen = choose_tasks(choice.model_copy(update={"env": env}), options, lambda task: _question(task) not in taken)
    yield from (task.model_dump_json() for task in chosen)


def _state(folder: RunFolder) -> RunState | None:
    """The last state that the run's worker recorded."""
    state = None
    for event in all_events(folder.events):
        if isinstance(event.body, RunStateChanged):
            state = event.body.state
    return state
