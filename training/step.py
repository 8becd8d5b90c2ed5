"""One optimiser step's gradients and metrics: packs go through the model, weighted terms come back."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from data.errors import TrainingError
from training.config import LossConfig, TrainConfig
from training.diagnostics import gradient_metrics, ratio_histogram, ratio_metrics
from training.forward import entropy, head_of, hidden_states, token_logprobs
from training.losses import LossParts, TokenTerms, joint_loss, token_weights
from training.optimiser import MasterAdamW
from training.packing import Pack, make_pack, plan_packs, policy_positions
from training.samples import Sample

ENTROPY_TOKENS = 256
"""Policy tokens that the entropy of a detailed step is averaged over."""


@dataclass(frozen=True)
class Row:
    """A sample as the loop uses it."""

    sample: Sample
    reference: Tensor | None = None
    """(n,) log-probabilities of its policy tokens under the starting weights, when β > 0."""


@dataclass
class StepSums:
    """Metrics of a step while its packs go by."""

    metrics: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    logprobs: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    old_logprobs: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    advantages: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))


def accumulate_gradients(
    model: nn.Module, optimiser: MasterAdamW, rows: Sequence[Row], config: TrainConfig, *, is_detailed: bool
) -> dict[str, float]:
    """Collect the gradients of one step into the optimiser; return its metrics, named `role/what`.

    A detailed step also takes the RL and the imitation gradient apart, and measures entropy.
    Raises TrainingError when a loss is not a number.
    """
    samples = [row.sample for row in rows]
    weights = token_weights(samples, config.loss)
    sums = StepSums()
    split: dict[str, list[Tensor]] = {}
    for packed in plan_packs([len(sample.input_ids) for sample in samples], config.batch.tokens_per_pack):
        pack = make_pack(samples, packed)
        states = hidden_states(model, pack)
        device = states.device
        predicting = states[pack.predictors.to(device)]
        logprobs = token_logprobs(predicting, head_of(model), pack.targets.to(device))
        terms = token_terms(pack, rows, weights, device)
        parts = joint_loss(logprobs, terms, config.loss)
        if not math.isfinite(parts.total.item()):
            raise TrainingError(f"the loss is {parts.total.item()} on samples {_names(samples)}")
        if is_detailed:
            _add_split_gradients(optimiser, parts, split)
            if "entropy" not in sums.metrics:
                sums.metrics["entropy"] = entropy(predicting[:ENTROPY_TOKENS].detach(), head_of(model)).mean().item()
        else:
            parts.total.backward()  # type: ignore[no-untyped-call]
            optimiser.collect()
        _add_sums(sums, pack, rows, terms, logprobs.detach(), config.loss)
    metrics = dict(sums.metrics) | (gradient_metrics(split["rl"], split["il"]) if split else {})
    return metrics | _role_metrics(sums, config.loss.epsilon, is_detailed)


def token_terms(
    pack: Pack, rows: Sequence[Row], weights: Sequence[tuple[float, float]], device: torch.device
) -> TokenTerms:
    """Per-token inputs of the loss for one pack, on the axis of its targets."""
    old: list[float] = []
    advantages: list[float] = []
    il: list[float] = []
    rl: list[float] = []
    references: list[Tensor] = []
    for row in pack.rows:
        sample = rows[row].sample
        positions = policy_positions(sample)
        old += [sample.old_logprobs[i] if sample.old_logprobs else 0.0 for i in positions]
        advantages += [sample.advantages[i] if sample.advantages else 0.0 for i in positions]
        il += [weights[row][0]] * len(positions)
        rl += [weights[row][1]] * len(positions)
        reference = rows[row].reference
        references.append(torch.zeros(len(positions)) if reference is None else reference)
    has_reference = any(rows[row].reference is not None for row in pack.rows)
    return TokenTerms(
        old_logprobs=torch.tensor(old, dtype=torch.float32, device=device),
        advantages=torch.tensor(advantages, dtype=torch.float32, device=device),
        il_weights=torch.tensor(il, dtype=torch.float32, device=device),
        rl_weights=torch.tensor(rl, dtype=torch.float32, device=device),
        reference_logprobs=torch.cat(references).to(device) if has_reference else None,
    )


def _add_split_gradients(optimiser: MasterAdamW, parts: LossParts, split: dict[str, list[Tensor]]) -> None:
    """Collect the RL (with KL) and the imitation gradient, and keep their sums apart."""
    parameters = list(optimiser.parameters.values())
    for name, loss in (("rl", parts.rl + parts.kl), ("il", parts.il)):
        found = torch.autograd.grad(loss, parameters, retain_graph=name == "rl", allow_unused=True)
        gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]
        for key, gradient in zip(optimiser.parameters, gradients, strict=True):
            optimiser.add_gradient(key, gradient.clone())
        earlier = split.get(name)
        split[name] = gradients if earlier is None else [a + b for a, b in zip(earlier, gradients, strict=True)]


def _add_sums(
    sums: StepSums, pack: Pack, rows: Sequence[Row], terms: TokenTerms, logprobs: Tensor, config: LossConfig
) -> None:
    roles = [rows[row].sample.role for row in pack.rows]
    for role in sorted(set(roles)):
        is_role = torch.tensor([r == role for r in roles])[pack.row_of_target].to(logprobs.device)
        own = TokenTerms(
            old_logprobs=terms.old_logprobs[is_role],
            advantages=terms.advantages[is_role],
            il_weights=terms.il_weights[is_role],
            rl_weights=terms.rl_weights[is_role],
            reference_logprobs=None if terms.reference_logprobs is None else terms.reference_logprobs[is_role],
        )
        parts = joint_loss(logprobs[is_role], own, config)
        sums.metrics[f"{role}/il_loss"] += parts.il.item()
        sums.metrics[f"{role}/rl_loss"] += parts.rl.item()
        sums.metrics[f"{role}/policy_tokens"] += int(is_role.sum())
        if own.reference_logprobs is not None:
            sums.metrics[f"{role}/kl_loss"] += parts.kl.item()
        is_rl = own.rl_weights > 0
        sums.logprobs[role].append(logprobs[is_role][is_rl].cpu())
        sums.old_logprobs[role].append(own.old_logprobs[is_rl].cpu())
        sums.advantages[role].append(own.advantages[is_rl].cpu())


def _role_metrics(sums: StepSums, epsilon: float, is_detailed: bool) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for role in sums.logprobs:
        logprobs, old = torch.cat(sums.logprobs[role]), torch.cat(sums.old_logprobs[role])
        found = ratio_metrics(logprobs, old, torch.cat(sums.advantages[role]), epsilon)
        if is_detailed:
            found |= ratio_histogram(logprobs, old)
        metrics |= {f"{role}/{name}": value for name, value in found.items()}
    return metrics


def _names(samples: Sequence[Sample]) -> str:
    names = [sample.id for sample in samples]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
