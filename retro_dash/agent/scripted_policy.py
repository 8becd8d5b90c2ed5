"""Fixed replies, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Sequence

from data.types import Completion
from retro_dash.agent.briefing import Briefing
from retro_dash.agent.policy import OnText, ShouldStop
from retro_dash.agent.sampling import Sampling


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
