"""Samples: one whole trial or one reflection as ONE token sequence with a policy mask.

`episodes.py` makes them; here they are cleaned and cut to length, ready for `credit.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from data.errors import TrainingError
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
