"""ALFWorld: find things in a simulated house, change them and put them away, by text commands.

Played by our own simulator (`household`) or by the official TextWorld engine (`alfworld_engine`), which give the same
text. Reward 1 when the game is won, else 0. Tasks: bundled rooms, the official `json_2.1.x` folders, or rows with a
PDDL problem. Rules beside the game are those of RetroAct and Reflexion: a `think:` action is answered `OK.` and does
nothing, and a trial in which the same action comes twice in a row ends as failed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

from pydantic import JsonValue

from data.errors import BadConfig, EnvironmentCrashed, Unavailable
from data.types import StopReason, Task
from envs.alfworld_files import ENVIRONMENT, SPLITS, bundled_tasks, problem_text, read_tasks
from envs.base import Availability, Environment, EnvironmentKind, Options, StepOutcome
from envs.experts.alfworld import SearchingExpert
from envs.experts.alfworld_careless import CarelessExpert
from envs.household import NOTHING_HAPPENS, WELCOME, Dialect, Household
from envs.household_memory import RoomMemory
from envs.household_problem import read_problem
from envs.rooms import generate_tasks

TURN_LIMIT = 50
MAX_COMMAND_LENGTH = 300
"""No command of any game is longer; what is longer is answered without asking the engine."""
_PUT = re.compile(r"put (.+?) (?:in/on|in|on|into|onto) (.+)", re.IGNORECASE)
_MOVE = re.compile(r"move (.+?) to (.+)", re.IGNORECASE)
_ARRIVAL = re.compile(r"^You arrive at loc \d+\. ")


class TextEngine(Protocol):
    """What plays a game: `household.Household` or `alfworld_engine.TextWorldEngine`."""

    won: bool

    def start(self) -> str: ...

    def step(self, command: str) -> str: ...

    def commands(self) -> list[str]: ...


@dataclass(frozen=True)
class AlfworldOptions:
    dialect: Dialect = Dialect.MOVE
    engine: Literal["simulator", "textworld"] = "simulator"
    repeat_rule: bool = True
    slack: int | None = None
    """Turns a trial may take beyond the game's stored walkthrough; None leaves the task's own limit."""


def read_options(options: Options) -> AlfworldOptions:
    """Check the options; raises BadConfig with the allowed values."""
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise BadConfig(f"alfworld has no option {unknown[0]!r}. Options: {', '.join(OPTIONS)}.")
    dialect, engine = options.get("dialect", "move"), options.get("engine", "simulator")
    repeat_rule, slack = options.get("repeat_rule", True), options.get("slack")
    if dialect not in list(Dialect):
        raise BadConfig(f"alfworld's dialect is {dialect!r}; it can be move or put.")
    if engine not in ("simulator", "textworld"):
        raise BadConfig(f"alfworld's engine is {engine!r}; it can be simulator or textworld.")
    if not isinstance(repeat_rule, bool):
        raise BadConfig(f"alfworld's repeat_rule is {repeat_rule!r}; it can be true or false.")
    if slack is not None and (isinstance(slack, bool) or not isinstance(slack, int) or slack < 0):
        raise BadConfig(f"alfworld's slack is {slack!r}; it is a number of turns from 0 up.")
    chosen = cast(Literal["simulator", "textworld"], engine)
    return AlfworldOptions(Dialect(str(dialect)), chosen, repeat_rule, slack)


class AlfworldEnvironment:
    """One trial of one game."""

    def __init__(self, task: Task, engine: TextEngine, options: AlfworldOptions) -> None:
        self._task, self._engine, self._options = task, engine, options
        self._memory = RoomMemory()
        self._turns = 0
        self._last_action: str | None = None
        self._stopped = self._started = False

    def start(self) -> str:
        """Room and task, without the engine's welcome line, as published agents show it."""
        if self._started:
            raise EnvironmentCrashed(
                "This ALFWorld trial was started already; open a new environment for each trial."
            )
        self._started = True
        opening = self._engine.start().removeprefix(WELCOME).strip().replace("\n\n", "\n")
        self._memory.read_opening(opening)
        return opening

    def step(self, action: str) -> StepOutcome:
        if not self._started or self._stopped:
            state = "has ended" if self._stopped else "was not started"
            raise EnvironmentCrashed(f"This ALFWorld trial {state}; open a new environment for each trial.")
        self._turns += 1
        action = action.strip()
        is_repeated = self._options.repeat_rule and action == self._last_action
        self._last_action = action
        observation = self._answer(action)
        stop = StopReason.SOLVED if self._engine.won else StopReason.REPEATED_ACTION if is_repeated else None
        self._stopped = stop is not None
        return StepOutcome(
            observation=observation,
            reward=float(self._engine.won),
            stop=stop,
            is_valid=observation != NOTHING_HAPPENS,
        )

    def _answer(self, action: str) -> str:
        if action[:6].lower() == "think:":
            return "OK."
        if len(action) > MAX_COMMAND_LENGTH:
            return NOTHING_HAPPENS
        observation = self._engine.step(in_dialect(action, self._options.dialect))
        if self._options.dialect == Dialect.PUT:
            observation = _ARRIVAL.sub("", observation)
        self._memory.read_turn(action, observation)
        return observation

    def view(self) -> dict[str, JsonValue]:
        """The room as the agent knows it: inventory, location, receptacles (`state` unseen, visited or current),
        admissible commands, turns left. After the end `truth` says what every receptacle holds (simulator only)."""
        memory = self._memory
        limit = self._task.turn_limit or TURN_LIMIT
        receptacles: list[JsonValue] = [
            {
                "name": name,
                "state": "current" if name == memory.location else "visited" if spot.is_visited else "unseen",
                "is_open": spot.is_open,
                "contents": cast(JsonValue, spot.contents),
            }
            for name, spot in memory.spots.items()
        ]
        view: dict[str, JsonValue] = {
            "inventory": cast(JsonValue, list(memory.holding)),
            "location": memory.location,
            "receptacles": receptacles,
            "admissible": cast(JsonValue, [] if self._stopped or not self._started else self._engine.commands()),
            "turns_left": max(0, limit - self._turns),
            "won": self._engine.won,
        }
        if self._stopped and isinstance(self._engine, Household):
            view["truth"] = cast(JsonValue, self._engine.truth())
        return view

    def close(self) -> None:
        self._stopped = True
        close = getattr(self._engine, "close", None)
        if close is not None:
            close()


def in_dialect(action: str, dialect: Dialect) -> str:
    """A put or move command in the wording of `dialect`; other commands as they are."""
    if dialect == Dialect.MOVE and (match := _PUT.fullmatch(action)):
        return f"move {match[1]} to {match[2]}"
    if dialect == Dialect.PUT and ((match := _MOVE.fullmatch(action)) or (match := _PUT.fullmatch(action))):
        return f"put {match[1]} in/on {match[2]}"
    return action


def read_games(path: Path, options: Options) -> list[Task]:
    """Tasks from a file or folder (`alfworld_files.read_tasks`), their turns as the options say. Raises BadFile."""
    return [limit_turns(task, options) for task in read_tasks(path, options)]


def limit_turns(task: Task, options: Options) -> Task:
    """The task with `slack` turns beyond its walkthrough, or as it is without that option.

    Raises BadConfig for a game without a walkthrough to count from.
    """
    slack = read_options(options).slack
    if slack is None:
        return task
    walkthrough = task.metadata.get("walkthrough")
    if not isinstance(walkthrough, list):
        raise BadConfig(f"Task {task.id!r} has no walkthrough, so slack={slack} has nothing to count from.")
    return task.model_copy(update={"turn_limit": len(walkthrough) + slack})


def open_game(task: Task, options: Options) -> Environment:
    """Raises BadFile for a broken problem, Unavailable without the engine asked for, BadConfig for a wrong option."""
    chosen = read_options(options)
    text = problem_text(task)
    if chosen.engine == "simulator":
        engine: TextEngine = Household(read_problem(text), task.instruction, chosen.dialect)
    else:
        from envs.alfworld_engine import TextWorldEngine

        engine = TextWorldEngine(text, task.instruction, chosen.dialect)
    return AlfworldEnvironment(task, engine, chosen)


def instructions(task: Task, options: Options) -> str:
    """The actions, in the dialect's wording."""
    place = (
        "put OBJECT in/on RECEPTACLE" if read_options(options).dialect == Dialect.PUT else "move OBJECT to RECEPTACLE"
    )
    return _INSTRUCTIONS.format(place=place)


_INSTRUCTIONS = """\
You act in a household by typed commands, one a turn. Names are a type and a number, as in `apple 1` or `fridge 1`.
- go to RECEPTACLE
- open RECEPTACLE, close RECEPTACLE
- take OBJECT from RECEPTACLE (you can hold one object)
- {place}
- clean OBJECT with SINKBASIN, heat OBJECT with MICROWAVE, cool OBJECT with FRIDGE (holding the object)
- use LAMP
- slice OBJECT with KNIFE
- examine RECEPTACLE or the object you hold, look, inventory, help
A command that cannot be done is answered `Nothing happens.` Giving the same command twice in a row ends the trial."""

OPTIONS: Mapping[str, str] = {
    "dialect": "move (`move X to Y`, default) or put (`put X in/on Y`, the older games); both are understood",
    "engine": "simulator (default) or textworld (the official engine, needs the alfworld extra)",
    "slack": "turns a trial may take beyond the stored walkthrough of its game (default: the task's limit)",
    "repeat_rule": "true (default) ends a trial when the same action comes twice in a row; false lets it go on",
}


def check() -> Availability:
    """The simulator always works; the detail says whether the official engine can be used too."""
    from envs.alfworld_engine import engine_python

    try:
        return Availability(
            True, f"Plays on the built-in simulator; the TextWorld engine runs under {engine_python()}."
        )
    except Unavailable as missing:
        return Availability(True, f"Plays on the built-in simulator. {missing}")


KIND = EnvironmentKind(
    name=ENVIRONMENT,
    title="ALFWorld",
    summary="Household tasks in a text world: find an object, clean, heat or cool it, put it where it is wanted.",
    turn_limit=TURN_LIMIT,
    reflection_memory=3,
    success_rule="The game is won: reward 1, else 0.",
    splits=SPLITS,
    bundled=bundled_tasks,
    read=read_games,
    open=open_game,
    instructions=instructions,
    expert=SearchingExpert(),
    careless=CarelessExpert(SearchingExpert()),
    check=check,
    limit=limit_turns,
    generate=generate_tasks,
    options=OPTIONS,
)
