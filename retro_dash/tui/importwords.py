"""What was sent, as it would be understood; in the words of the page (`web/static/importpreview.js`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.content import Content

from retro_dash.tui.board import Line
from retro_dash.tui.text import SIGNS, State, clean, one_line, plain, plural

INTRO = (
    "Recordings of other programs, or our own: a file, a zip of files, or a folder with all that is in it, on the "
    "machine of this terminal. Nothing is stored before you have seen what is understood; importing again adds only "
    "what is new."
)
COUNTS = {
    "episodes": "episodes",
    "same": "in it twice",
    "known": "here already",
    "trials": "trials",
    "turns": "turns",
    "reflections": "reflections",
    "solved": "solved",
    "labels": "labels",
    "dropped": "dropped",
}
MOST_ROWS, MOST_LINES = 20, 3
ABREAST = 3
"""Counts in one line."""
BAR = 40
"""Cells."""


def intro(formats: Mapping[str, str]) -> list[Line]:
    """What can be read."""
    width = max(map(len, formats), default=0)
    known = [
        Line(Content.assemble((f"{one_line(name):{width}}  ", "bold"), one_line(title)))
        for name, title in formats.items()
    ]
    return [
        Line(plain(INTRO)),
        _gap(),
        Line(plain("Formats; an empty field takes what it looks like", "$dim")),
        *known,
    ]


def fresh_of(seen: State) -> int:
    """Episodes of a preview that the store does not have."""
    return int(seen["episodes"] - seen["same"] - seen["known"])


def preview_lines(seen: State) -> list[Line]:
    """The hub's preview of what was sent."""
    head = Content.assemble((one_line(seen["title"]), "bold"), f" · {plural(seen['rows'], 'row')}")
    lines = [Line(plain(one_line(seen["file"]), "$dim")), Line(head), _gap()]
    for start in range(0, len(COUNTS), ABREAST):
        names = list(COUNTS)[start : start + ABREAST]
        lines.append(Line(Content("").join([_count(seen, name) for name in names])))
    rooms = " · ".join(f"{one_line(env)} {count:,}" for env, count in seen["environments"].items())
    lines += [_gap(), Line(plain(rooms))] if rooms else []
    lines += reasons("Dropped, and why", seen["reasons"], "failure")
    lines += reasons("Understood differently", seen["notes"], "human")
    return [*lines, *_dropped(seen["first_dropped"])]


def _count(seen: State, name: str) -> Content:
    style = "$failure" if name == "dropped" and seen[name] else ""
    return plain(f"{seen[name]:>9,}  {COUNTS[name]:<13}", style)


def _dropped(rows: list[State]) -> list[Line]:
    if not rows:
        return []
    lines = [_gap(), Line(plain("The first dropped rows", "$dim"))]
    for row in rows[:MOST_ROWS]:
        lines.append(Line(plain(f"row {row['row']}: {one_line(row['reason'])}")))
        excerpt = "\n".join(clean(row["excerpt"]).splitlines()[:MOST_LINES])
        lines += [Line(plain(excerpt, "$dim"), indent=2)] if excerpt.strip() else []
    return lines


def reasons(title: str, counts: Mapping[str, int], who: str) -> list[Line]:
    """Why, and how often."""
    if not counts:
        return []
    mark = Content.styled(SIGNS[who], f"${who}")
    body = [Line(plain(f"{count:,} × {one_line(reason)}", f"${who}"), sign=mark) for reason, count in counts.items()]
    return [_gap(), Line(plain(title, "$dim")), *body]


def progress_lines(state: State) -> list[Line]:
    """How many are stored by now."""
    wanted = fresh_of(state["preview"])
    done = BAR * int(state["stored"]) // max(1, wanted)
    bar = Content.assemble(("█" * done, "$success"), ("░" * (BAR - done), "$dim"))
    return [Line(bar), Line(plain(f"{state['stored']:,} of {plural(wanted, 'episode')} stored …"))]


def result_lines(result: Mapping[str, Any], filter_text: str) -> list[Line]:
    """What an import did, and the filter of what came in."""
    words = f"✓ {plural(result['stored'], 'episode')} imported, {result['known']:,} were here already, "
    lines = [Line(plain(f"{words}{result['dropped']:,} dropped.", "$success"))]
    lines += reasons("Did not fit the store", result["refused"], "failure")
    if filter_text:
        lines += [_gap(), Line(Content.assemble("Filter  ", (one_line(filter_text), "bold")))]
    elif result["stored"]:
        lines += [_gap(), Line(plain("They keep the runs that made them, as they were played here before.", "$dim"))]
    return lines


def _gap() -> Line:
    return Line(Content(""))
