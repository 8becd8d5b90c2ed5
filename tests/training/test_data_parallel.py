"""Several processes take the same steps as one: curve, weights, and every way in which such a run ends."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from data.errors import BadConfig, TrainingError
from training.config import TrainConfig, parse_config
from training.folders import problem_of
from training.peers import Peers
from training.samples import Sample
from training.train import train

BATCH = {"tokens_per_step": 150, "tokens_per_pack": 100, "max_length": 64, "precision": "fp32", "epochs": 2}


def config(processes: int, batch: Mapping[str, object] = {}, **given: object) -> TrainConfig:
    whole = {**BATCH, **batch, "processes": processes}
    steady = {"budget": {"checkpoint_every": 2, "diagnostics_every": 2}, "optimiser": {"learning_rate": 0.01}}
    return parse_config({"batch": whole, **steady, **given})


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        self.lines.append((step, dict(metrics)))

    def by_step(self) -> dict[tuple[str, int], float]:
        """Every number that does not tell the time."""
        timed = ("seconds", "tokens_per_second")
        return {
            (name, step): value
            for step, metrics in self.lines
            for name, value in metrics.items()
            if not name.endswith(timed)
        }


def stop_after(count: int) -> Callable[[], bool]:
    left = iter(range(count))
    return lambda: next(left, None) is None


def test_rows_are_shared_so_that_every_process_has_about_as_many_tokens() -> None:
    lengths = [9, 1, 2, 8, 4, 4]
    assert [Peers(index, 2).share(lengths) for index in range(2)] == [[0, 1, 5], [2, 3, 4]]
    assert Peers().share(lengths) == [0, 1, 2, 3, 4, 5]
    assert [Peers(index, 3).share([5]) for index in range(3)] == [[0], [], []]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [True, False])
def test_two_processes_give_the_curve_and_the_weights_of_one(
    model_dir: Path, samples: list[Sample], tmp_path: Path, lora: bool
) -> None:
    alone, together = Log(), Log()
    settings = {"lora": {"enabled": lora}, "loss": {"kl_coefficient": 0.1}}
    one = train(config(1, **settings), samples, model_dir, tmp_path / "one", alone)
    two = train(config(2, **settings), samples, model_dir, tmp_path / "two", together)
    expected, found = alone.by_step(), together.by_step()
    # Entropy is that of the first tokens, and which tokens come first depends on who has them.
    expected, found = ({key: value for key, value in x.items() if "entropy" not in key[0]} for x in (expected, found))
    assert set(found) == set(expected)
    assert {name for name, _ in found} >= {"planner/rl_loss", "reflector/il_loss", "planner/gradient_cosine"}
    assert len([step for name, step in found if name == "planner/gradient_norm"]) >= 4
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, abs=1e-5, rel=1e-4), key
    for job, folder in one.artefacts.items():
        file = "adapter_model.safetensors" if lora else "model.safetensors"
        assert problem_of(two.artefacts[job]) is None
        for name, tensor in load_file(folder / file).items():
            torch.testing.assert_close(load_file(two.artefacts[job] / file)[name], tensor, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_they_stop_together_and_any_number_of_processes_goes_on(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    whole, broken = Log(), Log()
    # A step of one row leaves nothing for the second process.
    settings = {"method": "sft", "roles": ("planner",), "batch": {"rows_per_step": 1, "epochs": 1}}
    train(config(1, **settings), samples, model_dir, tmp_path / "whole", whole)
    outcome = train(config(2, **settings), samples, model_dir, tmp_path / "run", broken, stop_after(3))
    assert (outcome.was_stopped, outcome.steps) == (True, 3)
    assert problem_of(tmp_path / "run" / "checkpoints" / "planner" / "step-3") is None
    outcome = train(config(1, **settings), samples, model_dir, tmp_path / "run", broken, stop_after(2))
    assert outcome.steps == 5
    train(config(2, **settings), samples, model_dir, tmp_path / "run", broken)
    name = "planner/il_loss"
    expected = {key: value for key, value in whole.by_step().items() if key[0] == name}
    found = {key: value for key, value in broken.by_step().items() if key[0] == name}
    assert list(found) == list(expected)
    assert list(found.values()) == pytest.approx(list(expected.values()), abs=1e-5)
    assert len(broken.lines) == len(whole.lines)


@pytest.mark.slow
def test_a_loss_that_is_no_number_in_one_process_stops_all_with_the_same_sentence(
    samples: list[Sample], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    broken = make_model(bad_token=59)
    # The longer row is the first process's, so the poisoned one is the second's.
    rows = [
        Sample("sound", "planner", "g", (1, 2, 3, 4), (False, False, True, True), il_weight=1.0),
        Sample("poisoned", "planner", "g", (1, 59, 3), (False, False, True), il_weight=1.0),
    ]
    with pytest.raises(TrainingError, match=r"step 1 of 2: the loss is nan on samples .*poisoned.*step-0"):
        train(config(2, method="sft", roles=("planner",)), rows, broken, tmp_path, Log())
    assert problem_of(tmp_path / "checkpoints" / "planner" / "step-0") is None


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_with_a_sentence(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    def log(step: int, metrics: Mapping[str, float]) -> None:
        if step == 2:
            for child in multiprocessing.active_children():
                if child.name == "1":
                    child.kill()

    with pytest.raises(TrainingError, match=r"Process 1 of 2 .* exit code -9.*Resume the run"):
        train(config(2), samples, model_dir, tmp_path, log)
    assert multiprocessing.active_children() == []
    again = Log()
    assert train(config(2), samples, model_dir, tmp_path, again).artefacts
    assert again.lines[0][0] == 3


def _train_until_killed(model_dir: str, samples: list[Sample], run_dir: str) -> None:
    def log(step: int, metrics: Mapping[str, float]) -> None:
        if step == 1:
            children = [child.pid for child in multiprocessing.active_children()]
            Path(run_dir, "children.json").write_text(json.dumps(children))

    train(config(2, batch={"epochs": 1000}), samples, Path(model_dir), Path(run_dir), log)


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.slow
def test_a_caller_that_is_killed_leaves_nobody_behind(model_dir: Path, samples: list[Sample], tmp_path: Path) -> None:
    caller = multiprocessing.get_context("spawn").Process(
        target=_train_until_killed, args=(str(model_dir), samples, str(tmp_path))
    )
    caller.start()
    noted, until = tmp_path / "children.json", time.monotonic() + 120
    while not noted.exists() or not noted.read_text():
        assert time.monotonic() < until
        assert caller.is_alive()
        time.sleep(0.05)
    children = json.loads(noted.read_text())
    assert len(children) == 2
    assert not any(ended(child) for child in children)
    os.kill(caller.pid or 0, 9)
    while not all(ended(child) for child in children):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_retroformer_is_refused_in_several_processes() -> None:
    with pytest.raises(BadConfig, match=r"retroformer trains in one process: set batch\.processes to 1"):
        config(2, method="retroformer")
