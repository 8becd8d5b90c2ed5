"""A model behind an engine that records exact tokens.

Nothing sampled is tokenised again, so the recorded log-probabilities stay exact and the engine's prefix cache always
hits.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from data.types import Completion
from retro_dash.agent.briefing import Briefing
from retro_dash.agent.policy import OnText, ShouldStop, finish_reason
from retro_dash.agent.sampling import Sampling
from retro_dash.agent.token_server import ChatGlue, TokenServer, find_glue


class EnginePolicy:
    """A model behind an engine that records exact tokens."""

    is_expert = False

    def __init__(self, name: str, server: TokenServer) -> None:
        self.name = name
        self._server = server
        self._glue: ChatGlue | None = None
        self._lock = threading.Lock()

    def begin(self, briefing: Briefing, sampling: Sampling) -> TokenDialogue:
        prompt = self._server.tokenize_chat(self.name, briefing.messages)
        return TokenDialogue(self.name, self._server, self.glue(), prompt, sampling)

    def glue(self) -> ChatGlue:
        with self._lock:
            if self._glue is None:
                self._glue = find_glue(self._server, self.name)
            return self._glue


class TokenDialogue:
    """A dialogue as one list of token ids that only grows."""

    def __init__(
        self, model: str, server: TokenServer, glue: ChatGlue, prompt_ids: Sequence[int], sampling: Sampling
    ) -> None:
        self._model, self._server, self._glue, self._sampling = model, server, glue, sampling
        self._ids = list(prompt_ids)
        self._fresh = len(self._ids)
        """How many of the last ids came after the last sampled reply."""
        self._replies = 0

    @property
    def length(self) -> int:
        return len(self._ids)

    @property
    def capacity(self) -> int | None:
        return self._server.context_length(self._model)

    def reply(self, on_text: OnText | None = None, should_stop: ShouldStop | None = None) -> Completion:
        room = self._server.context_length(self._model) - len(self._ids)
        sampling = replace(self._sampling, seed=self._sampling.seed + self._replies)
        sampled = self._server.sample(
            self._model, self._ids, sampling, min(sampling.reply_tokens, room), on_text, should_stop
        )
        return Completion(
            policy=self._model,
            text=sampled.text,
            finish_reason=finish_reason(sampled.finish_reason),
            context_ids=tuple(self._ids[len(self._ids) - self._fresh :]),
            token_ids=sampled.token_ids,
            logprobs=sampled.logprobs,
            temperature=sampling.temperature,
            seconds=sampled.seconds,
        )

    def put(self, completion: Completion) -> None:
        self._replies += 1
        if completion.token_ids is None:
            added = self._server.tokenize(self._model, completion.text)
            self._ids += added
            self._fresh += len(added)
        else:
            self._ids += completion.token_ids
            self._fresh = 0

    def tell(self, observation: str) -> None:
        end = list(self._glue.after_reply)
        if end and self._fresh == 0 and self._ids and self._ids[-1] == end[0]:
            end = end[1:]
        text = self._server.tokenize(self._model, observation)
        added = [*end, *text, *self._glue.before_reply]
        self._ids += added
        self._fresh += len(added)
