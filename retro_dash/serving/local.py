"""The embedded engine's models and batching inside this process, without HTTP.

For scripts, notebooks and tests that play many short episodes with a small model: `LocalEngine` can be given wherever
the agent wants a model server, and what many threads ask for at the same time is computed in one batch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from data.errors import EngineError
from retro_dash.agent.engine_policy import EnginePolicy
from retro_dash.agent.policy import OnText, ShouldStop
from retro_dash.agent.prompts import Message
from retro_dash.agent.sampling import Sampling as AgentSampling
from retro_dash.agent.token_server import SampledTokens
from retro_dash.serving.detokenize import Detokenizer
from retro_dash.serving.models import Models
from retro_dash.serving.request import Request, Update
from retro_dash.serving.sampling import Sampling
from retro_dash.serving.scheduler import Limits, Scheduler
from retro_dash.serving.tokens import encode_chat, encode_text

_POLL_SECONDS = 0.2
"""How often a waiting request asks whether it should stop."""


class LocalEngine:
    """Serves a model folder and its adapters by name. Use it as a context manager; safe to use from many threads."""

    def __init__(self, folder: Path, *, dtype: str = "auto", limits: Limits | None = None) -> None:
        """Raises BadFile for a folder that holds no model."""
        self._models = Models(folder, folder.name, dtype)
        self._scheduler = Scheduler(limits or Limits())

    def __enter__(self) -> LocalEngine:
        self._scheduler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._scheduler.stop()

    # As the agent's model server

    def model_names(self) -> list[str]:
        return [model.name for model in self._models.served]

    def default_model(self) -> str | None:
        return self._models.base.name

    def policy(self, name: str) -> EnginePolicy:
        """A planner or reflector that asks for `name`. Raises UnknownName."""
        return EnginePolicy(self._models.find(name).name, self)

    def load_adapter(self, name: str, path: Path) -> None:
        """Serve a PEFT folder or full weights by name. Raises BadInput, BadFile."""
        self._models.register(name, path, self._scheduler.forget)

    # As a token server

    def context_length(self, model: str) -> int:
        return self._models.context_length

    def tokenize(self, model: str, text: str) -> list[int]:
        return encode_text(self._models.tokenizer, text, add_special_tokens=False, plain_content=True)

    def tokenize_chat(self, model: str, messages: Sequence[Message]) -> list[int]:
        chat = [{"role": message.role, "content": message.content} for message in messages]
        return encode_chat(self._models.tokenizer, chat, add_generation_prompt=True, plain_content=True)

    def sample(
        self,
        model: str,
        prompt_ids: Sequence[int],
        sampling: AgentSampling,
        max_tokens: int,
        on_text: OnText | None,
        should_stop: ShouldStop | None,
    ) -> SampledTokens:
        """Sample one reply. Raises EngineError when it does not fit the context or the scheduler gave up on it."""
        context = self._models.context_length
        if len(prompt_ids) + max_tokens > context:
            raise EngineError(
                f"The prompt of {model!r} has {len(prompt_ids)} tokens, its reply may have {max_tokens}: more than "
                f"the context of {context} together. Ask for fewer tokens, or take a model with a longer context."
            )
        answer = _Answer(on_text)
        request = Request(
            list(prompt_ids),
            max_tokens,
            Sampling(temperature=sampling.temperature),
            sampling.seed,
            Detokenizer(self._models.tokenizer, sampling.stop, include_stop=False),
            answer.take,
            self._models.end_tokens,
        )
        started = time.monotonic()
        self._scheduler.submit(request, self._models.runner(model, self._scheduler.forget))
        while not answer.done.wait(_POLL_SECONDS if should_stop else None):
            if should_stop is not None and should_stop():
                request.cancelled.set()
                return answer.tokens("abort", time.monotonic() - started)
        if answer.error is not None:
            raise EngineError(answer.error)
        return answer.tokens(answer.finish_reason, time.monotonic() - started)


class _Answer:
    """What came for one request; filled by the scheduler's thread."""

    def __init__(self, on_text: OnText | None) -> None:
        self.done = threading.Event()
        self.error: str | None = None
        self.finish_reason = "stop"
        self._on_text = on_text
        self._updates: list[Update] = []

    def take(self, update: Update) -> None:
        self._updates.append(update)
        if update.text and self._on_text is not None:
            self._on_text(update.text)
        if update.error is not None or update.finish_reason is not None:
            self.error, self.finish_reason = update.error, update.finish_reason or "stop"
            self.done.set()

    def tokens(self, finish_reason: str, seconds: float) -> SampledTokens:
        sampled = [token for update in self._updates for token in update.tokens]
        return SampledTokens(
            text="".join(update.text for update in self._updates),
            token_ids=tuple(one.token for one in sampled),
            logprobs=tuple(one.logprob for one in sampled),
            finish_reason=finish_reason,
            seconds=seconds,
        )
