"""An engine that speaks in tokens, and the tokens that its chat template puts between the turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from data.errors import EngineError
from retro_dash.agent.policy import OnText, ShouldStop
from retro_dash.agent.prompts import Message
from retro_dash.agent.sampling import Sampling


@dataclass(frozen=True)
class SampledTokens:
    """What a token server gives back for one request."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str
    seconds: float = 0.0


class TokenServer(Protocol):
    """An engine that takes token ids and gives them back with log-probabilities."""

    def context_length(self, model: str) -> int: ...

    def tokenize(self, model: str, text: str) -> list[int]: ...

    def tokenize_chat(self, model: str, messages: Sequence[Message]) -> list[int]:
        """The messages through the model's chat template, ready for the next reply."""
        ...

    def sample(
        self,
        model: str,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        max_tokens: int,
        on_text: OnText | None,
        should_stop: ShouldStop | None,
    ) -> SampledTokens: ...


@dataclass(frozen=True)
class ChatGlue:
    """The fixed tokens that a chat template puts between a reply and the next one."""

    after_reply: tuple[int, ...]
    """End of the assistant's turn and start of the user's."""
    before_reply: tuple[int, ...]
    """End of the user's turn and start of the assistant's."""


_PROBE_REPLY, _PROBE_OBSERVATION = "alpha", "omega"


def find_glue(server: TokenServer, model: str) -> ChatGlue:
    """Read the model's chat template from the outside: render two short chats and compare their tokens.

    Raises EngineError when the longer chat does not begin with the shorter one: such a template cannot be extended
    turn by turn.
    """
    start = [Message("system", "s"), Message("user", "u")]
    chat = [*start, Message("assistant", _PROBE_REPLY), Message("user", _PROBE_OBSERVATION)]
    prefix, whole = server.tokenize_chat(model, start), server.tokenize_chat(model, chat)
    reply, observation = server.tokenize(model, _PROBE_REPLY), server.tokenize(model, _PROBE_OBSERVATION)
    rest = whole[len(prefix) :]
    split = _find(rest, observation)
    if whole[: len(prefix)] != prefix or rest[: len(reply)] != reply or split is None:
        raise EngineError(
            f"The chat template of {model!r} cannot be extended turn by turn, so exact tokens cannot be recorded. "
            "Use a model whose template keeps earlier turns unchanged, or use this one as a chat server."
        )
    return ChatGlue(tuple(rest[len(reply) : split]), tuple(rest[split + len(observation) :]))


def _find(sequence: Sequence[int], part: Sequence[int]) -> int | None:
    for start in range(len(sequence) - len(part) + 1):
        if list(sequence[start : start + len(part)]) == list(part):
            return start
    return None
