"""Matrix products of the forward pass, with weights laid out once for the CPU's kernels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


class Linear:
    """`x @ weight.T + bias` without gradients.

    In bf16 on a CPU oneDNN reorders the weights in every call, which costs half of a decode step; packed weights are
    kept in its order instead. The results are the same to the bit.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self._bias = bias
        self._packed = (
            weight.device.type == "cpu" and weight.dtype == torch.bfloat16 and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        )
        self._weight = weight.contiguous()
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, None)

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed:
            out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
            return out
        return functional.linear(x, self._weight, self._bias)

    def precise(self, x: Tensor) -> Tensor:
        """The product as float32; with packed weights what rounding to bf16 took from it is added again.

        A logit near 20 in bf16 is off by up to 0.06, and mean log-probabilities by 0.02 nats. The second product has
        the rounded result subtracted in its accumulator, before it is rounded itself, so it holds the rest.
        """
        rounded = self(x)
        if not self._packed:
            return rounded.float()
        rest: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, -rounded, self._weight, self._bias, "add")
        return rounded.float().add_(rest)
