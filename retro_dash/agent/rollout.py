"""The loop of the whole product: act, fail, reflect, try again.

A `Player` plays one episode, one verb at a time; a page presses the verbs singly, a batch calls `run_episode`. What
happens is recorded as events before it counts. The environment and the dialogue of the running trial are only caches
of the recorded episode: whenever they are missing (a fork, a restarted hub, a failed write) they are rebuilt by
replaying the recorded actions, and an environment that then answers differently is an error, never a silent change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import Literal

from pydantic import JsonValue

from data.episodes import apply, reflection_after
from data.errors import EngineError, EnvironmentCrashed, Refused, RetroDashError
from data.events import EpisodeFinished, EventBody, ReflectionWritten, TrialFinished, TrialStarted, TurnTaken
from data.types import Episode, EpisodeState, Reflection, StopReason, Strategy, Task, Trial, Turn
from envs.base import Environment, EnvironmentKind, Options, StepOutcome
from retro_dash.agent.briefing import Briefing, brief_planner, brief_reflector
from retro_dash.agent.limits import Limits, stop_after_turn, stop_before_reply, turn_limit
from retro_dash.agent.policy import Dialogue, Policy, ShouldStop
from retro_dash.agent.prompts import as_text
from retro_dash.agent.proposal import Proposal, choose, propose
from retro_dash.agent.reply import Malformed, Reply
from retro_dash.agent.sampling import planner_sampling, reflector_sampling
from retro_dash.agent.seat import Seat, rebuild

Record = Callable[[EventBody], None]
"""Stores an event; returns once it is safe."""
OnText = Callable[[Literal["planner", "reflector"], str], None]


class Player:
    """Plays one episode. Not thread-safe: one verb at a time."""

    def __init__(
        self,
        episode: Episode,
        kind: EnvironmentKind,
        open_environment: Callable[[Task, Options], Environment],
        planner: Policy,
        reflector: Policy,
        record: Record,
        *,
        limits: Limits | None = None,
        on_text: OnText | None = None,
    ) -> None:
        self.episode = episode
        self.kind = kind
        self.limits = limits or Limits()
        self.proposal: Proposal | None = None
        self._open, self._options = open_environment, episode.options
        self._planner, self._reflector = planner, reflector
        self._record_event, self._on_text = record, on_text
        self._seat: Seat | None = None

    # What is going on

    @property
    def trial(self) -> Trial | None:
        """The running trial."""
        last = self.last_trial
        return last if last is not None and last.stop_reason is None else None

    @property
    def last_trial(self) -> Trial | None:
        return self.episode.trials[-1] if self.episode.trials else None

    @property
    def is_over(self) -> bool:
        return self.episode.state is not EpisodeState.RUNNING

    @property
    def wants_reflection(self) -> bool:
        """Whether a failed trial waits for its reflection."""
        last = self.last_trial
        return (
            not self.is_over
            and last is not None
            and last.stop_reason is not None
            and self.episode.strategy in (Strategy.REFLEXION, Strategy.BOTH)
            and reflection_after(self.episode, last.index) is None
        )

    @property
    def sequence_length(self) -> int:
        """Tokens of the running trial's sequence; 0 where the planner has none."""
        return self._seat.dialogue.length if self._seat else 0

    # Verbs

    def start_trial(self) -> Trial:
        """Begin the next trial with the reflections so far. Raises Refused when one is running or all are used."""
        self._refuse_if_over()
        if self.trial is not None:
            raise Refused(f"Trial {self.trial.index} is still running. Finish or stop it first.")
        environment = self._open(self.episode.task, self._options)
        try:
            trial = self._next_trial(environment.start(), environment.view())
            briefing = brief_planner(self.episode, self.kind, trial, self.limits)
            trial = trial.model_copy(update={"prompt": as_text(briefing.messages)})
            dialogue = self._begin_planner(replace(briefing, trial=trial))
            self._record(TrialStarted(episode_id=self.episode.id, trial=trial))
        except BaseException:
            environment.close()
            raise
        self._seat = Seat(environment, dialogue)
        return trial

    def propose(self, should_stop: ShouldStop | None = None) -> Proposal | None:
        """Let the planner write its next turn without executing it. None when the trial had to end instead."""
        trial = self._running_trial()
        dialogue = self._sit().dialogue
        room = None if dialogue.capacity is None else dialogue.capacity - dialogue.length
        stop = stop_before_reply(trial, room, self.limits)
        if stop is not None:
            self._finish_trial(stop)
            return None
        completion = dialogue.reply(self._stream("planner"), should_stop)
        if completion.finish_reason == "abort":
            return None
        self.proposal = propose(completion)
        return self.proposal

    def act(self, thought: str | None = None, action: str | None = None) -> Turn:
        """Execute the proposal, or a person's thought and action instead of it."""
        trial = self._running_trial()
        seat = self._sit()
        started = monotonic()
        chosen = choose(self.proposal, thought, action)
        completion, parsed = chosen.completion, chosen.parsed
        outcome, view = self._execute(trial, seat.environment, parsed)
        turn = Turn(
            index=len(trial.turns) + 1,
            thought=parsed.thought if isinstance(parsed, Reply) else completion.text.strip(),
            action=parsed.action if isinstance(parsed, Reply) else "",
            observation=outcome.observation,
            reward=outcome.reward,
            author="human" if chosen.is_human else "expert" if self._planner.is_expert else "planner",
            edited_from=chosen.edited_from,
            is_valid=outcome.is_valid,
            is_malformed=isinstance(parsed, Malformed),
            completion=completion,
            view=view,
            seconds=completion.seconds + monotonic() - started,
        )
        self._record(TurnTaken(episode_id=self.episode.id, trial=trial.index, turn=turn))
        seat.dialogue.put(completion)
        seat.dialogue.tell(turn.observation)
        self.proposal = None
        turns = turn_limit(self.episode.task, self.kind)
        stop = outcome.stop or stop_after_turn(self._running_trial(), turns, self.limits)
        if stop is not None:
            self._finish_trial(stop)
        return turn

    def step(self, should_stop: ShouldStop | None = None) -> Turn | None:
        """One whole turn; starts a trial when none runs. None when it ended or was stopped before acting."""
        if self.trial is None:
            self.start_trial()
        if self.proposal is None and self.propose(should_stop) is None:
            return None
        return self.act()

    def run_trial(self, should_stop: ShouldStop | None = None) -> Trial:
        """Play the running trial, or the next one, to its end."""
        if self.trial is None:
            self.start_trial()
        while self.trial is not None and not (should_stop and should_stop()):
            self.step(should_stop)
        last = self.last_trial
        assert last is not None
        return last

    def reflect(self, text: str | None = None) -> Reflection:
        """Let the reflector look back at the last trial, or take a person's words."""
        self._refuse_if_over()
        trial = self.last_trial
        if trial is None or trial.stop_reason is None:
            raise Refused("There is nothing to reflect on: no trial has ended yet.")
        if text is not None:
            return self._write(Reflection(after_trial=trial.index, text=text, author="human", created_at=_now()))
        briefing = brief_reflector(self.episode, self.kind, trial, self.limits)
        sampling = reflector_sampling(self.episode, trial.index, self.limits)
        completion = self._reflector.begin(briefing, sampling).reply(self._stream("reflector"))
        return self._write(
            Reflection(
                after_trial=trial.index,
                text=completion.text.strip(),
                author="expert" if self._reflector.is_expert else "reflector",
                prompt=as_text(briefing.messages),
                completion=completion,
                created_at=_now(),
            )
        )

    def edit_reflection(self, text: str) -> Reflection:
        """Replace the last reflection before it is used; an empty text takes it out of the next trial's memory."""
        self._refuse_if_over()
        trial = self.last_trial
        current = reflection_after(self.episode, trial.index) if trial and trial.stop_reason else None
        if current is None:
            raise Refused("There is no unused reflection to edit: the next trial already began, or none was written.")
        original = current.text if current.edited_from is None else current.edited_from
        return self._write(current.model_copy(update={"text": text, "author": "human", "edited_from": original}))

    def run_episode(self, should_stop: ShouldStop | None = None) -> Episode:
        """Trials and reflections until the task is solved or the trials are used up."""
        while not self.is_over and not (should_stop and should_stop()):
            if self.wants_reflection:
                self.reflect()
            self.run_trial(should_stop)
        return self.episode

    def stop(self) -> None:
        """End the episode by a person's decision; the running trial is kept as it is."""
        if self.is_over:
            return
        if self.trial is not None:
            self._finish_trial(StopReason.STOPPED)
        if not self.is_over:
            self._end(EpisodeState.STOPPED)

    def give_up(self, error: RetroDashError) -> None:
        """End an episode that broke, with the reason on its last trial (batches; a person would rather try again)."""
        if self.is_over:
            return
        last = self.last_trial
        if last is None or last.error is None:
            if self.trial is None:
                self._record(TrialStarted(episode_id=self.episode.id, trial=self._next_trial()))
            is_model = isinstance(error, EngineError)
            self._finish_trial(StopReason.MODEL_ERROR if is_model else StopReason.ENVIRONMENT_ERROR, str(error))
        if not self.is_over:
            self._end(EpisodeState.ERROR)

    def view(self) -> dict[str, object]:
        """What the environment shows people now."""
        last = self.last_trial
        if last is None:
            return {}
        return dict((last.turns[-1].view if last.turns else last.view) or {})

    def close(self) -> None:
        """Free the environment; the episode can be continued later."""
        if self._seat is not None:
            self._seat.environment.close()
            self._seat = None

    # Inside

    def _record(self, body: EventBody) -> None:
        try:
            self._record_event(body)
        except BaseException:
            self.close()
            self.proposal = None
            raise
        self.episode = apply(self.episode, body)

    def _write(self, reflection: Reflection) -> Reflection:
        self._record(ReflectionWritten(episode_id=self.episode.id, reflection=reflection))
        return reflection

    def _next_trial(self, opening: str = "", view: dict[str, JsonValue] | None = None) -> Trial:
        return Trial(index=len(self.episode.trials) + 1, prompt="", opening=opening, view=view, started_at=_now())

    def _execute(
        self, trial: Trial, environment: Environment, parsed: Reply | Malformed
    ) -> tuple[StepOutcome, dict[str, JsonValue] | None]:
        """What the environment answers and shows; a malformed turn never reaches it and gets a correction."""
        last = trial.turns[-1] if trial.turns else None
        if isinstance(parsed, Malformed):
            correction = StepOutcome(parsed.correction, last.reward if last else 0.0, None, False)
            return correction, last.view if last else trial.view
        try:
            return environment.step(parsed.action), environment.view()
        except EnvironmentCrashed as error:
            self._finish_trial(StopReason.ENVIRONMENT_ERROR, str(error))
            raise

    def _finish_trial(self, stop: StopReason, error: str | None = None) -> None:
        trial = self._running_trial()
        self._record(
            TrialFinished(
                episode_id=self.episode.id,
                trial=trial.index,
                reward=trial.turns[-1].reward if trial.turns else 0.0,
                success=stop is StopReason.SOLVED,
                stop_reason=stop,
                error=error,
                finished_at=_now(),
            )
        )
        self.proposal = None
        self.close()
        if stop is StopReason.SOLVED:
            self._end(EpisodeState.SOLVED)
        elif trial.index >= self.episode.trial_limit and stop is not StopReason.STOPPED:
            is_broken = stop in (StopReason.MODEL_ERROR, StopReason.ENVIRONMENT_ERROR)
            self._end(EpisodeState.ERROR if is_broken else EpisodeState.FAILED)

    def _end(self, state: EpisodeState) -> None:
        self._record(EpisodeFinished(episode_id=self.episode.id, state=state))

    def _sit(self) -> Seat:
        """The seat of the running trial, rebuilt from what is recorded where it is missing."""
        if self._seat is None:
            trial = self._running_trial()
            environment = self._open(self.episode.task, self._options)
            try:
                self._seat = rebuild(trial, environment, self._begin_again)
            except BaseException:
                environment.close()
                raise
        return self._seat

    def _begin_again(self, trial: Trial) -> Dialogue:
        return self._begin_planner(brief_planner(self.episode, self.kind, trial, self.limits))

    def _begin_planner(self, briefing: Briefing) -> Dialogue:
        sampling = planner_sampling(self.episode, briefing.trial.index, self.limits)
        return self._planner.begin(briefing, sampling)

    def _stream(self, role: Literal["planner", "reflector"]) -> Callable[[str], None] | None:
        on_text = self._on_text
        return None if on_text is None else lambda text: on_text(role, text)

    def _running_trial(self) -> Trial:
        self._refuse_if_over()
        if self.trial is None:
            raise Refused("No trial is running. Start the next trial first.")
        return self.trial

    def _refuse_if_over(self) -> None:
        if self.is_over:
            raise Refused(f"This episode has ended ({self.episode.state}). Fork it or play the task again.")


def _now() -> datetime:
    return datetime.now(UTC)
