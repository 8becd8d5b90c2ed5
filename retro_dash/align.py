"""Trials side by side: which turns of different trials did the same thing, and where they first part.

Trials are aligned by what was done, not by turn number. Two turns did the same when their actions are equal after
lower-casing and collapsing white space. Each further trial is laid over the rows of the ones before it along a
longest common subsequence of actions (Hyyrö's bit-parallel form, so 1,000-turn trials take milliseconds).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from pydantic import JsonValue

from data.types import Episode, Trial


@dataclass(frozen=True)
class Row:
    """Turns that stand side by side: the same thing done, or different things in the same place."""

    actions: frozenset[str]
    cells: tuple[int | None, ...] = ()
    """A turn index for every trial; None where a trial has nothing here."""


def align(episode: Episode) -> dict[str, JsonValue]:
    """The rows of an episode's trials side by side, as JSON.

    `rows`: a list with one turn index or None for every trial. `same`: for every row whether all trials are in it and
    did the same. `divergences`: for every trial but the first, the turn at which it first did or saw something else
    than the trial before (None when it never did) and the row of it. `repeats`: for every trial, turn index -> the
    earlier turn with the same action and the same observation.
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
    return {
        "rows": [list(row.cells) for row in rows],
        "same": [len(row.actions) == 1 and None not in row.cells for row in rows],
        "divergences": divergences,
        "repeats": repeats,
    }


def align_actions(trials: Sequence[Sequence[str]]) -> list[Row]:
    """Rows over all trials; turn indices count from 1 and rise down every column."""
    rows: list[Row] = []
    for column, actions in enumerate(trials):
        rows = _lay_over(rows, [normalised(action) for action in actions], column)
    return rows


def _lay_over(rows: list[Row], keys: list[str], column: int) -> list[Row]:
    merged: list[Row] = []
    next_row = next_key = 0
    for row_index, key_index in [*common_subsequence([row.actions for row in rows], keys), (len(rows), len(keys))]:
        # What lies between two matches was done differently: it stands side by side, in order.
        between = zip_longest(rows[next_row:row_index], range(next_key, key_index))
        merged += [_joined(row, keys, index, column) for row, index in between]
        if row_index < len(rows):
            merged.append(_joined(rows[row_index], keys, key_index, column))
        next_row, next_key = row_index + 1, key_index + 1
    return merged


def _joined(row: Row | None, keys: Sequence[str], index: int | None, column: int) -> Row:
    """A row with one more column: the turn of `keys[index]`, or nothing."""
    actions, cells = (row.actions, row.cells) if row else (frozenset[str](), (None,) * column)
    if index is None:
        return Row(actions, (*cells, None))
    return Row(actions | {keys[index]}, (*cells, index + 1))


def common_subsequence(rows: Sequence[Collection[str]], keys: Sequence[str]) -> list[tuple[int, int]]:
    """Index pairs of a longest common subsequence (a row matches any of its actions); a shared start goes first."""
    start = 0
    while start < min(len(rows), len(keys)) and keys[start] in rows[start]:
        start += 1
    tail = _longest_common(rows[start:], keys[start:])
    return [(index, index) for index in range(start)] + [(start + i, start + j) for i, j in tail]


def _longest_common(rows: Sequence[Collection[str]], keys: Sequence[str]) -> list[tuple[int, int]]:
    """Bit i of a key's vector is 0 exactly where the subsequence grows at row i."""
    positions: dict[str, int] = {}
    for index, actions in enumerate(rows):
        for action in actions:
            positions[action] = positions.get(action, 0) | 1 << index
    everything = (1 << len(rows)) - 1
    vector, vectors = everything, []
    for key in keys:
        shared = vector & positions.get(key, 0)
        vector = ((vector + shared) | (vector - shared)) & everything
        vectors.append(vector)
    pairs: list[tuple[int, int]] = []
    i, j = len(rows), len(keys)
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
