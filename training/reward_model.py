"""Retroformer's reward model: the base with an adapter of its own, one number read off a reflection's last token."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.config import TrainConfig
from training.credit import preference_pairs
from training.folders import problem_of, publish
from training.forward import causal_lm, hidden_states
from training.lora import open_model
from training.losses import pairwise_reward_loss, regression_reward_loss
from training.optimiser import MasterAdamW
from training.packing import make_pack, plan_packs
from training.prepare import check_ratings
from training.samples import Sample


class RewardModel(nn.Module):
    """Scores reflections; trained on ratings, float32 head."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        width = causal_lm(model).config.hidden_size
        self.head = nn.Linear(width, 1, dtype=torch.float32, device=next(model.parameters()).device)
        nn.init.normal_(self.head.weight, std=width**-0.5)
        nn.init.zeros_(self.head.bias)

    def forward(self, samples: Sequence[Sample]) -> Tensor:
        """(S,) float32 scores of samples that fit into one pack."""
        pack = make_pack(samples, range(len(samples)))
        last = hidden_states(self.model, pack)[torch.tensor(pack.boundaries[1:]) - 1]
        scores: Tensor = self.head(last.float())[:, 0]
        return scores


@torch.no_grad()
def score_reflections(reward_model: RewardModel, samples: Sequence[Sample], tokens_per_pack: int) -> list[float]:
    """Predicted rating of each sample."""
    reward_model.eval()
    scores = [0.0] * len(samples)
    for rows in plan_packs([len(sample.input_ids) for sample in samples], tokens_per_pack):
        for row, value in zip(rows, reward_model([samples[i] for i in rows]).tolist(), strict=True):
            scores[row] = value
    return scores


def fit_reward_model(
    config: TrainConfig, samples: Sequence[Sample], ratings: Sequence[float], model_dir: Path, folder: Path
) -> tuple[RewardModel, dict[str, float]]:
    """Train on rated reflections and publish `folder`, or load it from there when it is whole.

    Returns the model and its metrics. Raises TrainingError when all ratings are equal.
    """
    check_ratings(ratings)
    torch.manual_seed(config.seed)
    reward_model = RewardModel(open_model(model_dir, config))
    if problem_of(folder) is None:
        return reward_model, _load(reward_model, folder)
    pairs = preference_pairs(ratings, [sample.group for sample in samples])
    loss = _fit(reward_model, config, samples, ratings, pairs)
    metrics = {"reward_model_loss": loss, "reward_model_pairs": float(len(pairs))}
    if pairs:
        predicted = score_reflections(reward_model, samples, config.batch.tokens_per_pack)
        metrics["reward_model_accuracy"] = sum(predicted[a] > predicted[b] for a, b in pairs) / len(pairs)
    _save(reward_model, metrics, folder)
    return reward_model, metrics


def _fit(
    reward_model: RewardModel,
    config: TrainConfig,
    samples: Sequence[Sample],
    ratings: Sequence[float],
    pairs: Sequence[tuple[int, int]],
) -> float:
    """Train on the pairs, or on the ratings where the config says so or there are none; the last batch's loss."""
    optimiser = MasterAdamW(reward_model, config.optimiser)
    is_pairwise = config.retroformer.reward_loss == "pairwise" and bool(pairs)
    units: list[tuple[int, ...]] = list(pairs) if is_pairwise else [(i,) for i in range(len(samples))]
    targets = torch.tensor(ratings)
    loss = torch.zeros(())
    for epoch in range(config.retroformer.reward_epochs):
        random.Random(f"{config.seed}/{epoch}/reward").shuffle(units)  # noqa: S311
        for batch in _batches(units, samples, config.batch.tokens_per_pack):
            reward_model.train()
            scores = reward_model([samples[i] for unit in batch for i in unit])
            if is_pairwise:
                loss = pairwise_reward_loss(scores[0::2], scores[1::2])
            else:
                chosen = targets[[i for unit in batch for i in unit]]
                loss = regression_reward_loss(scores, chosen.to(scores.device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.collect()
            optimiser.step(config.optimiser.learning_rate)
    return loss.item()


def _save(reward_model: RewardModel, metrics: dict[str, float], folder: Path) -> None:
    def write(temporary: Path) -> None:
        tensors = {n: p.detach().cpu().contiguous() for n, p in reward_model.named_parameters() if p.requires_grad}
        save_file(tensors, temporary / "reward_model.safetensors")
        (temporary / "metrics.json").write_text(json.dumps(metrics))

    publish(folder, write)


def _load(reward_model: RewardModel, folder: Path) -> dict[str, float]:
    """Take over published weights; returns their metrics."""
    trained = {name: p for name, p in reward_model.named_parameters() if p.requires_grad}
    for name, tensor in load_file(folder / "reward_model.safetensors").items():
        trained[name].data.copy_(tensor)
    metrics: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return metrics


def _batches(units: Sequence[tuple[int, ...]], samples: Sequence[Sample], tokens: int) -> list[list[tuple[int, ...]]]:
    """Consecutive units in batches of about `tokens` tokens, at least one a batch."""
    batches: list[list[tuple[int, ...]]] = [[]]
    room = tokens
    for unit in units:
        size = sum(len(samples[i].input_ids) for i in unit)
        if batches[-1] and size > room:
            batches.append([])
            room = tokens
        batches[-1].append(unit)
        room -= size
    return batches
