"""Our own forward pass of Llama-family models over a packed batch: many sequences, each with its own KV buffer.

A step packs the new tokens of all sequences (one for a decoding sequence, a chunk for a prompt) into one row, so that
every matrix product runs once for the whole batch. Attention looks at sequences one by one, or at a group of decoding
sequences with a common prefix at once (see `cascade`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from retro_dash.serving.attention import KEYS, SequenceStep, multiple
from retro_dash.serving.cascade import Group, GroupStep
from retro_dash.serving.linear import Linear

_FEW, _STEP_OF_FEW, _STEP = 64, 8, 32
"""Rows are padded to a multiple: the CPU compiles its kernels for each number of rows, a millisecond a matrix."""
SUPPORTED_TYPES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass
class Chunk:
    """The new tokens of one sequence in a step.

    `kv` is its buffer, shaped (layers, 2, kv heads, capacity, head size): keys, then values. The step writes the
    positions from `start` on.
    """

    kv: Tensor
    start: int
    token_ids: Sequence[int]
    wants_all_logits: bool = False
    """True: logits after every token of the chunk; False: after the last one only."""

    @property
    def end(self) -> int:
        return self.start + len(self.token_ids)


@dataclass(frozen=True)
class _Layer:
    input_norm: Tensor
    qkv: Linear
    q_norm: Tensor | None
    k_norm: Tensor | None
    output: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear


class Llama:
    """Weights of a transformers model, fused for serving, and its forward pass."""

    attends_together = True

    def __init__(self, model: Any) -> None:
        """`model` is a transformers causal LM of a supported type, in the dtype and on the device to serve it."""
        config = model.config
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_size: int = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps: float = config.rms_norm_eps
        self.layers = [_fuse(layer) for layer in model.model.layers]
        self.embedding: Tensor = model.model.embed_tokens.weight.detach()
        self.norm: Tensor = model.model.norm.weight.detach()
        self.head = Linear(model.lm_head.weight.detach())
        self.dtype = self.embedding.dtype
        self.bytes_per_token: int = len(self.layers) * 2 * self.kv_heads * self.head_size * self.dtype.itemsize
        self.device = self.embedding.device
        rotary = model.model.rotary_emb
        angles = torch.outer(torch.arange(config.max_position_embeddings).float(), rotary.inv_freq.float().cpu())
        scaling = rotary.attention_scaling
        self.cos = (angles.cos() * scaling).repeat(1, 2).to(self.device, self.dtype)
        self.sin = (angles.sin() * scaling).repeat(1, 2).to(self.device, self.dtype)

    def new_kv(self, capacity: int, source: Tensor | None = None, tokens: int = 0) -> Tensor:
        """A buffer for at least `capacity` tokens that starts with the first `tokens` of `source`."""
        shape = (len(self.layers), 2, self.kv_heads, multiple(capacity, KEYS), self.head_size)
        kv = torch.empty(shape, dtype=self.dtype, device=self.device)
        if source is not None:
            kv[..., :tokens, :] = source[..., :tokens, :]
        return kv

    @torch.inference_mode()
    def forward(self, chunks: Sequence[Chunk], groups: Sequence[Group] = ()) -> Tensor:
        """Writes the chunks' keys and values; returns float32 logits (wanted rows of all chunks, vocabulary)."""
        ids = self._padded([token for chunk in chunks for token in chunk.token_ids])
        positions = self._padded([p for chunk in chunks for p in range(chunk.start, chunk.end)])
        alone, steps = self._plan(chunks, groups)
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        x = functional.embedding(ids, self.embedding)
        written = []
        for number, layer in enumerate(self.layers):
            h = functional.rms_norm(x, x.shape[-1:], layer.input_norm, self.eps)
            q, kv = self._queries_and_keys(layer, h, cos, sin)
            x = x + layer.output(self._attend(number, q, kv, alone, steps))
            h = functional.rms_norm(x, x.shape[-1:], layer.mlp_norm, self.eps)
            gate, up = layer.gate_up(h).chunk(2, dim=-1)
            x = x + layer.down(functional.silu(gate).mul_(up))
            written.append(kv)
        self._keep(chunks, groups, steps, written)
        wanted = list(_wanted_rows(chunks))
        x = functional.rms_norm(x[self._padded(wanted)], x.shape[-1:], self.norm, self.eps)
        return self.head.precise(x)[: len(wanted)]

    def _padded(self, rows: Sequence[int]) -> Tensor:
        """One row in, one row out: what is computed for the rows that are added is never looked at."""
        step = _STEP_OF_FEW if len(rows) <= _FEW else _STEP
        missing = multiple(len(rows), step) - len(rows) if len(rows) > 1 and self.device.type == "cpu" else 0
        return torch.tensor([*rows, *[0] * missing], device=self.device)

    def _queries_and_keys(self, layer: _Layer, h: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Rotated, scaled queries (tokens, heads, head size), and (tokens, 2, kv heads, head size) to be cached."""
        qkv = layer.qkv(h).view(len(h), -1, self.head_size)
        q, k, v = torch.split(qkv, [self.heads, self.kv_heads, self.kv_heads], dim=1)
        if layer.q_norm is not None and layer.k_norm is not None:
            q = functional.rms_norm(q, q.shape[-1:], layer.q_norm, self.eps)
            k = functional.rms_norm(k, k.shape[-1:], layer.k_norm, self.eps)
        return _rotate(q, cos, sin).mul_(self.head_size**-0.5), torch.stack([_rotate(k, cos, sin), v], dim=1)

    def _attend(
        self, number: int, q: Tensor, kv: Tensor, alone: Sequence[SequenceStep], steps: Sequence[GroupStep]
    ) -> Tensor:
        out = torch.zeros_like(q, memory_format=torch.contiguous_format)
        for sequence in alone:
            sequence.attend(number, q, kv, out)
        for step in steps:
            out[step.rows] = step.attend(number, q, kv)
        return out.view(len(q), -1)

    def _plan(self, chunks: Sequence[Chunk], groups: Sequence[Group]) -> tuple[list[SequenceStep], list[GroupStep]]:
        grouped = {member for group in groups for member in group.members}
        firsts = [0, *accumulate(len(chunk.token_ids) for chunk in chunks)]
        alone = [
            SequenceStep(chunk.kv, chunk.start, len(chunk.token_ids), firsts[i])
            for i, chunk in enumerate(chunks)
            if i not in grouped
        ]
        steps = []
        for group in groups:
            members = [chunks[i] for i in group.members]
            rows, starts = [firsts[i] for i in group.members], [chunk.start for chunk in members]
            steps.append(GroupStep(group, rows, starts, [chunk.kv for chunk in members]))
        return alone, steps

    def _keep(
        self, chunks: Sequence[Chunk], groups: Sequence[Group], steps: Sequence[GroupStep], written: Sequence[Tensor]
    ) -> None:
        """Copies the new keys of grouped sequences into their own buffers, all layers at once."""
        for group, step in zip(groups, steps, strict=True):
            fresh = torch.stack([kv[step.rows] for kv in written])
            for i, member in enumerate(group.members):
                chunks[member].kv[..., chunks[member].start, :] = fresh[:, i]


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (RoFormer) in transformers' layout: the two halves of a head are the pairs' members."""
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


def _wanted_rows(chunks: Sequence[Chunk]) -> Iterator[int]:
    first = 0
    for chunk in chunks:
        last = first + len(chunk.token_ids)
        yield from range(first if chunk.wants_all_logits else last - 1, last)
        first = last


def _fuse(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    biases = [p.bias.detach() for p in projections if p.bias is not None]
    return _Layer(
        input_norm=layer.input_layernorm.weight.detach(),
        qkv=Linear(torch.cat([p.weight.detach() for p in projections]), torch.cat(biases) if biases else None),
        q_norm=attention.q_norm.weight.detach() if hasattr(attention, "q_norm") else None,
        k_norm=attention.k_norm.weight.detach() if hasattr(attention, "k_norm") else None,
        output=Linear(attention.o_proj.weight.detach()),
        mlp_norm=layer.post_attention_layernorm.weight.detach(),
        gate_up=Linear(torch.cat([mlp.gate_proj.weight.detach(), mlp.up_proj.weight.detach()])),
        down=Linear(mlp.down_proj.weight.detach()),
    )
