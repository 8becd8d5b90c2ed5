"""Agreement by worked examples of the literature."""

from __future__ import annotations

import pytest
from curation_examples import NOW, target

from data.types import Label, LabelTarget
from retro_dash.agreement import agreement, compare_votes

pytest.importorskip("nltk", reason="the package nltk is not installed")


def judged(table: dict[str, str], name: str = "verdict") -> list[Label]:
    """`table`: annotator -> one letter an item, `.` for not judged."""
    values = {"g": "good", "b": "bad", "e": "expert", "d": "discard", "x": "other"}
    return [
        Label(
            id=f"{who}{place}",
            target=LabelTarget(episode_id=f"e{place}", part="episode"),
            name=name,
            value=values[letter],
            annotator=who,
            at=NOW,
        )
        for who, letters in table.items()
        for place, letter in enumerate(letters)
        if letter != "."
    ]


def test_cohens_kappa_of_the_textbook_grant_readers():
    """50 proposals: both yes 20, both no 15, only A yes 5, only B yes 10: kappa 0.4."""
    found = agreement(
        judged({"a": "g" * 20 + "b" * 15 + "g" * 5 + "b" * 10, "b": "g" * 20 + "b" * 15 + "b" * 5 + "g" * 10})
    )
    assert found.cohen_kappa == pytest.approx(0.4)
    assert found.percent == pytest.approx(0.7)
    assert len(found.disagreements) == 15


def test_krippendorffs_alpha_with_missing_values():
    """Krippendorff (2011), 'Computing Krippendorff's alpha-reliability', example C: nominal alpha 0.743."""
    digits = {"1": "g", "2": "b", "3": "e", "4": "d", "5": "x", ".": "."}
    rows = {
        "a": "1 2 3 3 2 1 4 1 2 . . .",
        "b": "1 2 3 3 2 2 4 1 2 5 . 3",
        "c": ". 3 3 3 2 3 4 2 2 5 1 .",
        "d": "1 2 3 3 2 4 4 1 2 5 1 .",
    }
    table = {who: "".join(digits[d] for d in letters.split()) for who, letters in rows.items()}
    assert agreement(judged(table)).krippendorff_alpha == pytest.approx(0.743, abs=5e-4)


def test_fleiss_kappa_takes_the_items_that_all_judged():
    found = agreement(judged({"a": "ggbb.", "b": "ggbg.", "c": "gbbgg"}))
    # Items: ggg, ggb, bbb, bgg. P = mean(1, 1/3, 1, 1/3) = 2/3; p_g = 7/12, p_b = 5/12, Pe = 74/144.
    assert found.fleiss_items == 4
    assert found.fleiss_kappa == pytest.approx((2 / 3 - 74 / 144) / (1 - 74 / 144))


def test_perfect_agreement_on_one_value_is_not_a_number():
    found = agreement(judged({"a": "ggg", "b": "ggg"}))
    assert (found.percent, found.cohen_kappa, found.krippendorff_alpha) == (1.0, None, None)


def test_each_annotator_is_told_how_often_they_are_with_the_majority():
    found = agreement(judged({"a": "gggg", "b": "ggg.", "c": "bbg."}))
    share = {one.annotator: (one.items, one.with_others, one.with_majority) for one in found.statistics}
    assert share == {"a": (4, 3, 1.0), "b": (3, 3, 1.0), "c": (3, 3, pytest.approx(1 / 3))}


def test_a_disagreement_shows_its_adjudication():
    final = Label(id="f", target=target("e0"), name="adjudication", value={"verdict": "bad"}, annotator="z", at=NOW)
    (one,) = agreement([*judged({"a": "g", "b": "b"}), final]).disagreements
    assert (one.values, one.adjudicated) == ({"a": "good", "b": "bad"}, "bad")


def test_votes_are_compared_with_the_realised_gain():
    gains = {("e1", 1): 1.0, ("e2", 1): 0.0, ("e3", 1): None}

    def vote(this: str, other: str, winner: str) -> Label:
        value = {"episode_id": other, "trial": 1, "winner": winner}
        on = target(this, "reflection", 1)
        return Label(id=f"{this}{other}{winner}", target=on, name="preference", value=value, annotator="kim", at=NOW)

    votes = [vote("e1", "e2", "this"), vote("e1", "e2", "other"), vote("e1", "e2", "tie")]
    votes += [vote("e2", "e1", "other")] * 2
    found = compare_votes([*votes, vote("e1", "e3", "this")], lambda id_, trial: gains[id_, trial])
    assert (found.votes, found.ties, found.comparable, found.for_higher_gain) == (6, 1, 4, 3)
