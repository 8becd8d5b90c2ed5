"""What `retro-dash train --check` and the Train page say of a run before it starts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from run_examples import expert_episodes, rooms

from data.errors import BadConfig, TrainingError
from data.rows import MetricSeries
from data.types import Completion, Episode, Run
from retro_dash import cli
from retro_dash.commands.train import read_train_config
from retro_dash.memory import GIB, Room
from retro_dash.preflight import Check, Chosen, check_training
from retro_dash.settings import Settings

CONFIGS = sorted((Path(__file__).parents[2] / "docs" / "configs").rglob("*.toml"))
SMOLLM2 = {"num_hidden_layers": 30, "hidden_size": 576, "vocab_size": 49152, "dtype": "bfloat16"}


class NoRuns:
    """A home in which nothing was trained yet."""

    def runs(self, kinds: Sequence[str] = (), states: Sequence[str] = (), *, limit: int | None = None) -> list[Run]:
        return []

    def metrics(self, run_id: str, names: Sequence[str] = (), max_points: int = 1000) -> list[MetricSeries]:
        return []


@pytest.fixture(scope="module")
def demonstrated() -> list[Episode]:
    return expert_episodes(rooms(12))


@pytest.fixture(scope="module")
def sampled(demonstrated: list[Episode]) -> list[Episode]:
    """The same episodes as if a model had played them, and some of them again with a last trial that fails."""
    once = [as_sampled(episode) for episode in demonstrated]
    return [*once, *(failed_at_last(episode) for episode in once[:6])]


def failed_at_last(episode: Episode) -> Episode:
    failed = episode.trials[-1].model_copy(update={"success": False, "reward": 0.0})
    return episode.model_copy(update={"id": f"{episode.id}-again", "trials": (*episode.trials[:-1], failed)})


def as_sampled(episode: Episode) -> Episode:
    wrote = Completion(policy="model", text="t", context_ids=(1, 2), token_ids=(3, 4), logprobs=(-0.1, -0.2))
    trials = tuple(
        trial.model_copy(
            update={
                "turns": tuple(
                    turn.model_copy(update={"completion": wrote, "author": "planner"}) for turn in trial.turns
                )
            }
        )
        for trial in episode.trials
    )
    reflections = tuple(
        r.model_copy(update={"completion": wrote, "author": "reflector"}) for r in episode.reflections
    )
    return episode.model_copy(update={"planner": "model", "trials": trials, "reflections": reflections})


def make_model(home: Path, **shape: object) -> Path:
    folder = home / "models" / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**SMOLLM2, "num_hidden_layers": 2, "hidden_size": 64, **shape}))
    (folder / "model.safetensors").write_bytes(b"\0" * 4000)
    return folder


def check(home: Path, episodes: Sequence[Episode], config: dict[str, Any], room: int = 64 * GIB) -> Check:
    given = {"kind": "train", "model": "tiny", **config}
    chosen = Chosen(len(episodes), episodes, "--filter x")
    return check_training(NoRuns(), home, given, chosen, Room(device="main memory", total=room, free=room))


def said(found: Check, level: str) -> str:
    return " ".join(finding.text for finding in found.findings if finding.level == level)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_config_could_be_trained(
    path: Path, demonstrated: list[Episode], sampled: list[Episode], tmp_path: Path
) -> None:
    make_model(tmp_path)
    # The names of models and adapters are for the reader to fill in.
    config = {**read_train_config(path, Settings(home=tmp_path)), "model": "tiny"}
    config["train"]["start_adapters"] = {}
    found = check(tmp_path, [*demonstrated, *sampled], config)
    assert said(found, "stop") == ""
    assert found.forecast.steps > 0
    assert ("times over" in said(found, "note")) == (config["exploration"] is not None)


def without_success(episodes: Sequence[Episode]) -> list[Episode]:
    trials = [tuple(t.model_copy(update={"success": False, "reward": 0.0}) for t in e.trials) for e in episodes]
    return [e.model_copy(update={"trials": t}) for e, t in zip(episodes, trials, strict=True)]


def test_each_kind_of_bad_data_is_stopped_with_what_to_change(
    demonstrated: list[Episode], sampled: list[Episode], tmp_path: Path
) -> None:
    make_model(tmp_path)
    sft, ei, rl = ({"train": {"method": method}} for method in ("sft", "expert_iteration", "rl_planner"))
    assert "The filter finds no episodes" in said(check(tmp_path, [], sft), "stop")
    assert "no successful trial" in said(check(tmp_path, without_success(demonstrated), sft), "stop")
    assert "No positive examples for planner" in said(check(tmp_path, without_success(sampled), ei), "stop")
    assert "rewards are equal (0)" in said(check(tmp_path, without_success(sampled), rl), "stop")
    assert "needs sampled trials or reflections" in said(check(tmp_path, demonstrated, rl), "stop")
    short = {"train": {"method": "sft", "batch": {"max_length": 16}}}
    assert "more policy tokens than batch.max_length (16)" in said(check(tmp_path, demonstrated, short), "stop")


def test_exploration_needs_no_sampled_rows_and_says_that_it_is_not_counted(
    demonstrated: list[Episode], tmp_path: Path
) -> None:
    make_model(tmp_path)
    found = check(tmp_path, demonstrated, {"train": {"method": "retroact"}, "exploration": {"iterations": 3}})
    assert said(found, "stop") == ""
    assert found.forecast.rows.keys() == {"planner imitation", "reflector imitation"}
    assert "3 times over, all tasks are played with 1 x 3 trials" in said(found, "note")


def test_an_adapter_of_another_base_and_a_folder_of_none_are_stopped(
    demonstrated: list[Episode], tmp_path: Path
) -> None:
    make_model(tmp_path)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    start = {"train": {"method": "sft", "roles": ["planner"], "start_adapters": {"planner": str(adapter)}}}
    assert "holds neither an adapter nor full weights" in said(check(tmp_path, demonstrated, start), "stop")
    (adapter / "adapter_config.json").write_text("{}")
    assert said(check(tmp_path, demonstrated, start), "stop") == ""
    (adapter / "base_model.json").write_text(json.dumps({"fingerprint": "another", "path": "elsewhere"}))
    assert "was trained on another base model (elsewhere)" in said(check(tmp_path, demonstrated, start), "stop")


def test_several_processes_need_memory_each_and_tokens_to_share(demonstrated: list[Episode], tmp_path: Path) -> None:
    make_model(tmp_path)
    one, four = ({"train": {"method": "sft", "batch": {"processes": count}}} for count in (1, 4))
    needed = check(tmp_path, demonstrated, one).forecast.bytes
    assert needed is not None
    assert said(check(tmp_path, demonstrated, one, room=2 * needed), "stop") == ""
    assert "Lower batch.tokens_per_pack" in said(check(tmp_path, demonstrated, four, room=2 * needed), "stop")
    thin = {"train": {"method": "sft", "batch": {"processes": 4, "tokens_per_step": 2048}}}
    assert "for 4 processes: with a higher batch.tokens_per_step" in said(check(tmp_path, demonstrated, thin), "note")


def test_the_command_line_prints_the_check_and_fails_with_what_would_stop_the_run(
    demonstrated: list[Episode], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_model(tmp_path)
    episodes, config = tmp_path / "episodes.jsonl", tmp_path / "train.toml"
    episodes.write_text("".join(f"{episode.model_dump_json()}\n" for episode in demonstrated))
    config.write_text('method = "sft"\nmodel = "tiny"\n')
    words = ["train", str(config), "--episodes", str(episodes), "--check", "--home", str(tmp_path)]
    assert cli.main(words) == 0
    said_plainly = capsys.readouterr().out
    assert "✓ 12 episodes, about 12 of them solved." in said_plainly
    assert "12 planner imitation" in said_plainly
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["forecast"]["episodes"] == 12
    shutil.rmtree(tmp_path / "models")
    assert cli.main(words) == TrainingError.exit_code
    assert "There is no model folder 'tiny'" in capsys.readouterr().err
    config.write_text('method = "sft"\n[batch]\nepoch = 3\n')
    assert cli.main(words) == BadConfig.exit_code
    assert "Unknown key batch.epoch. Known: epochs" in capsys.readouterr().err
    assert list((tmp_path / "runs").glob("*")) == []
