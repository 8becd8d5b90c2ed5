"""What a language model is asked as judge, of an episode or of a reflection, and what its answers mean.

Rewards, gains and outcomes are kept from it, so that its agreement with people says something.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from data.types import Episode, Label, LabelTarget, Reflection, Trial
from retro_dash.agent.prompts import Message
from retro_dash.ids import new_id
from retro_dash.labels import LabelRequest

EPISODES = """You judge recordings of a language agent that acts in a text environment. Would another agent do well \
to imitate this one? Good: it understands the task, acts on what it sees, repeats nothing in vain, and ends with the \
task solved or the right answer. Bad: anything else. Answer with one JSON object and nothing else: \
{"reason": "...", "verdict": "..."}. The reason is one sentence, the verdict is good or bad."""
REFLECTIONS = """A language agent failed at a task in a text environment and wrote a reflection: advice to itself \
for the next attempt. You judge the advice. Accurate: it names what really went wrong in the attempt that you read. \
Actionable: it says in concrete words what to do differently. Answer with one JSON object and nothing else: \
{"reason": "...", "accurate": ..., "actionable": ...}. The reason is one sentence, the others are true or false."""
# No whole answer as an example: a weak model would give it back, and agree with whoever wrote it.
CHARACTERS = 12_000
QUALITIES = ("accurate", "actionable")
_OBJECT = re.compile(r"\{[^{}]*\}", re.DOTALL)
_WORD = re.compile(r"verdict\W{1,6}(good|bad)\b(?! or\b)", re.IGNORECASE)
_TRUTHS = {"true": True, "yes": True, "false": False, "no": False}


class Judgement(NamedTuple):
    """What a judge said. A reflection is good when it is accurate and actionable."""

    verdict: str
    reason: str
    accurate: bool | None = None
    actionable: bool | None = None
    """Both None for an episode."""


@dataclass(frozen=True)
class Matter:
    """What is judged: an episode, or one of its reflections."""

    episode: Episode
    reflection: Reflection | None = None

    @property
    def target(self) -> LabelTarget:
        if self.reflection is None:
            return LabelTarget(episode_id=self.episode.id, part="episode")
        return LabelTarget(episode_id=self.episode.id, part="reflection", trial=self.reflection.after_trial)

    def messages(self, characters: int = CHARACTERS) -> list[Message]:
        """What the judge reads, cut in the middle to `characters`."""
        task = f"Task: {self.episode.task.instruction[:characters]}"
        if self.reflection is None:
            text = _cut("\n\n".join(_whole(self.episode)), characters)
            return [Message("system", EPISODES), Message("user", f"{task}\n\n{text}\n\nYour verdict as JSON:")]
        trial = next((t for t in self.episode.trials if t.index == self.reflection.after_trial), None)
        text = _cut(_transcript(trial) if trial else "", characters)
        advice = f"Reflection: {self.reflection.text[:characters]}"
        return [
            Message("system", REFLECTIONS),
            Message("user", f"{task}\n\n{text}\n\n{advice}\n\nYour answer as JSON:"),
        ]

    def read(self, answer: str) -> Judgement | None:
        """What an answer says; None when it says nothing."""
        return parse_judgement(answer) if self.reflection is None else parse_quality(answer)

    def label(self, model: str, said: Judgement) -> LabelRequest:
        """The label that keeps a judgement."""
        value: dict[str, Any] = {"verdict": said.verdict, "reason": said.reason, "model": model}
        if self.reflection is not None:
            value |= {"accurate": said.accurate, "actionable": said.actionable}
        return LabelRequest(
            id=new_id("label"), target=self.target, name="judgement", value=value, annotator=f"judge:{model}"[:80]
        )


def matters(episode: Episode, of_reflections: bool) -> list[Matter]:
    """What there is to judge in an episode: itself, or its reflections that are not empty."""
    if not of_reflections:
        return [Matter(episode)]
    return [Matter(episode, reflection) for reflection in episode.reflections if reflection.text.strip()]


def judged_by(labels: Iterable[Label], model: str) -> set[LabelTarget]:
    """What a model has judged."""
    return {
        label.target
        for label in labels
        if label.name == "judgement" and isinstance(label.value, dict) and label.value["model"] == model
    }


def parse_judgement(text: str) -> Judgement | None:
    """The verdict of an answer: its last JSON object with one, else the words `verdict: good` or `bad`."""
    for value in _objects(text):
        verdict = str(value.get("verdict", "")).strip().lower()
        if verdict in ("good", "bad"):
            return Judgement(verdict, str(value.get("reason", ""))[:1000])
    said = _WORD.findall(text)
    return Judgement(said[-1].lower(), "") if said else None


def parse_quality(text: str) -> Judgement | None:
    """Whether advice is accurate and actionable: the last JSON object that says both, else words that do."""
    for value in _objects(text):
        found = [_TRUTHS.get(str(value.get(name)).strip().lower()) for name in QUALITIES]
        if None not in found:
            return _of_quality(bool(found[0]), bool(found[1]), str(value.get("reason", ""))[:1000])
    words = [
        re.findall(rf"\b{name}\W{{1,6}}(true|false|yes|no)\b(?! or\b)", text, re.IGNORECASE) for name in QUALITIES
    ]
    if not all(words):
        return None
    accurate, actionable = (_TRUTHS[found[-1].lower()] for found in words)
    return _of_quality(accurate, actionable, "")


def _of_quality(accurate: bool, actionable: bool, reason: str) -> Judgement:
    return Judgement("good" if accurate and actionable else "bad", reason, accurate, actionable)


def _objects(text: str) -> Iterable[dict[str, Any]]:
    """The JSON objects in a text, the last one first."""
    for found in reversed(_OBJECT.findall(text)):
        try:
            value = json.loads(found)
        except ValueError:
            continue
        yield value


def _whole(episode: Episode) -> Iterable[str]:
    for trial in episode.trials:
        yield _transcript(trial)
        yield from (f"Reflection: {r.text}" for r in episode.reflections if r.after_trial == trial.index)


def _transcript(trial: Trial) -> str:
    lines = [f"Trial {trial.index}", trial.opening]
    for turn in trial.turns:
        lines += [f"Thought: {turn.thought}" if turn.thought else "", f"> {turn.action}", turn.observation]
    return "\n".join(line for line in lines if line)


def _cut(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    return f"{text[: characters // 3]}\n[… cut …]\n{text[-2 * characters // 3 :]}"
