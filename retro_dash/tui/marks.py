"""Labels as people see them, in the words, signs and hues of the page (`web/static/marks.js`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pydantic import JsonValue
from textual.content import Content

from data.types import Label
from retro_dash.tui.board import Block, Line, Row
from retro_dash.tui.parts import Part
from retro_dash.tui.text import one_line, plain, sign

VERDICTS = {
    "expert": ("expert", "★"),
    "good": ("success", "✓"),
    "bad": ("failure", "✕"),
    "discard": ("environment", "⌀"),
}
REWARDS = {1: ("success", "+1"), 0: ("environment", "0"), -1: ("failure", "−1")}
QUALITIES = ("accurate", "actionable", "followed")
ORDER = (
    "verdict",
    "step_reward",
    "first_error",
    "quality",
    "preference",
    "adjudication",
    "judgement",
    "tags",
    "note",
    "rewrite",
)
LONGEST_NOTE = 60


def words(name: str, value: JsonValue) -> tuple[str, str]:
    """Whose colour, and what a label says."""
    if name == "verdict":
        who, mark = VERDICTS.get(str(value), ("environment", ""))
        return who, f"{mark} {value}"
    if name == "step_reward" and isinstance(value, int):
        who, shown = REWARDS.get(value, ("environment", str(value)))
        return who, f"step {shown}"
    if name == "first_error":
        return ("success", "no error") if value == 0 else ("failure", f"! first error: turn {value}")
    if name == "quality" and isinstance(value, dict):
        said = [f"✓ {one}" if value[one] else f"✕ not {one}" for one in QUALITIES if one in value]
        return "human", " · ".join(said)
    if name == "tags" and isinstance(value, list):
        return "human", "  ".join(f"# {tag}" for tag in value)
    if name == "note":
        return "human", f"✎ {one_line(value)[:LONGEST_NOTE]}"
    if name == "rewrite":
        return "human", "✎ rewritten"
    if name == "adjudication" and isinstance(value, dict):
        return "human", f"⚖ decided: {', '.join(words(key, final)[1] for key, final in value.items())}"
    if name == "judgement" and isinstance(value, dict):
        verdict, who = value.get("verdict"), "success" if value.get("verdict") == "good" else "failure"
        return who, f"{'✓' if verdict == 'good' else '✕'} {verdict} — {one_line(value.get('reason'))[:LONGEST_NOTE]}"
    return "human", f"{name}: {one_line(value)[:LONGEST_NOTE]}"


def marks(labels: Iterable[Label], annotator: str) -> Content:
    """What is said of one part: the annotator's own words first, those of others with their names."""
    ordered = sorted(labels, key=lambda one: (one.annotator != annotator, _place(one.name)))
    shown = []
    for label in ordered:
        who, said = words(label.name, label.value)
        by = "" if label.annotator == annotator else f"{one_line(label.annotator)}: "
        shown.append(Content.assemble((by, "$dim"), plain(said, f"${who}")))
    return Content("  ").join(shown)


def marked(rows: Sequence[Row], labels: Sequence[Label], annotator: str) -> list[Row]:
    """The blocks of a board with what is said of each under it, and its rewrite in full."""
    by_key: dict[str, list[Label]] = {}
    for label in labels:
        by_key.setdefault(Part.of(label.target).key, []).append(label)

    def with_marks(key: str) -> tuple[Line, ...]:
        here = by_key.get(key, [])
        rewrites = [one.value for one in here if one.name == "rewrite" and one.annotator == annotator]
        lines = [Line(marks(here, annotator), Content.styled("✎", "$human"), 3)] if here else []
        return (*lines, *(line for value in rewrites for line in _rewrite(value)))

    return [[[_longer(block, with_marks) for block in cell] for cell in row] for row in rows]


def _longer(block: Block, lines_of: Callable[[str], tuple[Line, ...]]) -> Block:
    lines = lines_of(block.key)
    return replace(block, lines=(*block.lines, *lines)) if lines else block


def _rewrite(value: JsonValue) -> list[Line]:
    texts = value if isinstance(value, dict) else {}
    return [
        Line(plain(texts[name], "$human"), sign("human"), 3)
        for name in ("thought", "action", "text")
        if name in texts
    ]


def _place(name: str) -> int:
    return ORDER.index(name) if name in ORDER else len(ORDER)
