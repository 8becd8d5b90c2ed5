"""The engine as the agent sees it: a server of exact tokens, or one that only speaks text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from data.errors import EngineError
from retro_dash.agent.prompts import Message
from retro_dash.agent.sampling import Sampling
from retro_dash.agent.token_server import SampledTokens
from retro_dash.serving.client import EngineClient, OnText, ShouldStop

FindClient = Callable[[], EngineClient]
"""The client of the moment: a restarted engine has another address."""
_UNKNOWN_CONTEXT = 4096


class TokenEngine:
    """Token ids in, token ids and logprobs out (`agent.token_server.TokenServer`)."""

    def __init__(self, client: FindClient, context_length: int | None) -> None:
        self._client = client
        self._context_length = context_length or _UNKNOWN_CONTEXT

    def context_length(self, model: str) -> int:
        return self._context_length

    def tokenize(self, model: str, text: str) -> list[int]:
        """Control tokens spelled out in an observation stay ordinary text."""
        return self._client().tokenize(text, model=model)

    def tokenize_chat(self, model: str, messages: Sequence[Message]) -> list[int]:
        return self._client().tokenize(_as_json(messages), model=model)

    def sample(
        self,
        model: str,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        max_tokens: int,
        on_text: OnText | None,
        should_stop: ShouldStop | None,
    ) -> SampledTokens:
        done = self._client().complete(
            prompt_ids,
            model=model,
            max_tokens=max_tokens,
            temperature=sampling.temperature,
            seed=sampling.seed,
            stop=sampling.stop,
            on_text=on_text,
            should_stop=should_stop,
        )
        if done.token_ids is None or done.logprobs is None:
            raise EngineError(f"The engine gave no token ids for {model!r}.")
        return SampledTokens(done.text, done.token_ids, done.logprobs, done.finish_reason, done.seconds)


class ChatEngine:
    """Messages in, text out (`agent.chat_policy.ChatServer`)."""

    def __init__(self, client: FindClient) -> None:
        self._client = client

    def chat(
        self,
        model: str,
        messages: Sequence[Message],
        sampling: Sampling,
        on_text: OnText | None,
        should_stop: ShouldStop | None,
    ) -> tuple[str, str, float]:
        done = self._client().chat(
            _as_json(messages),
            model=model,
            max_tokens=sampling.reply_tokens,
            temperature=sampling.temperature,
            seed=sampling.seed,
            stop=sampling.stop,
            on_text=on_text,
            should_stop=should_stop,
        )
        return done.text, done.finish_reason, done.seconds


def _as_json(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
