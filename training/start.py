"""What happens between rows and the first step: they are checked against the model and scored where needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from data.errors import TrainingError
from training.config import TrainConfig
from training.forward import causal_lm, score
from training.packing import policy_positions
from training.peers import ALONE, Peers
from training.samples import Sample, check_vocabulary
from training.step import Row

CHECKED_SAMPLES = 64
"""Fresh samples that the step-0 check scores."""


def check_samples(model: nn.Module, samples: Sequence[Sample], config: TrainConfig) -> None:
    """Raise TrainingError when samples do not fit the model: vocabulary or context length."""
    settings = causal_lm(model).config
    check_vocabulary(samples, settings.vocab_size)
    limit = settings.to_dict().get("max_position_embeddings")
    longest = max(len(sample.input_ids) for sample in samples)
    if limit is not None and longest > limit:
        raise TrainingError(
            f"The longest sample has {longest} tokens and the model's context has {limit}: set batch.max_length to "
            f"{limit} or less."
        )


def score_rows(
    model: nn.Module, samples: Sequence[Sample], config: TrainConfig, peers: Peers = ALONE
) -> tuple[list[Row], dict[str, float]]:
    """Fill in log-probabilities that only the starting weights can give, and check the recorded ones against them.

    Behaviour log-probabilities are filled in for truncated samples, and for all where the config says so; reference
    ones when β > 0. Raises TrainingError when behaviour log-probabilities are missing, and when the mean |log ratio|
    of fresh samples is above the tolerance or no number.
    """
    may_fill = config.loss.rescore_behaviour
    missing = [i for i, s in enumerate(samples) if s.rl_weight > 0 and s.old_logprobs is None]
    if unusable := [samples[i].id for i in missing if not (samples[i].was_truncated or may_fill)]:
        raise TrainingError(
            f"{len(unusable)} sampled rows ({unusable[0]}, …) have no behaviour log-probabilities, so their "
            "importance ratio is unknown. Collect them with an engine that records log-probabilities, or set "
            "loss.rescore_behaviour if the starting weights are the policy that sampled them."
        )
    rl_rows = [i for i, s in enumerate(samples) if s.rl_weight > 0]
    fresh = [i for i in rl_rows if samples[i].age == 0 and samples[i].old_logprobs is not None]
    checked = fresh[:: max(len(fresh) // CHECKED_SAMPLES, 1)]
    wanted = rl_rows if config.loss.kl_coefficient > 0 else sorted({*missing, *checked})
    scored = _score_together(model, {i: samples[i] for i in wanted}, config.batch.tokens_per_pack, peers)
    metrics = {}
    if checked:
        gap = mean_log_ratio([samples[i] for i in checked], [scored[i] for i in checked])
        metrics["step0_abs_log_ratio"] = gap
        if not gap <= config.loss.log_ratio_tolerance:
            raise TrainingError(
                f"The starting weights do not agree with the policy that made the samples: mean |log ratio| is "
                f"{gap:.4f} nats over {len(checked)} samples, and loss.log_ratio_tolerance is "
                f"{config.loss.log_ratio_tolerance:g}. Start from the adapter that sampled them (start_adapters), or "
                "give the samples their age."
            )
    has_reference = config.loss.kl_coefficient > 0
    rows = []
    for i, sample in enumerate(samples):
        if i in scored and sample.old_logprobs is None:
            sample = replace(sample, old_logprobs=align(sample, scored[i].tolist()))
        rows.append(Row(sample, scored.get(i) if has_reference else None))
    return rows, metrics


def _score_together(
    model: nn.Module, samples: Mapping[int, Sample], tokens_per_pack: int, peers: Peers
) -> dict[int, torch.Tensor]:
    """Log-probabilities of every sample by its key; each process computes a part of them."""
    keys = list(samples)
    mine = [keys[i] for i in peers.share([len(sample.input_ids) for sample in samples.values()])]
    scores = score(model, [samples[key] for key in mine], tokens_per_pack)
    return {key: found for part in peers.gather(dict(zip(mine, scores, strict=True))) for key, found in part.items()}


def mean_log_ratio(samples: Sequence[Sample], scores: Sequence[torch.Tensor]) -> float:
    """Mean |log p_now − log p_recorded| over all policy tokens, in nats."""
    gaps = []
    for sample, logprobs in zip(samples, scores, strict=True):
        assert sample.old_logprobs is not None
        recorded = torch.tensor([sample.old_logprobs[i] for i in policy_positions(sample)])
        gaps.append((logprobs - recorded).abs())
    return torch.cat(gaps).mean().item()


def align(sample: Sample, logprobs: Sequence[float]) -> tuple[float, ...]:
    """Per-token values (T,) of a sample from those of its policy tokens; 0 elsewhere."""
    aligned = [0.0] * len(sample.input_ids)
    for position, logprob in zip(policy_positions(sample), logprobs, strict=True):
        aligned[position] = logprob
    return tuple(aligned)
