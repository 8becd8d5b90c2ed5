"""The loop of the whole product: act, fail, reflect, try again.

A `Player` plays one episode, one verb at a time; a page presses the verbs singly, a batch calls `run_episode`. What
happens is recorded as events before it counts. The environment and the dialogue of the running trial are only caches
of the recorded episode: whenever they are missing (a fork, a restarted hub, a failed write) they are rebuilt by
replaying the recorded actions, and an environment that then answers differently is an error, never a silent change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Literal
from zlib import crc32

from data.episodes import apply, reflection_after
from data.errors import BadInput, EngineError, EnvironmentCrashed, Refused, RetroDashError
from data.events import (
    EpisodeFinished,
    EventBody,
    ReflectionWritten,
    TrialFinished,
    TrialStarted,
    TurnTaken,
)
from data.types import (
    Completion,
    Episode,
    EpisodeState,
    Reflection,
    StopReason,
    Strategy,
    Task,
    Trial,
    Turn,
)
from envs.base import Environment, EnvironmentKind, Options, StepOutcome
from retro_dash.agent.limits import Limits, sampled_tokens, turn_limit
from retro_dash.agent.memory import memory, trial_messages
from retro_dash.agent.policy import Briefing, Dialogue, Policy, Sampling, ShouldStop
from retro_dash.agent.prompts import Message, as_text, reflector_messages
from retro_dash.agent.reply import Malformed, Reply, format_reply, parse_reply

Record = Callable[[EventBody], None]
"""Stores an event; returns once it is safe."""
OnText = Callable[[Literal["planner", "reflector"], str], None]


@dataclass(frozen=True)
class Proposal:
    """A planner's turn that was written and not yet executed."""

    completion: Completion
    parsed: Reply | Malformed


@dataclass
class _Seat:
    """The running trial's live parts."""

    environment: Environment
    dialogue: Dialogue


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
        self._seat: _Seat | None = None

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
        index = len(self.episode.trials) + 1
        environment = self._open(self.episode.task, self._options)
        try:
            opening, view = environment.start(), environment.view()
            bare = Trial(index=index, prompt="", opening=opening, view=view, started_at=_now())
            messages = trial_messages(self.episode, self.kind, bare, self.limits)
            trial = bare.model_copy(update={"prompt": as_text(messages)})
            dialogue = self._begin_planner(trial, messages)
            self._record(TrialStarted(episode_id=self.episode.id, trial=trial))
        except BaseException:
            environment.close()
            raise
        self._seat = _Seat(environment, dialogue)
        return trial

    def propose(self, should_stop: ShouldStop | None = None) -> Proposal | None:
        """Let the planner write its next turn without executing it. None when the trial had to end instead."""
        trial = self._running_trial()
        seat = self._sit()
        if seat.dialogue.capacity is not None and seat.dialogue.capacity - seat.dialogue.length < 16:
            self._finish_trial(StopReason.CONTEXT_LIMIT)
            return None
        if sampled_tokens(trial) >= self.limits.trial_tokens:
            self._finish_trial(StopReason.TOKEN_LIMIT)
            return None
        completion = seat.dialogue.reply(self._stream("planner"), should_stop)
        if completion.finish_reason == "abort":
            return None
        self.proposal = Proposal(completion, parse_reply(completion.text))
        return self.proposal

    def act(self, thought: str | None = None, action: str | None = None) -> Turn:
        """Execute the proposal, or a person's thought and action instead of it."""
        trial = self._running_trial()
        seat = self._sit()
        started = monotonic()
        completion, parsed, author, edited_from = self._choose(thought, action)
        if isinstance(parsed, Malformed):
            outcome = StepOutcome(parsed.correction, trial.turns[-1].reward if trial.turns else 0.0, None, False)
            view = trial.turns[-1].view if trial.turns else trial.view
        else:
            try:
                outcome = seat.environment.step(parsed.action)
                view = seat.environment.view()
            except EnvironmentCrashed as error:
                self._finish_trial(StopReason.ENVIRONMENT_ERROR, str(error))
                raise
        turn = Turn(
            index=len(trial.turns) + 1,
            thought=parsed.thought if isinstance(parsed, Reply) else completion.text.strip(),
            action=parsed.action if isinstance(parsed, Reply) else "",
            observation=outcome.observation,
            reward=outcome.reward,
            author=author,
            edited_from=edited_from,
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
        stop = outcome.stop or self._limit_reached()
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
        earlier = memory(self.episode, self.kind, trial.index)
        messages = reflector_messages(self.episode.task, trial, earlier, self.limits.reflector_characters)
        sampling = Sampling(
            self.episode.temperature, self._seed(trial.index) + 500, self.limits.reflection_tokens, stop=()
        )
        dialogue = self._reflector.begin(Briefing(self.episode.task, messages, trial, earlier), sampling)
        completion = dialogue.reply(self._stream("reflector"))
        return self._write(
            Reflection(
                after_trial=trial.index,
                text=completion.text.strip(),
                author="expert" if self._reflector.is_expert else "reflector",
                prompt=as_text(messages),
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
        return self._write(
            current.model_copy(
                update={
                    "text": text,
                    "author": "human",
                    "edited_from": current.edited_from if current.edited_from is not None else current.text,
                }
            )
        )

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
            self._record(EpisodeFinished(episode_id=self.episode.id, state=EpisodeState.STOPPED))

    def give_up(self, error: RetroDashError) -> None:
        """End an episode that broke, with the reason on its last trial (batches; a person would rather try again)."""
        if self.is_over:
            return
        last = self.last_trial
        if last is None or last.error is None:
            if self.trial is None:
                index = len(self.episode.trials) + 1
                self._record(
                    TrialStarted(
                        episode_id=self.episode.id, trial=Trial(index=index, prompt="", opening="", started_at=_now())
                    )
                )
            is_model = isinstance(error, EngineError)
            self._finish_trial(StopReason.MODEL_ERROR if is_model else StopReason.ENVIRONMENT_ERROR, str(error))
        if not self.is_over:
            self._record(EpisodeFinished(episode_id=self.episode.id, state=EpisodeState.ERROR))

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

    def _choose(
        self, thought: str | None, action: str | None
    ) -> tuple[Completion, Reply | Malformed, Literal["planner", "expert", "human"], str | None]:
        """Whose words are executed: the proposal's, or a person's."""
        proposal = self.proposal
        if thought is None and action is None:
            if proposal is None:
                raise Refused("There is no proposed turn to execute. Step first, or write an action.")
            return proposal.completion, proposal.parsed, "expert" if self._planner.is_expert else "planner", None
        written = proposal.parsed if proposal and isinstance(proposal.parsed, Reply) else Reply("", "")
        chosen = Reply(
            written.thought if thought is None else thought, written.action if action is None else action.strip()
        )
        if not chosen.action:
            raise BadInput("The action is empty. Write what the planner should do.")
        if proposal is not None and chosen == proposal.parsed:
            return proposal.completion, proposal.parsed, "expert" if self._planner.is_expert else "planner", None
        text = format_reply(chosen.thought, chosen.action)
        original = proposal.completion.text if proposal else None
        return Completion(policy="human", text=text), chosen, "human", original

    def _limit_reached(self) -> StopReason | None:
        trial = self._running_trial()
        worst = self.limits.malformed_in_a_row
        if len(trial.turns) >= worst and all(turn.is_malformed for turn in trial.turns[-worst:]):
            return StopReason.MALFORMED
        if len(trial.turns) >= turn_limit(self.episode.task, self.kind):
            return StopReason.TURN_LIMIT
        return None

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
            self._record(EpisodeFinished(episode_id=self.episode.id, state=EpisodeState.SOLVED))
        elif trial.index >= self.episode.trial_limit and stop is not StopReason.STOPPED:
            is_broken = stop in (StopReason.MODEL_ERROR, StopReason.ENVIRONMENT_ERROR)
            state = EpisodeState.ERROR if is_broken else EpisodeState.FAILED
            self._record(EpisodeFinished(episode_id=self.episode.id, state=state))

    def _sit(self) -> _Seat:
        if self._seat is None:
            self._seat = self._rebuild()
        return self._seat

    def _rebuild(self) -> _Seat:
        trial = self._running_trial()
        environment = self._open(self.episode.task, self._options)
        try:
            _compare(trial, 0, trial.opening, environment.start())
            start = trial.model_copy(update={"turns": ()})
            dialogue = self._begin_planner(start, trial_messages(self.episode, self.kind, start, self.limits))
            for turn in trial.turns:
                if not turn.is_malformed:
                    _compare(trial, turn.index, turn.observation, environment.step(turn.action).observation)
                dialogue.put(
                    turn.completion or Completion(policy="human", text=format_reply(turn.thought, turn.action))
                )
                dialogue.tell(turn.observation)
        except BaseException:
            environment.close()
            raise
        return _Seat(environment, dialogue)

    def _begin_planner(self, trial: Trial, messages: list[Message]) -> Dialogue:
        sampling = Sampling(self.episode.temperature, self._seed(trial.index), self.limits.reply_tokens)
        seen = memory(self.episode, self.kind, trial.index)
        return self._planner.begin(Briefing(self.episode.task, messages, trial, seen), sampling)

    def _seed(self, trial: int) -> int:
        """Tasks draw numbers of their own, or all episodes of a batch would explore the same way."""
        return (self.episode.seed * 1_000_003 + trial * 1_009 + crc32(self.episode.task.id.encode())) % 2**31

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


def _compare(trial: Trial, turn: int, recorded: str, replayed: str) -> None:
    if recorded != replayed:
        raise EnvironmentCrashed(
            f"Trial {trial.index} cannot be continued: replaying turn {turn} gave {replayed[:80]!r} where "
            f"{recorded[:80]!r} was recorded. Start the trial anew."
        )


def _now() -> datetime:
    return datetime.now(UTC)
