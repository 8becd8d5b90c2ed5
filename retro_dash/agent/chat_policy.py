"""A model behind a server that only speaks text: good for acting and imitation data, not for RL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from data.types import Completion
from retro_dash.agent.briefing import Briefing
from retro_dash.agent.policy import OnText, ShouldStop, finish_reason
from retro_dash.agent.prompts import Message
from retro_dash.agent.sampling import Sampling


class ChatServer(Protocol):
    """A server that only takes and gives text."""

    def chat(
        self,
        model: str,
        messages: Sequence[Message],
        sampling: Sampling,
        on_text: OnText | None,
        should_stop: ShouldStop | None,
    ) -> tuple[str, str, float]:
        """Text, finish reason, seconds."""
        ...


class ChatPolicy:
    """A model behind a server that only speaks text: good for acting and imitation data, not for RL."""

    is_expert = False

    def __init__(self, name: str, server: ChatServer) -> None:
        self.name = name
        self._server = server

    def begin(self, briefing: Briefing, sampling: Sampling) -> ChatDialogue:
        return ChatDialogue(self.name, self._server, list(briefing.messages), sampling)


class ChatDialogue:
    """A dialogue as a list of messages."""

    length = 0
    capacity = None

    def __init__(self, model: str, server: ChatServer, messages: list[Message], sampling: Sampling) -> None:
        self._model, self._server, self._messages, self._sampling = model, server, messages, sampling

    def reply(self, on_text: OnText | None = None, should_stop: ShouldStop | None = None) -> Completion:
        text, reason, seconds = self._server.chat(self._model, self._messages, self._sampling, on_text, should_stop)
        return Completion(
            policy=self._model,
            text=text,
            finish_reason=finish_reason(reason),
            temperature=self._sampling.temperature,
            seconds=seconds,
        )

    def put(self, completion: Completion) -> None:
        self._messages.append(Message("assistant", completion.text))

    def tell(self, observation: str) -> None:
        self._messages.append(Message("user", observation))
