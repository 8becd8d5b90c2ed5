"""Who writes the text: a model with exact tokens, a chat server, a scripted expert, fixed replies.

A `Policy` opens a `Dialogue` for one trial (planner) or one reflection (reflector). A dialogue is one growing
sequence: the prompt, then what was sampled, then the observation, and so on. Nothing sampled is tokenised again, so
the recorded log-probabilities stay exact and the engine's prefix cache always hits.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from data.errors import EngineError
from data.types import Completion, Task, Trial, Turn
from envs.base import Expert
from retro_dash.agent.prompts import Message
from retro_dash.agent.reply import STOP_TEXTS, Reply, format_reply, parse_reply

OnText = Callable[[str], None]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class Sampling:
    """How text is sampled in one trial."""

    temperature: float = 0.0
    seed: int = 0
    reply_tokens: int = 128
    """Tokens one reply may have."""
    stop: tuple[str, ...] = STOP_TEXTS


@dataclass(frozen=True)
class Briefing:
    """All that a policy may know when a dialogue begins."""

    task: Task
    messages: Sequence[Message]
    trial: Trial
    """Planner: the new trial with its opening. Reflector: the failed trial."""
    reflections: Sequence[str]
    """Earlier reflections on this task, oldest first."""


class Dialogue(Protocol):
    """One growing sequence of prompt, replies and observations."""

    @property
    def length(self) -> int:
        """Tokens so far; 0 where the policy has none."""
        ...

    @property
    def capacity(self) -> int | None:
        """Tokens that fit; None where the policy has no limit of its own."""
        ...

    def reply(self, on_text: OnText | None = None, should_stop: ShouldStop | None = None) -> Completion:
        """Sample the next reply. Raises EngineError."""
        ...

    def put(self, completion: Completion) -> None:
        """Take a reply as it was recorded, or a person's words (no token ids), instead of sampling one."""
        ...

    def tell(self, observation: str) -> None:
        """Add what the environment answered."""
        ...


class Policy(Protocol):
    """Plans or reflects."""

    name: str
    is_expert: bool

    def begin(self, briefing: Briefing, sampling: Sampling) -> Dialogue: ...


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
        sampling = Sampling(
            self._sampling.temperature,
            self._sampling.seed + self._replies,
            self._sampling.reply_tokens,
            self._sampling.stop,
        )
        sampled = self._server.sample(
            self._model, self._ids, sampling, min(sampling.reply_tokens, room), on_text, should_stop
        )
        return Completion(
            policy=self._model,
            text=sampled.text,
            finish_reason="stop" if sampled.finish_reason == "stop" else _finish(sampled.finish_reason),
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


def _finish(reason: str) -> str:
    return reason if reason in ("length", "abort") else "stop"


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
            finish_reason=_finish(reason),
            temperature=self._sampling.temperature,
            seconds=seconds,
        )

    def put(self, completion: Completion) -> None:
        self._messages.append(Message("assistant", completion.text))

    def tell(self, observation: str) -> None:
        self._messages.append(Message("user", observation))


class ExpertPolicy:
    """The scripted expert of an environment, as planner and as reflector; for watchers it may write at a pace."""

    is_expert = True

    def __init__(
        self, expert: Expert, role: str, name: str = "expert", words_per_second: float | None = None
    ) -> None:
        self.name = name
        self._expert, self._role = expert, role
        self._words_per_second = words_per_second

    def begin(self, briefing: Briefing, sampling: Sampling) -> ExpertDialogue:
        return ExpertDialogue(self.name, self._expert, self._role, briefing, self._words_per_second)


class ExpertDialogue:
    """Keeps the trial that the expert looks at."""

    length = 0
    capacity = None

    def __init__(
        self, name: str, expert: Expert, role: str, briefing: Briefing, words_per_second: float | None
    ) -> None:
        self._name, self._expert, self._role, self._briefing = name, expert, role, briefing
        self._words_per_second = words_per_second
        self._trial = briefing.trial
        self._last: Completion | None = None

    def reply(self, on_text: OnText | None = None, should_stop: ShouldStop | None = None) -> Completion:
        task, reflections = self._briefing.task, self._briefing.reflections
        if self._role == "reflector":
            text = self._expert.reflect(task, reflections, self._trial)
        else:
            move = self._expert.move(task, reflections, self._trial)
            text = format_reply(move.thought, move.action)
        if on_text is not None and not self._speak(text, on_text, should_stop):
            return Completion(policy=self._name, text=text, finish_reason="abort")
        return Completion(policy=self._name, text=text)

    def _speak(self, text: str, on_text: OnText, should_stop: ShouldStop | None) -> bool:
        """Hand out the text at a pace that people can read; False when stopped on the way."""
        if self._words_per_second is None:
            on_text(text)
            return True
        for word in re.findall(r"\S+\s*", text):
            if should_stop is not None and should_stop():
                return False
            on_text(word)
            time.sleep(1 / self._words_per_second)
        return True

    def put(self, completion: Completion) -> None:
        self._last = completion

    def tell(self, observation: str) -> None:
        parsed = parse_reply(self._last.text) if self._last else None
        thought, action = (parsed.thought, parsed.action) if isinstance(parsed, Reply) else ("", "")
        turn = Turn(
            index=len(self._trial.turns) + 1,
            thought=thought,
            action=action,
            observation=observation,
            reward=0.0,
            is_malformed=not isinstance(parsed, Reply),
        )
        self._trial = self._trial.model_copy(update={"turns": (*self._trial.turns, turn)})


class AbsentPolicy:
    """A policy that is looked for when it is first asked: what it played can be read and forked while it is away."""

    is_expert = False

    def __init__(self, name: str, find: Callable[[], Policy]) -> None:
        self.name = name
        self._find = find
        self._found: Policy | None = None

    def begin(self, briefing: Briefing, sampling: Sampling) -> Dialogue:
        """Raises what `find` raises, so that it can be tried again."""
        if self._found is None:
            self._found = self._find()
        return self._found.begin(briefing, sampling)


class ScriptedPolicy:
    """Gives fixed replies in order and then the last one for ever; for tests and demonstrations."""

    is_expert = False

    def __init__(self, replies: Sequence[str], name: str = "scripted") -> None:
        if not replies:
            raise ValueError("A scripted policy needs at least one reply.")
        self.name = name
        self._replies = tuple(replies)

    def begin(self, briefing: Briefing, sampling: Sampling) -> ScriptedDialogue:
        return ScriptedDialogue(self.name, self._replies)


class ScriptedDialogue:
    """Counts the replies given in one trial."""

    length = 0
    capacity = None

    def __init__(self, name: str, replies: tuple[str, ...]) -> None:
        self._name, self._replies, self._given = name, replies, 0

    def reply(self, on_text: OnText | None = None, should_stop: ShouldStop | None = None) -> Completion:
        text = self._replies[min(self._given, len(self._replies) - 1)]
        if on_text is not None:
            on_text(text)
        return Completion(policy=self._name, text=text)

    def put(self, completion: Completion) -> None:
        self._given += 1

    def tell(self, observation: str) -> None:
        pass
