"""The scripted expert of an environment, as planner and as reflector."""

from __future__ import annotations

import re
import time

from data.types import Completion, Turn
from envs.base import Expert
from retro_dash.agent.briefing import Briefing
from retro_dash.agent.policy import OnText, ShouldStop
from retro_dash.agent.reply import Reply, format_reply, parse_reply
from retro_dash.agent.sampling import Sampling


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
