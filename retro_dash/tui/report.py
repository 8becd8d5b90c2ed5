"""An evaluation in words: the sentence a reader wants, the table of methods, the tasks that changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from textual.content import Content

from retro_dash.tui.text import one_line, plain, plural

LONGEST_METHOD = 40


class Flip(NamedTuple):
    """A task that one method solved and the first did not, or the other way round."""

    method: str
    task: str
    before: str
    after: str
    """Ids of the episodes of the first method and of this one."""
    is_solved: bool


def headline(report: Mapping[str, Any]) -> str:
    """The method that differs most from the first, by how much, and how sure that is."""
    first, *others = report["arms"]
    name, where = one_line(first["arm"]["name"]), f"on {plural(report['tasks'], one_line(report['env']) + ' task')}"
    compared = [arm for arm in others if arm.get("compared")]
    if not compared:
        final = first[report["measure"]]["final"]["mean"]
        return f"{name} ends at {100 * final:.1f} points of {report['measure']} {where}."
    best = max(compared, key=lambda arm: abs(float(arm["compared"]["difference"]["mean"])))
    gap, method = best["compared"]["difference"], one_line(best["arm"]["name"])
    mean, low, high = (100 * float(gap[key]) for key in ("mean", "low", "high"))
    interval = f"95 % interval {_signed(low)} to {_signed(high)}, {where}."
    if low > 0:
        return f"{method} beats {name} by {mean:.1f} points, {interval}"
    if high < 0:
        return f"{method} falls behind {name} by {-mean:.1f} points, {interval}"
    return f"{method} and {name} cannot be told apart: {'+' if mean >= 0 else ''}{_signed(mean)} points, {interval}"


def table(report: Mapping[str, Any], measure: str, width: int) -> Content:
    """IR, FR and AR with their intervals, as in the papers; a narrow one without the intervals."""
    is_wide = width >= 100
    rows = [["Method", "IR (first)", "FR (final)", "AR (average)", "Against first", "Solved", "Errors"]]
    for arm in report["arms"]:
        scores, gap = arm[measure], (arm.get("compared") or {}).get("difference")
        cells = [_cell(scores[name], is_wide) for name in ("initial", "final", "average")]
        against = "–" if gap is None else f"{'+' if gap['mean'] >= 0 else ''}{_signed(100 * gap['mean'])}"
        solved = _cell(arm["success"]["best_by_trial"][-1], is_wide)
        rows.append([one_line(arm["arm"]["name"])[:LONGEST_METHOD], *cells, against, solved, str(arm["errors"])])
    if not is_wide:
        rows = [row[:6] for row in rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    return Content("\n").join([Content.styled(lines[0], "bold $dim"), *(plain(line) for line in lines[1:])])


def flips(report: Mapping[str, Any]) -> list[Flip]:
    """What each method solved or lost against the first."""
    return [
        Flip(one_line(arm["arm"]["name"]), one_line(task), before, after, is_solved=key == "solved")
        for arm in report["arms"][1:]
        for key in ("solved", "broken")
        for task, before, after in (arm.get("compared") or {}).get(key, ())
    ]


def flip_words(report: Mapping[str, Any]) -> str:
    """How many tasks changed."""
    parts = []
    for arm in report["arms"][1:]:
        if compared := arm.get("compared"):
            solved, broken = plural(len(compared["solved"]), "task"), len(compared["broken"])
            parts.append(f"{one_line(arm['arm']['name'])}: {solved} flipped to solved, {broken} broke")
    return "; ".join(parts)


def _cell(interval: Mapping[str, float], is_wide: bool) -> str:
    mean, low, high = (f"{100 * interval[key]:.1f}" for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]" if is_wide else mean


def _signed(points: float) -> str:
    return f"{points:.1f}".replace("-", "−")
