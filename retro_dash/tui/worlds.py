"""What the environment shows beside the transcript, as text: a room, paragraphs, a database, a file tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.content import Content

from retro_dash.tui.text import clean, number, one_line, plain, plural, sign

View = dict[str, Any]
PLACES = {"current": ("$planner", "◎"), "visited": ("$success", "✓"), "unseen": ("$dim", "○")}
CHANGES = {"??": ("+", "$success"), "M": ("~", "$human"), "D": ("−", "$failure")}
"""What `git status` calls a change."""
SHOWN_ROWS = 40


def world(env: str, view: View) -> Content:
    """The panel of an environment; a view that is not what the panel knows is drawn as names and values."""
    try:
        return PANELS.get(env, generic)(view)
    except (KeyError, TypeError, AttributeError, ValueError):
        return generic(view)


def room(view: View) -> Content:
    places, truth = view["receptacles"], view.get("truth") or {}
    visited = sum(place["state"] != "unseen" for place in places)
    lines = [
        Content.assemble("Carrying ", (one_line(", ".join(view["inventory"]) or "nothing"), "bold")),
        Content.assemble(("Room ", "bold"), (f"{visited} of {len(places)} visited", "$dim")),
    ]
    for place in places:
        style, mark = PLACES.get(place["state"], PLACES["unseen"])
        door = "" if place["is_open"] is None else " open" if place["is_open"] else " closed"
        contents = place["contents"]
        real = truth.get(place["name"])
        seen = [item for item in contents or [] if real is None or item in real]
        missed = [item for item in real or [] if item not in (contents or [])]
        known = "" if contents is None else ", ".join(seen) or ("" if missed else "empty")
        lines.append(
            Content.assemble(
                (f"{mark} ", style),
                plain(one_line(place["name"])),
                (door, "$dim"),
                (f"  {one_line(known)}", "$environment"),
            )
        )
        if missed:
            lines.append(Content.styled(f"    missed: {one_line(', '.join(missed))}", "$human"))
    return Content("\n").join(lines)


def paragraphs(view: View) -> Content:
    lines = []
    result, search = view.get("result"), view["last_search"]
    if result:
        right = result["f1"] >= 1
        lines += [
            Content.assemble(
                sign("success" if right else "failure"),
                " Answer ",
                (one_line(result["answer"] or "none given"), "bold"),
            ),
            Content.assemble("  Right answer ", (one_line(result["gold"]), "bold")),
            Content(f"  EM {number(float(result['exact_match']))} · F1 {number(result['f1'])}"),
        ]
    if search:
        found = (
            f"found {search['found']}"
            if search["found"]
            else f"found nothing; similar: {', '.join(search['similar'])}"
        )
        lines.append(Content.assemble("Last search ", (one_line(search["query"]), "bold"), f" {one_line(found)}"))
    read = sum(one["is_read"] for one in view["paragraphs"])
    lines.append(Content.assemble(("Paragraphs ", "bold"), (f"{read} of {len(view['paragraphs'])} read", "$dim")))
    for one in view["paragraphs"]:
        mark, style = (
            ("◎", "$planner") if one["is_current"] else ("✓", "$success") if one["is_read"] else ("○", "$dim")
        )
        needed = ("  ★ needed", "$expert") if one["supporting"] else ""
        lines.append(Content.assemble((f"{mark} ", style), plain(one_line(one["title"])), needed))
        if one["is_current"] and one["sentences"]:
            lines += [
                Content.styled(f"    {one_line(text)}", "$expert" if number_ in one["supporting"] else "$environment")
                for number_, text in enumerate(one["sentences"])
            ]
    return Content("\n").join(lines)


def database(view: View) -> Content:
    lines = [Content.assemble("Database ", (one_line(view["database"]), "bold"))]
    ending = view.get("outcome")
    if ending:
        right = ending["reward"] >= 1
        lines.append(Content.assemble(sign("success" if right else "failure"), f" Reward {number(ending['reward'])}"))
        if not ending["is_submitted"]:
            lines.append(Content(f"  Not submitted; would have scored {number(ending['would_score'])}"))
        lines += [
            Content.assemble("  Right query ", (one_line(ending["gold_query"]), "bold")),
            *_rows("Right answer", ending["gold"]),
        ]
    lines += (
        _rows("Last result", view["last_result"])
        if view["last_result"]
        else [Content.styled("No query ran yet.", "$dim")]
    )
    lines.append(Content.assemble(("Tables ", "bold"), (str(len(view["tables"])), "$dim")))
    for table in view["tables"]:
        columns = ", ".join(f"{column['name']}{'*' if column['key'] else ''}" for column in table["columns"])
        lines.append(Content.assemble(plain(one_line(table["name"])), (f"  {one_line(columns)}", "$dim")))
    return Content("\n").join(lines)


def _rows(title: str, result: View) -> list[Content]:
    if result["rows"] is None:
        return [Content.styled(f"{title}: {one_line(result['error'] or 'no rows')}", "$failure")]
    table = [
        [one_line("NULL" if value is None else value)[:24] for value in row]
        for row in [result["columns"], *result["rows"][:SHOWN_ROWS]]
    ]
    widths = [max(len(row[at]) for row in table) for at in range(len(result["columns"]))]
    head, *body = ("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)) for row in table)
    return [
        Content.assemble((f"{title} ", "bold"), (plural(result["row_count"], "row"), "$dim")),
        Content.styled(head, "underline"),
        *(Content.styled(line, "$environment") for line in body),
    ]


def shell(view: View) -> Content:
    lines = (
        [Content.styled("Commands run on this machine itself, without a sandbox.", "$failure")]
        if view.get("unsafe")
        else []
    )
    result = view.get("result")
    if result:
        right = result["reward"] >= 1
        parts = ", ".join(f"{name} {number(result[name])}" for name in ("changes", "contents", "output"))
        lines += [
            Content.assemble(sign("success" if right else "failure"), f" Reward {number(result['reward'])}: {parts}"),
            Content.assemble("  Right command ", (one_line(result["gold"]), "bold")),
        ]
        if (result.get("gold_output") or "").strip():
            printed = clean(result["gold_output"])[:800].rstrip("\n").replace("\n", "\n    ")
            lines.append(plain(f"  It prints\n    {printed}", "$environment"))
        for word, key in (("missing", "missing"), ("too much", "extra"), ("wrong content", "wrong")):
            if result[key]:
                lines.append(Content.styled(f"  {word}: {one_line(', '.join(result[key]))}", "$failure"))
    status = "No command ran yet." if view.get("status") is None else f"exit status {view['status']}"
    container = f"  in a container of {one_line(view['image'])}" if view.get("image") else ""
    lines.append(Content.assemble("In ", (one_line(view["cwd"]), "bold"), (f"{container}  {status}", "$dim")))
    if view.get("output"):
        lines.append(plain(clean(view["output"])[-2000:].rstrip("\n"), "$environment"))
    changed = sum(bool(one["change"]) for one in view["tree"])
    count = f"{view['entries']} entries{f', {changed} changed' if changed else ''}"
    lines.append(Content.assemble(("Files ", "bold"), (count, "$dim")))
    for one in view["tree"][:400]:
        mark, style = CHANGES.get(one["change"], (" ", "$dim"))
        tail = {"dir": "/", "directory": "/", "link": "@"}.get(one["kind"], "")
        lines.append(
            Content.assemble(
                (f"{mark} ", style), plain(one_line(one["path"]) + tail), (f"  {one_line(one['mode'])}", "$dim")
            )
        )
    return Content("\n").join(lines)


def generic(view: View, depth: int = 0) -> Content:
    """Names and values of any view."""
    lines = []
    for name, value in list(view.items())[:200]:
        if isinstance(value, dict) and value and depth < 4:
            inner = generic(value, depth + 1).plain.replace("\n", "\n  ")
            lines.append(Content.assemble((one_line(name), "bold"), f"\n  {inner}"))
        else:
            lines.append(Content.assemble((one_line(name), "bold"), f" {one_line(value)[:400]}"))
    return Content("\n").join(lines)


PANELS: dict[str, Callable[[View], Content]] = {
    "alfworld": room,
    "hotpotqa": paragraphs,
    "intercode_sql": database,
    "intercode_bash": shell,
}
