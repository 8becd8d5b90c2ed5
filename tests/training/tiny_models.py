"""A tiny model on disk and samples that it scored itself, for tests that run the loop."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from training.attention import use_packed_attention
from training.forward import score
from training.packing import policy_positions
from training.samples import Sample

VOCABULARY = 60


def write_model(folder: Path, *, seed: int = 0, width: int = 32, bad_token: int | None = None) -> Path:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(
            hidden_size=width, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, vocab_size=VOCABULARY, max_position_embeddings=128, initializer_range=0.2,
        )
    )  # fmt: skip
    if bad_token is not None:
        model.get_input_embeddings().weight.data[bad_token] = float("nan")
    model.save_pretrained(folder)
    return folder


def sampled_by(model_dir: Path, samples: list[Sample]) -> list[Sample]:
    """Give RL samples the log-probabilities of the model in `model_dir`."""
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    use_packed_attention(model)
    filled = []
    for sample, scored in zip(samples, score(model, samples, 512), strict=True):
        logprobs = [0.0] * len(sample.input_ids)
        for position, value in zip(policy_positions(sample), scored.tolist(), strict=True):
            logprobs[position] = value
        filled.append(replace(sample, old_logprobs=tuple(logprobs)) if sample.rl_weight else sample)
    return filled


def random_samples(count: int, *, seed: int = 0, top: int = VOCABULARY - 1) -> list[Sample]:
    """Half demonstrations, half sampled; a third of each are reflections; rewards 0 and 1 alternate."""
    draw = random.Random(seed)
    samples = []
    for number in range(count):
        length = draw.randrange(8, 40)
        ids = tuple(draw.randrange(top) for _ in range(length))
        mask = (*(i > 4 and draw.random() < 0.4 for i in range(length - 1)), True)
        role = "planner" if number % 3 else "reflector"
        weights = {"rl_weight": 1.0} if number % 2 else {"il_weight": 1.0}
        reward = float(number // 2 % 2)
        sample = Sample(f"row{number}", role, "task", ids, mask, reward=reward, reward_before=0.0, **weights)
        samples.append(sample)
    return samples
