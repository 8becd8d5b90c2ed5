"""Adapters that ship with the program: whole, small, without paths of a machine, offered where they were trained."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from envs import ENVIRONMENTS
from retro_dash.agent.policies import policy_choices
from retro_dash.bundled import FOLDER, AdapterCard, adapter_cards, bundle
from retro_dash.serving.model import EMBEDDED_MODEL, is_complete
from retro_dash.serving.vllm import vllm_launch
from training.folders import problem_of
from training.lora import check_adapter

MEBIBYTE = 2**20
MODEL = Path(os.environ.get("RETRO_TEST_HOME", "/tmp/retro-test-home")) / "models" / EMBEDDED_MODEL


def test_the_bundled_adapters_are_whole_and_no_larger_than_a_picture_book() -> None:
    cards = adapter_cards(EMBEDDED_MODEL)
    assert {card.role for card in cards} == {"planner", "reflector"}
    for card in cards:
        assert problem_of(card.path) is None
        assert set(card.envs) <= set(ENVIRONMENTS)
        assert (card.path / "README.md").is_file()
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 24 * MEBIBYTE


def test_the_bundled_adapters_were_made_for_the_embedded_model_as_it_is_prepared_here() -> None:
    if not is_complete(MODEL):
        pytest.skip(f"no prepared model at {MODEL}: python -m retro_dash.serving.model --home {MODEL.parent.parent}")
    for card in adapter_cards(EMBEDDED_MODEL):
        check_adapter(card.path, MODEL)


def test_vllm_is_started_with_room_for_the_rank_of_the_bundled_adapters() -> None:
    command = list(vllm_launch(Path("python"), "folder", "name").command(1))
    room = int(command[command.index("--max-lora-rank") + 1])
    configs = [json.loads((card.path / "adapter_config.json").read_text()) for card in adapter_cards(EMBEDDED_MODEL)]
    assert configs
    assert all(config["r"] <= room for config in configs)


def test_another_base_model_has_no_bundled_adapters() -> None:
    assert adapter_cards("some-other-model") == ()


def test_a_bundled_adapter_names_no_folder_of_the_machine_that_made_it(tmp_path: Path) -> None:
    source = tmp_path / "run"
    source.mkdir()
    (source / "adapter_model.safetensors").write_bytes(b"weights")
    started = {"planner": str(tmp_path / "runs" / "sft" / "adapters" / "planner")}
    (source / "training.json").write_text(json.dumps({"config": {"start_adapters": started}}))
    (source / "adapter_config.json").write_text(json.dumps({"r": 8, "base_model_name_or_path": str(tmp_path)}))
    (source / "base_model.json").write_text(json.dumps({"fingerprint": "f", "path": str(tmp_path)}))
    card = AdapterCard(
        name="a", role="planner", envs=("alfworld",), base_model="base", summary="s", made_at=datetime.now(UTC)
    )
    folder = bundle(source, card, tmp_path / "bundled" / "a")
    assert problem_of(folder) is None
    texts = "".join(path.read_text() for path in folder.glob("*.json"))
    assert str(tmp_path) not in texts
    assert json.loads((folder / "adapter_config.json").read_text()) == {"r": 8, "base_model_name_or_path": "base"}
    assert json.loads((folder / "training.json").read_text())["config"]["start_adapters"] == {
        "planner": "sft/planner"
    }
    assert AdapterCard.model_validate_json((folder / "card.json").read_text()) == card


@pytest.mark.parametrize("is_ready", [True, False])
def test_people_are_offered_the_bundled_adapters_with_their_part_and_their_environments(is_ready: bool) -> None:
    class Server:
        def model_names(self) -> list[str]:
            return [EMBEDDED_MODEL, *(card.name for card in adapter_cards(EMBEDDED_MODEL))] if is_ready else []

        def default_model(self) -> str:
            return EMBEDDED_MODEL

        def policy(self, name: str) -> None:
            raise AssertionError(name)

    choices = {choice.name: choice for choice in policy_choices(Server())}  # type: ignore[arg-type]
    for card in adapter_cards(EMBEDDED_MODEL):
        choice = choices[card.name]
        assert (choice.role, choice.envs, choice.available) == (card.role, card.envs, is_ready)
    assert next(iter(choices)) == "expert"
    assert (choices["expert:careless"].role, "hotpotqa" in choices["expert:careless"].envs) == ("planner", True)
    assert choices[EMBEDDED_MODEL].role is None
