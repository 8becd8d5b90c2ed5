"""Trials side by side: which turns of different trials did the same thing, and where they first part.

Trials are aligned by what was done, not by turn number. Two turns did the same when their actions are equal after
lower-casing and collapsing white space. Each further trial is laid over the rows of the ones before it along a
longest common subsequence of actions (Hyyrö's bit-parallel form, so 1,000-turn trials take milliseconds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pydantic import JsonValue

from data.types import Episode, Trial


@dataclass
class Row:
    """Turns of the trials that did the same thing; None where a trial did not."""

    action: str
    cells: list[int | None] = field(default_factory=list)


def align(episode: Episode) -> dict[str, JsonValue]:
    """The rows of an episode's trials side by side, as JSON.

    `rows`: a list with one turn index or None for every trial. `divergences`: for every trial but the first, the turn
    at which it first did or saw something else than the trial before (None when it never did) and the row of it.
    `repeats`: for every trial, turn index -> the earlier turn with the same action and the same observation.
    """
    rows = align_actions([[turn.action for turn in trial.turns] for trial in episode.trials])
    divergences: list[JsonValue] = []
    for before, after in pairwise(episode.trials):
        turn = first_divergence(before, after)
        position = row_of(rows, after.index - 1, turn)
        divergences.append({"trial": after.index, "against": before.index, "turn": turn, "row": position})
    repeats: dict[str, JsonValue] = {
        str(trial.index): {str(turn): earlier for turn, earlier in repeated_turns(trial).items()}
        for trial in episode.trials
    }
    return {"rows": [list(row.cells) for row in rows], "divergences": divergences, "repeats": repeats}


def align_actions(trials: Sequence[Sequence[str]]) -> list[Row]:
    """Rows over all trials; turn indices count from 1 and rise down every column."""
    rows: list[Row] = []
    for column, actions in enumerate(trials):
        keys = [normalised(action) for action in actions]
        rows = _lay_over(rows, keys, column)
    return rows


def _lay_over(rows: list[Row], keys: list[str], column: int) -> list[Row]:
    matches = common_subsequence([row.action for row in rows], keys)
    merged: list[Row] = []
    next_row = next_key = 0
    for row_index, key_index in [*matches, (len(rows), len(keys))]:
        for row in rows[next_row:row_index]:
            merged.append(Row(row.action, [*row.cells, None]))
        for index in range(next_key, key_index):
            merged.append(Row(keys[index], [*[None] * column, index + 1]))
        if row_index < len(rows):
            merged.append(Row(rows[row_index].action, [*rows[row_index].cells, key_index + 1]))
        next_row, next_key = row_index + 1, key_index + 1
    return merged


def common_subsequence(left: Sequence[str], right: Sequence[str]) -> list[tuple[int, int]]:
    """Index pairs of a longest common subsequence; a shared start is always matched first."""
    start = 0
    while start < min(len(left), len(right)) and left[start] == right[start]:
        start += 1
    tail = _longest_common(left[start:], right[start:])
    return [(index, index) for index in range(start)] + [(start + i, start + j) for i, j in tail]


def _longest_common(left: Sequence[str], right: Sequence[str]) -> list[tuple[int, int]]:
    """Bit i of a row's vector is 0 exactly where the subsequence grows at left[i]."""
    positions: dict[str, int] = {}
    for index, key in enumerate(left):
        positions[key] = positions.get(key, 0) | 1 << index
    everything = (1 << len(left)) - 1
    vector, vectors = everything, []
    for key in right:
        shared = vector & positions.get(key, 0)
        vector = ((vector + shared) | (vector - shared)) & everything
        vectors.append(vector)
    pairs: list[tuple[int, int]] = []
    i, j = len(left), len(right)
    while i and j:
        if vectors[j - 1] >> (i - 1) & 1:
            i -= 1
            continue
        j -= 1
        if j == 0 or vectors[j - 1] >> (i - 1) & 1:
            i -= 1
            pairs.append((i, j))
    return pairs[::-1]


def first_divergence(before: Trial, after: Trial) -> int | None:
    """The first turn of `after` whose action or observation is not that of the same turn of `before`.

    None when one trial is the beginning of the other.
    """
    for one, other in zip(before.turns, after.turns, strict=False):
        if normalised(one.action) != normalised(other.action) or one.observation != other.observation:
            return other.index
    return None


def repeated_turns(trial: Trial) -> dict[int, int]:
    """Turn -> the earlier turn that did the same and saw the same: it taught the planner nothing."""
    seen: dict[tuple[str, str], int] = {}
    repeats: dict[int, int] = {}
    for turn in trial.turns:
        key = (normalised(turn.action), turn.observation)
        if key in seen:
            repeats[turn.index] = seen[key]
        else:
            seen[key] = turn.index
    return repeats


def row_of(rows: Sequence[Row], column: int, turn: int | None) -> int | None:
    """Which row holds a turn of a trial (both None-safe: an unknown turn has no row)."""
    if turn is None:
        return None
    return next((index for index, row in enumerate(rows) if row.cells[column] == turn), None)


def normalised(action: str) -> str:
    """What makes two actions the same."""
    return " ".join(action.split()).casefold()
