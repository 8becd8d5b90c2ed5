"""What is wrong with training texts, before anybody trains on them. Pure: texts in, findings out.

A text is what one sample shows (`prompt`) and teaches (`target`). It comes from an episode (`episode_texts`), or from
a file's rows as they are (`row_texts`), so that a defect is seen where it was made.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from data.formats.entry import Dropped, Entry
from data.formats.source import rows_of
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


@dataclass(frozen=True)
class Text:
    """One sample as text."""

    id: str
    role: Literal["planner", "reflector"]
    prompt: str
    target: str
    """What is trained."""
    masked: str = ""
    """What stands between the trained parts (observations): shown, never trained."""
    task_id: str = ""
    split: str = "train"
    question: str = ""
    """What the task says; an answer that stands there has not leaked."""
    gold: tuple[str, ...] = ()
    has_transcript: bool = True


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
    """What the three sums count: tokens of a named tokenizer, or words."""
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


def count_words(text: str) -> int:
    """The counter when no tokenizer is at hand."""
    return len(text.split())


def lint(
    texts: Iterable[Text], count: Callable[[str], int] = count_words, unit: str = "words", limit: int | None = None
) -> LintReport:
    """Look at all texts; `limit` is the longest sample that training keeps whole, in the unit of `count`."""
    kinds = _kinds(unit, limit)
    everything = list(texts)
    sums = {"prompt": 0, "trained": 0, "masked": 0}
    for text in everything:
        sizes = (count(text.prompt), count(text.target), count(text.masked))
        for name, size in zip(sums, sizes, strict=True):
            sums[name] += size
        for kind in _problems(text):
            kinds[kind].ids.append(text.id)
        if limit is not None and sum(sizes) > limit:
            kinds["too_long"].ids.append(text.id)
    kinds["duplicate"].ids = repeats(everything, lambda text: (text.role, text.prompt, text.target))
    kinds["near_duplicate"].ids = near_duplicates([t for t in everything if t.id not in set(kinds["duplicate"].ids)])
    kinds["task_overlap"].ids = _overlapping(everything)
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


def _overlapping(texts: Sequence[Text]) -> list[str]:
    """Training texts whose task is also in another split."""
    evaluated = {text.task_id for text in texts if text.split not in TRAINING_SPLITS and text.task_id}
    return [text.id for text in texts if text.split in TRAINING_SPLITS and text.task_id in evaluated]


# Where texts come from ----------------------------------------------------------------------------------------------


def episode_texts(entry: Entry) -> Iterator[Text]:
    """The trials and reflections of an episode, as its record has them."""
    episode = entry.episode
    task = episode.task
    gold = tuple(str(task.metadata[key]) for key in ("answer", "gold") if isinstance(task.metadata.get(key), str))
    about = {"task_id": task.id, "split": task.split, "question": task.instruction, "gold": gold}
    for trial in episode.trials:
        if trial.turns:
            target = "\n".join(f"{turn.thought}\n{turn.action}".strip() for turn in trial.turns)
            masked = "\n".join(turn.observation for turn in trial.turns)
            name = f"{episode.id}/trial/{trial.index}"
            prompt = trial.prompt or trial.opening
            yield Text(name, "planner", prompt, target, masked, **about)  # type: ignore[arg-type]
    seen = {trial.index for trial in episode.trials if trial.turns}
    for reflection in episode.reflections:
        name = f"{episode.id}/reflection/{reflection.after_trial}"
        knows = bool(reflection.prompt) or reflection.after_trial in seen
        yield Text(name, "reflector", reflection.prompt, reflection.text, has_transcript=knows, **about)  # type: ignore[arg-type]


def row_texts(path: Path) -> Iterator[Text] | None:
    """Texts of a file whose rows are prompts and targets already; None when it is not such a file."""
    columns = next((found for _, row in rows_of(path) if (found := _columns(row)) is not None), None)
    return None if columns is None else _row_texts(path, *columns)


def _columns(row: object) -> tuple[str, str] | None:
    if not isinstance(row, dict):
        return None
    pairs = (("input", "output"), ("prompt", "completion"))
    return next((pair for pair in pairs if all(isinstance(row.get(name), str) for name in pair)), None)


def _row_texts(path: Path, prompt: str, target: str) -> Iterator[Text]:
    for number, row in rows_of(path):
        if isinstance(row, Dropped) or not isinstance(row, dict):
            continue
        shown, taught = str(row.get(prompt) or ""), str(row.get(target) or "")
        shown = f"{row['instruction']}\n{shown}".strip() if row.get("instruction") else shown
        role = "reflector" if "reflector" in (row.get("type"), row.get("role")) else "planner"
        yield Text(
            f"row {number}",
            "reflector" if role == "reflector" else "planner",
            shown,
            taught,
            task_id=str(row.get("task_id") or ""),
            split=str(row.get("split") or "train"),
        )
