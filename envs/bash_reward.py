"""How InterCode scores a Bash trial (2306.14898, section 3.2 and its code), and a stricter form of ours.

    reward = 0.01 + 0.33 (1 - erf(missing + extra changes)) + 0.33 right contents + 0.33 cos(last output, gold's)

each part rounded to two decimals, 1.0 at best. Both forms are pure functions of two file trees and two outputs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from envs.bash_trees import Change, Snapshot, all_changes, content, git_changes

RewardForm = Literal["published", "strict"]
SOLVED = 0.995
"""A reward of 1 that three rounded parts may miss by a rounding error."""

_BASE = 0.01
_SHARE = 0.33
_WORD = re.compile(r"(?u)\b\w\w+\b")


@dataclass(frozen=True)
class Score:
    """The reward and its parts, and what differs."""

    reward: float
    changes: float
    contents: float
    output: float
    missing: tuple[Change, ...]
    extra: tuple[Change, ...]
    wrong: tuple[str, ...]
    """Changed by both, with other contents."""


def score(
    before: Snapshot,
    agent: Snapshot,
    gold: Snapshot,
    output: str,
    gold_output: str,
    form: RewardForm = "published",
) -> Score:
    """Compare what the agent left and last printed with what the gold command left and printed, from one start.

    `published` sees what `git status` sees and compares the contents of new files only. `strict` also sees modes and
    empty folders, compares the contents of changed files, and asks for the same lines of output in the same order,
    up to blanks.
    """
    is_strict = form == "strict"
    changes = all_changes if is_strict else git_changes
    ours, theirs = changes(before, agent), changes(before, gold)
    missing, extra = theirs - ours, ours - theirs
    common = [path for path, status in sorted(ours & theirs) if status == "??" or (is_strict and status == "M")]
    wrong = [path for path in common if not _is_same(path, agent, gold, is_strict)]
    parts = (
        round(_SHARE * (1 - math.erf(len(missing) + len(extra))), 2),
        round(_SHARE * (len(common) - len(wrong)) / len(common), 2) if common else _SHARE,
        round(_SHARE * _likeness(output, gold_output, is_strict), 2),
    )
    return Score(
        reward=round(_BASE + sum(parts), 2),
        changes=parts[0],
        contents=parts[1],
        output=parts[2],
        missing=tuple(sorted(missing)),
        extra=tuple(sorted(extra)),
        wrong=tuple(wrong),
    )


def similarity(first: str, second: str) -> float:
    """Cosine of the TF-IDF vectors of two texts over just these two, as scikit-learn's TfidfVectorizer makes them:
    words of two characters or more, lower case, idf = ln((1 + n) / (1 + df)) + 1. Without any word in either: 1 if
    equal, else 0."""
    counts = [Counter(_WORD.findall(text.lower())) for text in (first, second)]
    if not any(counts):
        return float(first == second)
    weights = {
        word: math.log(3 / (1 + (word in counts[0]) + (word in counts[1]))) + 1 for word in counts[0] | counts[1]
    }
    vectors = [{word: count * weights[word] for word, count in text.items()} for text in counts]
    norm = math.prod(_norm(vector) for vector in vectors)
    if norm == 0:
        return 0.0
    return min(1.0, sum(value * vectors[1].get(word, 0.0) for word, value in vectors[0].items()) / norm)


def _likeness(output: str, gold: str, is_strict: bool) -> float:
    if is_strict and _lines(output) != _lines(gold):
        # Word counts alone call a wrong order or a wrong sign right.
        return min(similarity(output, gold), 0.9)
    return 1.0 if is_strict else similarity(output, gold)


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def _is_same(path: str, agent: Snapshot, gold: Snapshot, is_strict: bool) -> bool:
    if is_strict:
        return agent[path] == gold[path]
    return content(path, agent) == content(path, gold)


def _norm(vector: Mapping[str, float]) -> float:
    return math.sqrt(sum(value * value for value in vector.values()))
