"""Retroformer end to end: rated reflections in, a reflector out that the reward model likes better."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from data.errors import TrainingError
from training.attention import use_packed_attention
from training.config import TrainConfig, parse_config
from training.forward import score
from training.retroformer import select_rated, weights_in_place
from training.reward_model import fit_reward_model, score_reflections
from training.samples import Sample
from training.sampling import sample_completions
from training.train import train

GOOD, BAD = 7, 9


def config(**given: object) -> TrainConfig:
    usual = {
        "method": "retroformer",
        "optimiser": {"learning_rate": 0.02, "schedule": "constant"},
        "batch": {"epochs": 2, "tokens_per_step": 256, "tokens_per_pack": 512, "max_length": 64, "precision": "fp32"},
        "loss": {"kl_coefficient": 0.05},
        "retroformer": {"ppo_iterations": 6, "prompts_per_iteration": 6, "max_new_tokens": 6, "reward_epochs": 8},
    }
    return parse_config({**usual, **given})


def rated_reflections(count: int = 32) -> list[Sample]:
    """Reflections of six tokens; each GOOD among them raises the next reward, each BAD lowers it."""
    draw = random.Random(2)
    rows = []
    for number in range(count):
        prompt = tuple(draw.randrange(20, 50) for _ in range(8))
        word = GOOD if number % 2 else BAD
        written = tuple(word if draw.random() < 0.5 else draw.randrange(20, 50) for _ in range(6))
        reward = 0.5 + (written.count(GOOD) - written.count(BAD)) / 12
        ids, mask = prompt + written, (False,) * 8 + (True,) * 6
        rewards = {"reward": reward, "reward_before": 0.5}
        rows.append(Sample(str(number), "reflector", f"task{number // 4}", ids, mask, rl_weight=1.0, **rewards))
    return rows


def collect(folder: Path, model_dir: Path, chosen: TrainConfig, stops: int | None = None) -> tuple[list, object]:
    lines: list[tuple[int, dict[str, float]]] = []
    left = iter(range(stops if stops is not None else 10_000))

    def log(step: int, metrics: Mapping[str, float]) -> None:
        lines.append((step, dict(metrics)))

    outcome = train(chosen, rated_reflections(), model_dir, folder, log, lambda: next(left, None) is None)
    return lines, outcome


def test_reward_model_learns_to_prefer_what_helped(model_dir: Path, tmp_path: Path) -> None:
    rows = rated_reflections()
    ratings = [row.reward - 0.5 for row in rows]
    reward_model, metrics = fit_reward_model(config(), rows, ratings, model_dir, tmp_path / "rm")
    assert metrics["reward_model_accuracy"] > 0.85
    again, _ = fit_reward_model(config(), rows, ratings, model_dir, tmp_path / "rm")
    assert score_reflections(again, rows, 512) == pytest.approx(score_reflections(reward_model, rows, 512), abs=1e-5)


def test_equal_ratings_and_no_positive_ones_are_refused_with_a_sentence(model_dir: Path, tmp_path: Path) -> None:
    rows = rated_reflections()
    with pytest.raises(TrainingError, match="nothing to tell"):
        fit_reward_model(config(), rows, [0.5] * len(rows), model_dir, tmp_path / "rm")
    with pytest.raises(TrainingError, match="has a rating above 0"):
        select_rated([replace(row, reward=0.1) for row in rows], config())
    with pytest.raises(TrainingError, match="needs rated reflections"):
        select_rated([], config())


def test_sampled_tokens_follow_the_model_and_stop_at_its_end_token(model_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    model.generation_config.eos_token_id = 5
    completions = sample_completions(model, [(1, 2, 3), (4,)] * 150, 12, seed=0)
    assert any(len(completion) < 12 for completion in completions)
    assert all(5 not in completion[:-1] for completion in completions)
    assert all(completion[-1] == 5 for completion in completions if len(completion) < 12)
    # First tokens after a short, left-padded prompt come at the model's own frequencies.
    probabilities = torch.softmax(model(torch.tensor([[4]]), sample_boundaries=(0, 1)).logits[0, -1], -1)
    firsts = torch.bincount(torch.tensor([c[0] for c in completions[1::2]]), minlength=60) / 150
    assert (firsts - probabilities).abs().max() < 0.12
    assert (probabilities.max() - probabilities.min()) > 0.05


def test_ppo_raises_the_score_and_stays_near_the_imitated_policy(model_dir: Path, tmp_path: Path) -> None:
    lines, outcome = collect(tmp_path, model_dir, config())
    ppo = [metrics for _, metrics in lines if "reflector/kl_reference" in metrics]
    scores = [metrics["reflector/reward_model_score"] for metrics in ppo]
    drift = [metrics["reflector/kl_reference"] for metrics in ppo]
    assert len(scores) == 6
    assert sum(scores[-2:]) / 2 > scores[0] + 0.3
    assert abs(drift[0]) < 1e-5
    assert outcome.artefacts["reflector"].exists()


def test_an_interrupted_run_gives_the_weights_of_an_unbroken_one(model_dir: Path, tmp_path: Path) -> None:
    short = config(retroformer={"ppo_iterations": 3, "prompts_per_iteration": 3, "max_new_tokens": 4})
    _, whole = collect(tmp_path / "whole", model_dir, short)
    steps = []
    for stops in (1, 2, 1):
        lines, outcome = collect(tmp_path / "broken", model_dir, short, stops)
        steps += [step for step, metrics in lines if "reflector/kl_reference" in metrics]
        assert outcome.was_stopped
    lines, outcome = collect(tmp_path / "broken", model_dir, short)
    steps += [step for step, metrics in lines if "reflector/kl_reference" in metrics]
    assert steps == [1, 2, 3]
    expected = load_file(whole.artefacts["reflector"] / "adapter_model.safetensors")
    found = load_file(outcome.artefacts["reflector"] / "adapter_model.safetensors")
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, atol=1e-6, rtol=0)


def test_scoring_under_reference_weights_leaves_the_policy_as_it_was(model_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    use_packed_attention(model)
    rows = rated_reflections(4)
    before = torch.cat(score(model, rows, 512))
    parameters = dict(model.named_parameters())
    with weights_in_place(parameters, {name: p.detach() * 1.5 for name, p in parameters.items()}):
        inside = torch.cat(score(model, rows, 512))
    assert (inside - before).abs().max() > 0.01
    assert torch.equal(torch.cat(score(model, rows, 512)), before)
