"""The ALFWorld environment: rules beside the game, what people see, and reading games from files."""

import base64
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from data.errors import BadConfig, BadFile, EnvironmentCrashed, UnknownName
from data.types import StopReason, Task
from envs.alfworld import KIND, AlfworldEnvironment, in_dialect, open_game
from envs.alfworld_files import problem_text
from envs.base import Options
from envs.household import NOTHING_HAPPENS, Dialect
from envs.rooms import generate_tasks

SHARED = Path(os.environ.get("RETRO_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "alfworld"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"needs the shared ALFWorld games in {SHARED}")


def opened(task: Task, **options: object) -> AlfworldEnvironment:
    environment = open_game(task, options)  # type: ignore[arg-type]
    assert isinstance(environment, AlfworldEnvironment)
    return environment


@pytest.fixture
def task() -> Task:
    """Heat a cup of a tiny kitchen and put it on the shelf."""
    return next(
        task for task in KIND.bundled("valid") if task.metadata["task_type"] == "pick_heat_then_place_in_recep"
    )


def plan_of(task: Task) -> list[str]:
    plan = task.metadata["walkthrough"]
    assert isinstance(plan, list)
    return [str(command) for command in plan]


def test_the_stored_plan_scores_one_and_ends_the_trial_as_solved(task: Task) -> None:
    environment = opened(task)
    assert environment.start().endswith(f"\nYour task is to: {task.instruction}")
    outcomes = [environment.step(command) for command in plan_of(task)]
    assert [outcome.reward for outcome in outcomes] == [0.0] * (len(outcomes) - 1) + [1.0]
    assert outcomes[-1].stop is StopReason.SOLVED


def test_every_bundled_task_is_solved_by_its_plan_within_its_turn_budget() -> None:
    for split in KIND.splits:
        for task in KIND.bundled(split):
            environment = opened(task)
            environment.start()
            rewards = [environment.step(command).reward for command in plan_of(task)]
            assert rewards[-1] == 1.0, task.id
            assert task.turn_limit is not None
            assert len(rewards) < task.turn_limit <= KIND.turn_limit, task.id


def test_the_opening_has_no_welcome_line_and_the_task_on_its_own_line(task: Task) -> None:
    room, sentence = opened(task).start().split("\n")
    assert room.startswith("You are in the middle of a room. Looking quickly around you, you see a ")
    assert sentence == f"Your task is to: {task.instruction}"


def test_a_thought_is_answered_ok_and_leaves_the_world_as_it_was(task: Task) -> None:
    environment = opened(task)
    environment.start()
    before = environment.view()["admissible"]
    outcome = environment.step("think: where could the cup be?")
    assert (outcome.observation, outcome.reward, outcome.stop, outcome.is_valid) == ("OK.", 0.0, None, True)
    assert environment.view()["admissible"] == before


def test_the_same_action_twice_in_a_row_ends_the_trial_as_failed(task: Task) -> None:
    environment = opened(task)
    environment.start()
    assert environment.step("look").stop is None
    assert environment.step("inventory").stop is None
    assert environment.step("look").stop is None
    outcome = environment.step(" look ")
    assert (outcome.stop, outcome.reward) == (StopReason.REPEATED_ACTION, 0.0)


def test_without_the_repeat_rule_the_same_action_may_come_again(task: Task) -> None:
    environment = opened(task, repeat_rule=False)
    environment.start()
    assert [environment.step("look").stop for _ in range(4)] == [None] * 4


def test_an_action_that_does_nothing_is_marked_invalid(task: Task) -> None:
    environment = opened(task)
    environment.start()
    refused, done = environment.step("fly to the moon"), environment.step("look")
    assert (refused.observation, refused.is_valid, done.is_valid) == (NOTHING_HAPPENS, False, True)


@pytest.mark.parametrize(
    ("action", "dialect", "expected"),
    [
        ("put cup 1 in/on shelf 1", Dialect.MOVE, "move cup 1 to shelf 1"),
        ("put cup 1 on shelf 1", Dialect.MOVE, "move cup 1 to shelf 1"),
        ("move cup 1 to shelf 1", Dialect.MOVE, "move cup 1 to shelf 1"),
        ("move cup 1 to shelf 1", Dialect.PUT, "put cup 1 in/on shelf 1"),
        ("put cup 1 in shelf 1", Dialect.PUT, "put cup 1 in/on shelf 1"),
        ("put cup 1", Dialect.MOVE, "put cup 1"),
        ("go to shelf 1", Dialect.PUT, "go to shelf 1"),
    ],
)
def test_putting_down_is_understood_in_both_dialects(action: str, dialect: Dialect, expected: str) -> None:
    assert in_dialect(action, dialect) == expected


def test_the_put_dialect_answers_as_published_agents_show_it(task: Task) -> None:
    environment = opened(task, dialect="put")
    environment.start()
    answers = [environment.step(command).observation for command in plan_of(task)]
    assert not any("You arrive at" in answer for answer in answers)
    assert answers[-1].startswith("You put the cup 1 in/on the ")
    assert "put OBJECT in/on RECEPTACLE" in KIND.instructions(task, {"dialect": "put"})
    assert "move OBJECT to RECEPTACLE" in KIND.instructions(task, {})


def test_the_view_tells_what_was_seen_and_nothing_hidden(task: Task) -> None:
    environment = opened(task)
    environment.start()
    first = environment.view()
    assert (first["location"], first["inventory"], first["turns_left"]) == (None, [], task.turn_limit)
    assert {spot["state"] for spot in first["receptacles"]} == {"unseen"}  # type: ignore[index,union-attr,call-overload]
    assert all(spot["contents"] is None for spot in first["receptacles"])  # type: ignore[index,union-attr,call-overload]
    assert "truth" not in json.dumps(first)
    goto, take = plan_of(task)[:2]
    environment.step(goto)
    environment.step(take)
    second = environment.view()
    here = goto.removeprefix("go to ")
    spots = {spot["name"]: spot for spot in second["receptacles"]}  # type: ignore[index,union-attr,call-overload]
    assert second["location"] == here
    assert (spots[here]["state"], second["inventory"]) == ("current", ["cup 1"])
    assert "cup 1" not in spots[here]["contents"]
    assert second["turns_left"] == (task.turn_limit or 0) - 2
    assert f"examine {here}" in second["admissible"]  # type: ignore[operator]


def test_after_the_end_the_view_tells_the_truth_about_every_receptacle(task: Task) -> None:
    environment = opened(task)
    environment.start()
    for command in plan_of(task):
        environment.step(command)
    view = environment.view()
    goal = plan_of(task)[-1].partition(" to ")[2]
    assert "cup 1" in view["truth"][goal]  # type: ignore[index,call-overload,operator]
    assert view["admissible"] == []
    assert len(json.dumps(view)) < 8_000


def test_an_environment_plays_one_trial_only(task: Task) -> None:
    environment = opened(task)
    with pytest.raises(EnvironmentCrashed, match="was not started"):
        environment.step("look")
    environment.start()
    with pytest.raises(EnvironmentCrashed, match="started already"):
        environment.start()
    environment.close()
    environment.close()
    with pytest.raises(EnvironmentCrashed, match="has ended"):
        environment.step("look")


def test_hostile_actions_are_ordinary_observations(task: Task) -> None:
    environment = opened(task, repeat_rule=False)
    environment.start()
    rng = random.Random(4)
    for _ in range(10_000):
        action = "".join(rng.choices("go take think:\x00\x1b\ud800🍎 1\n", k=rng.randrange(40)))
        assert environment.step(action).reward == 0.0
    assert environment.step("x" * 10_000_000).observation == NOTHING_HAPPENS
    assert environment.step("think:" + "x" * 10_000_000).observation == "OK."
    assert environment.step("put " + "a in " * 2_000_000).observation == NOTHING_HAPPENS


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"dialect": "old"}, "dialect is 'old'; it can be move or put"),
        ({"engine": "unity"}, "engine is 'unity'; it can be simulator or textworld"),
        ({"repeat_rule": "yes"}, "repeat_rule is 'yes'; it can be true or false"),
        ({"turns": 9}, "no option 'turns'. Options: dialect, engine, slack, repeat_rule"),
        ({"slack": -1}, "slack is -1; it is a number of turns from 0 up"),
    ],
)
def test_a_wrong_option_is_named_with_the_right_ones(options: Options, complaint: str, task: Task) -> None:
    with pytest.raises(BadConfig, match=complaint):
        KIND.open(task, options)


def test_an_unknown_split_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="train, valid"):
        KIND.bundled("test")


ROW = {
    "game_id": "g1",
    "split": "train",
    "task": "put a cup in shelf.",
    "task_type": "pick_and_place_simple",
    "scene": 1,
}


def row_of(task: Task, **changes: object) -> dict[str, object]:
    return {**ROW, "task": task.instruction, "pddl_problem": problem_text(task), "solvable": True, **changes}


@pytest.mark.parametrize("name", ["games.json", "games.jsonl", "games.jsonl.gz", "games.json.gz"])
def test_rows_are_read_from_json_and_json_lines_gzipped_or_not(name: str, task: Task, tmp_path: Path) -> None:
    rows = [row_of(task), json.loads(task.model_dump_json())]
    text = "\n".join(map(json.dumps, rows)) if "jsonl" in name else json.dumps(rows)
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    first, second = KIND.read(tmp_path / name, {})
    assert (first.id, first.split, first.instruction, second) == ("g1", "train", task.instruction, task)
    assert len(json.dumps(first.metadata)) < 4_000
    environment = opened(first)
    environment.start()
    assert [environment.step(command).reward for command in plan_of(task)][-1] == 1.0


def test_slack_limits_a_games_turns_to_its_walkthrough_and_so_many_more(tmp_path: Path) -> None:
    walkthrough = ["go to shelf 1", "take cup 1 from shelf 1", "go to desk 1", "move cup 1 to desk 1"]
    row = {"game_id": "g", "task": "put a cup in desk.", "pddl_problem": "(define (problem p) (:goal ()))"}
    file = tmp_path / "games.jsonl"
    file.write_text(json.dumps({**row, "walkthrough": walkthrough}), encoding="utf-8")
    assert [task.turn_limit for task in KIND.read(file, {"slack": 2})] == [6]
    assert [task.turn_limit for task in KIND.read(file, {})] == [None]
    file.write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(BadConfig, match="no walkthrough"):
        KIND.read(file, {"slack": 2})


def test_games_marked_unsolvable_are_left_out(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "games.json"
    path.write_text(json.dumps([row_of(task), row_of(task, game_id="g2", solvable=False)]))
    assert [read.id for read in KIND.read(path, {})] == ["g1"]
    path.write_text(json.dumps([row_of(task, solvable=False)]))
    with pytest.raises(BadFile, match="no solvable ALFWorld game"):
        KIND.read(path, {})


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"[1]", "item 1: a int where an ALFWorld game should be"),
        ("a.json", b"[]", "no solvable ALFWorld game"),
        ("a.jsonl", b'{"task": "x"}', "line 1: an ALFWorld game needs the texts pddl_problem and task"),
        ("a.jsonl", b'{"task": "x", "pddl_problem": "hello"}', "not a PDDL problem"),
        ("a.jsonl", b'{"instruction": "x"}', "line 1: not a task"),
        (
            "a.jsonl",
            b'{"id": "x", "env": "hotpotqa", "split": "s", "instruction": "x"}',
            "this task is for 'hotpotqa'",
        ),
        ("a.jsonl.gz", b"not gzip", "cannot be read: Not a gzipped file"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 99)[:-9], "cannot be read: .*ended"),
        ("a.json", b"\xff\xfe\x00", "is not UTF-8 text"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("game.tw-pddl", b"{}", "not an ALFWorld game"),
        ("game.tw-pddl", b"[]", "holds a list where an object should be"),
    ],
)
def test_a_file_that_is_no_game_is_refused_with_what_is_wrong(
    name: str, content: bytes, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFile, match=complaint):
        KIND.read(tmp_path / name, {})


def test_a_missing_file_and_a_folder_without_games_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no file or folder"):
        KIND.read(tmp_path / "nothing.json", {})
    with pytest.raises(BadFile, match=r"holds no game\.tw-pddl"):
        KIND.read(tmp_path, {})


def test_a_game_with_broken_contents_is_refused_when_it_is_opened(task: Task) -> None:
    for metadata in ({}, {"pddl_zlib": "!"}, {"pddl_zlib": "aGVsbG8="}, {"room": {}}, {"room": 3}):
        with pytest.raises(BadFile):
            KIND.open(task.model_copy(update={"metadata": metadata}), {})
    bomb = zlib.compress(b"(" * 50_000_000)
    with pytest.raises(BadFile, match="60 deep"):
        KIND.open(task.model_copy(update={"metadata": {"pddl_zlib": base64.b64encode(bomb).decode()}}), {})


@needs_shared
def test_the_official_folder_layout_is_read_and_every_walkthrough_wins() -> None:
    tasks = KIND.read(SHARED / "raw", {})
    assert len(tasks) == 12
    assert {task.split for task in tasks} == {"valid_seen", "valid_unseen"}
    assert len({task.metadata["task_type"] for task in tasks}) == 6
    assert all(isinstance(task.metadata["scene"], int) for task in tasks)
    for task in tasks:
        environment = opened(task)
        environment.start()
        assert [environment.step(command).reward for command in plan_of(task)][-1] == 1.0


@needs_shared
def test_one_official_game_file_reads_with_or_without_its_trajectory(tmp_path: Path) -> None:
    game = sorted(SHARED.rglob("game.tw-pddl"))[0]
    assert [task.metadata["scene"] for task in KIND.read(game, {})] != [None]
    shutil.copy(game, tmp_path / "game.tw-pddl")
    (alone,) = KIND.read(tmp_path / "game.tw-pddl", {})
    assert alone.metadata["scene"] is None
    assert alone.instruction.endswith(".")


@needs_shared
def test_the_compact_rows_of_all_official_games_are_read_quickly_and_stay_small() -> None:
    tasks = KIND.read(SHARED / "games_valid_unseen.jsonl.gz", {})
    assert len(tasks) == 89
    assert max(len(task.model_dump_json()) for task in tasks) < 12_000


@needs_shared
@pytest.mark.slow
def test_recorded_actions_of_the_older_dialect_replay() -> None:
    """What disagrees is the recorder's own message, or was played in a game that is not at hand."""
    command = [sys.executable, "benchmarks/alfworld.py", "recorded", "--json"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    report = json.loads(shown.stdout)["recorded"]
    assert report["rows"] > 500
    assert report["share"] > 0.99
    assert report["rows_that_agree_throughout"] / report["rows"] > 0.98
    assert report["mismatch_classes"]["the recorder's own message"] == 24


def test_generated_tasks_open_in_the_environment_too() -> None:
    (task,) = generate_tasks(seed=5, count=1, size="tiny")
    environment = opened(task)
    assert task.instruction in environment.start()
