"""Episodes become samples: what a policy sampled, for RL, and what is worth imitating.

What was sampled is never tokenised again: `Completion.context_ids + token_ids`, joined over the turns, is the whole.
Text without token ids (expert episodes) is turned into the same segments by an `encode` function of the caller, who
owns prompts and tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from data.errors import TrainingError
from data.types import Completion, Episode, Reflection, StopReason, Trial, Turn
from training.config import Role
from training.samples import Sample, Segment, sample_from_segments

Encode = Callable[[Trial | Reflection], Sequence[Segment]]
"""Renders a text-only trial or reflection into segments, with the same tokens as sampling would use."""
NOT_PLAYED_OUT = {None, StopReason.STOPPED, StopReason.MODEL_ERROR, StopReason.ENVIRONMENT_ERROR}
"""Trials that ended for these reasons say nothing about the policy: their reward is nobody's merit or fault."""


def trial_samples(episode: Episode, *, age: int = 0) -> list[Sample]:
    """Planner samples for RL: every trial that was played out, with its exact tokens and log-probabilities.

    Turns that a person wrote or changed are context, never the policy's choice.
    Raises TrainingError when a trial cannot be used for RL at all, and says why.
    """
    samples = []
    for trial in episode.trials:
        if trial.stop_reason in NOT_PLAYED_OUT or not any(_is_chosen(turn, episode.planner) for turn in trial.turns):
            continue
        segments = _sampled_segments(trial, episode.planner, f"trial {trial.index} of episode {episode.id}")
        samples.append(
            sample_from_segments(
                segments,
                name=f"{episode.id}/trial/{trial.index}",
                role="planner",
                group=episode.task.id,
                reward=trial.reward,
                age=age,
                rl_weight=1.0,
            )
        )
    return samples


def reflection_samples(episode: Episode, *, age: int = 0) -> list[Sample]:
    """Reflector samples for RL: every reflection of the reflector between two trials that were played out."""
    rewards = {trial.index: trial.reward for trial in episode.trials if trial.stop_reason not in NOT_PLAYED_OUT}
    samples = []
    for reflection in episode.reflections:
        before, after = rewards.get(reflection.after_trial), rewards.get(reflection.after_trial + 1)
        if reflection.author != "reflector" or reflection.edited_from is not None or before is None or after is None:
            continue
        what = f"the reflection after trial {reflection.after_trial} of episode {episode.id}"
        samples.append(
            sample_from_segments(
                _completion_segments(_with_logprobs(reflection.completion, what), 0),
                name=f"{episode.id}/reflection/{reflection.after_trial}",
                role="reflector",
                group=episode.task.id,
                reward=after,
                reward_before=before,
                age=age,
                rl_weight=1.0,
            )
        )
    return samples


def sampled_samples(episode: Episode, *, age: int = 0) -> list[Sample]:
    """RL samples of an episode whose planner or reflector left exact tokens; none for experts and chat servers."""
    samples: list[Sample] = []
    chosen = [turn for trial in episode.trials for turn in trial.turns if _is_chosen(turn, episode.planner)]
    if chosen and all(turn.completion and turn.completion.token_ids for turn in chosen):
        samples += trial_samples(episode, age=age)
    if all(r.completion and r.completion.token_ids for r in episode.reflections if r.author == "reflector"):
        samples += reflection_samples(episode, age=age)
    return samples


def demonstration_samples(
    episode: Episode, encode: Encode | None = None, *, roles: Sequence[Role] = ("planner", "reflector")
) -> list[Sample]:
    """Imitation samples: successful trials, and reflections that the next trial's success proved right.

    Targets are valid, well-formed turns only: a wrong step of a good trial stays visible and is not imitated.
    `encode` renders trials and reflections whose completions hold no token ids.
    """
    solved = {trial.index for trial in episode.trials if trial.success}
    samples = []
    for trial in episode.trials if "planner" in roles else ():
        if trial.success:
            segments = _demonstrated(trial, encode, f"trial {trial.index} of episode {episode.id}")
            name = f"{episode.id}/trial/{trial.index}"
            samples.append(_demonstration(segments, name, "planner", episode, trial.reward))
    for reflection in episode.reflections if "reflector" in roles else ():
        if reflection.after_trial + 1 in solved:
            what = f"the reflection after trial {reflection.after_trial} of episode {episode.id}"
            segments = _demonstrated(reflection, encode, what)
            name = f"{episode.id}/reflection/{reflection.after_trial}"
            samples.append(_demonstration(segments, name, "reflector", episode, 1.0))
    return samples


def _sampled_segments(trial: Trial, planner: str, what: str) -> list[Segment]:
    segments = []
    for turn in trial.turns:
        if _is_chosen(turn, planner):
            segments += _completion_segments(_with_logprobs(turn.completion, what), turn.index)
        elif turn.completion is not None and turn.completion.token_ids is not None:
            segments += _completion_segments(_with_ids(turn.completion, what), turn.index, is_policy=False)
        # Words without ids (a person's, or another planner's before a fork) lie in the next completion's context.
    return segments


def _is_chosen(turn: Turn, planner: str) -> bool:
    """Whether the planner itself chose these words: nobody wrote or changed them, no other policy sampled them."""
    is_own = turn.completion is None or turn.completion.policy == planner
    return turn.author == "planner" and turn.edited_from is None and is_own


def _demonstrated(part: Trial | Reflection, encode: Encode | None, what: str) -> Sequence[Segment]:
    completions = [turn.completion for turn in part.turns] if isinstance(part, Trial) else [part.completion]
    if all(completion is not None and completion.token_ids is not None for completion in completions):
        turns: list[Turn | None] = list(part.turns) if isinstance(part, Trial) else [None]
        segments: list[Segment] = []
        for turn, completion in zip(turns, completions, strict=True):
            is_target = turn is None or (turn.is_valid and not turn.is_malformed)
            index = turn.index if turn else 0
            segments += _completion_segments(_with_ids(completion, what), index, is_policy=is_target, recorded=False)
        return segments
    if encode is None:
        raise TrainingError(f"{what} has text but no token ids, and no encoder was given to make them.")
    return encode(part)


def _completion_segments(
    completion: Completion, turn: int, *, is_policy: bool = True, recorded: bool = True
) -> list[Segment]:
    assert completion.token_ids is not None
    logprobs = completion.logprobs if recorded and is_policy else None
    return [
        Segment(completion.context_ids or (), is_policy=False, turn=max(turn - 1, 0)),
        Segment(completion.token_ids, is_policy=is_policy, logprobs=logprobs, turn=turn),
    ]


def _with_ids(completion: Completion | None, what: str) -> Completion:
    if completion is None or completion.token_ids is None or completion.context_ids is None:
        raise TrainingError(f"{what} has no token ids: collect it with an engine that returns them.")
    return completion


def _with_logprobs(completion: Completion | None, what: str) -> Completion:
    checked = _with_ids(completion, what)
    if checked.logprobs is None or len(checked.logprobs) != len(checked.token_ids or ()):
        raise TrainingError(
            f"{what} has no log-probability for every sampled token, so no importance ratio can be computed: "
            "collect it with an engine that returns them, or use it for imitation only."
        )
    return checked


def _demonstration(segments: Sequence[Segment], name: str, role: Role, episode: Episode, reward: float) -> Sample:
    unscored = [replace(segment, logprobs=None) for segment in segments]
    return sample_from_segments(
        unscored, name=name, role=role, group=episode.task.id, reward=reward, il_weight=1.0, rl_weight=0.0
    )
