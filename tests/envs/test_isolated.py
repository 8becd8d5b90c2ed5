"""The environment pool against children that crash, hang, babble and leave things behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from data.errors import BadConfig, BadInput, EnvironmentCrashed, Refused, UnknownName
from data.types import StopReason, Task
from envs import environment_kind
from envs.hotpotqa import bundled, open_question
from envs.isolated import EnvironmentPool
from envs.isolated_child import REQUEST_LIMIT

HOSTILE = (sys.executable, "-P", str(Path(__file__).with_name("hostile_child.py")))
TASK = Task(id="t-1", env="hostile", split="test", instruction="Misbehave.")


@pytest.fixture
def hostile() -> Iterator[EnvironmentPool]:
    with EnvironmentPool(deadline=60, command=HOSTILE) as pool:
        yield pool


def is_gone(pid: int) -> bool:
    """Whether a process has ended within half a minute. A zombie of a foreign parent has ended."""
    for _ in range(1500):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def zombies() -> set[int]:
    """Children that ended and that nobody has waited for, whoever in this process started them."""
    return {child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE}


def test_a_trial_in_a_child_is_the_trial_in_this_process() -> None:
    task = bundled("valid")[0]
    here = open_question(task, {"dialect": "reflexion"})
    with EnvironmentPool() as pool:
        there = pool.open(task, {"dialect": "reflexion"})
        assert there.start() == here.start()
        assert there.view() == here.view()
        for action in ("Search[nothing like it]", "Lookup[a]", "jump", "Finish[a]"):
            assert there.step(action) == here.step(action)
            assert there.view() == here.view()


def test_the_stop_reason_comes_back_as_what_it_was() -> None:
    task = bundled("valid")[0]
    with EnvironmentPool() as pool:
        environment = pool.open(task, {})
        environment.start()
        assert environment.step(f"Finish[{task.metadata['answer']}]").stop is StopReason.SOLVED


def test_errors_of_ours_keep_their_class_and_sentence(hostile: EnvironmentPool) -> None:
    with EnvironmentPool() as pool:
        with pytest.raises(BadConfig, match="no option 'colour'"):
            pool.open(bundled("valid")[0], {"colour": "red"})
        with pytest.raises(UnknownName, match="no environment called 'hostile'"):
            pool.open(TASK, {})
        environment = pool.open(bundled("valid")[0], {})
        environment.start()
        with pytest.raises(Refused, match="already started"):
            environment.start()
        assert environment.step("Search[x]").is_valid, "a refused call costs nothing"


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        ("die 9", "was killed by SIGKILL"),
        ("die 11", "was killed by SIGSEGV"),
        ("exit", "SystemExit: 3"),
        ("raise val1", "KeyError: 'val1'"),
        ("babble", "not JSON"),
        ("shout 70000000", "not JSON"),
        ("eat 9000000000", "MemoryError"),
    ],
)
def test_a_child_that_breaks_costs_one_sentence_and_one_trial(
    hostile: EnvironmentPool, action: str, sentence: str
) -> None:
    environment = hostile.open(TASK, {})
    environment.start()
    pid = int(environment.step("pid").observation)
    with pytest.raises(EnvironmentCrashed) as crash:
        environment.step(action)
    assert sentence in str(crash.value)
    assert "hostile" in str(crash.value)
    assert "t-1" in str(crash.value)
    assert repr(action) in str(crash.value)
    assert is_gone(pid)
    with pytest.raises(EnvironmentCrashed, match="closed or gone"):
        environment.step("pid")
    environment.close()
    again = hostile.open(TASK, {})
    assert again.start() == "ready"


def test_a_long_action_is_cut_in_the_sentence(hostile: EnvironmentPool) -> None:
    environment = hostile.open(TASK, {})
    environment.start()
    with pytest.raises(EnvironmentCrashed) as crash:
        environment.step("raise " + "x" * 5000)
    assert len(str(crash.value)) < 600


def test_a_step_that_hangs_ends_at_its_deadline_with_all_that_it_started() -> None:
    before = zombies()
    with EnvironmentPool(deadline=10, deadlines={"hostile": 3}, command=HOSTILE) as pool:
        environment = pool.open(TASK, {})
        environment.start()
        pids = [int(environment.step(action).observation) for action in ("pid", "spawn", "spawn")]
        with pytest.raises(EnvironmentCrashed, match=r"longer than 3 seconds"):
            environment.step("hang")
        assert all(is_gone(pid) for pid in pids)
    assert zombies() <= before


def test_a_crashed_child_leaves_no_process_and_no_file(hostile: EnvironmentPool) -> None:
    environment = hostile.open(TASK, {})
    environment.start()
    pid = int(environment.step("spawn").observation)
    folder = environment.step("litter").observation
    assert os.path.isdir(folder)
    with pytest.raises(EnvironmentCrashed):
        environment.step("die 9")
    assert is_gone(pid)
    assert not os.path.exists(folder)


def test_what_an_environment_prints_does_not_disturb_the_replies(hostile: EnvironmentPool) -> None:
    environment = hostile.open(TASK, {})
    environment.start()
    assert environment.step("print").observation == "did print"
    assert environment.step("pid").observation.isdigit()


def test_an_idle_child_plays_the_next_trial() -> None:
    with EnvironmentPool(command=HOSTILE) as pool:
        pids = set()
        for _ in range(5):
            environment = pool.open(TASK, {})
            environment.start()
            pids.add(environment.step("pid").observation)
            environment.close()
            environment.close()
    assert len(pids) == 1


def test_a_child_that_died_while_idle_is_replaced(hostile: EnvironmentPool) -> None:
    environment = hostile.open(TASK, {})
    environment.start()
    pid = int(environment.step("pid").observation)
    environment.close()
    os.kill(pid, signal.SIGKILL)
    assert is_gone(pid)
    assert hostile.open(TASK, {}).start() == "ready"


def test_no_more_children_stay_idle_than_allowed() -> None:
    with EnvironmentPool(idle_limit=1, command=HOSTILE) as pool:
        environments = [pool.open(TASK, {}) for _ in range(3)]
        pids = []
        for environment in environments:
            environment.start()
            pids.append(int(environment.step("pid").observation))
        for environment in environments:
            environment.close()
        assert [is_gone(pid) for pid in pids[:2]] == [True, True]
        assert psutil.pid_exists(pids[2])
    assert is_gone(pids[2])


def test_closing_in_the_middle_of_a_step_ends_the_step(hostile: EnvironmentPool) -> None:
    environment = hostile.open(TASK, {})
    environment.start()
    said: list[str] = []

    def hang() -> None:
        try:
            environment.step("hang")
        except EnvironmentCrashed as error:
            said.append(str(error))

    thread = threading.Thread(target=hang)
    thread.start()
    while thread.is_alive() and not environment._busy.locked():
        time.sleep(0.01)
    environment.close()
    thread.join(60)
    assert not thread.is_alive()
    assert "SIGKILL" in said[0]


def test_a_closed_pool_has_no_children_and_opens_nothing() -> None:
    before = zombies()
    pool = EnvironmentPool(command=HOSTILE)
    environment = pool.open(TASK, {})
    environment.start()
    pid = int(environment.step("pid").observation)
    pool.close()
    pool.close()
    assert is_gone(pid)
    with pytest.raises(Refused, match="pool is closed"):
        pool.open(TASK, {})
    assert zombies() <= before


def test_threads_share_one_pool() -> None:
    tasks = bundled("valid")[:4]
    wins: list[bool] = []

    def play(pool: EnvironmentPool, task: Task) -> None:
        for _ in range(10):
            environment = pool.open(task, {})
            environment.start()
            environment.step("Search[x]")
            wins.append(environment.step(f"Finish[{task.metadata['answer']}]").stop is StopReason.SOLVED)
            environment.close()

    with EnvironmentPool() as pool:
        threads = [threading.Thread(target=play, args=(pool, task)) for task in tasks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wins == [True] * 40


def test_ten_megabytes_are_an_ordinary_action_and_more_than_the_limit_is_refused(hostile: EnvironmentPool) -> None:
    environment = hostile.open(TASK, {})
    environment.start()
    assert environment.step("x" * 10_000_000).observation.startswith("did x")
    with pytest.raises(BadInput, match="128 MiB"):
        environment.step("x" * (REQUEST_LIMIT + 1))
    assert environment.step("pid").observation.isdigit()


def test_surrogates_and_control_codes_travel(hostile: EnvironmentPool) -> None:
    environment = hostile.open(TASK, {})
    environment.start()
    assert environment.step("\x00\ud800\u2028\n").observation == "did \x00\ud800\u2028\n"


PARENT = """
import sys
from data.types import Task
from envs.isolated import EnvironmentPool
pool = EnvironmentPool(command=sys.argv[1:])
environment = pool.open(Task(id="t-1", env="hostile", split="test", instruction=""), {})
environment.start()
print(*(environment.step(action).observation for action in ("pid", "spawn", "litter")), flush=True)
environment.step("hang")
"""


def test_children_and_their_files_end_with_a_parent_that_is_killed() -> None:
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *HOSTILE],
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert parent.stdout is not None
    child, grandchild, folder = parent.stdout.readline().split()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert is_gone(int(child))
    assert is_gone(int(grandchild))
    assert not os.path.exists(folder)


def test_a_child_finds_its_code_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("raise RuntimeError('the wrong package')")
    root = Path(__file__).resolve().parents[2]
    script = (
        f"import sys, os; sys.path.insert(0, {str(root)!r})\n"
        "from envs.hotpotqa import bundled\nfrom envs.isolated import EnvironmentPool\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "with EnvironmentPool() as pool:\n    print(pool.open(bundled('valid')[0], {}).start())\n"
    )
    surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd="/", env=surroundings)
    assert done.stdout.startswith("Question: "), done.stderr


def test_starting_and_ending_many_children_leaks_no_descriptor() -> None:
    process = psutil.Process()
    with EnvironmentPool(idle_limit=0, command=HOSTILE) as pool:
        before = process.num_fds()
        for _ in range(5):
            environment = pool.open(TASK, {})
            environment.start()
            environment.close()
        assert process.num_fds() == before


def test_a_child_that_cannot_even_listen_is_killed_with_all_that_it_started() -> None:
    with EnvironmentPool(deadline=10, deadlines={"hostile": 3}, command=HOSTILE) as pool:
        environment = pool.open(TASK, {})
        environment.start()
        pids = [int(environment.step(action).observation) for action in ("pid", "spawn")]
        with pytest.raises(EnvironmentCrashed, match=r"longer than 3 seconds"):
            environment.step(f"die {int(signal.SIGSTOP)}")
        assert all(is_gone(pid) for pid in pids)


def test_only_a_pool_that_may_turns_the_sandbox_off() -> None:
    """The options of an episode may come from anybody's file."""
    task, unsafe = environment_kind("intercode_bash").bundled("valid")[0], {"unsafe_run_model_code_on_host": True}
    with EnvironmentPool() as pool, pytest.raises(Refused, match="only --unsafe-run-model-code-on-host plays it so"):
        pool.open(task, unsafe)
    with EnvironmentPool(may_run_on_host=True) as pool:
        environment = pool.open(task, unsafe)
        environment.start()
        assert environment.view()["unsafe"] is True
        environment.close()
