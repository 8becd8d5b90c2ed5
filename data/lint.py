"""What is wrong with training texts, before anybody trains on them. Pure: texts in, findings out.

The texts come from `data.lint_texts`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from data.lint_texts import Measure, Text, tokens_of
from data.types import Noun

Severity = Literal["error", "warning", "note"]
SHOWN = 20
NEAR = 0.9
"""Jaccard similarity of five-word shingles from which two targets are near-duplicates."""
FEWEST_WORDS = 12
"""Shorter targets are alike by nature."""
BANDS, BAND_ROWS = 16, 4
PRIME = (1 << 61) - 1
TRAINING_SPLITS = frozenset({"train", ""})

VERDICT = re.compile(r"^(STATUS: (OK|FAIL)|REWARD: \S+)\s*$|Answer is (IN)?CORRECT\b", re.MULTILINE)
END_OF_SENTENCE = re.compile(r"""[.!?…:;)\]}"'`*|]\s*\Z""")


class Finding(Noun):
    """One kind of problem."""

    kind: str
    severity: Severity
    count: int
    meaning: str
    examples: tuple[str, ...]
    """Ids of the first texts that have it."""


class LintReport(Noun):
    texts: int
    planner: int
    reflector: int
    unit: str
    """What the three sums count: tokens, estimated ones where they were not recorded, or words."""
    prompt: int
    trained: int
    masked: int
    findings: tuple[Finding, ...]

    @property
    def has_errors(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)


@dataclass
class _Kind:
    severity: Severity
    meaning: str
    ids: list[str] = field(default_factory=list)


def lint(texts: Iterable[Text], measure: Measure = tokens_of, unit: str = "", limit: int | None = None) -> LintReport:
    """Look at all texts; `limit` is the longest sample that training keeps whole, in the unit of `measure`."""
    everything = list(texts)
    unit = unit or ("tokens" if all(text.tokens for text in everything) else "estimated tokens")
    kinds = _kinds(unit, limit)
    sums = {"prompt": 0, "trained": 0, "masked": 0}
    for text in everything:
        sizes = measure(text)
        for name, size in zip(sums, sizes, strict=True):
            sums[name] += size
        for kind in _problems(text):
            kinds[kind].ids.append(text.id)
        if limit is not None and sum(sizes) > limit:
            kinds["too_long"].ids.append(text.id)
    kinds["duplicate"].ids = repeats(everything, lambda text: (text.role, text.prompt, text.target))
    kinds["near_duplicate"].ids = near_duplicates([t for t in everything if t.id not in set(kinds["duplicate"].ids)])
    kinds["task_overlap"].ids = _overlapping(everything, lambda text: text.task_id)
    kinds["database_overlap"].ids = _overlapping(everything, lambda text: text.database)
    findings = tuple(
        Finding(kind=name, severity=k.severity, count=len(k.ids), meaning=k.meaning, examples=tuple(k.ids[:SHOWN]))
        for name, k in kinds.items()
        if k.ids
    )
    planner = sum(text.role == "planner" for text in everything)
    return LintReport(
        texts=len(everything),
        planner=planner,
        reflector=len(everything) - planner,
        unit=unit,
        findings=findings,
        **sums,
    )


def _kinds(unit: str, limit: int | None) -> dict[str, _Kind]:
    return {
        "empty_target": _Kind("error", "nothing to learn: the target is empty"),
        "cut_target": _Kind("warning", "a reflection that breaks off before its sentence ends"),
        "verdict_in_target": _Kind(
            "error", "the target holds the verdict or the reward (STATUS, REWARD, Answer is …)"
        ),
        "verdict_in_prompt": _Kind("note", "the prompt holds the verdict or the reward of a trial"),
        "gold_in_prompt": _Kind("error", "the prompt holds the gold answer, which the task does not say"),
        "gold_in_reflection": _Kind("warning", "the reflection tells the gold answer instead of how to find it"),
        "no_transcript": _Kind("warning", "a reflection on a trial whose turns are not known"),
        "too_long": _Kind("warning", f"longer than {limit} {unit}: context is cut off, or the sample left out"),
        "duplicate": _Kind("warning", "the same prompt and target once more"),
        "near_duplicate": _Kind("note", f"a target that shares {NEAR:.0%} of its five-word runs with an earlier one"),
        "task_overlap": _Kind("error", "a training task that is also an evaluation task"),
        "database_overlap": _Kind("warning", "a training task on a database that evaluation tasks ask about, too"),
    }


def _problems(text: Text) -> Iterator[str]:
    """Kinds that show in the text alone."""
    target = text.target.strip()
    if not target:
        yield "empty_target"
    elif text.role == "reflector" and not END_OF_SENTENCE.search(target):
        yield "cut_target"
    if VERDICT.search(text.target):
        yield "verdict_in_target"
    if VERDICT.search(text.prompt):
        yield "verdict_in_prompt"
    for answer in text.gold:
        if not _says(text.question, answer):
            if _says(text.prompt, answer):
                yield "gold_in_prompt"
            if text.role == "reflector" and _says(text.target, answer):
                yield "gold_in_reflection"
    if text.role == "reflector" and not text.has_transcript:
        yield "no_transcript"


def _says(text: str, answer: str) -> bool:
    """Whether the text holds the answer as whole words; answers such as `yes` or `2` say too little to tell."""
    answer = answer.strip()
    if len(answer) < 4 or answer.lower() in {"true", "false", "none"}:
        return False
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE) is not None


def repeats(texts: Sequence[Text], key: Callable[[Text], Hashable]) -> list[str]:
    """Ids of the texts whose key an earlier one has."""
    seen: set[Hashable] = set()
    found = []
    for text in texts:
        if key(text) in seen:
            found.append(text.id)
        seen.add(key(text))
    return found


def near_duplicates(texts: Sequence[Text]) -> list[str]:
    """Ids of the texts whose target is nearly that of an earlier one of the same role.

    MinHash with banding finds the candidates (Broder 1997; Leskovec, Rajaraman and Ullman, chapter 3), whose Jaccard
    similarity is then computed exactly.
    """
    shingles = [_shingles(text.target) for text in texts]
    buckets: dict[tuple[object, ...], list[int]] = defaultdict(list)
    found = []
    for place, text in enumerate(texts):
        if not shingles[place]:
            continue
        keys = _bands(text.role, shingles[place])
        candidates = {other for key in keys for other in buckets[key][:50]}
        if any(_jaccard(shingles[place], shingles[other]) >= NEAR for other in candidates):
            found.append(text.id)
        for key in keys:
            buckets[key].append(place)
    return found


def _shingles(text: str) -> frozenset[int]:
    words = text.lower().split()
    if len(words) < FEWEST_WORDS:
        return frozenset()
    return frozenset(
        crc32(" ".join(words[i : i + 5]).encode("utf-8", "surrogatepass")) for i in range(len(words) - 4)
    )


def _bands(role: str, shingles: frozenset[int]) -> list[tuple[object, ...]]:
    factors, shifts = _hashes()
    values: NDArray[np.uint64] = np.fromiter(shingles, dtype=np.uint64)
    signature = ((factors * values + shifts) % np.uint64(PRIME)).min(axis=1).reshape(BANDS, BAND_ROWS)
    return [(role, band, row.tobytes()) for band, row in enumerate(signature)]


@lru_cache
def _hashes() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Factors and shifts, (bands * rows, 1) each, of the hash functions h(x) = (a x + b) mod p."""
    draw = np.random.default_rng(7)
    shape = (BANDS * BAND_ROWS, 1)
    return draw.integers(1, 2**31, shape, dtype=np.uint64), draw.integers(0, 2**31, shape, dtype=np.uint64)


def _jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b)


def _overlapping(texts: Sequence[Text], key: Callable[[Text], str]) -> list[str]:
    """Training texts whose key (none when empty) a text of another split has, too."""
    evaluated = {key(text) for text in texts if text.split not in TRAINING_SPLITS} - {""}
    return [text.id for text in texts if text.split in TRAINING_SPLITS and key(text) in evaluated]
