"""Samples: one whole trial or one reflection as ONE token sequence with a policy mask.

Episodes enter as `data.types` nouns; samples leave, ready for `credit.py`. What was sampled is never tokenised again:
`Completion.context_ids + token_ids`, joined over the turns, is the sequence. Text without token ids (expert episodes)
is turned into the same segments by an `encode` function of the caller, who owns prompts and tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from data.errors import TrainingError
from data.types import Completion, Episode, Reflection, StopReason, Trial, Turn
from training.config import Role


@dataclass(frozen=True)
class Segment:
    """A run of tokens that one side wrote."""

    ids: tuple[int, ...]
    is_policy: bool
    """True when the policy chose them: they are what a loss may act on."""
    logprobs: tuple[float, ...] | None = None
    """Of policy tokens, recorded when they were sampled; None for demonstrations."""
    turn: int = 0
    """The trial's turn that these tokens belong to; 0 for a prompt or a reflection."""


Encode = Callable[[Trial | Reflection], Sequence[Segment]]
"""Renders a text-only trial or reflection into segments, with the same tokens as sampling would use."""


@dataclass(frozen=True)
class Sample:
    """One token sequence. All per-token fields have its length T and are aligned with `input_ids`."""

    id: str
    role: Role
    group: str
    """Task id: samples of one group are compared with each other."""
    input_ids: tuple[int, ...]
    policy_mask: tuple[bool, ...]
    old_logprobs: tuple[float, ...] | None = None
    """Behaviour log-probabilities (float32 values, natural log); 0 where the mask is False; None when not known."""
    turns: tuple[int, ...] | None = None
    """Turn of each token; None means that all belong to one."""
    reward: float = 0.0
    """Planner: reward of the trial. Reflector: reward of the trial after the reflection."""
    reward_before: float | None = None
    """Reflector only: reward of the trial before the reflection."""
    age: int = 0
    """Policy updates between the policy that sampled it and the one trained first on it."""
    il_weight: float = 0.0
    rl_weight: float = 0.0
    advantages: tuple[float, ...] | None = None
    """Per token, set by `credit.py`."""
    was_truncated: bool = False

    def __post_init__(self) -> None:
        length = len(self.input_ids)
        for name in ("policy_mask", "old_logprobs", "turns", "advantages"):
            values: Sequence[float] | None = getattr(self, name)
            if values is not None and len(values) != length:
                raise TrainingError(f"Sample {self.id}: {name} has {len(values)} entries for {length} tokens.")

    @property
    def policy_tokens(self) -> int:
        return sum(self.policy_mask)


@dataclass(frozen=True)
class SampleCounts:
    """What `clean` did, as metrics."""

    kept: int = 0
    empty: int = 0
    duplicate: int = 0
    truncated: int = 0
    oversize: int = 0
    """Samples left out because their policy tokens alone exceed the limit."""


@dataclass(frozen=True)
class Cleaned:
    samples: list[Sample]
    counts: SampleCounts


NOT_PLAYED_OUT = {None, StopReason.STOPPED, StopReason.MODEL_ERROR, StopReason.ENVIRONMENT_ERROR}
"""Trials that ended for these reasons say nothing about the policy: their reward is nobody's merit or fault."""


# -- from episodes ------------------------------------------------------------------------------------------------


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


def sample_from_segments(
    segments: Iterable[Segment],
    *,
    name: str,
    role: Role,
    group: str,
    reward: float = 0.0,
    reward_before: float | None = None,
    age: int = 0,
    il_weight: float = 0.0,
    rl_weight: float = 0.0,
    was_truncated: bool = False,
) -> Sample:
    """Join segments into one sequence."""
    ids: list[int] = []
    mask: list[bool] = []
    logprobs: list[float] = []
    turns: list[int] = []
    is_recorded = True
    for segment in segments:
        ids += segment.ids
        mask += [segment.is_policy] * len(segment.ids)
        turns += [segment.turn] * len(segment.ids)
        if segment.is_policy and segment.logprobs is not None:
            logprobs += segment.logprobs
        else:
            logprobs += [0.0] * len(segment.ids)
            is_recorded = is_recorded and not segment.is_policy
    return Sample(
        id=name,
        role=role,
        group=group,
        input_ids=tuple(ids),
        policy_mask=tuple(mask),
        old_logprobs=tuple(logprobs) if is_recorded and any(mask) else None,
        turns=tuple(turns),
        reward=reward,
        reward_before=reward_before,
        age=age,
        il_weight=il_weight,
        rl_weight=rl_weight,
        was_truncated=was_truncated,
    )


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


# -- cleaning -----------------------------------------------------------------------------------------------------


def clean(samples: Sequence[Sample], max_length: int, tokens: Literal["policy", "all_output"] = "policy") -> Cleaned:
    """Drop empty and repeated samples, cut long ones down to `max_length` tokens.

    `all_output` first widens masks as the released code does (`all_output_tokens`).
    A sampled trial that lost context no longer has its recorded log-probabilities; the loop scores it again.
    """
    kept: list[Sample] = []
    seen: set[tuple[object, ...]] = set()
    empty = duplicate = truncated = oversize = 0
    for sample in samples:
        sample = all_output_tokens(sample) if tokens == "all_output" else sample
        # The very first token has no context that could predict it.
        has_target = any(sample.policy_mask[1:])
        key = (sample.role, sample.input_ids, sample.policy_mask, sample.rl_weight > 0)
        is_repeat = sample.rl_weight == 0 and key in seen
        seen.add(key)
        if not has_target or is_repeat:
            empty, duplicate = empty + (not has_target), duplicate + (has_target and is_repeat)
            continue
        shortened = truncate(sample, max_length)
        if shortened is None:
            oversize += 1
            continue
        truncated += shortened.was_truncated
        kept.append(shortened)
    return Cleaned(kept, SampleCounts(len(kept), empty, duplicate, truncated, oversize))


def truncate(sample: Sample, max_length: int) -> Sample | None:
    """Remove context tokens until the sample fits: observations from the oldest on, then the middle of the prompt.

    Policy tokens are never removed; None when they and one token of context do not fit.
    """
    excess = len(sample.input_ids) - max_length
    if excess <= 0:
        return sample
    if sample.policy_tokens + 1 > max_length:
        return None
    removed: set[int] = set()
    first_target = sample.policy_mask.index(True)
    observations = [i for i, chosen in enumerate(sample.policy_mask) if i > first_target and not chosen]
    removed.update(observations[:excess])
    missing = excess - len(removed)
    if missing > 0:
        # The prompt's head says what to do and its tail is where the policy starts: the middle goes.
        head = (first_target - missing) // 4 + 1
        removed.update(range(head, head + missing))
    keep = [i for i in range(len(sample.input_ids)) if i not in removed]
    return replace(
        sample,
        input_ids=tuple(sample.input_ids[i] for i in keep),
        policy_mask=tuple(sample.policy_mask[i] for i in keep),
        turns=tuple(sample.turns[i] for i in keep) if sample.turns else None,
        advantages=tuple(sample.advantages[i] for i in keep) if sample.advantages else None,
        old_logprobs=None,
        was_truncated=True,
    )


def all_output_tokens(sample: Sample) -> Sample:
    """Count everything after the first policy token as chosen by the policy (released code, defect F2).

    Recorded log-probabilities cover policy tokens only, so they are dropped and must be computed again.
    """
    if True not in sample.policy_mask:
        return sample
    first = sample.policy_mask.index(True)
    mask = tuple(i >= first for i in range(len(sample.input_ids)))
    return replace(sample, policy_mask=mask, old_logprobs=None)


def check_vocabulary(samples: Sequence[Sample], vocabulary: int) -> None:
    """Raise TrainingError when a token id is not in the model's vocabulary, or a log-probability is no number."""
    for sample in samples:
        worst = max(sample.input_ids)
        if worst >= vocabulary or min(sample.input_ids) < 0:
            raise TrainingError(
                f"Sample {sample.id} holds token {worst}, and the model's vocabulary has {vocabulary}: "
                "it was tokenised for another model."
            )
        if sample.old_logprobs is not None and not all(math.isfinite(x) and x <= 1e-3 for x in sample.old_logprobs):
            raise TrainingError(f"Sample {sample.id} holds a log-probability that is not a number of 0 or below.")
