"""A live episode: one player in the hub that any number of pages may watch and, one verb at a time, press.

Verbs run in a thread of the episode's own, so a closed page stops nothing. Watchers read numbered notices from a
cursor; one who comes late or was away too long is told to load the whole state anew.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from data.episodes import reflection_after
from data.errors import EngineError, Refused, RetroDashError
from data.events import EventBody, TurnTaken
from data.types import Episode, StopReason, Strategy
from retro_dash.agent.briefing import memory
from retro_dash.agent.limits import sampled_tokens, turn_limit
from retro_dash.agent.reply import Reply
from retro_dash.agent.rollout import Player
from retro_dash.present import page_episode

Phase = Literal["ready", "thinking", "proposed", "acting", "reflecting", "between_trials", "finished"]
KEPT_NOTICES = 4000


@dataclass(frozen=True)
class Notice:
    """Something a watcher wants to know."""

    cursor: int
    type: str
    data: dict[str, JsonValue]


class LiveEpisode:
    """Thread-safe shell around a Player."""

    def __init__(
        self, make_player: Callable[[Callable[[EventBody], None]], Player], store: Callable[[EventBody], None]
    ):
        self._store = store
        self._condition = threading.Condition()
        self._notices: deque[Notice] = deque(maxlen=KEPT_NOTICES)
        self._cursor = 0
        self._busy: Phase | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._partial: dict[str, JsonValue] | None = None
        self._error: str | None = None
        self.player = make_player(self._record)

    @property
    def episode(self) -> Episode:
        return self.player.episode

    @property
    def is_busy(self) -> bool:
        return self._busy is not None

    # Watching

    def state(self, with_episode: bool = True) -> dict[str, JsonValue]:
        """Everything a page needs to show the episode as it is now."""
        player = self.player
        with self._condition:
            episode, trial = player.episode, player.last_trial
            proposal = player.proposal
            parsed = proposal.parsed if proposal else None
            state: dict[str, JsonValue] = {
                "episode_id": episode.id,
                "env": episode.task.env,
                "instruction": episode.task.instruction,
                "state": episode.state,
                "phase": self._phase(),
                "partial": self._partial,
                "proposal": {
                    "thought": parsed.thought if isinstance(parsed, Reply) else "",
                    "action": parsed.action if isinstance(parsed, Reply) else "",
                    "raw": proposal.completion.text,
                }
                if proposal
                else None,
                "allowed": list(self._allowed()),
                "view": player.view(),  # type: ignore[dict-item]
                "budget": {
                    "turns_used": len(trial.turns) if trial else 0,
                    "turn_limit": turn_limit(episode.task, player.kind),
                    "tokens_used": sampled_tokens(trial.turns) if trial else 0,
                    "token_limit": player.limits.trial_tokens,
                    "sequence_length": player.sequence_length,
                },
                "pending_reflections": list(memory(episode, player.kind, len(episode.trials) + 1)),
                "cursor": self._cursor,
                "error": self._error,
            }
            if with_episode:
                state["episode"] = page_episode(episode)
            return state

    def notices(self, after: int) -> list[Notice] | None:
        """What happened after cursor `after`; None when that is no longer known and the state must be loaded anew."""
        with self._condition:
            if after > self._cursor or (self._notices and after + 1 < self._notices[0].cursor):
                return None
            return [notice for notice in self._notices if notice.cursor > after]

    # Verbs

    def step(self, hold: bool = False, thought: str | None = None, action: str | None = None) -> None:
        """One turn. With `hold` the planner writes and waits; thought or action are a person's words instead."""
        forced = thought is not None or action is not None

        def work() -> None:
            player = self.player
            if player.trial is None:
                player.start_trial()
            if not forced and player.proposal is None and player.propose(self._stop.is_set) is None:
                return
            if not hold:
                self._set_busy("acting")
                player.act(thought, action)

        self._start("acting" if forced or self.player.proposal else "thinking", work)

    def run_trial(self) -> None:
        self._start("thinking", lambda: self.player.run_trial(self._stop.is_set))

    def run_episode(self) -> None:
        self._start("thinking", lambda: self.player.run_episode(self._stop.is_set))

    def reflect(self, text: str | None = None) -> None:
        self._start("reflecting", lambda: self.player.reflect(text))

    def edit_reflection(self, text: str) -> None:
        self._start("reflecting", lambda: self.player.edit_reflection(text))

    def next_trial(self) -> None:
        self._start("acting", self.player.start_trial)

    def stop(self) -> None:
        """Interrupt what is running; when nothing runs, end the episode."""
        if self.is_busy:
            self._stop.set()
        else:
            self._start("acting", self.player.stop)

    def wait(self, timeout: float | None = None) -> bool:
        """Until the running verb has ended; False when it has not within `timeout` seconds."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return not self.is_busy

    def close(self) -> None:
        """Interrupt and free the environment; the episode stays as recorded."""
        self._stop.set()
        self.wait(5)
        self.player.close()

    # Inside

    def _start(self, phase: Phase, work: Callable[[], object]) -> None:
        with self._condition:
            if self._busy is not None:
                raise Refused(f"The episode is busy ({self._busy}). Wait, or press Stop.")
            if self.player.is_over:
                raise Refused(f"This episode has ended ({self.episode.state}). Fork it or play the task again.")
            self._busy, self._error = phase, None
            self._stop.clear()
            self._thread = threading.Thread(target=self._work, args=(work,), daemon=True, name="live-episode")
        self._notify("state", self.state(with_episode=False))
        self._thread.start()

    def _work(self, work: Callable[[], object]) -> None:
        error: str | None = None
        try:
            work()
        except RetroDashError as problem:
            error = str(problem)
            if isinstance(problem, EngineError):
                error += f" Nothing is lost: {self._way_on()}"
        except Exception as problem:  # A verb must never leave the episode busy for ever.
            error = f"Something unexpected broke: {type(problem).__name__}: {problem}. See the hub's log."
            raise
        finally:
            with self._condition:
                self._busy, self._partial, self._error = None, None, error
            if error is not None:
                self._notify("error", {"message": error})
            self._notify("state", self.state(with_episode=False))

    def _way_on(self) -> str:
        """What to do when the model did not answer."""
        if self.player.wants_reflection:
            return "press Reflect to try again, or write the reflection yourself."
        return "press Step to try this turn again, or choose another planner and go on with it."

    def _record(self, body: EventBody) -> None:
        self._store(body)
        with self._condition:
            self._partial = None
        payload = body.model_dump(mode="json")
        if isinstance(body, TurnTaken):
            payload |= {"turn": _light(payload["turn"]), "tokens_used": self._tokens_used(body)}
        match payload.pop("kind"):
            case "turn_taken":
                self._notify("turn", payload)
                self._set_busy("thinking")
            case "trial_started":
                self._notify("trial_started", {"trial": payload["trial"]})
            case "trial_finished":
                self._notify("trial_finished", payload)
                self._set_busy("reflecting")
            case "reflection_written":
                self._notify("reflection", {"reflection": _light(payload["reflection"])})
                self._set_busy("thinking")
            case "episode_finished":
                self._notify("finished", {"state": payload["state"]})

    def _tokens_used(self, taken: TurnTaken) -> int:
        """Tokens sampled in the trial, with the turn that it does not hold yet."""
        before = self.player.trial.turns if self.player.trial is not None else []
        return sampled_tokens([*before, taken.turn])

    def stream_text(self, role: str, text: str) -> None:
        """A piece of what a policy is writing now."""
        with self._condition:
            before = str(self._partial["text"]) if self._partial and self._partial["role"] == role else ""
            self._partial = {"role": role, "text": before + text}
            self._add("token", {"role": role, "text": text})

    def _set_busy(self, phase: Phase) -> None:
        with self._condition:
            if self._busy is not None:
                self._busy = phase

    def _notify(self, type_: str, data: dict[str, JsonValue]) -> None:
        with self._condition:
            self._add(type_, data)

    def _add(self, type_: str, data: dict[str, JsonValue]) -> None:
        self._cursor += 1
        self._notices.append(Notice(self._cursor, type_, data))

    def _phase(self) -> Phase:
        player = self.player
        if self._busy is not None:
            return self._busy
        if player.is_over:
            return "finished"
        if player.proposal is not None:
            return "proposed"
        return "between_trials" if player.last_trial is not None and player.trial is None else "ready"

    def _allowed(self) -> tuple[str, ...]:
        player = self.player
        if self._busy is not None:
            return ("stop",)
        if player.is_over:
            return ("fork",) if player.episode.trials else ()
        allowed = ["step", "run_trial", "run_episode", "stop"]
        last = player.last_trial
        if last is not None:
            allowed.append("fork")
            if player.trial is None and last.stop_reason is not StopReason.SOLVED:
                allowed += ["next_trial", "reflect"]
                if reflection_after(player.episode, last.index) is not None:
                    allowed.append("edit_reflection")
        if player.episode.strategy in (Strategy.NONE, Strategy.LAST_ATTEMPT):
            allowed = [verb for verb in allowed if verb not in ("reflect", "edit_reflection")]
        return tuple(allowed)


def _light(part: JsonValue) -> JsonValue:
    """A turn or reflection as JSON without token ids."""
    if isinstance(part, dict) and isinstance(part.get("completion"), dict):
        completion = {**part["completion"], "context_ids": None, "token_ids": None, "logprobs": None}  # type: ignore[dict-item]
        return {**part, "completion": completion}
    return part
