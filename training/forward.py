"""Log-probabilities of policy tokens, one packed pass through any Hugging Face decoder-only model.

The head is computed at the positions that predict policy tokens only, a few rows at a time, and no full logits tensor
ever exists. With a frozen head (LoRA) the gradient of each log-probability towards its hidden state, W[y] − p·W, is
made in the forward pass, so that the backward pass multiplies by one number a token and computes no logits again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.packing import Pack, make_pack, plan_packs
from training.samples import Sample

HEAD_ROWS = 128
"""Rows of logits that exist at a time (× vocabulary × 6 bytes)."""


@dataclass(frozen=True)
class Head:
    """The output layer and what some architectures do to its logits."""

    weight: Tensor
    """(V, D)"""
    bias: Tensor | None
    scale: float
    softcap: float | None


def causal_lm(model: nn.Module) -> Any:
    """The Hugging Face model inside a PEFT wrapper, or the model itself."""
    from peft import PeftModel

    return model.get_base_model() if isinstance(model, PeftModel) else model


def head_of(model: nn.Module) -> Head:
    """The model's output layer."""
    inner = causal_lm(model)
    layer, config = inner.get_output_embeddings(), inner.config.to_dict()
    # Cohere multiplies logits, Granite divides them, Gemma 2 bounds them.
    scale = config.get("logit_scale") or 1.0 / (config.get("logits_scaling") or 1.0)
    return Head(layer.weight, layer.bias, scale, config.get("final_logit_softcapping"))


def hidden_states(model: nn.Module, pack: Pack) -> Tensor:
    """Last hidden states (T, D) of a pack, after the final norm."""
    decoder = causal_lm(model).base_model
    device = next(decoder.parameters()).device
    states: Tensor = decoder(
        input_ids=pack.input_ids.to(device),
        position_ids=pack.position_ids.to(device),
        sample_boundaries=pack.boundaries,
        use_cache=False,
    ).last_hidden_state
    return states[0]


def policy_logprobs(model: nn.Module, pack: Pack) -> Tensor:
    """(N,) float32 log-probabilities of the pack's policy tokens, differentiable when gradients are on."""
    states = hidden_states(model, pack)
    return token_logprobs(states[pack.predictors.to(states.device)], head_of(model), pack.targets.to(states.device))


def score(model: nn.Module, samples: Sequence[Sample], tokens_per_pack: int) -> list[Tensor]:
    """Log-probabilities of each sample's policy tokens, (n,) float32 each, in batches, without gradients."""
    scored: list[Tensor] = [torch.empty(0)] * len(samples)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for rows in plan_packs([len(sample.input_ids) for sample in samples], tokens_per_pack):
            pack = make_pack(samples, rows)
            logprobs = policy_logprobs(model, pack).cpu()
            for number, row in enumerate(rows):
                scored[row] = logprobs[pack.row_of_target == number]
    model.train(was_training)
    return scored


def token_logprobs(hidden: Tensor, head: Head, targets: Tensor) -> Tensor:
    """(N,) float32 log-probability of `targets` given hidden states (N, D)."""
    arguments = (hidden, head.weight, head.bias, targets, head.scale, head.softcap)
    logprobs: Tensor = TokenLogprobs.apply(*arguments)  # type: ignore[no-untyped-call]
    return logprobs


@torch.no_grad()
def entropy(hidden: Tensor, head: Head) -> Tensor:
    """(N,) entropy in nats of the next-token distributions at hidden states (N, D)."""
    parts = []
    for rows in torch.split(hidden, HEAD_ROWS):
        logprobs = torch.log_softmax(_logits(rows, head.weight, head.bias, head.scale, head.softcap), dim=-1)
        parts.append(-(logprobs.exp() * logprobs).sum(-1))
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)


class TokenLogprobs(torch.autograd.Function):
    """log softmax(hidden · Wᵀ)[target] in float32, a few rows at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        scale: float,
        softcap: float | None,
    ) -> Tensor:
        hidden_needs, head_needs = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:3])
        logprobs = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        slopes = torch.empty_like(hidden) if hidden_needs and not head_needs else None
        for low in range(0, len(targets), HEAD_ROWS):
            part = slice(low, low + HEAD_ROWS)
            logits = _logits(hidden[part], weight, bias, scale, softcap)
            chosen = logits.gather(1, targets[part, None])
            normaliser = _normalise(logits)
            logprobs[part] = (chosen - normaliser)[:, 0]
            if slopes is not None:
                _towards_logits(logits, targets[part], normaliser, scale, softcap)
                torch.mm(logits.to(weight.dtype), weight, out=slopes[part])
        ctx.scale, ctx.softcap = scale, softcap
        kept = (slopes, None, None, None, None) if slopes is not None else (None, hidden, weight, bias, targets)
        ctx.save_for_backward(*kept)
        return logprobs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        slopes, hidden, weight, bias, targets = ctx.saved_tensors
        grad = grads[0]
        if slopes is not None:
            return slopes * grad[:, None].to(slopes.dtype), None, None, None, None, None
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None else None
        for low in range(0, len(targets), HEAD_ROWS):
            part = slice(low, low + HEAD_ROWS)
            logits = _logits(hidden[part], weight, bias, ctx.scale, ctx.softcap)
            _towards_logits(logits, targets[part], _normalise(logits), ctx.scale, ctx.softcap)
            logits *= grad[part, None]
            towards = logits.to(weight.dtype)
            torch.mm(towards, weight, out=grad_hidden[part])
            grad_weight += torch.mm(towards.t(), hidden[part])
            if grad_bias is not None:
                grad_bias += logits.sum(0)
        bias_grad = grad_bias.to(bias.dtype) if grad_bias is not None else None
        return grad_hidden, grad_weight.to(weight.dtype), bias_grad, None, None, None


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, scale: float, softcap: float | None) -> Tensor:
    """(n, V) float32, exact even for bf16 weights: rounded to bf16, a logit near 20 would be off by up to 0.06.

    The second product has the rounded result subtracted in its accumulator, before it is rounded itself: the rest.
    """
    rounded = torch.mm(hidden, weight.t())
    logits = rounded.float()
    if rounded.dtype != torch.float32:
        logits += torch.addmm(-rounded, hidden, weight.t())
    if bias is not None:
        logits += bias.float()
    if scale != 1.0:
        logits *= scale
    if softcap is not None:
        logits.div_(softcap).tanh_().mul_(softcap)
    return logits


def _normalise(logits: Tensor) -> Tensor:
    """Turn logits (n, V) into probabilities in place; return their log normaliser (n, 1)."""
    highest = logits.amax(dim=1, keepdim=True)
    logits.sub_(highest).exp_()
    total = logits.sum(dim=1, keepdim=True)
    logits.div_(total)
    return highest + total.log()


def _towards_logits(
    probabilities: Tensor, targets: Tensor, log_normaliser: Tensor, scale: float, softcap: float | None
) -> None:
    """Turn probabilities (n, V) in place into the gradient of the target's log-probability towards raw logits."""
    slope: float | Tensor = scale
    if softcap is not None:
        capped = (probabilities.log() + log_normaliser).clamp_(-softcap, softcap)
        slope = (1 - (capped / softcap).square_()).mul_(scale)
    probabilities.neg_()
    probabilities.scatter_add_(1, targets[:, None], probabilities.new_ones(len(targets), 1))
    if softcap is not None or scale != 1.0:
        probabilities *= slope
