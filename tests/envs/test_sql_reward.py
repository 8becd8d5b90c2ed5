from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.sql_reward import FORMS, Form, sql_reward

A, B, C, D = ("a",), ("b",), ("c",), ("d",)


@pytest.mark.parametrize("form", FORMS)
def test_the_gold_answer_scores_exactly_one_in_both_forms_at_every_length(form: Form) -> None:
    for length in range(60):
        rows = [(number, "x") for number in range(length)]
        assert sql_reward(rows, rows, form) == 1.0


def test_a_reversed_answer_scores_zero_on_paper_and_minus_one_in_intercode() -> None:
    assert sql_reward([C, B, A], [A, B, C], "paper") == 0.0
    assert sql_reward([C, B, A], [A, B, C], "intercode") == -1.0


def test_one_swapped_pair_of_three_has_tau_one_third() -> None:
    # Pairs ab, ac, bc: one of three is out of order, tau = (2 - 1) / 3.
    assert sql_reward([B, A, C], [A, B, C], "paper") == pytest.approx((1 / 3 + 1) / 2)
    assert sql_reward([B, A, C], [A, B, C], "intercode") == 0.33


def test_paper_ranks_rows_by_their_place_in_the_gold_answer_and_intercode_by_their_text() -> None:
    # By place one of three pairs is out of order; as texts (A,C), (C,A), (B,B) all three pairs disagree.
    assert sql_reward([A, C, B], [C, A, B], "paper") == pytest.approx((1 / 3 + 1) / 2)
    assert sql_reward([A, C, B], [C, A, B], "intercode") == -1.0


def test_overlap_is_of_multisets_and_scales_the_order() -> None:
    # Intersection a, b; union a, b, c, d: overlap 1/2, in the same order.
    assert sql_reward([A, B, C], [A, B, D], "paper") == 0.5
    # Twice a against once a: intersection 1, union 2; one row has no order.
    assert sql_reward([A, A], [A], "intercode") == 0.5


def test_a_single_common_row_leaves_the_overlap_because_tau_is_undefined() -> None:
    assert sql_reward([A, B, C], [A], "intercode") == pytest.approx(1 / 3)
    assert sql_reward([A, B, C], [A], "paper") == pytest.approx(1 / 3)


def test_empty_against_empty_is_right_and_an_error_never_is() -> None:
    assert sql_reward([], [], "paper") == 1.0
    assert sql_reward([], [A], "paper") == 0.0
    assert sql_reward(None, [], "paper") == 0.0
    assert sql_reward([A], None, "intercode") == 0.0


def test_rows_are_compared_as_text_so_that_types_count() -> None:
    assert sql_reward([(1,)], [(1.0,)], "paper") == 0.0


rows = st.lists(st.tuples(st.sampled_from("abcd")), max_size=8)


@settings(deadline=None)
@given(rows, rows)
def test_paper_is_between_zero_and_one_and_intercode_between_minus_one_and_one(
    one: list[tuple[str]], two: list[tuple[str]]
) -> None:
    assert 0.0 <= sql_reward(list(one), list(two), "paper") <= 1.0
    assert -1.0 <= sql_reward(list(one), list(two), "intercode") <= 1.0


def brute_tau(one: list[str], two: list[str]) -> float:
    """Kendall's tau-b from its definition."""
    pairs = [(i, j) for i in range(len(one)) for j in range(i)]
    sign = [((one[i] > one[j]) - (one[i] < one[j]), (two[i] > two[j]) - (two[i] < two[j])) for i, j in pairs]
    agree = sum(a * b for a, b in sign)
    return float(agree / (sum(a != 0 for a, _ in sign) * sum(b != 0 for _, b in sign)) ** 0.5)


@settings(deadline=None)
@given(st.permutations("aabcde"))
def test_tau_is_tau_b_of_the_two_orders(order: list[str]) -> None:
    gold = list("aabcde")
    expected = (brute_tau(order, gold) + 1) / 2
    assert sql_reward([(x,) for x in order], [(x,) for x in gold], "paper") == pytest.approx(expected)
