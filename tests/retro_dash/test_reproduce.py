"""Experiments: stages that name each other, done once, resumed where they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.errors import BadConfig, Refused
from envs.sql_tasks import bundled_dump
from retro_dash.cli import main
from retro_dash.reproduce import Experiment, Stage, read_experiment, stage_config
from retro_dash.settings import Settings, load_settings

PLAYING = """
name = "rooms"

[[stage]]
name = "expert"
tasks = { split = "valid", count = 3, seed = 1 }
run = { kind = "collect", env = "alfworld", trials = 2 }

[[stage]]
name = "test"
tasks = { split = "valid", count = 2, seed = 2 }
run = { kind = "evaluate", env = "alfworld", trials = 2, arms = [{ name = "expert", planner = "expert" }] }
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"home": tmp_path / "home", "engine": "none"})


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "experiment.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_stage_is_done_once_and_its_score_is_printed(
    tmp_path: Path, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["reproduce", str(write(tmp_path, PLAYING)), "--home", str(settings.home), "--engine", "none"]
    assert main(command) == 0
    first = capfd.readouterr().out
    assert "expert: done, run rooms-expert" in first
    assert "| expert |" in first
    before = {path: path.stat().st_mtime_ns for path in settings.home.glob("runs/*/events.jsonl")}
    assert len(before) == 2
    assert main(command) == 0
    assert "expert: was done already" in capfd.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_json_gives_a_line_a_stage_with_its_report(
    tmp_path: Path, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, PLAYING)
    assert main(["reproduce", str(path), "--home", str(settings.home), "--engine", "none", "--json"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    stages = [line for line in lines if "stage" in line]
    assert [(line["stage"], line["run_id"]) for line in stages] == [
        ("expert", "rooms-expert"),
        ("test", "rooms-test"),
    ]
    assert stages[0]["report"] is None
    assert stages[1]["report"]["tasks"] == 2


def test_a_stage_that_was_begun_with_another_config_is_refused(tmp_path: Path, settings: Settings) -> None:
    home = ["--home", str(settings.home), "--engine", "none"]
    assert main(["reproduce", str(write(tmp_path, PLAYING)), *home]) == 0
    changed = PLAYING.replace("trials = 2 }\n\n", "trials = 3 }\n\n")
    assert main(["reproduce", str(write(tmp_path, changed)), *home]) == Refused("").exit_code


def test_a_stage_can_leave_out_what_another_plays_in_any_wording(tmp_path: Path, settings: Settings) -> None:
    rows = [
        {
            "query": f"{wording} {number}?",
            "gold": f"SELECT name FROM station WHERE station_id = {number}",
            "db": "bike_share",
        }
        for number in range(1, 7)
        for wording in ("Name station", "What is the name of station")
    ]
    (tmp_path / "questions.json").write_text(json.dumps(rows), encoding="utf-8")
    options = f"{{ database = '{bundled_dump()}' }}"
    run = f"run = {{ kind = 'collect', env = 'intercode_sql', trials = 1, options = {options} }}"
    held_out = "[[stage]]\nname = 'test'\ntasks = { tasks = 'FILE', count = 3, seed = 4 }\n"
    rest = "[[stage]]\nname = 'train'\ntasks = { tasks = 'FILE', without = '@test' }\n"
    text = f"name = 'sql'\n{held_out}{run}\n{rest}{run}\n".replace("FILE", str(tmp_path / "questions.json"))
    assert main(["reproduce", str(write(tmp_path, text)), "--home", str(settings.home), "--engine", "none"]) == 0

    def golds(stage: str) -> list[str]:
        lines = (settings.home / "runs" / f"sql-{stage}" / "dataset.jsonl").read_text().splitlines()
        return [json.loads(line)["metadata"]["gold"] for line in lines]

    assert len(golds("test")) == 3
    assert set(golds("train")) == {row["gold"] for row in rows} - set(golds("test"))


def test_adapters_of_earlier_stages_become_folders_to_start_from_and_names_to_play(settings: Settings) -> None:
    runs = settings.home.resolve() / "runs"
    train = {"kind": "train", "train": {"method": "rl_planner", "start_adapters": {"planner": "@sft/planner"}}}
    config = stage_config("e", Stage(name="rl", run=train, episodes=("run:@sft",)), ["sft"], settings)
    assert config["train"]["start_adapters"] == {"planner": str(runs / "e-sft" / "adapters" / "planner")}  # type: ignore[index,call-overload]
    test = {"kind": "evaluate", "env": "alfworld", "arms": [{"name": "SFT", "planner": "@sft/planner"}]}
    config = stage_config("e", Stage.model_validate({"name": "t", "run": test, "tasks": {}}), ["sft"], settings)
    assert config["adapters"] == {"planner@e-sft": str(runs / "e-sft" / "adapters" / "planner")}
    assert config["arms"][0]["planner"] == "planner@e-sft"  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = ", "is not TOML"),
        ('name = "e"', "stage: Field required"),
        ('name = "E!"\n[[stage]]\nname = "a"\nrun = {}', "name: String should match pattern"),
        ('name = "e"\n[[stage]]\nname = "a"\nrun = {}\n[[stage]]\nname = "a"\nrun = {}', "two stages are called 'a'"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused_with_the_place(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(BadConfig, match=complaint):
        read_experiment(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"none\.toml cannot be read: No such file"):
        read_experiment(tmp_path / "none.toml")


def test_a_stage_can_name_earlier_stages_only(settings: Settings) -> None:
    stage = {
        "name": "t",
        "tasks": {},
        "run": {"kind": "evaluate", "env": "alfworld", "arms": [{"name": "a", "planner": "@later/planner"}]},
    }
    experiment = Experiment.model_validate({"name": "e", "stage": [stage]})
    with pytest.raises(BadConfig, match=r"'t' names @later, which is no earlier stage\. Earlier: none"):
        stage_config("e", experiment.stage[0], [], settings)


def test_a_filter_can_name_earlier_stages_only(tmp_path: Path, settings: Settings) -> None:
    stage = '[[stage]]\nname = "a"\nepisodes = ["run:@b"]\nrun = { kind = "train" }'
    path = write(tmp_path, f'name = "e"\n{stage}')
    assert main(["reproduce", str(path), "--home", str(settings.home)]) == BadConfig("").exit_code
    assert not (settings.home / "runs" / "e-a").exists()


def test_a_stage_that_plays_needs_tasks_and_one_that_trains_none(settings: Settings) -> None:
    with pytest.raises(BadConfig, match="'a' needs tasks to play"):
        stage_config("e", Stage(name="a", run={"kind": "collect", "env": "alfworld"}), [], settings)
    training = Stage.model_validate({"name": "a", "run": {"kind": "train"}, "tasks": {}})
    with pytest.raises(BadConfig, match="'a' needs episodes to train on"):
        stage_config("e", training, [], settings)
