"""Packing: samples of different lengths laid end to end, with no padding, attention and positions per sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.samples import Sample


@dataclass(frozen=True)
class Pack:
    """Several samples in one row of T tokens; N of them are policy tokens to be predicted."""

    rows: tuple[int, ...]
    """Index of each sample in the list that was packed, in the order in which they lie."""
    boundaries: tuple[int, ...]
    """Sample s covers tokens boundaries[s] to boundaries[s + 1]."""
    input_ids: Tensor
    """(1, T)"""
    position_ids: Tensor
    """(1, T), from 0 in each sample."""
    predictors: Tensor
    """(N,) positions whose hidden state predicts a policy token: the token before it."""
    targets: Tensor
    """(N,) the policy tokens' ids."""
    row_of_target: Tensor
    """(N,) which sample (an index into `rows`) each target belongs to."""

    @property
    def tokens(self) -> int:
        return self.boundaries[-1]


def plan_packs(lengths: Sequence[int], tokens_per_pack: int) -> list[list[int]]:
    """First-fit decreasing: indices grouped so that no group exceeds the token limit (a longer one goes alone)."""
    packs: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = next((p for p, left in enumerate(room) if lengths[i] <= left), None)
        if place is None:
            packs.append([])
            room.append(tokens_per_pack)
            place = len(packs) - 1
        packs[place].append(i)
        room[place] -= lengths[i]
    return packs


def make_pack(samples: Sequence[Sample], rows: Sequence[int]) -> Pack:
    """Lay `samples[rows]` end to end."""
    ids: list[int] = []
    positions: list[int] = []
    boundaries = [0]
    predictors: list[int] = []
    owners: list[int] = []
    for number, row in enumerate(rows):
        sample = samples[row]
        start = boundaries[-1]
        targets = policy_positions(sample)
        predictors += [start + position - 1 for position in targets]
        owners += [number] * len(targets)
        ids += sample.input_ids
        positions += range(len(sample.input_ids))
        boundaries.append(start + len(sample.input_ids))
    input_ids = torch.tensor([ids])
    predicting = torch.tensor(predictors, dtype=torch.long)
    return Pack(
        rows=tuple(rows),
        boundaries=tuple(boundaries),
        input_ids=input_ids,
        position_ids=torch.tensor([positions]),
        predictors=predicting,
        targets=input_ids[0, predicting + 1],
        row_of_target=torch.tensor(owners, dtype=torch.long),
    )


def policy_positions(sample: Sample) -> list[int]:
    """Positions of the policy tokens that have a context, in order: the axis of every per-token loss value."""
    return [i for i, chosen in enumerate(sample.policy_mask) if chosen and i > 0]
