"""The fused LoRA layer computes what PEFT's own layer computes."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from training.fused_lora import FusedLinear, use_fused_layers


def build(*, fused: bool, bias: bool, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(12, 20, bias=bias), nn.Linear(20, 6, bias=bias))
    config = LoraConfig(r=4, lora_alpha=12, target_modules=["0", "1"], lora_dropout=dropout)
    model = get_peft_model(base, use_fused_layers(config) if fused else config)
    for number, parameter in enumerate(p for p in model.parameters() if p.requires_grad):
        torch.manual_seed(number)
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize("bias", [True, False])
def test_fused_layer_equals_pefts_layer_in_values_and_gradients(bias: bool) -> None:
    fused, plain = build(fused=True, bias=bias), build(fused=False, bias=bias)
    assert sum(isinstance(module, FusedLinear) for module in fused.modules()) == 2
    x = torch.randn(2, 5, 12)
    inputs = [x.clone().requires_grad_(), x.clone().requires_grad_()]
    outputs = [model(i) for model, i in zip((fused, plain), inputs, strict=True)]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        (output**2).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    compared = 0
    for (_, a), (_, b) in zip(fused.named_parameters(), plain.named_parameters(), strict=True):
        if a.requires_grad:
            torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-4)
            compared += 1
    assert compared == 4


def test_dropout_and_a_disabled_adapter_are_left_to_peft() -> None:
    model = build(fused=True, bias=False, dropout=0.5).train()
    x = torch.randn(3, 12)
    assert not torch.equal(model(x), model(x))
    with model.disable_adapter():
        base = copy.deepcopy(model).unload()
        torch.testing.assert_close(model(x), base(x))
