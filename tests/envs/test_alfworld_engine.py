"""The official engine as the simulator's oracle: the same commands must give the same text, commands and `won`."""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from kitchen_problem import HOT_APPLE_IN_FRIDGE, KITCHEN

from data.errors import EnvironmentCrashed
from data.types import Task
from envs.alfworld import KIND, open_game
from envs.alfworld_engine import TextWorldEngine, engine_python
from envs.alfworld_files import problem_text
from envs.household import NOTHING_HAPPENS, Dialect, Household
from envs.household_problem import read_problem
from envs.rooms import generate_tasks

HAS_ENGINE = bool(os.environ.get("RETRO_ALFWORLD_PYTHON")) or find_spec("textworld") is not None
needs_engine = pytest.mark.skipif(
    not HAS_ENGINE, reason="needs the official engine: pip install alfworld==0.4.2, or RETRO_ALFWORLD_PYTHON"
)
SHARED = Path(os.environ.get("RETRO_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "alfworld"
HOSTILE = (
    "",
    "\x00",
    "GO TO FRIDGE 1",
    "go to fridge 99",
    "#intro#",
    "{r.name}",
    "\ud800",
    "look\nlook",
    "x" * 50_000,
)


def games() -> list[Task]:
    """Three generated rooms, of three task types and growing size."""
    return [generate_tasks(21, 6, size=size)[number] for number, size in ((1, "tiny"), (3, "small"), (5, "medium"))]


def agree(problem: str, sentence: str, dialect: Dialect, commands: list[str], seed: int, steps: int) -> int:
    """Do `commands`, then random and hostile ones, in both engines; returns how many were compared."""
    ours, rng = Household(read_problem(problem), sentence, dialect), random.Random(seed)
    real = TextWorldEngine(problem, sentence, dialect)
    try:
        assert ours.start() == real.start()
        for number in range(steps):
            drawn = rng.choice(HOSTILE) if rng.random() < 0.2 else rng.choice(ours.commands())
            command = commands[number] if number < len(commands) else drawn
            assert ours.step(command) == real.step(command), command
            assert ours.commands() == real.commands(), command
            assert ours.won == real.won, command
    finally:
        real.close()
    return steps


@needs_engine
@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_generated_rooms_play_alike_and_their_plans_win_in_both_engines(number: int) -> None:
    task = games()[number]
    plan = [str(command) for command in task.metadata["walkthrough"]]  # type: ignore[union-attr]
    assert agree(problem_text(task), task.instruction, Dialect.MOVE, plan, number, 50) == 50


@needs_engine
@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason=f"needs the shared ALFWorld games in {SHARED}")
@pytest.mark.parametrize("number", [3, 60])
def test_official_games_play_alike_in_both_dialects(number: int) -> None:
    task = KIND.read(SHARED / "games_valid_unseen.jsonl.gz", {})[number]
    plan = [str(command) for command in task.metadata["walkthrough"]]  # type: ignore[union-attr]
    dialect = (Dialect.MOVE, Dialect.PUT)[number % 2]
    put = [f"put {' in/on '.join(one[5:].split(' to '))}" if one.startswith("move ") else one for one in plan]
    assert agree(problem_text(task), task.instruction, dialect, plan if number % 2 == 0 else put, number, 50) == 50


ODD_CASES = """
look
examine countertop 1
go to stoveburner 1
go to stoveburner 2
look
examine bowl 1
take bowl 1 from stoveburner 1
examine bowl 1
look
examine stoveburner 2
move bowl 1 to stoveburner 2
put bowl 1 in/on stoveburner 2
look
go to countertop 1
use desklamp 1
use desklamp 1
take knife 1 from countertop 1
slice apple 1 with knife 1
slice apple 1 with knife 1
help
inventory
move knife 1 to countertop 1
put knife 1 in/on countertop 1
take apple 1 from countertop 1
examine apple 1
go to sinkbasin 1
clean apple 1 with sinkbasin 1
examine apple 1
go to fridge 1
cool apple 1 with fridge 1
examine apple 1
go to microwave 1
heat apple 1 with microwave 1
examine apple 1
go to fridge 1
open fridge 1
close fridge 1
open fridge 1
move apple 1 to fridge 1
put apple 1 in/on fridge 1
look
take apple 1 from fridge 1
"""


@needs_engine
@pytest.mark.slow
@pytest.mark.parametrize("dialect", Dialect)
def test_the_odd_rules_are_the_engines_own(dialect: Dialect) -> None:
    """An object in two receptacles, burners at one place, a bowl with something in it, slicing, examining."""
    problem = KITCHEN.replace("GOAL", HOT_APPLE_IN_FRIDGE)
    assert agree(problem, "put a hot apple in fridge.", dialect, ODD_CASES.strip().splitlines(), 5, 180) == 180


@needs_engine
@pytest.mark.slow
def test_the_environment_plays_the_same_trial_on_either_engine() -> None:
    (task,) = generate_tasks(2, 1, size="tiny")
    plan = [str(command) for command in task.metadata["walkthrough"]]  # type: ignore[union-attr]
    views, answers = [], []
    for engine in ("simulator", "textworld"):
        environment = open_game(task, {"engine": engine})
        opening = environment.start()
        answers.append([opening, *(environment.step(command) for command in ["think: hm", "jump", *plan])])
        view = environment.view()
        view.pop("truth", None)
        views.append(view)
        environment.close()
    assert answers[0] == answers[1]
    assert views[0] == views[1]
    assert views[0]["won"] is True


BROKEN = {
    "not PDDL": "hello",
    "cut short": KITCHEN[:900],
    "no agent's place": KITCHEN.replace("(atLocation agent1 loc_bar_0)", "").replace("GOAL", HOT_APPLE_IN_FRIDGE),
    "an undeclared predicate": KITCHEN.replace("GOAL", "(magic Fridge_bar_1)"),
    "an undeclared type": KITCHEN.replace("MicrowaveType", "").replace("GOAL", "(and)"),
    "no goal": KITCHEN.replace("(:goal GOAL)", ""),
}


def workers() -> list[psutil.Process]:
    """Our engine processes that are alive."""
    alive = [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in alive if "alfworld_worker" in " ".join(one.cmdline())]


@pytest.fixture
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process of ours is left running afterwards, and no folder in the place for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert workers() == []
    assert list(tmp_path.iterdir()) == []


@needs_engine
@pytest.mark.slow
@pytest.mark.parametrize("case", BROKEN)
def test_a_malformed_game_ends_with_a_sentence_and_harms_nobody(case: str, nothing_left: None) -> None:
    with pytest.raises(EnvironmentCrashed, match="malformed or unsolvable"):
        TextWorldEngine(BROKEN[case], "put a hot apple in fridge.")


@needs_engine
@pytest.mark.slow
def test_a_killed_engine_is_a_sentence_and_closing_twice_is_safe(nothing_left: None) -> None:
    (task,) = generate_tasks(2, 1, size="tiny")
    engine = TextWorldEngine(problem_text(task), task.instruction)
    (child,) = workers()
    assert engine.step("no such thing") == NOTHING_HAPPENS
    child.kill()
    with pytest.raises(EnvironmentCrashed, match="broke off"):
        engine.step("look")
    with pytest.raises(EnvironmentCrashed, match="is closed"):
        engine.step("look")
    engine.close()
    engine.close()


def test_without_the_engine_the_error_says_how_to_add_it() -> None:
    code = (
        "from envs.alfworld import KIND; task = KIND.bundled('valid')[0]\n"
        "try: KIND.open(task, {'engine': 'textworld'})\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "print(KIND.check())"
    )
    environment = {**os.environ, "RETRO_ALFWORLD_PYTHON": "/nowhere/python"}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert shown.stdout.startswith("Unavailable RETRO_ALFWORLD_PYTHON is /nowhere/python, which does not exist.")
    assert "retro-dash[alfworld]" in shown.stdout
    assert "works=True" in shown.stdout


@pytest.mark.skipif(find_spec("textworld") is not None, reason="alfworld is installed in this environment")
def test_without_the_extra_engine_python_is_unavailable() -> None:
    code = "from envs.alfworld_engine import engine_python; engine_python()"
    environment = {key: value for key, value in os.environ.items() if key != "RETRO_ALFWORLD_PYTHON"}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "Unavailable: The TextWorld engine is not installed: pip install 'retro-dash[alfworld]'" in shown.stderr


@needs_engine
def test_the_engine_is_not_imported_into_our_process() -> None:
    assert engine_python()
    code = "import sys, envs.alfworld, envs.alfworld_engine; print({'textworld', 'torch'} & {*sys.modules})"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
