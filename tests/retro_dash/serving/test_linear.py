"""Packed products give what plain ones give; the head's rounding is taken back."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from retro_dash.serving.linear import Linear


def problem(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(rows)
    x, weight, bias = torch.randn(rows, 64), torch.randn(96, 64), torch.randn(96)
    return x.bfloat16(), weight.bfloat16(), bias.bfloat16()


@pytest.mark.parametrize("rows", [1, 7, 130])
def test_a_packed_product_is_the_plain_one_whatever_the_number_of_rows(rows: int) -> None:
    x, weight, bias = problem(rows)
    expected = functional.linear(x.double(), weight.double(), bias.double())
    assert (Linear(weight, bias)(x) - expected).abs().max() < expected.abs().max() * 2**-8
    assert torch.equal(Linear(weight.float())(x.float()), functional.linear(x.float(), weight.float()))


@pytest.mark.parametrize("rows", [1, 7, 130])
def test_a_precise_product_in_bf16_is_nearly_that_of_float32(rows: int) -> None:
    x, weight, _ = problem(rows)
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN, so weights are not packed")
    exact = functional.linear(x.double(), weight.double())
    error = (Linear(weight).precise(x) - exact).abs().max()
    rounding = (Linear(weight)(x) - exact).abs().max()
    assert rounding > 0.03
    assert error < rounding / 100
