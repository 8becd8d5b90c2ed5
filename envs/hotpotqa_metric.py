"""The official HotpotQA scores (hotpot_evaluate_v1): exact match and token F1 of an answer, of the supporting
facts, and of both.

Every function is pure. Scores are in [0, 1].
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

CLOSED_ANSWERS = frozenset({"yes", "no", "noanswer"})
"""Answers that are right or wrong as a whole: they earn no credit for shared words."""

SupportingFact = tuple[str, int]
"""Title of a paragraph and the index of a sentence in it, counted from 0."""

_PUNCTUATION = frozenset(string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


@dataclass(frozen=True)
class Score:
    """Exact match (0 or 1), F1, precision and recall."""

    exact_match: float
    f1: float
    precision: float
    recall: float


def normalise(text: str) -> str:
    """Lower case, then no ASCII punctuation, then no English articles, then single spaces: in that order."""
    bare = "".join(character for character in text.lower() if character not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(answer: str, gold: str) -> bool:
    return normalise(answer) == normalise(gold)


def score_answer(answer: str, gold: str) -> Score:
    """Score an answer by the words it shares with the gold answer, each word counted as often as it occurs.

    Where either side is yes, no or noanswer and they differ, everything is 0. Two answers that normalise to nothing
    match exactly and still have F1 0, as in the official script.
    """
    said, wanted = normalise(answer), normalise(gold)
    is_match = float(said == wanted)
    if said != wanted and (said in CLOSED_ANSWERS or wanted in CLOSED_ANSWERS):
        return Score(0.0, 0.0, 0.0, 0.0)
    said_words, wanted_words = said.split(), wanted.split()
    shared = sum((Counter(said_words) & Counter(wanted_words)).values())
    if not shared:
        return Score(is_match, 0.0, 0.0, 0.0)
    precision, recall = shared / len(said_words), shared / len(wanted_words)
    return Score(is_match, _harmonic_mean(precision, recall), precision, recall)


def score_supporting_facts(named: Iterable[SupportingFact], gold: Iterable[SupportingFact]) -> Score:
    """Score a set of (title, sentence index) pairs against the gold set."""
    said, wanted = set(named), set(gold)
    right = len(said & wanted)
    precision = right / len(said) if said else 0.0
    recall = right / len(wanted) if wanted else 0.0
    return Score(float(said == wanted), _harmonic_mean(precision, recall), precision, recall)


def score_jointly(answer: Score, facts: Score) -> Score:
    """Join both scores: precisions and recalls are multiplied, and F1 is made from the products."""
    precision, recall = answer.precision * facts.precision, answer.recall * facts.recall
    return Score(answer.exact_match * facts.exact_match, _harmonic_mean(precision, recall), precision, recall)


def _harmonic_mean(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
