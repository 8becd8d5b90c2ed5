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

from retro_dash.serving.cascade import Group, GroupStep

SUPPORTED_TYPES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass
class Chunk:
    """The new tokens of one sequence in a step.

    `kv` is its buffer, shaped (layers, capacity, 2 * kv heads, head size); the step writes positions `start ...`.
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
class _Span:
    """Rows `first ... last` of the packed batch that belong to a chunk."""

    chunk: Chunk
    first: int
    last: int
    mask: Tensor | None
    """(new tokens, keys) added to the scores; None where a causal square or a single query needs none."""


@dataclass(frozen=True)
class _Layer:
    input_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    q_norm: Tensor | None
    k_norm: Tensor | None
    output: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor


class Llama:
    """Weights of a transformers model, fused for serving, and its forward pass."""

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
        self.head: Tensor = model.lm_head.weight.detach()
        self.dtype = self.embedding.dtype
        self.bytes_per_token: int = len(self.layers) * 2 * self.kv_heads * self.head_size * self.dtype.itemsize
        self.device = self.embedding.device
        rotary = model.model.rotary_emb
        angles = torch.outer(torch.arange(config.max_position_embeddings).float(), rotary.inv_freq.float().cpu())
        scaling = rotary.attention_scaling
        self.cos = (angles.cos() * scaling).repeat(1, 2).to(self.device, self.dtype)
        self.sin = (angles.sin() * scaling).repeat(1, 2).to(self.device, self.dtype)

    def new_kv(self, capacity: int, source: Tensor | None = None, tokens: int = 0) -> Tensor:
        """A buffer for `capacity` tokens that starts with the first `tokens` of `source`."""
        shape = (len(self.layers), capacity, 2 * self.kv_heads, self.head_size)
        kv = torch.empty(shape, dtype=self.dtype, device=self.device)
        if source is not None:
            kv[:, :tokens] = source[:, :tokens]
        return kv

    @torch.inference_mode()
    def forward(self, chunks: Sequence[Chunk], groups: Sequence[Group] = ()) -> Tensor:
        """Writes the chunks' keys and values; returns float32 logits (wanted rows of all chunks, vocabulary)."""
        ids = torch.tensor([token for chunk in chunks for token in chunk.token_ids], device=self.device)
        positions = torch.tensor([p for chunk in chunks for p in range(chunk.start, chunk.end)], device=self.device)
        spans, steps = self._plan(chunks, groups)
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        x = functional.embedding(ids, self.embedding)
        written = []
        for number, layer in enumerate(self.layers):
            h = functional.rms_norm(x, x.shape[-1:], layer.input_norm, self.eps)
            q, kv = self._queries_and_keys(layer, h, cos, sin)
            x = x + functional.linear(self._attend(number, q, kv, spans, steps), layer.output)
            h = functional.rms_norm(x, x.shape[-1:], layer.mlp_norm, self.eps)
            gate, up = functional.linear(h, layer.gate_up).chunk(2, dim=-1)
            x = x + functional.linear(functional.silu(gate).mul_(up), layer.down)
            written.append(kv)
        self._keep(chunks, groups, steps, written)
        wanted = torch.tensor(list(_wanted_rows(chunks)), device=self.device)
        x = functional.rms_norm(x[wanted], x.shape[-1:], self.norm, self.eps)
        return functional.linear(x, self.head).float()

    def _queries_and_keys(self, layer: _Layer, h: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (tokens, heads, head size), and keys beside values (tokens, 2 * kv heads, head size), rotated."""
        qkv = functional.linear(h, layer.qkv, layer.qkv_bias).view(len(h), -1, self.head_size)
        q, k, v = torch.split(qkv, [self.heads, self.kv_heads, self.kv_heads], dim=1)
        if layer.q_norm is not None and layer.k_norm is not None:
            q = functional.rms_norm(q, q.shape[-1:], layer.q_norm, self.eps)
            k = functional.rms_norm(k, k.shape[-1:], layer.k_norm, self.eps)
        rotated = _rotate(torch.cat([q, k], dim=1), cos, sin)
        return rotated[:, : self.heads], torch.cat([rotated[:, self.heads :], v], dim=1)

    def _attend(
        self, number: int, q: Tensor, kv: Tensor, spans: Sequence[_Span], steps: Sequence[GroupStep]
    ) -> Tensor:
        out = torch.empty_like(q, memory_format=torch.contiguous_format)
        for span in spans:
            buffer = span.chunk.kv[number]
            buffer[span.chunk.start : span.chunk.end] = kv[span.first : span.last]
            out[span.first : span.last] = self._attend_alone(q[span.first : span.last], buffer, span)
        for step in steps:
            out[step.rows] = step.attend(number, q, kv)
        return out.view(len(q), -1)

    def _attend_alone(self, q: Tensor, buffer: Tensor, span: _Span) -> Tensor:
        """(new tokens, heads, head size) of one sequence over all its keys."""
        keys = buffer[: span.chunk.end, : self.kv_heads].transpose(0, 1).unsqueeze(0)
        values = buffer[: span.chunk.end, self.kv_heads :].transpose(0, 1).unsqueeze(0)
        if len(q) == 1:
            grouped = q.view(1, self.kv_heads, -1, self.head_size)
            return functional.scaled_dot_product_attention(grouped, keys, values).view_as(q)
        out = functional.scaled_dot_product_attention(
            q.transpose(0, 1).unsqueeze(0),
            keys,
            values,
            attn_mask=span.mask,
            is_causal=span.mask is None,
            enable_gqa=True,
        )
        return out[0].transpose(0, 1)

    def _plan(self, chunks: Sequence[Chunk], groups: Sequence[Group]) -> tuple[list[_Span], list[GroupStep]]:
        grouped = {member for group in groups for member in group.members}
        firsts = [0, *accumulate(len(chunk.token_ids) for chunk in chunks)]
        spans = [
            _Span(chunk, firsts[i], firsts[i + 1], self._mask(chunk))
            for i, chunk in enumerate(chunks)
            if i not in grouped
        ]
        steps = []
        for group in groups:
            members = [chunks[i] for i in group.members]
            rows, starts = [firsts[i] for i in group.members], [chunk.start for chunk in members]
            steps.append(GroupStep(group, rows, starts, [chunk.kv for chunk in members], self.kv_heads))
        return spans, steps

    def _keep(
        self, chunks: Sequence[Chunk], groups: Sequence[Group], steps: Sequence[GroupStep], written: Sequence[Tensor]
    ) -> None:
        """Copies the new keys of grouped sequences into their own buffers, all layers at once."""
        for group, step in zip(groups, steps, strict=True):
            fresh = torch.stack([kv[step.rows] for kv in written])
            for i, member in enumerate(group.members):
                chunks[member].kv[:, chunks[member].start] = fresh[:, i]

    def _mask(self, chunk: Chunk) -> Tensor | None:
        """Causal mask of a chunk behind `start` older keys; a chunk at the very start needs none (it is square)."""
        if chunk.start == 0 or len(chunk.token_ids) == 1:
            return None
        mask = torch.full((len(chunk.token_ids), chunk.end), float("-inf"), dtype=self.dtype, device=self.device)
        return mask.triu_(chunk.start + 1)


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
        qkv=torch.cat([p.weight.detach() for p in projections]),
        qkv_bias=torch.cat(biases) if biases else None,
        q_norm=attention.q_norm.weight.detach() if hasattr(attention, "q_norm") else None,
        k_norm=attention.k_norm.weight.detach() if hasattr(attention, "k_norm") else None,
        output=attention.o_proj.weight.detach(),
        mlp_norm=layer.post_attention_layernorm.weight.detach(),
        gate_up=torch.cat([mlp.gate_proj.weight.detach(), mlp.up_proj.weight.detach()]),
        down=mlp.down_proj.weight.detach(),
    )
