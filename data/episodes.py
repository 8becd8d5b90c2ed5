"""Pure questions and changes about episodes: how an event changes one, what its scores are.

`apply` is the in-memory twin of the store's projection: an episode built by applying its events one by one equals the
one read back from the store.
"""

from __future__ import annotations

from data.errors import BadInput
from data.events import (
    EpisodeFinished,
    EpisodeStarted,
    EventBody,
    ReflectionWritten,
    TrialFinished,
    TrialStarted,
    TurnTaken,
)
from data.types import Completion, Episode, Reflection, Trial


def apply(episode: Episode | None, body: EventBody) -> Episode:
    """Return the episode after `body`. Raises BadInput when the event does not follow from the episode."""
    if isinstance(body, EpisodeStarted):
        return body.episode
    if episode is None:
        raise BadInput(f"A {body.kind} event came before its episode was started.")
    match body:
        case TrialStarted():
            return episode.model_copy(update={"trials": (*episode.trials, body.trial)})
        case TurnTaken():
            trial = trial_of(episode, body.trial)
            return _with_trial(episode, trial.model_copy(update={"turns": (*trial.turns, body.turn)}))
        case TrialFinished():
            finished = trial_of(episode, body.trial).model_copy(
                update={
                    "reward": body.reward,
                    "success": body.success,
                    "stop_reason": body.stop_reason,
                    "error": body.error,
                    "finished_at": body.finished_at,
                }
            )
            return with_gains(_with_trial(episode, finished))
        case ReflectionWritten():
            others = [r for r in episode.reflections if r.after_trial != body.reflection.after_trial]
            kept = sorted([*others, body.reflection], key=lambda r: r.after_trial)
            return with_gains(episode.model_copy(update={"reflections": tuple(kept)}))
        case EpisodeFinished():
            return episode.model_copy(update={"state": body.state})
        case _:
            raise BadInput(f"A {body.kind} event does not change an episode.")


def trial_of(episode: Episode, index: int) -> Trial:
    """The episode's trial number `index`; raises BadInput when it has none."""
    for trial in episode.trials:
        if trial.index == index:
            return trial
    raise BadInput(f"Episode {episode.id} has no trial {index}; it has {len(episode.trials)}.")


def reflection_after(episode: Episode, trial: int) -> Reflection | None:
    """The reflection that counts after trial number `trial`, if one was written."""
    return next((r for r in episode.reflections if r.after_trial == trial), None)


def with_gains(episode: Episode) -> Episode:
    """Give each reflection its gain: reward of the next finished trial minus reward of the one before
    (RetroAct eq. 6; Retroformer's rating)."""
    rewards = {t.index: t.reward for t in episode.trials if t.stop_reason is not None}
    rated = tuple(
        r.model_copy(update={"gain": rewards[r.after_trial + 1] - rewards[r.after_trial]})
        if r.after_trial in rewards and r.after_trial + 1 in rewards
        else r
        for r in episode.reflections
    )
    return episode.model_copy(update={"reflections": rated})


def without_tokens(episode: Episode) -> Episode:
    """The episode as pages show it: token ids and log-probabilities left out."""

    def light(completion: Completion | None) -> Completion | None:
        if completion is None:
            return None
        return completion.model_copy(update={"context_ids": None, "token_ids": None, "logprobs": None})

    trials = tuple(
        t.model_copy(
            update={"turns": tuple(u.model_copy(update={"completion": light(u.completion)}) for u in t.turns)}
        )
        for t in episode.trials
    )
    reflections = tuple(r.model_copy(update={"completion": light(r.completion)}) for r in episode.reflections)
    return episode.model_copy(update={"trials": trials, "reflections": reflections})


def _with_trial(episode: Episode, trial: Trial) -> Episode:
    trials = tuple(trial if t.index == trial.index else t for t in episode.trials)
    return episode.model_copy(update={"trials": trials})
