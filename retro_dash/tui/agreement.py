"""Agreement in words: coefficients, annotators, judges, and what can be decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue
from textual.content import Content

from retro_dash.tui.marks import QUALITIES, REWARDS, VERDICTS, words
from retro_dash.tui.text import one_line, plain, plural

if TYPE_CHECKING:
    from retro_dash.tui.review import Found

LABELS = ("verdict", "step_reward", "first_error", *QUALITIES)
"""What has categories to agree on."""
STRENGTHS = ((0.8, "almost perfect"), (0.6, "substantial"), (0.4, "moderate"), (0.2, "fair"), (0.0, "slight"))
"""Landis and Koch (1977)."""


def numbers(agreement: Mapping[str, Any], width: int) -> Content:
    """The label, on how many items, and the coefficients."""
    name = str(agreement["name"]).replace("_", " ")
    percent = "–" if agreement["percent"] is None else f"{round(100 * agreement['percent'])} %"
    parts = [
        f"{agreement['items']:,} judged by two or more",
        f"{percent} agreeing pairs",
        f"Cohen's κ {coefficient(agreement['cohen_kappa'])}",
        f"Fleiss' κ {coefficient(agreement['fleiss_kappa'])} ({plural(agreement['fleiss_items'], 'item')})",
        f"Krippendorff's α {coefficient(agreement['krippendorff_alpha'])}",
    ]
    return Content.assemble((f"{name.capitalize()}  ", "bold"), plain(" · ".join(parts)))


def people(found: Found) -> list[Content]:
    """A line for each annotator, and for each judge that is a language model."""
    lines = []
    for one in found.agreement["statistics"]:
        share = (
            "" if one["with_majority"] is None else f"{round(100 * one['with_majority'])} % of {one['with_others']}"
        )
        values = ", ".join(f"{value} {many}" for value, many in sorted(one["values"].items(), key=_most))
        with_others = f", with the majority {share}" if share else ""
        lines.append(
            plain(f"✎ {one_line(one['annotator'])}: {plural(one['items'], 'item')}{with_others}: {values}", "$dim")
        )
    for judge in found.judges:
        item, good = ("episode", "good") if judge["about"] == "verdict" else ("reflection", judge["about"])
        known = ""
        if judge["items"]:
            share = f"agrees with people on {round(100 * judge['percent'])} % of {plural(judge['items'], item)}"
            known = f"; {share}, κ {coefficient(judge['cohen_kappa'])}"
        said = f"{judge['good']} of {plural(judge['judged'], item)} {good}"
        lines.append(plain(f"⚖ {one_line(judge['model'])}: {said}{known}", "$dim"))
    return lines


def coefficient(value: float | None) -> str:
    """With what it is called."""
    if value is None:
        return "–"
    word = next((word for least, word in STRENGTHS if value >= least), "worse than chance")
    return f"{value:.2f} {word}".replace("-", "−")


def label_of(name: str) -> str:
    """Name of the label that says it: the qualities are one label."""
    return "quality" if name in QUALITIES else name


def decision(name: str, value: JsonValue) -> str:
    """A value in the words of labels."""
    if value is None:
        return ""
    if name in QUALITIES:
        return f"✓ {name}" if value else f"✕ not {name}"
    return words(name, value)[1]


def said_words(name: str, values: Mapping[str, JsonValue]) -> str:
    """Who says what."""
    return " · ".join(f"{one_line(who)} {decision(name, value)}" for who, value in values.items())


def choices_of(name: str, values: Mapping[str, JsonValue]) -> list[JsonValue]:
    """What can be decided: all verdicts and rewards, else what somebody said."""
    if name == "verdict":
        return list(VERDICTS)
    if name == "step_reward":
        return list(REWARDS)
    if name in QUALITIES:
        return [True, False]
    return sorted({int(str(value)) for value in values.values()})  # type: ignore[return-value]


def _most(pair: tuple[str, int]) -> tuple[int, str]:
    return -pair[1], pair[0]
