"""What happens before the first step: rows are cleaned, chosen, weighed, scored where needed, and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn

from data.errors import TrainingError
from training.config import Job, Role, TrainConfig
from training.credit import reward_summary, rows_for_method, sample_reward
from training.forward import causal_lm, score
from training.packing import policy_positions
from training.samples import Sample, SampleCounts, check_vocabulary, clean
from training.step import Row

CHECKED_SAMPLES = 64
"""Fresh samples that the step-0 check scores."""


@dataclass(frozen=True)
class Prepared:
    """What a job trains on."""

    samples: list[Sample]
    metrics: dict[str, float]


def prepare_rows(samples: Sequence[Sample], config: TrainConfig, job: Job) -> Prepared:
    """Clean, choose and weigh one job's samples. Raises TrainingError when nothing is left."""
    roles: tuple[Role, ...] = config.roles if job == "both" else (job,)
    own = config.model_copy(update={"roles": roles})
    cleaned = clean([s for s in samples if s.role in roles], config.batch.max_length, config.loss.tokens)
    if not samples:
        raise TrainingError("The dataset is empty: there is not one trial or reflection to train on.")
    if cleaned.counts.oversize and not cleaned.samples:
        raise TrainingError(
            f"All {cleaned.counts.oversize} samples have more policy tokens than batch.max_length "
            f"({config.batch.max_length}): raise it (and batch.tokens_per_pack)."
        )
    rows = rows_for_method(cleaned.samples, own)
    return Prepared(rows, _data_metrics(rows, cleaned.counts, config, job))


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
    model: nn.Module, samples: Sequence[Sample], config: TrainConfig
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
    scores = score(model, [samples[i] for i in wanted], config.batch.tokens_per_pack) if wanted else []
    scored = dict(zip(wanted, scores, strict=True))
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


def _data_metrics(rows: Sequence[Sample], counts: SampleCounts, config: TrainConfig, job: Job) -> dict[str, float]:
    metrics = {f"data/{name}": float(value) for name, value in asdict(counts).items()}
    tokens = sum(len(sample.input_ids) for sample in rows)
    metrics["data/policy_token_share"] = sum(sample.policy_tokens for sample in rows) / tokens
    for role in config.roles if job == "both" else (job,):
        own = [sample for sample in rows if sample.role == role]
        metrics[f"{role}/token_share"] = sum(len(sample.input_ids) for sample in own) / tokens
        sampled = [sample for sample in own if sample.rl_weight > 0]
        rewards = reward_summary([sample_reward(sample, config.credit) for sample in sampled])
        advantages = reward_summary([sample.advantages[-1] for sample in sampled if sample.advantages])
        metrics |= {f"{role}/reward/{name}": value for name, value in rewards.items()}
        metrics |= {f"{role}/advantage/{name}": value for name, value in advantages.items()}
    return metrics
