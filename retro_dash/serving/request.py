"""One completion request while it is served: what was asked, what was sampled so far, and who listens."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from retro_dash.serving.detokenize import Detokenizer
from retro_dash.serving.sampling import Sampled, Sampling

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Update:
    """What is new since the last update. The last one has a finish reason or an error."""

    text: str = ""
    tokens: tuple[Sampled, ...] = ()
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    error: str | None = None

    def then(self, later: Update) -> Update:
        """Both as one."""
        return replace(later, text=self.text + later.text, tokens=self.tokens + later.tokens)


@dataclass(eq=False)
class Request:
    prompt_ids: list[int]
    max_tokens: int
    sampling: Sampling
    seed: int | None
    detokenizer: Detokenizer
    listener: Callable[[Update], None]
    """Called in the scheduler's thread; it must not block."""
    end_tokens: frozenset[int] = frozenset()
    """The model's own end-of-sequence tokens (empty with `ignore_eos`)."""
    stop_tokens: frozenset[int] = frozenset()
    top_logprobs: int = 0
    scores_prompt: bool = False
    tokens_per_update: int = 1
    """Every update wakes the server's event loop, which takes its time from the next step."""
    prompt_scores: list[Sampled] = field(default_factory=list)
    """Logprob of every prompt token but the first, in order, where `scores_prompt`."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    sampled_ids: list[int] = field(default_factory=list)
    held: Update = Update()
    """What the listener has not been told yet."""
    generator: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.generator = random.Random(self.seed)  # noqa: S311 - sampling, not secrecy

    @property
    def sampled(self) -> int:
        return len(self.sampled_ids)

    def take(self, result: Sampled) -> Update:
        """Adds the next sampled token; the update has a finish reason when it was the last."""
        token = result.token
        self.sampled_ids.append(token)
        ended = token in self.end_tokens or token in self.stop_tokens
        text = "" if ended else self.detokenizer.push(token)
        stopped_by = self.detokenizer.stopped_by
        reason: FinishReason | None = None
        if ended or stopped_by is not None:
            reason = "stop"
        elif self.sampled == self.max_tokens:
            reason = "length"
        if reason:
            text += self.detokenizer.finish()
            if self.detokenizer.stopped_by is not None:
                reason, stopped_by = "stop", self.detokenizer.stopped_by
        stop_reason = stopped_by if stopped_by is not None else token if token in self.stop_tokens else None
        return Update(text, (result,), reason, stop_reason)

    def tell(self, update: Update) -> None:
        """Passes it on to the listener, or holds it until there are enough tokens or the last one."""
        self.held = self.held.then(update)
        if update.finish_reason or len(self.held.tokens) >= self.tokens_per_update:
            told, self.held = self.held, Update()
            self.listener(told)

    def fail(self, error: str) -> None:
        self.listener(Update(error=error))
