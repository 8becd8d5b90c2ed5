"""The example configs are read by the program that they are examples for."""

from pathlib import Path

import pytest

from retro_dash.commands.train import read_train_config
from retro_dash.settings import Settings
from training.config import METHODS

CONFIGS = Path(__file__).parent.parent / "docs" / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.toml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_config_is_read_and_trains_what_its_name_says(path: Path):
    config = read_train_config(path, Settings())
    assert config["train"]["method"] == path.stem


@pytest.mark.parametrize("size", ["tiny", "smollm2", "7b"])
def test_there_is_an_example_for_every_method_and_size(size: str):
    assert {path.stem for path in (CONFIGS / size).glob("*.toml")} == set(METHODS)
