"""A language model as judge of stored episodes or reflections: `judgement` labels beside those of people.

The judge is any policy: a model of the engine, or of whatever OpenAI-compatible server. Nothing that it says counts
as a person's verdict; the evaluator `judge` filters by it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from data.errors import BadInput, EngineError, Refused, RetroDashError, Unavailable
from data.types import Noun, Trial
from retro_dash.agent.briefing import Briefing
from retro_dash.agent.policies import ModelServer
from retro_dash.agent.policy import Policy
from retro_dash.agent.sampling import Sampling
from retro_dash.curation import Curation
from retro_dash.judgement import CHARACTERS, Judgement, Matter, judged_by
from retro_dash.serving.engine import connect_engine
from retro_dash.settings import Settings

FEWEST_CHARACTERS = 400
REPLY_TOKENS = 160
MOST_FAULTS = 3
"""Answers in a row that fail before the judge is given up."""


class JudgeRequest(BaseModel):
    """What to judge; what this model has judged is left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filter: str = ""
    what: Literal["episodes", "reflections"] = "episodes"
    model: str = ""
    """Empty for the server's first model."""
    limit: int = Field(default=100, ge=1, le=10_000)
    """At most so many episodes or reflections."""


class JudgeState(Noun):
    """How far the judge is."""

    state: Literal["idle", "judging", "done", "stopped", "failed"] = "idle"
    what: Literal["episodes", "reflections"] = "episodes"
    model: str = ""
    done: int = 0
    total: int = 0
    unreadable: int = 0
    """Answers that held no verdict."""
    error: str | None = None


def judge_matter(judge: Policy, matter: Matter) -> Judgement | None:
    """Ask the judge; None when the answer says nothing. Raises EngineError."""
    characters = CHARACTERS
    while True:
        dialogue = judge.begin(_briefing(matter, characters), Sampling(reply_tokens=REPLY_TOKENS, stop=()))
        capacity = dialogue.capacity
        if capacity is None or dialogue.length + REPLY_TOKENS <= capacity or characters <= FEWEST_CHARACTERS:
            return matter.read(dialogue.reply().text)
        characters //= 2


def judgements(judge: Policy, given: Iterable[Matter]) -> Iterator[tuple[Matter, Judgement | None]]:
    """One after the other. A fault of one (too long for the server) is an unreadable answer; several in a row end it
    with the EngineError."""
    faults = 0
    for matter in given:
        try:
            said = judge_matter(judge, matter)
            faults = 0
        except EngineError:
            faults += 1
            if faults == MOST_FAULTS:
                raise
            said = None
        yield matter, said


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
            chosen = self._unjudged(request, judge.name)[: request.limit]
            if not chosen:
                raise BadInput(f"{judge.name} has judged all {request.what} of {request.filter!r}.")
            self._stop.clear()
            self._state = JudgeState(state="judging", what=request.what, model=judge.name, total=len(chosen))
        threading.Thread(target=self._judge, args=(judge, chosen), daemon=True, name="judge").start()
        return self._state

    def stop(self) -> None:
        """End after what is being judged."""
        self._stop.set()

    def _unjudged(self, request: JudgeRequest, model: str) -> list[tuple[str, int | None]]:
        """Id of the episode, and the trial of the reflection where it is about one."""
        store = self._curation.store
        judged = {(t.episode_id, t.trial) for t in judged_by(store.current_labels(name="judgement"), model)}
        found: list[tuple[str, int | None]]
        if request.what == "episodes":
            found = [(id_, None) for id_ in store.episode_ids(request.filter)]
        else:
            found = [(row.episode_id, row.trial) for row in store.reflections(request.filter) if row.text.strip()]
        return [one for one in found if one not in judged]

    def _matters(self, chosen: Iterable[tuple[str, int | None]]) -> Iterator[Matter]:
        for episode_id, trial in chosen:
            if self._stop.is_set():
                return
            episode = self._curation.store.episode(episode_id)
            reflections = [r for r in episode.reflections if r.after_trial == trial]
            yield Matter(episode, reflections[0] if reflections else None)

    def _judge(self, judge: Policy, chosen: list[tuple[str, int | None]]) -> None:
        try:
            for matter, said in judgements(judge, self._matters(chosen)):
                if said is not None:
                    self._curation.label([matter.label(judge.name, said)])
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


def _briefing(matter: Matter, characters: int) -> Briefing:
    episode = matter.episode
    nothing = Trial(index=1, prompt="", opening="", started_at=episode.created_at)
    trial = episode.trials[-1] if episode.trials else nothing
    return Briefing(episode.task, matter.messages(characters), trial, ())
