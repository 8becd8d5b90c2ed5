"""A language model as judge: a verdict with a reason on whole episodes, kept as `judgement` labels beside people's.

The judge is any policy: a model of the engine, or of whatever OpenAI-compatible server. Rewards and outcomes are kept
from it, so that its agreement with people says something. Nothing that it says counts as a person's verdict; the
evaluator `judge` filters by it.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from data.errors import BadInput, EngineError, Refused, RetroDashError, Unavailable
from data.types import Episode, Label, LabelTarget, Noun, Trial
from retro_dash.agent.policies import ModelServer
from retro_dash.agent.policy import Briefing, Policy, Sampling
from retro_dash.agent.prompts import Message
from retro_dash.curation import Curation
from retro_dash.ids import new_id
from retro_dash.labels import LabelRequest
from retro_dash.serving.engine import connect_engine
from retro_dash.settings import Settings

SYSTEM = """You judge recordings of a language agent that acts in a text environment. Would another agent do well \
to imitate this one? Good: it understands the task, acts on what it sees, repeats nothing in vain, and ends with the \
task solved or the right answer. Bad: anything else. Answer with one JSON object and nothing else: \
{"reason": "one sentence", "verdict": "good"} or {"reason": "one sentence", "verdict": "bad"}."""
CHARACTERS = 12_000
FEWEST_CHARACTERS = 400
REPLY_TOKENS = 160
MOST_FAULTS = 3
"""Answers in a row that fail before the judge is given up."""
_OBJECT = re.compile(r"\{[^{}]*\}", re.DOTALL)
_WORD = re.compile(r"verdict\W{1,6}(good|bad)\b", re.IGNORECASE)


class Judgement(NamedTuple):
    """What a judge said of an episode."""

    verdict: str
    reason: str


class JudgeRequest(BaseModel):
    """Which episodes to judge; those that this model has judged are left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filter: str = ""
    model: str = ""
    """Empty for the server's first model."""
    limit: int = Field(default=100, ge=1, le=10_000)


class JudgeState(Noun):
    """How far the judge is."""

    state: Literal["idle", "judging", "done", "stopped", "failed"] = "idle"
    model: str = ""
    done: int = 0
    total: int = 0
    unreadable: int = 0
    """Answers that held no verdict."""
    error: str | None = None


def judge_episode(judge: Policy, episode: Episode) -> Judgement | None:
    """Ask for a verdict; None when the answer holds none. Raises EngineError."""
    characters = CHARACTERS
    while True:
        dialogue = judge.begin(_briefing(episode, characters), Sampling(reply_tokens=REPLY_TOKENS, stop=()))
        capacity = dialogue.capacity
        if capacity is None or dialogue.length + REPLY_TOKENS <= capacity or characters <= FEWEST_CHARACTERS:
            return parse_judgement(dialogue.reply().text)
        characters //= 2


def judge_messages(episode: Episode, characters: int = CHARACTERS) -> list[Message]:
    """The episode as the judge reads it, without rewards and outcomes, cut in the middle to `characters`."""
    parts = []
    for trial in episode.trials:
        parts.append(_transcript(trial))
        parts += [f"Reflection: {r.text}" for r in episode.reflections if r.after_trial == trial.index]
    text = "\n\n".join(parts)
    if len(text) > characters:
        text = f"{text[: characters // 3]}\n[… cut …]\n{text[-2 * characters // 3 :]}"
    task = episode.task.instruction[:characters]
    return [Message("system", SYSTEM), Message("user", f"Task: {task}\n\n{text}\n\nYour verdict as JSON:")]


def parse_judgement(text: str) -> Judgement | None:
    """The verdict of an answer: its last JSON object with one, else the words `verdict: good` or `bad`."""
    for found in reversed(_OBJECT.findall(text)):
        try:
            value = json.loads(found)
        except ValueError:
            continue
        verdict = str(value.get("verdict", "")).strip().lower()
        if verdict in ("good", "bad"):
            return Judgement(verdict, str(value.get("reason", ""))[:1000])
    said = _WORD.findall(text)
    return Judgement(said[-1].lower(), "") if said else None


def judgement_request(episode_id: str, model: str, judgement: Judgement) -> LabelRequest:
    """The label that keeps a judgement."""
    return LabelRequest(
        id=new_id("label"),
        target=LabelTarget(episode_id=episode_id, part="episode"),
        name="judgement",
        value={"verdict": judgement.verdict, "reason": judgement.reason, "model": model},
        annotator=f"judge:{model}"[:80],
    )


def judgements(judge: Policy, episodes: Iterable[Episode]) -> Iterator[tuple[Episode, Judgement | None]]:
    """One after the other. A fault of one episode (too long for the server) is an unreadable answer; several in a
    row end it with the EngineError."""
    faults = 0
    for episode in episodes:
        try:
            said = judge_episode(judge, episode)
            faults = 0
        except EngineError:
            faults += 1
            if faults == MOST_FAULTS:
                raise
            said = None
        yield episode, said


def judged_by(labels: Iterable[Label], model: str) -> set[str]:
    """Ids of the episodes that a model has judged."""
    return {
        label.target.episode_id
        for label in labels
        if label.name == "judgement" and isinstance(label.value, dict) and label.value["model"] == model
    }


def find_judge(settings: Settings, engine: ModelServer | None, name: str) -> Policy:
    """The model called `name` (any for "") of the server that `judge` sets, else of the engine.

    Raises Unavailable when there is neither, UnknownName, EngineError.
    """
    server = connect_engine(settings, settings.judge) if settings.judge else engine
    if server is None:
        raise Unavailable('No model can judge: start an engine, or set judge = "https://…" in retro.toml.')
    model = name or server.default_model()
    if not model:
        raise EngineError("The server of the judge lists no model. Is it ready, and OpenAI-compatible?")
    return server.policy(model)


class Judging:
    """The hub's judge: one job at a time, in the background. `find_judge` gives the policy of a name ("" for any)."""

    def __init__(self, curation: Curation, find_judge: Callable[[str], Policy]) -> None:
        self._curation, self._find_judge = curation, find_judge
        self._lock = threading.Lock()
        self._state = JudgeState()
        self._stop = threading.Event()

    def state(self) -> JudgeState:
        return self._state

    def start(self, request: JudgeRequest) -> JudgeState:
        """Raises Refused while it judges, BadInput for a filter that finds nothing new, EngineError, UnknownName."""
        with self._lock:
            if self._state.state == "judging":
                raise Refused("The judge is at work. Stop it, or wait until it is done.")
            judge = self._find_judge(request.model)
            ids = self._unjudged(request.filter, judge.name)[: request.limit]
            if not ids:
                raise BadInput(f"{judge.name} has judged every episode of {request.filter!r}.")
            self._stop.clear()
            self._state = JudgeState(state="judging", model=judge.name, total=len(ids))
        threading.Thread(target=self._judge, args=(judge, ids), daemon=True, name="judge").start()
        return self._state

    def stop(self) -> None:
        """End after the episode that is being judged."""
        self._stop.set()

    def _unjudged(self, filter_text: str, model: str) -> list[str]:
        store = self._curation.store
        judged = judged_by(store.current_labels(name="judgement"), model)
        return [id_ for id_ in store.episode_ids(filter_text) if id_ not in judged]

    def _judge(self, judge: Policy, ids: list[str]) -> None:
        episodes = (self._curation.store.episode(id_) for id_ in ids if not self._stop.is_set())
        try:
            for episode, said in judgements(judge, episodes):
                if said is not None:
                    self._curation.label([judgement_request(episode.id, judge.name, said)])
                self._change(done=self._state.done + 1, unreadable=self._state.unreadable + (said is None))
            self._change(state="stopped" if self._stop.is_set() else "done")
        except RetroDashError as error:
            self._change(state="failed", error=str(error))
        except Exception as error:  # The state must end, whatever broke.
            self._change(state="failed", error=f"{type(error).__name__} while judging; see the hub's log.")
            raise

    def _change(self, **changes: object) -> None:
        with self._lock:
            self._state = self._state.model_copy(update=changes)


def _briefing(episode: Episode, characters: int) -> Briefing:
    trial = (
        episode.trials[-1] if episode.trials else Trial(index=1, prompt="", opening="", started_at=episode.created_at)
    )
    return Briefing(episode.task, judge_messages(episode, characters), trial, ())


def _transcript(trial: Trial) -> str:
    lines = [f"Trial {trial.index}", trial.opening]
    for turn in trial.turns:
        lines += [f"Thought: {turn.thought}" if turn.thought else "", f"> {turn.action}", turn.observation]
    return "\n".join(line for line in lines if line)
