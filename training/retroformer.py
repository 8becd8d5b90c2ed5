"""Retroformer (arXiv 2308.02151): only the reflector is trained, from rated reflections.

    ratings ΔG → imitation of the positive → reward model → PPO with KL to the imitated policy

The planner stays frozen and gradients never pass through it. PPO samples reflections from the model in training on
the prompts at hand and asks the reward model, not the environment. Left out: a value head; the baseline is the mean
of the prompt's other samples. Every stage resumes: finished ones are published, PPO checkpoints each iteration.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from training.checkpoint import resume, save_checkpoint
from training.config import CreditConfig, TrainConfig
from training.credit import rate_reflections, reward_summary, subtract_baseline, whiten
from training.folders import problem_of
from training.forward import score
from training.loop import LogMetrics, ShouldStop, TrainOutcome, plan_hash, stop_on_sigterm, train_job
from training.lora import open_model, save_trained
from training.optimiser import MasterAdamW
from training.prepare import Prepared, select_rated
from training.reward_model import RewardModel, fit_reward_model, score_reflections
from training.samples import Sample
from training.sampling import Prompt, Sampler, sample_completions
from training.start import align, check_samples
from training.step import Row, accumulate_gradients


def train_retroformer(
    config: TrainConfig,
    samples: Sequence[Sample],
    model_dir: Path,
    run_dir: Path,
    log: LogMetrics,
    should_stop: ShouldStop = lambda: False,
    last_logged: int = -1,
    sampler: Sampler = sample_completions,
) -> TrainOutcome:
    """Train a reflector and publish `run_dir/adapters/reflector`.

    `samples` are rated reflections (RL samples of the reflector); expert reflections join the imitation stage.
    Metrics of the imitation stage are `reflector/sft/…` at its own steps, those of PPO `reflector/…` at iterations.
    Raises TrainingError when there is no rated or no positive reflection, or all ratings are equal.
    """
    rated, positives = select_rated(samples, config)
    published = run_dir / "adapters" / "reflector"
    if problem_of(published) is None:
        return TrainOutcome({"reflector": published})
    with stop_on_sigterm(should_stop) as stopping:
        imitation = config.model_copy(update={"method": "sft"})
        logged, prepared = _renamed(log, last_logged), Prepared(positives, {})
        stage = train_job(imitation, "reflector", prepared, model_dir, run_dir / "sft", logged, stopping)
        if stage.was_stopped:
            return stage
        ratings = rate_reflections(rated)
        reward_model, metrics = fit_reward_model(config, rated, ratings, model_dir, run_dir / "reward_model")
        started = config.model_copy(update={"start_adapters": {"reflector": str(stage.artefacts["reflector"])}})
        torch.manual_seed(config.seed)
        model = open_model(model_dir, started, stage.artefacts["reflector"])
        check_samples(model, rated, config)
        ppo = Ppo(config, model, reward_model, rated, run_dir / "checkpoints" / "reflector", sampler)
        if last_logged < 0:
            summary = {f"reflector/rating/{name}": value for name, value in reward_summary(ratings).items()}
            log(0, {**summary, **{f"reflector/{name}": value for name, value in metrics.items()}})
        was_stopped = ppo.go(log, stopping, last_logged)
    seconds, tokens = ppo.progress.seconds, ppo.progress.tokens
    if was_stopped:
        return TrainOutcome({}, ppo.progress.step, tokens, seconds, was_stopped=True)
    facts = {**asdict(ppo.progress), "job": "reflector", "config": config.model_dump(mode="json")}
    save_trained(model, model_dir, published, facts)
    shutil.rmtree(ppo.checkpoints, ignore_errors=True)
    return TrainOutcome({"reflector": published}, stage.steps + ppo.progress.step, stage.tokens + tokens, seconds)


class Ppo:
    """Iterations of sample, score, step. One optimiser step an iteration and epoch of `batch.epochs`."""

    def __init__(
        self,
        config: TrainConfig,
        model: nn.Module,
        reward_model: RewardModel,
        rated: Sequence[Sample],
        checkpoints: Path,
        sampler: Sampler,
    ) -> None:
        loss = config.loss.model_copy(update={"policy_gradient": "ppo_min_clip", "il_coefficient": 0.0})
        self.config = config.model_copy(update={"loss": loss})
        self.model, self.reward_model, self.sampler, self.checkpoints = model, reward_model, sampler, checkpoints
        self.prompts = sorted({prompt_of(sample): sample.group for sample in rated}.items())
        self.optimiser = MasterAdamW(model, config.optimiser)
        self.reference = {name: p.detach().clone() for name, p in self.optimiser.parameters.items()}
        self.progress = resume(checkpoints, self.optimiser, plan_hash(config, rated))

    def go(self, log: LogMetrics, should_stop: ShouldStop, last_logged: int) -> bool:
        """Run the remaining iterations; True when told to stop."""
        while self.progress.step < self.config.retroformer.ppo_iterations:
            if should_stop():
                save_checkpoint(self.checkpoints, self.optimiser, self.progress)
                return True
            started = time.monotonic()
            metrics, tokens = self._iterate(self.progress.step)
            seconds = self.progress.seconds + time.monotonic() - started
            step, tokens = self.progress.step + 1, self.progress.tokens + tokens
            self.progress = replace(self.progress, step=step, tokens=tokens, seconds=seconds)
            if step > last_logged:
                log(step, {name if "/" in name else f"reflector/{name}": value for name, value in metrics.items()})
            save_checkpoint(self.checkpoints, self.optimiser, self.progress)
        return False

    def _iterate(self, number: int) -> tuple[dict[str, float], int]:
        rows, metrics = self.explore(number)
        self.model.train()
        for epoch in range(self.config.batch.epochs):
            metrics |= accumulate_gradients(self.model, self.optimiser, rows, self.config, epoch == 0)
            metrics["gradient_norm"] = self.optimiser.step(self.config.optimiser.learning_rate)
        return metrics, self.config.batch.epochs * sum(len(row.sample.input_ids) for row in rows)

    def explore(self, number: int) -> tuple[list[Row], dict[str, float]]:
        """Sample reflections on some prompts, score them, and make rows of them."""
        settings, packing = self.config.retroformer, self.config.batch.tokens_per_pack
        draw = random.Random(f"{self.config.seed}/{number}/prompts")  # noqa: S311
        chosen = draw.sample(self.prompts, min(settings.prompts_per_iteration, len(self.prompts)))
        repeated = [prompt for prompt in chosen for _ in range(settings.samples_per_prompt)]
        seed = self.config.seed * 100_003 + number
        completions = self.sampler(self.model, [prompt for prompt, _ in repeated], settings.max_new_tokens, seed)
        samples = [
            Sample(
                id=f"ppo/{number}/{i}",
                role="reflector",
                group=str(i // settings.samples_per_prompt),
                input_ids=prompt + completion,
                policy_mask=(False,) * len(prompt) + (True,) * len(completion),
                rl_weight=1.0,
            )
            for i, ((prompt, _), completion) in enumerate(zip(repeated, completions, strict=True))
        ]
        rewards = score_reflections(self.reward_model, samples, packing)
        advantages = whiten(subtract_baseline(rewards, [sample.group for sample in samples], CreditConfig().baseline))
        behaviour = score(self.model, samples, packing)
        with weights_in_place(self.optimiser.parameters, self.reference):
            reference = score(self.model, samples, packing)
        rows = [
            Row(
                replace(s, old_logprobs=align(s, old.tolist()), advantages=(a,) * len(s.input_ids)),
                start if self.config.loss.kl_coefficient > 0 else None,
            )
            for s, a, old, start in zip(samples, advantages, behaviour, reference, strict=True)
        ]
        gap = torch.cat(behaviour) - torch.cat(reference)
        lengths = sum(len(completion) for completion in completions) / len(completions)
        return rows, {
            "reward_model_score": sum(rewards) / len(rewards),
            "kl_reference": gap.mean().item(),
            "reflection_tokens": lengths,
        }


def prompt_of(sample: Sample) -> Prompt:
    """The context of a reflection: everything before its first policy token."""
    return sample.input_ids[: sample.policy_mask.index(True)]


@contextmanager
def weights_in_place(parameters: Mapping[str, nn.Parameter], weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Put other weights into a model for the time of the block."""
    with torch.no_grad():
        current = {name: p.detach().clone() for name, p in parameters.items()}
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
        try:
            yield
        finally:
            for name, parameter in parameters.items():
                parameter.copy_(current[name])


def _renamed(log: LogMetrics, last_logged: int) -> LogMetrics:
    """Metrics of the imitation stage under their own names; silent once PPO has begun to log."""

    def renamed(step: int, metrics: Mapping[str, float]) -> None:
        if last_logged < 0:
            log(step, {name.replace("reflector/", "reflector/sft/", 1): value for name, value in metrics.items()})

    return renamed
