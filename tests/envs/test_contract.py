"""What every environment in the registry keeps to, whatever it plays."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
from trial_player import do_actions, play_episode, play_trial

from data.errors import BadConfig, BadInput, RetroDashError, UnknownName
from data.types import StopReason, Task
from envs import ENVIRONMENTS, environment_kind
from envs.base import EnvironmentKind
from envs.isolated import EnvironmentPool

SAMPLE = {"alfworld": 20, "hotpotqa": 64, "intercode_sql": 20, "intercode_bash": 12}
"""How many bundled tasks the expert plays here; each environment's own tests play all of them."""
TRIALS = {"alfworld": 3}
"""Trials that the expert may need; the others solve at once."""
HOSTILE_ACTIONS = {"alfworld": 10_000, "hotpotqa": 10_000, "intercode_sql": 3_000, "intercode_bash": 1_000}
"""Random and hostile actions, fewer where 10,000 take minutes; HOSTILE_ACTIONS=10000 asks for so many of all."""
WRONG = {
    "alfworld": ("look", 0.0, 0.0),
    "hotpotqa": ("Finish[surely not this]", 0.0, 0.0),
    "intercode_sql": ("submit", 0.0, 0.0),
    "intercode_bash": ("submit", 0.01, 0.99),
}
"""An action that does not solve the task, with the least and the greatest reward that it may have."""
PLAYERS = 2
VIEW_LIMIT = 64 * 1024
OBSERVATION_LIMIT = 64 * 1024

NASTY = (
    "",
    " ",
    "\x00",
    "\x1b[2J\x07\r\n",
    "\ud800",
    "\u202eenod",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 ☃ e\u0301",
    "[" * 500,
    "]" * 500,
    "Search[]",
    "Finish",
    "finish[",
    "Search[{0.__class__}]",
    "execute[]",
    "execute[%s%n]",
    "execute[SELECT 1; DROP TABLE users]",
    "execute[WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT COUNT(*) FROM n]",
    "execute[ls; exit 3]",
    "execute[kill -9 $$]",
    "execute[printf '\\x00\\xff']",
    "go to  the   moon 1",
    "take apple 1 from fridge 99999999999999999999",
    "think:",
    "think: " + "x" * 2000,
    "(a+)+$" * 100,
    "../../etc/passwd",
    "a " * 5_000,
)


@pytest.fixture(params=sorted(ENVIRONMENTS))
def kind(request: pytest.FixtureRequest) -> EnvironmentKind:
    module = ENVIRONMENTS[request.param]
    if find_spec(module) is None:
        pytest.skip(f"there is no module {module}")
    found = environment_kind(request.param)
    availability = found.check()
    if not availability.works:
        pytest.skip(f"{found.name} does not work on this machine: {availability.detail}")
    return found


def sample(kind: EnvironmentKind, count: int) -> list[Task]:
    """Bundled tasks of the default split, spread evenly."""
    tasks = kind.bundled(kind.splits[0])
    return tasks[:: max(1, len(tasks) // count)][:count]


def solving_actions(kind: EnvironmentKind, task: Task) -> list[str]:
    trials, _ = play_episode(kind, task, {}, kind.expert, TRIALS.get(kind.name, 1))
    return [turn.action for turn in trials[-1].turns]


def random_action(kind: EnvironmentKind, dice: random.Random, known: list[str]) -> str:
    """A nasty action, a right one of another task, or a right one with letters changed."""
    roll = dice.random()
    if roll < 0.4:
        return dice.choice(NASTY)
    action = dice.choice(known)
    if roll < 0.6:
        return action
    letters = list(action)
    for _ in range(dice.randrange(1, 4)):
        place = dice.randrange(len(letters) + 1)
        letters[place : place + dice.randrange(3)] = dice.choice(["", "[", "]", "'", "\n", " 1", "x", "\x00", "é"])
    return "".join(letters)


def test_a_kind_describes_itself(kind: EnvironmentKind) -> None:
    assert kind is environment_kind(kind.name)
    for text in (kind.title, kind.summary, kind.success_rule, kind.check().detail):
        assert text.strip() == text != ""
    assert kind.turn_limit >= 1
    assert all(description for description in kind.options.values())


def test_bundled_tasks_are_unique_and_know_their_environment_and_split(kind: EnvironmentKind) -> None:
    ids: list[str] = []
    for split in kind.splits:
        tasks = kind.bundled(split)
        assert tasks
        assert {(task.env, task.split) for task in tasks} == {(kind.name, split)}
        assert all(task.instruction.strip() for task in tasks)
        assert [Task.model_validate_json(task.model_dump_json()) for task in tasks[:5]] == tasks[:5]
        ids += [task.id for task in tasks]
    assert len(set(ids)) == len(ids)


def test_unknown_splits_options_and_files_are_refused_with_a_sentence(kind: EnvironmentKind, tmp_path: Path) -> None:
    task = sample(kind, 1)[0]
    with pytest.raises(UnknownName, match="nowhere"):
        kind.bundled("nowhere")
    with pytest.raises(BadConfig, match="no_such_option"):
        kind.open(task, {"no_such_option": 1})
    (tmp_path / "tasks.json").write_text('{"not": "tasks"}')
    (tmp_path / "binary.json").write_bytes(bytes(range(256)))
    for name in ("tasks.json", "binary.json", "missing.json"):
        with pytest.raises(BadInput, match=name):
            kind.read(tmp_path / name, {})


def test_the_instructions_and_the_opening_are_the_same_every_time(kind: EnvironmentKind) -> None:
    task = sample(kind, 1)[0]
    assert kind.instructions(task, {}) == kind.instructions(task, {}) != ""
    openings = []
    for _ in range(2):
        environment = kind.open(task, {})
        openings.append(environment.start())
        environment.close()
    assert openings[0] == openings[1] != ""


def test_the_expert_solves_the_bundled_tasks_and_its_success_is_worth_one(kind: EnvironmentKind) -> None:
    tasks = sample(kind, SAMPLE.get(kind.name, 10))
    last = [play_episode(kind, task, {}, kind.expert, TRIALS.get(kind.name, 1))[0][-1] for task in tasks]
    solved = [trial for trial in last if trial.success]
    assert len(solved) >= 0.95 * len(tasks), [
        task.id for task, trial in zip(tasks, last, strict=True) if not trial.success
    ]
    assert {trial.reward for trial in solved} == {1.0}
    assert {trial.stop_reason for trial in solved} == {StopReason.SOLVED}


def test_the_careless_expert_fails_sometimes_and_its_reflection_mends_that(kind: EnvironmentKind) -> None:
    failed = mended = 0
    for task in sample(kind, 12):
        trials, reflections = play_episode(kind, task, {}, kind.careless, 3)
        failed += not trials[0].success
        mended += not trials[0].success and trials[-1].success
        assert all(reflections)
    assert failed >= 2
    assert mended >= 0.8 * failed


def test_a_wrong_trial_has_its_floor(kind: EnvironmentKind) -> None:
    action, least, greatest = WRONG[kind.name]
    for task in sample(kind, 5):
        environment = kind.open(task, {})
        outcome = do_actions(environment, [action])[-1]
        environment.close()
        assert least <= outcome.reward <= greatest
        assert outcome.stop is not StopReason.SOLVED


def test_an_environment_plays_one_trial_and_no_more(kind: EnvironmentKind) -> None:
    task = next(task for task in sample(kind, 10) if play_trial(kind, task, {}, kind.expert).success)
    early = kind.open(task, {})
    with pytest.raises(RetroDashError):
        early.step("look")
    early.close()
    environment = kind.open(task, {})
    outcomes = do_actions(environment, [turn.action for turn in play_trial(kind, task, {}, kind.expert).turns])
    assert outcomes[-1].stop is StopReason.SOLVED
    with pytest.raises(RetroDashError):
        environment.step("look")
    with pytest.raises(RetroDashError):
        environment.start()
    environment.close()


def test_the_same_actions_give_the_same_trial(kind: EnvironmentKind) -> None:
    dice = random.Random(3)
    for task in sample(kind, 3):
        known = solving_actions(kind, task)
        actions = [random_action(kind, dice, known) for _ in range(4)] + known
        runs = []
        for _ in range(2):
            environment = kind.open(task, {})
            runs.append((do_actions(environment, actions), environment.view()))
            environment.close()
        assert runs[0] == runs[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_random_and_hostile_actions_are_answered(kind: EnvironmentKind) -> None:
    tasks = sample(kind, 5)
    known = [action for task in tasks[:3] for action in solving_actions(kind, task)]
    count = int(os.environ.get("HOSTILE_ACTIONS", HOSTILE_ACTIONS.get(kind.name, 100)))
    with ThreadPoolExecutor(PLAYERS) as players:  # They wait for processes most of the time.
        for done in [
            players.submit(be_hostile, kind, tasks, known, seed, count // PLAYERS) for seed in range(PLAYERS)
        ]:
            done.result()


def be_hostile(kind: EnvironmentKind, tasks: list[Task], known: list[str], seed: int, count: int) -> None:
    dice = random.Random(seed)
    environment = None
    for number in range(count):
        if environment is None:
            environment = kind.open(dice.choice(tasks), {})
            environment.start()
        action = random_action(kind, dice, known)
        began = time.monotonic()
        outcome = environment.step(action)
        assert time.monotonic() - began < 60, action
        assert len(outcome.observation) <= OBSERVATION_LIMIT, action
        assert math.isfinite(outcome.reward), action
        assert -1 <= outcome.reward <= 1, action
        if number % 20 == 0:
            assert len(json.dumps(environment.view())) <= VIEW_LIMIT, action
        if outcome.stop is not None or number % 40 == 39:
            environment.close()
            environment = None
    if environment is not None:
        environment.close()


def test_ten_megabytes_are_answered_like_any_other_action(kind: EnvironmentKind) -> None:
    environment = kind.open(sample(kind, 1)[0], {})
    environment.start()
    for action in ("x" * 10_000_000, f"execute[echo {'y' * 10_000_000}]", f"Search[{'é' * 5_000_000}]"):
        outcome = environment.step(action)
        assert len(outcome.observation) <= OBSERVATION_LIMIT
        assert len(json.dumps(environment.view())) <= VIEW_LIMIT
    environment.close()


PROBE = """
import json, os, sys, tempfile
import psutil
from test_contract import sample, solving_actions
from trial_player import do_actions
from envs import environment_kind

kind = environment_kind(sys.argv[1])
task = sample(kind, 1)[0]
actions = solving_actions(kind, task)

def leftovers():
    process = psutil.Process()
    children = [child.cmdline() for child in process.children(recursive=True)]
    return [children, sorted(os.listdir(tempfile.gettempdir())), process.num_fds()]

def play(count):
    environment = kind.open(task, {})
    if count >= 0:
        do_actions(environment, actions[:count])
    environment.close()
    environment.close()

# The first trial may fill caches that are kept on purpose.
play(len(actions))
before = leftovers()
for count in (-1, 0, 1, len(actions)):
    play(count)
print(json.dumps([before, leftovers()]))
"""


def test_closing_leaves_no_process_no_file_and_no_descriptor(kind: EnvironmentKind, tmp_path: Path) -> None:
    here = Path(__file__).resolve().parent
    surroundings = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(here.parents[1]), str(here)]),
    }
    command = [sys.executable, "-c", PROBE, kind.name]
    done = subprocess.run(command, env=surroundings, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    assert after == before


def test_an_isolated_trial_is_the_same_trial(kind: EnvironmentKind) -> None:
    task = sample(kind, 1)[0]
    actions = ["nonsense", *solving_actions(kind, task)]
    here = kind.open(task, {})
    outcomes, view = do_actions(here, actions), here.view()
    here.close()
    with EnvironmentPool() as pool:
        there = pool.open(task, {})
        assert do_actions(there, actions) == outcomes
        assert there.view() == json.loads(json.dumps(view))
        there.close()
