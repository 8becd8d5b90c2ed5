"""A LoRA layer that adds its low-rank part in place: y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ, forward and backward.

PEFT's own layer makes three full-size temporaries each way. This one is handed to PEFT as the layer for `nn.Linear`,
so adapters are saved and loaded as ever; what it does not cover (dropout, DoRA, merged weights) goes to PEFT's layer.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn


def use_fused_layers(config: LoraConfig) -> LoraConfig:
    """Make PEFT build fused layers for this config."""
    config._register_custom_module({nn.Linear: FusedLinear})
    return config


class FusedLinear(PeftLinear):
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        base = self.get_base_layer()
        active = [name for name in self.active_adapters if name in self.lora_A]
        if not self._is_plain(active) or args or kwargs:
            plain: Tensor = super().forward(x, *args, **kwargs)
            return plain
        name = active[0]
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        arguments = (x, base.weight, base.bias, a, b, self.scaling[name])
        result: Tensor = LowRankLinear.apply(*arguments)  # type: ignore[no-untyped-call]
        return result

    def _is_plain(self, active: list[str]) -> bool:
        if len(active) != 1 or self.merged or self.disable_adapters or self.use_dora.get(active[0], False):
            return False
        drops = self.training and not isinstance(self.lora_dropout[active[0]], nn.Identity)
        return not drops and not self.get_base_layer().weight.requires_grad


class LowRankLinear(torch.autograd.Function):
    """x (…, I), frozen W (O, I), A (r, I), B (O, r)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ a.t()
        out = torch.mm(flat, weight.t()) if bias is None else torch.addmm(bias, flat, weight.t())
        out.addmm_(low, b.t(), alpha=scale)
        ctx.save_for_backward(flat, low, weight, a, b)
        ctx.scale, ctx.shape = scale, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        flat, low, weight, a, b = ctx.saved_tensors
        grad = grads[0].reshape(-1, weight.shape[0])
        grad_low = (grad @ b).mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(grad_low, a).view(ctx.shape)
        return grad_x, None, None, grad_low.t() @ flat, (grad.t() @ low).mul_(ctx.scale), None
