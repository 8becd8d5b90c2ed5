"""AdamW over float32 master copies of the trained parameters, whatever dtype the model computes in."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from data.errors import BadFile
from training.config import OptimiserConfig
from training.peers import Peers


class MasterAdamW:
    """Optimiser of one model. Its state is float32 tensors only, so that safetensors can hold it."""

    def __init__(self, model: nn.Module, config: OptimiserConfig) -> None:
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.clip_norm = config.clip_norm
        self.masters = {name: p.detach().float().clone().requires_grad_() for name, p in self.parameters.items()}
        self.adamw = torch.optim.AdamW(
            list(self.masters.values()),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def collect(self) -> None:
        """Move the model's gradients into the masters, added up in float32 over the packs of a step."""
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                self.add_gradient(name, parameter.grad)
                parameter.grad = None

    def add_gradient(self, name: str, gradient: Tensor) -> None:
        master = self.masters[name]
        master.grad = gradient.float() if master.grad is None else master.grad.add_(gradient)

    def add_up(self, peers: Peers) -> None:
        """Give every process the sum of what all of them have collected."""
        if peers.count > 1:
            for master in self.masters.values():
                master.grad = peers.add_up(torch.zeros_like(master) if master.grad is None else master.grad)

    def step(self, learning_rate: float) -> float:
        """Take one step with the collected gradients and clear them; return their norm before clipping.

        No step is taken when the norm is not finite: the caller must stop.
        """
        norm = nn.utils.clip_grad_norm_(self.masters.values(), self.clip_norm).item()
        if math.isfinite(norm):
            for group in self.adamw.param_groups:
                group["lr"] = learning_rate
            self.adamw.step()
            self._copy_to_model()
        self.adamw.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, Tensor]:
        """Masters, moments and step counts as named float32 tensors."""
        tensors = {}
        for name, master in self.masters.items():
            tensors[f"master/{name}"] = master.detach().cpu().contiguous()
            for key, value in self.adamw.state.get(master, {}).items():
                tensors[f"{key}/{name}"] = value.detach().cpu().contiguous()
        return tensors

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a saved state. Raises BadFile when it is of other parameters."""
        saved = {name.removeprefix("master/") for name in tensors if name.startswith("master/")}
        if saved != set(self.masters):
            raise BadFile(
                f"The checkpoint holds {len(saved)} parameters and the model trains {len(self.masters)} others."
            )
        for name, master in self.masters.items():
            with torch.no_grad():
                master.copy_(tensors[f"master/{name}"])
            device = master.device
            self.adamw.state[master] = {
                key: tensors[f"{key}/{name}"].to(device).clone()
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{key}/{name}" in tensors
            }
        self._copy_to_model()

    @torch.no_grad()
    def _copy_to_model(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(self.masters[name])
