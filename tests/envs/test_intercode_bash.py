"""InterCode Bash: actions, state between commands, reward, tampering, bad input."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from data.errors import BadConfig, BadFile, EnvironmentCrashed, Refused
from data.types import StopReason, Task
from envs import sandbox
from envs.intercode_bash import KIND, NO_COMMAND, BashEnvironment

needs_sandbox = pytest.mark.skipif(not sandbox.probe().works, reason=sandbox.probe().detail)
SHARED = (
    Path(os.environ.get("RETRO_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "intercode" / "bash"
)
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there")
Opener = Callable[..., BashEnvironment]


@pytest.fixture
def opened() -> Iterator[Opener]:
    environments: list[BashEnvironment] = []

    def open_task(
        gold: str = "true", tree: str = "website", turn_limit: int = 100, **options: Any
    ) -> BashEnvironment:
        metadata = {"gold": gold, "tree": tree, "reward": options.pop("reward", "strict")}
        task = Task(
            id="t", env=KIND.name, split="x", instruction="Do it.", turn_limit=turn_limit, metadata=dict(metadata)
        )
        environment = KIND.open(task, options)
        assert isinstance(environment, BashEnvironment)
        environments.append(environment)
        assert environment.start() == "Do it."
        return environment

    yield open_task
    for environment in environments:
        environment.close()
        environment.close()


def say(environment: BashEnvironment, command: str) -> str:
    return environment.step(f"execute[{command}]").observation


@needs_sandbox
def test_gold_then_submit_solves_and_ends_the_trial(opened: Opener) -> None:
    environment = opened("grep -c TODO /site/contact.html")
    outcome = environment.step("execute[grep -c TODO /site/contact.html]")
    assert (outcome.observation, outcome.reward, outcome.stop) == ("2\n", 1.0, None)
    assert environment.step("submit").stop is StopReason.SOLVED
    with pytest.raises(Refused, match="not running"):
        environment.step("submit")


@needs_sandbox
def test_a_wrong_submission_fails_with_its_score(opened: Opener) -> None:
    environment = opened("rm /site/robots.txt")
    say(environment, "true")
    outcome = environment.step("submit")
    assert (outcome.stop, outcome.reward) == (StopReason.FAILED, 0.72)


@needs_sandbox
@pytest.mark.parametrize("action", ["ls", "execute ls", "execute[ls", "run[ls]", "", "submit now"])
def test_what_is_not_an_action_changes_nothing_and_says_so(action: str, opened: Opener) -> None:
    outcome = opened().step(action)
    assert (outcome.observation, outcome.is_valid, outcome.stop) == (NO_COMMAND, False, None)


@needs_sandbox
@pytest.mark.parametrize(
    ("command", "folder"),
    [
        ("cd /site/shop", "/site/shop"),
        ("cd /site && cd css && ls", "/site/css"),
        ("pushd /site/js > /dev/null", "/site/js"),
        ("cd /site; (cd shop); false", "/site"),
        ("cd /site; exit 3", "/site"),
        ("cd /nowhere", "/"),
        ("cd /site && echo done | cat", "/site"),
        ("mkdir '/site/a b' && cd '/site/a b'", "/site/a b"),
    ],
)
def test_the_current_folder_is_kept_however_it_was_changed(command: str, folder: str, opened: Opener) -> None:
    environment = opened()
    say(environment, command)
    assert say(environment, "pwd") == f"{folder}\n"
    assert environment.view()["cwd"] == folder


@needs_sandbox
def test_a_removed_current_folder_falls_back_to_the_root(opened: Opener) -> None:
    environment = opened()
    say(environment, "cd /site/css && rm -r /site/css")
    assert say(environment, "pwd") == "/\n"


@needs_sandbox
def test_files_stay_and_variables_functions_traps_and_jobs_do_not(opened: Opener) -> None:
    environment = opened()
    say(environment, "x=1; export y=2; f() { echo f; }; trap 'echo trap' EXIT; echo kept > /site/new; sleep 99 &")
    assert say(environment, "echo [$x$y]; cat /site/new; ps ax | grep -c '[s]leep'") == "[]\nkept\n0\n"
    assert "not found" in say(environment, "type f")


@needs_sandbox
def test_messages_read_as_those_of_a_plain_shell(opened: Opener) -> None:
    environment = opened()
    assert say(environment, "nosuchprogram") == "/bin/bash: line 1: nosuchprogram: command not found\n"
    assert "syntax error" in say(environment, "echo (")
    assert say(environment, "ls -ld /site | cut -d' ' -f1,3,4") == "drwxr-xr-x root root\n"
    assert say(environment, "whoami; echo ~") == "root\n/root\n"


@needs_sandbox
def test_how_busy_the_machine_is_does_not_show(opened: Opener) -> None:
    assert say(opened(), "cat /proc/loadavg; echo 9 2>/dev/null > /proc/loadavg || echo refused") == (
        "0.03 0.02 0.00 1/80 42\nrefused\n"
    )


@needs_sandbox
def test_quotes_dollars_and_brackets_reach_the_shell_unchanged(opened: Opener) -> None:
    assert say(opened(), """x="a b"; echo "$x" '$x' | awk '{print $2, "]"}'; [ -n "$x" ] && echo "${x[0]}\"""") == (
        "b ]\na b\n"
    )


@needs_sandbox
def test_long_output_is_cut_for_the_planner_and_whole_for_the_reward(opened: Opener) -> None:
    environment = opened("seq 5000", observation_limit=50)
    outcome = environment.step("execute[seq 5000]")
    # 1 to 9 take two characters each with their line ends, 10 to 19 three: 18 + 30 = 48, and two more for 20
    assert outcome.observation == "\n".join(map(str, range(1, 21))) + "\n… (cut: 23,893 characters in all)"
    assert outcome.reward == 1.0


@needs_sandbox
def test_time_is_limited_and_the_note_says_so(opened: Opener) -> None:
    environment = opened(seconds=2)
    outcome = environment.step("execute[echo a; sleep 30]")
    assert (outcome.observation, outcome.is_valid) == ("a\nCommand timed out after 2 seconds", False)


@needs_sandbox
def test_the_view_shows_changes_and_after_the_end_gold(opened: Opener) -> None:
    environment = opened("rm /site/robots.txt")
    assert environment.view()["result"] is None
    say(environment, "cd /site; echo x > new.txt; chmod 600 index.html; rm deploy.sh; echo out")
    view = environment.view()
    tree: Any = view["tree"]
    changes = {entry["path"]: entry["change"] for entry in tree if entry["change"]}
    assert changes == {"/site/new.txt": "??", "/site/index.html": "M", "/site/deploy.sh": "D"}
    assert (view["cwd"], view["output"], view["status"], view["turns_left"]) == ("/site", "out\n", 0, 99)
    assert view["unsafe"] is False
    environment.step("submit")
    result: Any = environment.view()["result"]
    assert result["gold"] == "rm /site/robots.txt"
    assert result["missing"] == ["D /site/robots.txt"]
    assert len(json.dumps(environment.view())) < 20_000


@needs_sandbox
@pytest.mark.parametrize(
    "tampering",
    [
        "rm -f /bin /lib64; mkdir /bin; echo 'echo 1' > /bin/bash; chmod +x /bin/bash",
        "mv /lib64 /lib65; rm /sbin",
        "echo 'exit 0' > /root/.bashrc; echo 'alias ls=rm' > /root/.profile; echo 'exit' > /root/.bash_profile",
        "export PATH=/site BASH_ENV=/site/evil LD_PRELOAD=/site/evil.so; hash -p /bin/false grep",
        "printf '\\036/usr\\036'; trap - EXIT; exec true",
        "rm -rf --no-preserve-root / 2>/dev/null",
        "find / -name '*gold*' -o -name 'tasks.json' 2>/dev/null | grep -v ^/usr | grep -v ^/proc | xargs rm -rf",
        "kill -9 -1; pkill -9 bwrap",
        "cat /proc/1/environ /proc/1/cmdline | grep -a gold",
    ],
)
def test_tampering_changes_neither_the_gold_run_nor_later_commands(tampering: str, opened: Opener) -> None:
    gold = "grep -c TODO /site/contact.html"
    environment = opened(gold)
    say(environment, tampering)
    # A fresh command still works with the system's own programs.
    assert say(environment, "echo works | cat; ls -d /bin") == "works\n/bin\n"
    environment.step("submit")
    result: Any = environment.view()["result"]
    assert result["gold_output"] == "2\n"
    assert result["reward"] < 0.995


@needs_sandbox
def test_gold_and_the_scoring_are_nowhere_in_the_sandbox(opened: Opener) -> None:
    environment = opened("echo 4c1f9e77")
    files = say(environment, "grep -rs '4c1f[9]e77' / -l --exclude-dir=usr --exclude-dir=proc --exclude-dir=dev")
    processes = say(environment, "grep -s '4c1f[9]e77' -l /proc/[0-9]*/cmdline /proc/[0-9]*/environ")
    assert (files, processes) == ("", "")


@needs_sandbox
def test_bad_input_is_an_observation_and_the_trial_goes_on(opened: Opener) -> None:
    environment = opened()
    assert "NUL character" in say(environment, "echo a\0b")
    assert "longer than 120,000 bytes" in say(environment, "echo " + "x" * 10_000_000)
    assert "empty" in say(environment, "  ")
    assert say(environment, "printf 'a\\0b\\033[31mred\\377\\n'") == "a\ufffdb\x1b[31mred\ufffd\n"
    assert environment.step("execute[echo \ud800]").is_valid is False
    assert say(environment, "echo fine") == "fine\n"


@needs_sandbox
def test_files_that_are_hard_to_remove_leave_nothing_behind(opened: Opener) -> None:
    before = _copies()
    environment = opened()
    say(
        environment,
        "mkdir -p /site/x/y && chmod 000 /site/x; mkfifo /site/pipe; touch $'/site/\\n\\t*'; ln -s / /site/loop",
    )
    say(environment, "for i in $(seq 400); do mkdir dddddddddddddddddddd && cd dddddddddddddddddddd || break; done")
    assert environment.step("submit").stop is StopReason.FAILED
    environment.close()
    assert _copies() == before


@needs_sandbox
def test_a_trial_whose_files_were_removed_by_others_is_broken_and_says_so(opened: Opener) -> None:
    environment = opened()
    for copy in Path(tempfile.gettempdir()).glob(f"retro-dash-bash-{os.getpid()}-*"):
        shutil.rmtree(copy)
    with pytest.raises(EnvironmentCrashed, match="files are gone"):
        environment.step("execute[ls]")


@needs_sandbox
def test_copies_of_a_killed_hub_are_removed_by_the_next_one() -> None:
    script = "from envs.intercode_bash import KIND; e = KIND.open(KIND.bundled('valid')[0], {}); e.start()"
    kill = "; import os; print(os.getpid(), flush=True); os.kill(os.getpid(), 9)"
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", script + kill], cwd=root, capture_output=True, check=False)
    (left,) = Path(tempfile.gettempdir()).glob(f"retro-dash-bash-{int(killed.stdout)}-*")
    subprocess.run([sys.executable, "-c", script + "; e.close()"], cwd=root, check=True)
    assert left.exists()  # another hub's, perhaps, in another container: only old ones go
    os.utime(left, (0, 0))
    subprocess.run([sys.executable, "-c", script + "; e.close()"], cwd=root, check=True)
    assert not left.exists()


def _copies() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob(f"retro-dash-bash-{os.getpid()}-*")}


@needs_sandbox
def test_filling_the_disk_is_stopped(opened: Opener) -> None:
    outcome = opened().step("execute[while true; do i=$((i+1)); head -c 9000000 /dev/zero > /site/$i; done]")
    assert "too much memory or disk" in outcome.observation


@needs_sandbox
def test_files_of_holes_cost_no_time_and_hide_no_other_change(opened: Opener) -> None:
    environment = opened("true")
    started = time.monotonic()
    say(environment, "truncate -s 16M /site/hole{1..3000}; echo x >> /site/about.html")
    tree: Any = environment.view()["tree"]
    assert time.monotonic() - started < 30  # all of it would be 48 GB to read, twice
    changed = {entry["path"] for entry in tree if entry["change"] == "M" and entry["kind"] == "file"}
    assert changed <= {"/site/about.html"}


@needs_sandbox
@pytest.mark.slow
def test_every_bundled_gold_solves_its_task_and_doing_nothing_solves_none() -> None:
    tasks = [task for split in KIND.splits for task in KIND.bundled(split)]
    assert len(tasks) >= 40
    assert len({task.id for task in tasks}) == len(tasks)
    assert len({str(task.metadata["tree"]) for task in tasks}) >= 3
    for task in tasks:
        environment = KIND.open(task, {})
        environment.start()
        assert environment.step("execute[true]").reward < 0.8, task.id
        environment.step(f"execute[{task.metadata['gold']}]")
        assert environment.step("submit").stop is StopReason.SOLVED, task.id
        environment.close()
        assert "needs" not in task.metadata


@needs_sandbox
@needs_shared
@pytest.mark.slow
def test_shared_golds_score_one_and_recorded_rewards_come_out() -> None:
    from benchmarks.intercode_bash import gold_against_gold, replay

    options = {"trees": str(SHARED), "observation_limit": 1_000_000}
    tasks = {task.id: task for task in KIND.read(SHARED / "nl2bash_tasks.json", options)}
    assert gold_against_gold(list(tasks.values()), options)["solved"] >= 131
    with gzip.open(SHARED / "results_gpt-4_multiturn.jsonl.gz", "rt") as lines:
        recorded = [json.loads(line) for line in lines]
    plain = replay(tasks, recorded, options, is_docker=False)
    assert plain["turns"] == 759
    assert plain["share"] >= 0.77


@needs_shared
def test_shared_tasks_are_read_with_their_trees_and_optional_programs() -> None:
    tasks = KIND.read(SHARED / "nl2bash_tasks.json", {"trees": str(SHARED)})
    by_id = {task.id: task for task in tasks}
    assert len(by_id) == 133
    assert by_id["fs1_3"].metadata["tree"] == "filesystem_1"
    assert by_id["fs4_26"].metadata["needs"] == ["jq"]
    assert KIND.read(SHARED, {"trees": str(SHARED)}) == tasks


def test_reading_tasks_without_their_trees_asks_for_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "nl2bash_fs_7.json"
    path.write_text(json.dumps([{"query": "q", "gold": ["cd /", "ls"]}]))
    with pytest.raises(BadFile, match=r"filesystem_7\.json.*--trees FOLDER"):
        KIND.read(path, {})
    (tmp_path / "filesystem_7.json").write_text('{"entries": []}')
    (task,) = KIND.read(path, {"trees": str(tmp_path)})
    assert (task.id, task.metadata["gold"], task.metadata["tree"]) == ("nl2bash_fs_7_1", "cd /;ls", "filesystem_7")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"[1]",
        b"\xff",
        b"[" * 9999,
        b'[{"query": "q"}]',
        b'[{"query": "q", "gold": ""}]',
        b'[{"query": 7, "gold": "ls", "fs": 1}]',
        b'[{"query": "q", "gold": "ls", "tree": "../../etc/passwd"}]',
        b'[{"query": "q", "gold": "l\\u0000s", "fs": 1}]',
    ],
)
def test_a_broken_task_file_is_a_sentence(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    path.write_bytes(raw)
    with pytest.raises(BadFile, match=r"tasks\.json"):
        KIND.read(path, {})


@pytest.mark.parametrize(
    "options",
    [
        {"tree": "x"},
        {"trees": "/no/such/folder"},
        {"reward": "kind"},
        {"seconds": 0},
        {"seconds": True},
        {"observation_limit": "many"},
        {"unsafe_run_model_code_on_host": "yes"},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match="option"):
        KIND.open(KIND.bundled("valid")[0], options)


def test_the_bare_host_is_refused_to_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root is refused")
    environment = KIND.open(KIND.bundled("valid")[0], {"unsafe_run_model_code_on_host": True})
    environment.start()
    with pytest.raises(Refused, match="refused for root"):
        environment.step("execute[ls]")
    environment.close()
