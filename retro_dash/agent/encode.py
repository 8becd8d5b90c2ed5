"""Recorded text as training tokens: the same prompt, glue and end-of-turn that sampling would have used.

Experts and chat servers leave no token ids. `EpisodeEncoder` renders their trials and reflections through the very
prompts and chat template of play, so that what is imitated is what will be sampled.
"""

from __future__ import annotations

from data.errors import TrainingError
from data.types import Episode, Reflection, Trial, Turn
from envs.base import EnvironmentKind
from retro_dash.agent.briefing import brief_reflector, recorded_messages
from retro_dash.agent.limits import Limits
from retro_dash.agent.reply import reply_text
from retro_dash.agent.token_server import ChatGlue, TokenServer, find_glue
from training.samples import Segment


class EpisodeEncoder:
    """Encodes the trials and reflections of one model's episodes."""

    def __init__(self, model: str, tokenizer: TokenServer, limits: Limits | None = None) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._limits = limits or Limits()
        self._glue: ChatGlue = find_glue(tokenizer, model)
        if not self._glue.after_reply:
            raise TrainingError(f"The chat template of {model!r} has no end-of-turn token, so no reply could end.")

    def encode(self, episode: Episode, kind: EnvironmentKind, part: Trial | Reflection) -> list[Segment]:
        """Segments of a trial or of the reflection, prompt first. Replies are what a policy is to write."""
        return self._trial(episode, kind, part) if isinstance(part, Trial) else self._reflection(episode, kind, part)

    def _trial(self, episode: Episode, kind: EnvironmentKind, trial: Trial) -> list[Segment]:
        prompt = self._tokenizer.tokenize_chat(self._model, recorded_messages(episode, kind, trial, self._limits))
        end, between = self._glue.after_reply[:1], self._glue.after_reply[1:]
        segments = [Segment(tuple(prompt), is_policy=False)]
        for turn in trial.turns:
            reply = (*self._text(reply_text(turn)), *end)
            segments.append(Segment(reply, is_policy=_is_worth_imitating(turn), turn=turn.index))
            if turn.index < len(trial.turns):
                answer = (*between, *self._text(turn.observation), *self._glue.before_reply)
                segments.append(Segment(answer, is_policy=False, turn=turn.index))
        return segments

    def _reflection(self, episode: Episode, kind: EnvironmentKind, reflection: Reflection) -> list[Segment]:
        trial = next(t for t in episode.trials if t.index == reflection.after_trial)
        messages = brief_reflector(episode, kind, trial, self._limits).messages
        prompt = self._tokenizer.tokenize_chat(self._model, messages)
        text = (*self._text(reflection.text.strip()), *self._glue.after_reply[:1])
        return [Segment(tuple(prompt), is_policy=False), Segment(text, is_policy=bool(reflection.text.strip()))]

    def _text(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.tokenize(self._model, text))


def _is_worth_imitating(turn: Turn) -> bool:
    return turn.is_valid and not turn.is_malformed
