"""What a job trains on: samples are cleaned, chosen, weighed. Pure and without torch: the hub forecasts with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from data.errors import TrainingError
from training.config import Job, Role, TrainConfig
from training.credit import rate_reflections, reward_summary, rows_for_method, sample_reward
from training.samples import Sample, SampleCounts, clean


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


def select_rated(samples: Sequence[Sample], config: TrainConfig) -> tuple[list[Sample], list[Sample]]:
    """Rated reflections, and the positive ones with all expert reflections as demonstrations."""
    cleaned = clean([s for s in samples if s.role == "reflector"], config.batch.max_length).samples
    rated = [sample for sample in cleaned if sample.rl_weight > 0]
    if not rated:
        raise TrainingError("Method retroformer needs rated reflections (followed by another trial): there are none.")
    positives = [
        replace(sample, il_weight=1.0, rl_weight=0.0, old_logprobs=None)
        for sample, rating in zip(rated, rate_reflections(rated), strict=True)
        if rating > config.retroformer.min_rating
    ]
    positives += [sample for sample in cleaned if sample.il_weight > 0]
    if not positives:
        raise TrainingError(
            f"None of the {len(rated)} reflections has a rating above {config.retroformer.min_rating:g}, so there is "
            "nothing to imitate. Collect more, add expert reflections, or lower retroformer.min_rating."
        )
    return rated, positives


def check_ratings(ratings: Sequence[float]) -> None:
    """Raise TrainingError when all reflections are rated alike."""
    if len(set(ratings)) < 2:
        raise TrainingError(
            f"All {len(ratings)} reflections have the rating {ratings[0]:g}: a reward model has nothing to tell "
            "apart. Collect reflections that helped and some that did not."
        )


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
