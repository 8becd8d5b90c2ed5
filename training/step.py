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
from training.peers import ALONE, Peers
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
    """Metrics of a step while its packs go by, in one process."""

    metrics: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    logprobs: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    old_logprobs: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    advantages: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    entropy: float | None = None
    problem: str | None = None
    """Why the step cannot be taken."""

    def add(self, other: StepSums) -> None:
        """Take in what another process has seen."""
        for name, value in other.metrics.items():
            self.metrics[name] += value
        for mine, theirs in (
            (self.logprobs, other.logprobs),
            (self.old_logprobs, other.old_logprobs),
            (self.advantages, other.advantages),
        ):
            for role, tensors in theirs.items():
                mine[role] += tensors
        self.entropy = other.entropy if self.entropy is None else self.entropy
        self.problem = self.problem or other.problem


class SplitGradients:
    """The RL (with KL) and the imitation gradient of a detailed step, kept apart."""

    def __init__(self, optimiser: MasterAdamW) -> None:
        self._optimiser = optimiser
        self._sums = {name: [torch.zeros_like(p) for p in optimiser.parameters.values()] for name in ("rl", "il")}

    def add(self, parts: LossParts) -> None:
        """Collect both of one pack into the optimiser."""
        parameters = self._optimiser.parameters
        for name, loss in (("rl", parts.rl + parts.kl), ("il", parts.il)):
            found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=name == "rl", allow_unused=True)
            for key, gradient, total in zip(parameters, found, self._sums[name], strict=True):
                if gradient is not None:
                    self._optimiser.add_gradient(key, gradient.clone())
                    total += gradient

    def metrics(self, peers: Peers) -> dict[str, float]:
        """Norms of both over all processes, and the cosine between them."""
        rl, il = ([peers.add_up(total) for total in self._sums[name]] for name in ("rl", "il"))
        return gradient_metrics(rl, il)


def accumulate_gradients(
    model: nn.Module,
    optimiser: MasterAdamW,
    rows: Sequence[Row],
    config: TrainConfig,
    is_detailed: bool,
    peers: Peers = ALONE,
) -> dict[str, float]:
    """Collect the gradients of one step into the optimiser; return its metrics, named `role/what`.

    A detailed step also takes the RL and the imitation gradient apart, and measures entropy. Each of several
    processes works on a part of the rows, weighed by the denominators of all, and ends up with the same sums.
    Raises TrainingError, in every process, when a loss is not a number.
    """
    samples = [row.sample for row in rows]
    weights = token_weights(samples, config.loss)
    mine = peers.share([len(sample.input_ids) for sample in samples])
    own, split = StepSums(), SplitGradients(optimiser) if is_detailed else None
    for packed in plan_packs([len(samples[i].input_ids) for i in mine], config.batch.tokens_per_pack):
        _add_pack(model, optimiser, make_pack(samples, [mine[i] for i in packed]), rows, weights, config, own, split)
        if own.problem:
            break
    sums = StepSums()
    for part in peers.gather(own):
        sums.add(part)
    if sums.problem:
        raise TrainingError(f"{sums.problem} on samples {_names(samples)}")
    optimiser.add_up(peers)
    entropy_metric = {} if sums.entropy is None else {"entropy": sums.entropy}
    gradients = split.metrics(peers) if split is not None else {}
    return dict(sums.metrics) | entropy_metric | gradients | _role_metrics(sums, config.loss.epsilon, is_detailed)


def _add_pack(
    model: nn.Module,
    optimiser: MasterAdamW,
    pack: Pack,
    rows: Sequence[Row],
    weights: Sequence[tuple[float, float]],
    config: TrainConfig,
    sums: StepSums,
    split: SplitGradients | None,
) -> None:
    """Take one pack through the model and back; a loss that is no number is noted as the problem of `sums`."""
    states = hidden_states(model, pack)
    device = states.device
    predicting = states[pack.predictors.to(device)]
    logprobs = token_logprobs(predicting, head_of(model), pack.targets.to(device))
    terms = token_terms(pack, rows, weights, device)
    parts = joint_loss(logprobs, terms, config.loss)
    if not math.isfinite(parts.total.item()):
        sums.problem = f"the loss is {parts.total.item()}"
        return
    if split is None:
        parts.total.backward()  # type: ignore[no-untyped-call]
        optimiser.collect()
    else:
        split.add(parts)
        if sums.entropy is None:
            sums.entropy = entropy(predicting[:ENTROPY_TOKENS].detach(), head_of(model)).mean().item()
    _add_sums(sums, pack, rows, terms, logprobs.detach(), config.loss)


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
