"""A model folder's tokenizer, where no engine runs: a training run renders the words of experts with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import AutoConfig, AutoTokenizer

from data.errors import TrainingError
from retro_dash.agent.policy import OnText, ShouldStop
from retro_dash.agent.prompts import Message
from retro_dash.agent.sampling import Sampling
from retro_dash.agent.token_server import SampledTokens


class LocalTokenizer:
    """A model folder's tokenizer and chat template, asked in the words of `agent.token_server.TokenServer`."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._context_length = int(AutoConfig.from_pretrained(folder).max_position_embeddings)

    def context_length(self, model: str) -> int:
        return self._context_length

    def tokenize(self, model: str, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def tokenize_chat(self, model: str, messages: Sequence[Message]) -> list[int]:
        chat = [{"role": message.role, "content": message.content} for message in messages]
        text = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def sample(
        self,
        model: str,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        max_tokens: int,
        on_text: OnText | None,
        should_stop: ShouldStop | None,
    ) -> SampledTokens:
        raise TrainingError("This tokenizer has no model to sample from.")
