"""The command line as a user meets it: real processes, exit codes, one sentence an error."""

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from data.store import Store
from retro_dash.commands.play import choose_tasks

ROOT = Path(__file__).parent.parent.parent


def retro_dash(home: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "retro_dash.cli", words[0], "--home", str(home), *words[1:]],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environ},
        timeout=120,
        check=False,
    )


def sentence(answer: subprocess.CompletedProcess[str]) -> str:
    """The one line that an error prints."""
    lines = answer.stderr.strip().splitlines()
    assert len(lines) == 1, answer.stderr
    assert "Traceback" not in lines[0]
    return lines[0]


def test_play_prints_one_json_line_an_episode(tmp_path: Path):
    answer = retro_dash(tmp_path, "play", "--env", "hotpotqa", "--count", "2", "--trials", "2", "--json")
    assert answer.returncode == 0, answer.stderr
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    assert len(lines) == 2
    assert set(lines[0]) == {
        "episode_id", "env", "task_id", "planner", "reflector", "success", "trials", "reflections"
    }  # fmt: skip
    assert set(lines[0]["trials"][0]) == {"index", "reward", "success", "stop_reason", "turns"}
    assert all(line["success"] for line in lines)


def test_what_was_played_is_listed_and_shown(tmp_path: Path):
    played = retro_dash(tmp_path, "play", "--env", "alfworld", "--count", "1", "--json")
    episode_id = json.loads(played.stdout)["episode_id"]
    listed = retro_dash(tmp_path, "episodes", "env:alfworld", "--json")
    assert json.loads(listed.stdout)["id"] == episode_id
    shown = retro_dash(tmp_path, "episodes", "--show", episode_id)
    assert "## Trial 1" in shown.stdout


def test_the_same_seed_draws_the_same_tasks(tmp_path: Path):
    def drawn(seed: str) -> list[str]:
        answer = retro_dash(tmp_path, "play", "--env", "hotpotqa", "--count", "3", "--seed", seed, "--json")
        return [json.loads(line)["task_id"] for line in answer.stdout.splitlines()]

    first, again, other = drawn("4"), drawn("4"), drawn("5")
    assert first == again
    assert first != other


def test_tasks_can_be_made_from_a_seed_in_any_number(tmp_path: Path):
    def made(seed: str, count: str) -> list[str]:
        answer = retro_dash(
            tmp_path, "play", "--env", "hotpotqa", "--split", "generated", "--count", count, "--seed", seed, "--json"
        )
        return [json.loads(line)["task_id"] for line in answer.stdout.splitlines()]

    three, two, others = made("5", "3"), made("5", "2"), made("6", "3")
    assert three[:2] == two
    assert len({*three, *others}) == 6


@pytest.mark.parametrize("split", ["valid", "generated"])
def test_slack_limits_the_turns_of_bundled_and_of_generated_rooms(split: str):
    wanted = argparse.Namespace(env="alfworld", tasks=None, task=None, split=split, count=3, seed=1)
    for task in choose_tasks(wanted, {"slack": 2}):
        walkthrough = task.metadata["walkthrough"]
        assert isinstance(walkthrough, list)
        assert task.turn_limit == len(walkthrough) + 2


def test_doctor_says_what_this_machine_can_do(tmp_path: Path):
    findings = json.loads(retro_dash(tmp_path, "doctor", "--json").stdout)
    names = {finding["name"] for finding in findings}
    assert {"python", "home", "torch", "sandbox", "alfworld", "hotpotqa", "intercode_sql", "intercode_bash"} <= names
    assert all(finding["detail"] for finding in findings)


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("play", "--env", "atari"), 2, "'atari'"),
        (("play", "--env", "hotpotqa", "--task", "no-such-task"), 2, "'no-such-task'"),
        (("play", "--env", "hotpotqa", "--count", "1", "--planner", "gpt-9", "--engine", "none"), 1, "gpt-9"),
        (("play", "--env", "hotpotqa", "--count", "100000"), 2, "100000"),
        (("play", "--env", "hotpotqa", "--split", "final"), 2, "'final'"),
        (("play", "--env", "hotpotqa", "--split", "generated"), 2, "--count"),
        (("play", "--env", "intercode_bash", "--split", "generated", "--count", "2"), 2, "'generated'"),
        (("play", "--env", "intercode_sql", "--split", "generated", "--count", "99999"), 2, "99999"),
        (("play", "--env", "hotpotqa", "--count", "1", "--strategy", "prayer"), 2, "'prayer'"),
        (("play", "--env", "hotpotqa", "--count", "1", "--option", "colour=red"), 2, "'colour'"),
        (("play", "--env", "hotpotqa", "--tasks", "pyproject.toml"), 2, "pyproject.toml"),
        (("play", "--env", "hotpotqa", "--tasks", "no-such-file.json"), 2, "no-such-file.json"),
        (("episodes", "colour:red"), 2, "colour"),
        (("episodes", "trials>many"), 2, "many"),
        (("episodes", "--sort", "beauty"), 2, "beauty"),
        (("episodes", "--show", "no-such-episode"), 2, "no-such-episode"),
        (("train", "no-such.toml", "--filter", ""), 2, "no-such.toml"),
        (("worker", "."), 2, "config.json"),
    ],
)
def test_a_wrong_word_gets_one_sentence_with_the_value_and_an_exit_code(tmp_path, words, code, expected):
    answer = retro_dash(tmp_path, *words)
    assert answer.returncode == code, answer.stderr
    assert expected in sentence(answer)


def test_a_file_that_is_not_of_questions_is_refused(tmp_path: Path):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([{"question": "Who?", "answer": "me"}]))
    answer = retro_dash(tmp_path, "play", "--env", "hotpotqa", "--tasks", str(path))
    assert answer.returncode == 2
    assert "tasks.json" in sentence(answer)


def test_an_engine_that_does_not_answer_ends_with_a_sentence(tmp_path: Path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    answer = retro_dash(tmp_path, "play", "--env", "hotpotqa", "--count", "1", "--planner", "m", "--engine", url)
    assert answer.returncode == 5
    assert url in sentence(answer)


def test_an_unknown_setting_is_an_error(tmp_path: Path):
    answer = retro_dash(tmp_path, "episodes", RETRO_COLOUR="red")
    assert answer.returncode == 2
    assert "'colour'" in sentence(answer)
    (tmp_path / "retro.toml").write_text("prot = 80\n")
    assert "'prot'" in sentence(retro_dash(tmp_path, "episodes"))


def test_a_home_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path):
    Store.open(tmp_path).close()
    with duckdb.connect(tmp_path / "retro.duckdb") as connection:
        connection.execute("UPDATE meta SET value = '999' WHERE name = 'schema_version'")
    answer = retro_dash(tmp_path, "episodes")
    assert answer.returncode == 7
    assert "999" in sentence(answer)


def test_a_taken_port_is_refused(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        answer = retro_dash(tmp_path, "web", "--port", port, "--no-browser", "--engine", "none")
    assert answer.returncode == 3
    assert port in sentence(answer)


def test_listening_to_the_network_without_accounts_is_refused(tmp_path: Path):
    answer = retro_dash(tmp_path, "web", "--host", "0.0.0.0", "--no-browser", "--engine", "none")
    assert answer.returncode == 3
    assert "0.0.0.0" in sentence(answer)


def test_a_home_in_use_names_the_process(tmp_path: Path):
    store = Store.open(tmp_path)
    try:
        answer = retro_dash(tmp_path, "play", "--env", "hotpotqa", "--count", "1")
    finally:
        store.close()
    assert answer.returncode == 3
    assert str(os.getpid()) in sentence(answer)


def test_a_home_that_is_a_file_is_refused(tmp_path: Path):
    home = tmp_path / "file"
    home.write_text("not a folder")
    answer = retro_dash(home, "play", "--env", "hotpotqa", "--count", "1")
    assert answer.returncode == 7
    assert str(home) in sentence(answer)
