"""Alignment of trials, with rows worked out by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from data.types import Episode, Task, Trial, Turn
from retro_dash.align import (
    align,
    align_actions,
    common_subsequence,
    first_divergence,
    normalised,
    repeated_turns,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_trial(index: int, *turns: tuple[str, str]) -> Trial:
    return Trial(
        index=index,
        prompt="",
        opening="",
        started_at=NOW,
        turns=tuple(
            Turn(index=number, thought="", action=action, observation=seen, reward=0.0)
            for number, (action, seen) in enumerate(turns, start=1)
        ),
    )


def make_episode(*trials: Trial) -> Episode:
    task = Task(id="t", env="alfworld", split="valid", instruction="")
    return Episode(id="e", task=task, planner="p", reflector="r", run_id="run", created_at=NOW, trials=trials)


def cells(*trials: str) -> list[list[int | None]]:
    return [list(row.cells) for row in align_actions([list(actions) for actions in trials])]


def test_equal_trials_share_every_row() -> None:
    assert cells("abc", "abc") == [[1, 1], [2, 2], [3, 3]]


def test_a_skipped_and_an_added_action_get_rows_of_their_own() -> None:
    assert cells("abcd", "acxd") == [[1, 1], [2, None], [3, 2], [None, 3], [4, 4]]


def test_what_was_done_differently_between_two_matches_stands_side_by_side() -> None:
    assert cells("abcz", "axz") == [[1, 1], [2, 2], [3, None], [4, 3]]


def test_a_third_trial_is_laid_over_the_rows_of_both_before_it() -> None:
    assert cells("abz", "acz", "bz") == [[1, 1, None], [2, 2, 1], [3, 3, 2]]
    assert cells("abz", "acz", "cz") == [[1, 1, None], [2, 2, 1], [3, 3, 2]]


def test_a_trial_without_turns_leaves_its_column_empty() -> None:
    assert cells("ab", "", "b") == [[1, None, None], [2, None, 1]]
    assert cells() == []


def test_case_and_white_space_do_not_make_actions_differ() -> None:
    assert normalised("  Go to\n Fridge 1 ") == normalised("go to fridge 1")


@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_matches_rise_agree_and_are_as_many_as_the_textbook_table_says(left: str, right: str) -> None:
    pairs = common_subsequence(left, right)
    assert all(left[i] == right[j] for i, j in pairs)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(pairs))
    assert len(pairs) == textbook_length(left, right)


def textbook_length(left: str, right: str) -> int:
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(st.lists(st.text("abcd", max_size=10), max_size=4))
def test_every_turn_of_every_trial_stands_in_exactly_one_row_and_in_order(trials: list[str]) -> None:
    rows = cells(*trials)
    for column, actions in enumerate(trials):
        assert [row[column] for row in rows if row[column] is not None] == list(range(1, len(actions) + 1))


def test_the_first_divergence_is_the_first_turn_that_did_or_saw_something_else() -> None:
    before = make_trial(1, ("look", "a"), ("go", "b"), ("stop", "c"))
    assert first_divergence(before, make_trial(2, ("look", "a"), ("Go", "b"), ("take", "c"))) == 3
    assert first_divergence(before, make_trial(2, ("look", "a"), ("go", "other"), ("take", "c"))) == 2
    assert first_divergence(before, make_trial(2, ("look", "a"))) is None


def test_a_repeat_names_the_earlier_turn_that_saw_the_same() -> None:
    trial = make_trial(1, ("go", "x"), ("look", "y"), ("GO", "x"), ("go", "z"), ("go", "x"))
    assert repeated_turns(trial) == {3: 1, 5: 1}


def test_align_puts_rows_divergences_and_repeats_of_an_episode_into_json() -> None:
    first = make_trial(1, ("go a", "x"), ("go b", "y"), ("go b", "y"))
    second = make_trial(2, ("go a", "x"), ("take c", "z"))
    assert align(make_episode(first, second)) == {
        "rows": [[1, 1], [2, 2], [3, None]],
        "same": [True, False, False],
        "divergences": [{"trial": 2, "against": 1, "turn": 2, "row": 1}],
        "repeats": {"1": {"3": 2}, "2": {}},
    }


def test_three_trials_of_a_thousand_turns_align_within_a_second() -> None:
    one = [f"go to shelf {n % 37}" for n in range(1000)]
    two = [f"go to shelf {n % 41}" for n in range(1000)]
    start = time.perf_counter()
    rows = align_actions([one, two, one[::-1]])
    assert len(rows) <= 3000
    assert time.perf_counter() - start < 1.0
