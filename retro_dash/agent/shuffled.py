"""Reflections written about other tasks: the control that tells good advice from having any text at all."""

from __future__ import annotations

import random
from collections.abc import Sequence

from data.errors import BadInput
from data.types import Episode
from retro_dash.agent.briefing import Briefing
from retro_dash.agent.policy import Dialogue
from retro_dash.agent.sampling import Sampling
from retro_dash.agent.scripted_policy import ScriptedDialogue

SHUFFLED = "shuffled:"
"""Opens the name of this reflector; the arm of the evaluation whose reflections it gives follows."""


class ShuffledPolicy:
    """Reflects on a failed trial with what was written after the same trial of another task, drawn with the seed."""

    is_expert = False

    def __init__(self, name: str, episodes: Sequence[Episode], seed: int) -> None:
        self.name = name
        self._written = [(e.task.id, r.after_trial, r.text) for e in episodes for r in e.reflections]
        self._seed = seed

    def begin(self, briefing: Briefing, sampling: Sampling) -> Dialogue:
        """Raises BadInput when nothing was written about another task."""
        task, trial = briefing.task.id, briefing.trial.index
        others = [written for written in self._written if written[0] != task]
        if not others:
            arm = self.name.removeprefix(SHUFFLED)
            raise BadInput(
                f"{arm!r} has no reflection on another task than {task}. Shuffle an arm that fails more often."
            )
        texts = [text for _, after, text in others if after == trial] or [text for _, _, text in others]
        drawn = random.Random(f"{self._seed} {task} {trial}").choice(texts)  # noqa: S311 - a draw, no secret
        return ScriptedDialogue(self.name, (drawn,))
