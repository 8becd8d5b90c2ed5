"""Full fine-tuning: where it starts from, in which precision, and a result that is a model by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from data.errors import BadFile, BadInput
from training.config import TrainConfig, parse_config
from training.forward import score
from training.loop import train_jobs
from training.lora import open_model
from training.optimiser import MasterAdamW
from training.samples import Sample
from training.tiny import create_model

BATCH = {"tokens_per_step": 150, "tokens_per_pack": 100, "max_length": 64, "precision": "fp32", "epochs": 2}


def config(*, lora: bool, precision: str = "fp32", **given: object) -> TrainConfig:
    batch = {**BATCH, "precision": precision}
    steps = {"optimiser": {"learning_rate": 0.01}, "method": "sft", "roles": ("planner",), **given}
    return parse_config({"lora": {"enabled": lora}, "batch": batch, **steps})


def trained(model_dir: Path, samples: list[Sample], run_dir: Path, *, lora: bool) -> Path:
    return train_jobs(config(lora=lora), samples, model_dir, run_dir, lambda step, metrics: None).artefacts["planner"]


def test_weights_are_bf16_and_the_optimisers_state_is_float32(model_dir: Path) -> None:
    model = open_model(model_dir, config(lora=False, precision="bf16"))
    parameters = dict(model.named_parameters())
    assert {p.dtype for p in parameters.values()} == {torch.bfloat16}
    assert all(p.requires_grad for p in parameters.values())
    optimiser = MasterAdamW(model, config(lora=False).optimiser)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimiser.collect()
    optimiser.step(0.1)
    state = optimiser.state()
    assert len(state) == 4 * len(parameters)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_every_weight_moves_and_the_folder_is_a_model_by_itself(tmp_path: Path) -> None:
    base = create_model(tmp_path / "base", ["a mug is on shelf 1"], vocabulary=300, width=32, layers=1)
    samples = [Sample("row", "planner", "g", (1, 2, 3, 4, 5), (False, False, True, True, True), il_weight=1.0)]
    made = trained(base, samples, tmp_path / "run", lora=False)
    before, after = load_file(base / "model.safetensors"), load_file(made / "model.safetensors")
    assert set(before) == set(after)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert (made / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert (made / "chat_template.jinja").is_file()
    assert open_model(made, config(lora=True)) is not None


def test_all_weights_go_on_from_an_adapter_that_is_merged_first(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    adapter = trained(model_dir, samples, tmp_path, lora=True)
    rows = [sample for sample in samples if sample.role == "planner"]
    base, adapted, merged = (
        torch.cat(score(open_model(model_dir, config(lora=lora), start), rows, 200))
        for lora, start in ((False, None), (True, adapter), (False, adapter))
    )
    torch.testing.assert_close(merged, adapted, atol=1e-4, rtol=0)
    assert float((merged - base).abs().max()) > 0.1
    model = open_model(model_dir, config(lora=False), adapter)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not [name for name, _ in model.named_parameters() if "lora" in name]


def test_all_weights_go_on_from_full_weights(model_dir: Path, samples: list[Sample], tmp_path: Path) -> None:
    first = trained(model_dir, samples, tmp_path, lora=False)
    again = open_model(model_dir, config(lora=False), first)
    expected = load_file(first / "model.safetensors")
    found = dict(again.named_parameters())
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items() if name in found)


def test_an_adapter_on_full_weights_and_a_folder_of_neither_are_refused(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    weights = trained(model_dir, samples, tmp_path / "run", lora=False)
    with pytest.raises(BadInput, match=r"holds full weights.*lora\.enabled = false"):
        open_model(model_dir, config(lora=True), weights)
    with pytest.raises(BadFile, match="neither an adapter nor full weights"):
        open_model(model_dir, config(lora=False), tmp_path / "missing")


def test_full_weights_of_another_base_are_refused(
    model_dir: Path, samples: list[Sample], make_model: object, tmp_path: Path
) -> None:
    weights = trained(model_dir, samples, tmp_path / "run", lora=False)
    other = make_model(seed=5)  # type: ignore[operator]
    with pytest.raises(BadInput, match="was trained on another base model"):
        open_model(other, config(lora=False), weights)
