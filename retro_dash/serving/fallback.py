"""Any other transformers causal LM behind the scheduler, one sequence at a time, with transformers' own cache."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from retro_dash.serving.cascade import Group
from retro_dash.serving.llama import Chunk


class TransformersRunner:
    """Correct for every architecture with a croppable cache; nothing is batched, so it is slow under load."""

    attends_together = False

    def __init__(self, model: Any) -> None:
        self._model = model
        config = model.config.get_text_config()
        heads = config.num_attention_heads
        head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        self.bytes_per_token = config.num_hidden_layers * 2 * kv_heads * head_size * model.dtype.itemsize

    def new_kv(self, capacity: int, source: DynamicCache | None = None, tokens: int = 0) -> DynamicCache:
        """A cache with the first `tokens` of `source`; it grows by itself, so `capacity` is not needed."""
        if source is None or tokens == 0:
            return DynamicCache(config=self._model.config)
        kv = copy.deepcopy(source)
        surplus = kv.get_seq_length() - tokens
        if surplus:
            kv.crop(-surplus)
        return kv

    @torch.inference_mode()
    def forward(self, chunks: Sequence[Chunk], groups: Sequence[Group] = ()) -> Tensor:
        """As `Llama.forward`."""
        rows = []
        for chunk in chunks:
            ids = torch.tensor([list(chunk.token_ids)], device=self._model.device)
            keep = 0 if chunk.wants_all_logits else 1
            out = self._model(input_ids=ids, past_key_values=chunk.kv, use_cache=True, logits_to_keep=keep)
            rows.append(out.logits[0].float())
        return torch.cat(rows)
