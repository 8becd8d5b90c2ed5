"""Exported files train in TRL's own trainers, unchanged."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from curation_examples import NOW, make_episode, target

from data.formats.entry import About, Entry
from data.types import Label
from retro_dash.exporting import export
from training.tiny import create_model

PYTHON = os.environ.get("RETRO_TRL_PYTHON", sys.executable)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def trl() -> None:
    """TRL pins other versions than we do, so it may live in an environment of its own."""
    if subprocess.run([PYTHON, "-c", "import trl"], capture_output=True, check=False).returncode:
        pytest.skip(f"{PYTHON} has no trl: set RETRO_TRL_PYTHON to a python that has (docs/formats.md)")


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    text = {"text": "Look both up, then compare."}
    on = target("e2", "reflection", 1)
    rewrite = Label(id="r", target=on, name="rewrite", value=text, annotator="kim", at=NOW)
    return [Entry(make_episode("e1")), Entry(make_episode("e2", (0.0, 0.0)), (rewrite,))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = ["Which river is longer? I try search. Compare both rivers before you answer."]
    return create_model(tmp_path_factory.mktemp("model"), texts, width=32, layers=1, context=4096)


def train(method: str, model: Path, file: Path, folder: Path) -> dict[str, Any]:
    command = [PYTHON, str(Path(__file__).with_name("trl_steps.py")), method, str(model), str(file), str(folder)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


@pytest.mark.slow
@pytest.mark.parametrize(("format_", "least"), [("messages", 2), ("prompt_completion", 3)])
def test_imitation_rows_train_in_the_sft_trainer(
    format_: str, least: int, entries: list[Entry], model: Path, tmp_path: Path
):
    made = export(format_, entries, tmp_path / "rows.jsonl", About())
    result = train("sft", model, made.path, tmp_path)
    assert (result["rows"], result["steps"]) == (made.rows, 1)
    assert made.rows >= least
    assert 0 < result["loss"] < 20


@pytest.mark.slow
def test_preference_rows_train_in_the_dpo_trainer_from_log_two(entries: list[Entry], model: Path, tmp_path: Path):
    """Before the first step policy and reference are the same, so the loss is -log(1/2)."""
    made = export("preference", entries, tmp_path / "pairs.jsonl", About())
    result = train("dpo", model, made.path, tmp_path)
    assert (result["rows"], result["steps"]) == (made.rows, 1)
    assert result["loss"] == pytest.approx(math.log(2), abs=1e-3)


@pytest.mark.slow
def test_unpaired_rows_train_in_the_kto_trainer_from_one_half(entries: list[Entry], model: Path, tmp_path: Path):
    """Before the first step policy and reference are the same, so every row's loss is 1 - sigmoid(0)."""
    made = export("unpaired", entries, tmp_path / "rows.jsonl", About())
    result = train("kto", model, made.path, tmp_path)
    assert (result["rows"], result["steps"]) == (made.rows, 1)
    assert result["loss"] == pytest.approx(0.5, abs=1e-3)
