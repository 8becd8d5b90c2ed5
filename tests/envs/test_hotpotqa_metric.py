"""HotpotQA's official scores, against numbers worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.hotpotqa_metric import Score, exact_match, normalise, score_answer, score_jointly, score_supporting_facts

ODD_ANSWERS = st.one_of(
    st.sampled_from(
        ["yes", "no", "noanswer", "Yes.", "the", "A", "", " ", "...", "an apple a day", "O'Brien", "1,234"]
    ),
    st.text(max_size=30),
    st.lists(
        st.sampled_from(["the", "a", "An", "yes", "no", "Émile", "Zürich", "3,5", "—", "“x”", "İ"]), max_size=6
    ).map(" ".join),
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The Lord of the Rings", "lord of rings"),
        ("  A  an THE ", ""),
        ("U.S.A.", "usa"),
        ("Jay-Z", "jayz"),
        ("rock 'n' roll", "rock n roll"),
        ("theatre another an", "theatre another"),
        # Only ASCII punctuation is dropped, so a curly quotation mark stays.
        ("“Hello”", "“hello”"),
        ("Émile Zola", "émile zola"),
        # Punctuation goes before articles: `a-b` is one word by then.
        ("a-b a.b", "ab ab"),
        ("one\t two\n three", "one two three"),
    ],
)
def test_answers_are_normalised_as_the_official_script_does(text: str, plain: str) -> None:
    assert normalise(text) == plain


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [
        ("the Eiffel Tower", "Eiffel Tower!", Score(1, 1, 1, 1)),
        # 1 of 3 words right, 1 of 2 found: 2 * 1/3 * 1/2 / (5/6) = 0.4
        ("Paris city centre", "Paris, France", Score(0, 0.4, 1 / 3, 1 / 2)),
        # A word counts as often as both have it: 2 of 3, 2 of 2: 2 * 2/3 / (5/3) = 0.8
        ("new new york", "new york", Score(0, 0.8, 2 / 3, 1)),
        # 1 of 1, 1 of 2: 2 * 1/2 / (3/2) = 2/3
        ("1984", "June 1984", Score(0, 2 / 3, 1, 1 / 2)),
        ("red", "blue", Score(0, 0, 0, 0)),
        ("yes", "Yes.", Score(1, 1, 1, 1)),
        ("yes it is", "yes", Score(0, 0, 0, 0)),
        ("no", "no one knows", Score(0, 0, 0, 0)),
        ("noanswer", "noanswer found", Score(0, 0, 0, 0)),
        # Both are nothing once normalised: an exact match that shares no word.
        ("the", "a", Score(1, 0, 0, 0)),
        ("", "word", Score(0, 0, 0, 0)),
    ],
)
def test_an_answer_scores_what_is_worked_out_by_hand(answer: str, gold: str, score: Score) -> None:
    found = score_answer(answer, gold)
    assert found.exact_match == score.exact_match
    assert (found.f1, found.precision, found.recall) == pytest.approx((score.f1, score.precision, score.recall))


def test_supporting_facts_are_scored_as_sets() -> None:
    gold = [("A", 0), ("B", 1)]
    # 1 of 3 named is right, 1 of 2 is found: 2 * 1/3 * 1/2 / (5/6) = 0.4
    found = score_supporting_facts([("A", 0), ("A", 0), ("A", 1), ("C", 0)], gold)
    assert (found.exact_match, found.precision, found.recall) == (0, pytest.approx(1 / 3), 1 / 2)
    assert found.f1 == pytest.approx(0.4)
    assert score_supporting_facts(reversed(gold), gold) == Score(1, 1, 1, 1)
    assert score_supporting_facts([], gold) == Score(0, 0, 0, 0)
    assert score_supporting_facts([], []).exact_match == 1


def test_joint_scores_multiply_precision_and_recall() -> None:
    # P = 1/2 * 1, R = 1 * 1/2: F1 = 2 * 1/4 / 1 = 1/2
    joint = score_jointly(Score(0, 2 / 3, 1 / 2, 1), Score(0, 2 / 3, 1, 1 / 2))
    assert joint == Score(0, 0.5, 0.5, 0.5)
    assert score_jointly(Score(1, 1, 1, 1), Score(1, 1, 1, 1)) == Score(1, 1, 1, 1)
    assert score_jointly(Score(1, 1, 1, 1), Score(0, 0, 0, 0)) == Score(0, 0, 0, 0)


@given(ODD_ANSWERS, ODD_ANSWERS)
def test_any_two_answers_keep_the_laws_of_the_metric(answer: str, gold: str) -> None:
    found, back = score_answer(answer, gold), score_answer(gold, answer)
    assert 0 <= found.f1 <= 1
    assert found.f1 == pytest.approx(back.f1)
    assert found.precision == back.recall
    assert min(found.precision, found.recall) <= found.f1 + 1e-12
    assert found.f1 <= max(found.precision, found.recall) + 1e-12
    assert found.exact_match == float(exact_match(answer, gold))
    said, wanted = normalise(answer), normalise(gold)
    if found.exact_match and said:
        assert found.f1 == 1
    if said != wanted and {said, wanted} & {"yes", "no", "noanswer"}:
        assert found == Score(0, 0, 0, 0)
    assert (found.f1 == 1) == (bool(said) and sorted(said.split()) == sorted(wanted.split()) and found.f1 > 0)


@given(ODD_ANSWERS)
def test_normalising_drops_case_articles_and_punctuation_wherever_they_are(answer: str) -> None:
    assert exact_match(answer, f"  {answer.lower()}  ")
    assert exact_match(answer, f"{answer} , the !")
    assert not {"a", "an", "the"} & set(normalise(answer).split(" "))
