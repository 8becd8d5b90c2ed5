"""InterCode's reward for SQL: how much of the gold answer was found, and in which order.

`paper` is RetroAct's equation 15: IoU x (tau + 1) / 2, from 0 to 1. `intercode` is InterCode's own code: IoU x tau
rounded to two digits, which can be negative. IoU is of the multisets of rows as text; tau is Kendall's, of
what both answers hold. Tau of fewer than two different rows is undefined and leaves the IoU.

The two forms also rank rows differently. `paper` ranks a row by its place in the gold answer, which is what agreeing
in order means. InterCode's code hands the texts themselves to Kendall's tau, so that its value depends on how the
gold answer happens to be sorted: gold C, A, B against A, C, B has tau 1/3 by place and -1 by text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

Form = Literal["paper", "intercode"]
FORMS: tuple[Form, ...] = ("paper", "intercode")


def in_common(rows: list[str], common: Counter[str]) -> list[str]:
    """The rows that are in `common`, each as often as there, in their order."""
    left = common.copy()
    kept = []
    for row in rows:
        if left[row] > 0:
            left[row] -= 1
            kept.append(row)
    return kept


def rank_correlation(one: list[str], two: list[str], ranked: Sequence[str]) -> float | None:
    """Kendall's tau-b of two orders of the same texts, each standing for its place in `ranked`; None where it is
    undefined."""
    if len(set(one)) < 2:
        return None
    from scipy.stats import kendalltau

    ranks = {text: rank for rank, text in enumerate(ranked)}
    tau = float(kendalltau([ranks[text] for text in one], [ranks[text] for text in two]).statistic)
    # Equal orders give 0.9999999999999999 for some lengths; a right answer must score exactly 1.
    return round(tau, 12)


def sql_reward(
    answer: list[tuple[Any, ...]] | None, gold: list[tuple[Any, ...]] | None, form: Form = "paper"
) -> float:
    """The reward of an answer: 1 for the gold answer in its order, 0 for an error (None) on either side."""
    if answer is None or gold is None:
        return 0.0
    ours, theirs = [str(row) for row in answer], [str(row) for row in gold]
    common, union = Counter(ours) & Counter(theirs), Counter(ours) | Counter(theirs)
    if not union:
        return 1.0
    overlap = common.total() / union.total()
    mine, golden = in_common(ours, common), in_common(theirs, common)
    tau = rank_correlation(mine, golden, sorted(common) if form == "intercode" else list(dict.fromkeys(golden)))
    if tau is None:
        return overlap
    return overlap * (tau + 1) / 2 if form == "paper" else round(overlap * tau, 2)
