"""Training configs: presets, methods, and what a wrong file is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.errors import BadConfig
from training.config import METHODS, load_config, parse_config


def test_paper_and_released_carry_the_published_hyper_parameters() -> None:
    for preset in ("paper", "released"):
        config = parse_config({"preset": preset})
        assert config.optimiser.learning_rate == 1e-4
        assert (config.lora.rank, config.lora.alpha, config.lora.dropout) == (8, 16, 0.05)
        assert config.lora.targets == ("q_proj", "v_proj")
        assert (config.batch.rows_per_step, config.batch.epochs, config.loss.epsilon) == (1, 3, 0.3)
        assert parse_config({"preset": preset, "method": "sft"}).batch.epochs == 5


def test_what_the_file_says_wins_over_the_preset() -> None:
    config = parse_config({"preset": "released", "loss": {"epsilon": 0.2}, "lora": {"rank": 4}})
    assert (config.loss.epsilon, config.lora.rank) == (0.2, 4)
    assert config.loss.denominator == "all_positions"


def test_a_config_survives_being_written_and_read_again() -> None:
    for method in METHODS:
        for preset in ("paper", "released", "fixed"):
            config = parse_config({"preset": preset, "method": method, "seed": 4})
            assert parse_config(config.model_dump(mode="json")) == config


def test_an_unknown_key_is_named_with_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text('method = "sft"\n[loss]\nepsilom = 0.2\n')
    with pytest.raises(
        BadConfig, match=r"train.toml is wrong. Unknown key loss.epsilom. Known: denominator, epsilon"
    ):
        load_config(path)


def test_wrong_values_and_unreadable_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="method = 'grpo'"):
        parse_config({"method": "grpo"})
    with pytest.raises(BadConfig, match=r"above batch\.tokens_per_pack"):
        parse_config({"batch": {"max_length": 9000}})
    with pytest.raises(BadConfig, match="cannot be read"):
        load_config(tmp_path / "missing.toml")
    (tmp_path / "broken.toml").write_text("method = ")
    with pytest.raises(BadConfig, match="is not TOML"):
        load_config(tmp_path / "broken.toml")


def test_jobs_are_one_adapter_each_or_one_for_both() -> None:
    assert parse_config({}).jobs == ("planner", "reflector")
    assert parse_config({"shared_adapter": True}).jobs == ("both",)
    assert parse_config({"method": "rl_reflector"}).jobs == ("reflector",)
