"""Blind pairs: two reflections on failures of the same task, for a vote on which advice is better."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

from data.rows import ReflectionRow
from data.store import Store
from data.types import Label, Noun


class ReflectionText(Noun):
    """A reflection without what would give it away."""

    episode_id: str
    trial: int
    text: str


class BlindPair(Noun):
    """Two reflections to compare; the vote is a `preference` label on `this`."""

    instruction: str
    this: ReflectionText
    other: ReflectionText


def blind_pair(store: Store, annotator: str, filter_text: str = "") -> BlindPair | None:
    """Two reflections that the annotator has not compared yet, in random order; None when there are none left.

    Who wrote them and what came of them is left out. One vote stands on each reflection, so one that has a vote can
    only be the other of a pair: a second vote on it would take the place of the first.
    """
    compared = list(_compared(store.current_labels(annotator=annotator, name="preference")))
    asked, taken = {frozenset(pair) for pair in compared}, {here for here, _ in compared}
    by_task: dict[tuple[str, str], list[ReflectionRow]] = defaultdict(list)
    for this in store.reflections(filter_text):
        others = by_task[this.env, this.task_id]
        for other in others:
            pair = [row for row in random.sample((this, other), 2) if row.text.strip()]
            free = [row for row in pair if _key(row) not in taken]
            if len(pair) < 2 or pair[0].text.strip() == pair[1].text.strip() or not free:
                continue
            if frozenset(_key(row) for row in pair) not in asked:
                first, second = free[0], pair[1 - pair.index(free[0])]
                return BlindPair(instruction=this.instruction, this=_text(first), other=_text(second))
        others.append(this)
    return None


def _key(row: ReflectionRow) -> tuple[str, int]:
    return row.episode_id, row.trial


def _text(row: ReflectionRow) -> ReflectionText:
    return ReflectionText(episode_id=row.episode_id, trial=row.trial, text=row.text)


def _compared(labels: Sequence[Label]) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    for label in labels:
        if isinstance(label.value, dict):
            here = (label.target.episode_id, label.target.trial or 0)
            yield here, (str(label.value["episode_id"]), int(str(label.value["trial"])))
