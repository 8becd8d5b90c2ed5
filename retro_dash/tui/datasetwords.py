"""A frozen dataset in words: its counts, how it was made, what lint says (the page: `web/static/datasets.js`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from textual.content import Content

from data.errors import BadInput
from retro_dash.tui.text import State, one_line, plain, plural

COUNTS = {
    "episodes": "episodes",
    "training_episodes": "to train on",
    "evaluation_episodes": "to evaluate on",
    "trials": "trials",
    "turns": "turns",
    "reflections": "reflections",
    "labels": "labels",
    "rewrites": "rewrites",
}
SEVERITIES = {"error": ("failure", "✕"), "warning": ("human", "!"), "note": ("environment", "▸")}
MOST_NAMES = 6
SHARE = "share of tasks kept for evaluation"


def suggested(filter_text: str) -> str:
    """A name for what a filter finds today."""
    words = "-".join(re.sub(r"[^\w ]+", " ", filter_text).split())
    return f"{words[:80] or 'all'}-{date.today():%Y-%m-%d}"


def request_of(fields: Mapping[str, str]) -> dict[str, Any]:
    """What to freeze, as in `retro_dash.datasets.DatasetRequest`. Raises BadInput for a share that is no number."""
    filter_text = one_line(fields["filter"])
    evaluators = [one.strip() for one in fields["evaluators"].split(",") if one.strip()]
    name = one_line(fields["name"]) or suggested(filter_text)
    try:
        share = float(fields[SHARE] or 0)
    except ValueError:
        raise BadInput(
            f"The share of tasks kept for evaluation is a number such as 0.1, not {fields[SHARE]!r}."
        ) from None
    return {"name": name, "filter": filter_text, "evaluators": evaluators, "split": {"share": share}}


def card(details: State) -> list[Content]:
    """One version: name and hash, filter, counts, lint."""
    version, split = details["version"], details["split"]
    made = [
        f"evaluators {', '.join(map(one_line, details['evaluators']))}" if details["evaluators"] else "",
        f"{split['share']:.0%} of the tasks kept for evaluation",
        f"tag set {details['tagset_version']}",
    ]
    return [
        Content.assemble(plain(one_line(version["name"]), "bold"), plain(f"  {version['hash']}", "$dim")),
        plain(one_line(version["filter"]) or "every episode", "$human"),
        plain(counts(version["counts"])),
        plain(" · ".join(part for part in made if part), "$dim"),
        Content(""),
        *lint(details["lint"]),
    ]


def counts(numbers: Mapping[str, int]) -> str:
    return " · ".join(f"{numbers[key]:,} {word}" for key, word in COUNTS.items() if numbers.get(key))


def lint(report: State) -> list[Content]:
    """How much would be trained, and what is wrong with it."""
    unit, shown = one_line(report["unit"]), report["prompt"] + report["masked"]
    texts = f"{plural(report['texts'], 'text')} ({report['planner']:,} planner, {report['reflector']:,} reflector)"
    lines = [plain(f"{texts} · {report['trained']:,} {unit} trained, {shown:,} shown and masked", "$dim")]
    for finding in report["findings"]:
        who, mark = SEVERITIES.get(finding["severity"], SEVERITIES["note"])
        kind = str(finding["kind"]).replace("_", " ")
        head = Content.styled(f"{mark} {finding['count']:,} × {one_line(kind)}", f"bold ${who}")
        lines.append(Content.assemble(head, plain(f"  {one_line(finding['meaning'])}")))
    if not report["findings"]:
        lines.append(Content.styled("✓ Lint found nothing.", "$success"))
    return lines


def difference(found: State) -> list[Content]:
    """From one version to another: episodes that came, went and changed, and the counts that differ."""
    parts = (
        ("added", "+", "success", "added"),
        ("removed", "−", "failure", "left out"),
        ("changed", "≠", "human", "changed"),
    )
    lines = []
    for key, mark, who, word in parts:
        ids = [one_line(one) for one in found[key]]
        more = f" and {len(ids) - MOST_NAMES} more" if len(ids) > MOST_NAMES else ""
        head = Content.styled(f"{mark} {len(ids):,} {word}", f"bold ${who}")
        lines.append(Content.assemble(head, plain(f"  {' '.join(ids[:MOST_NAMES])}{more}", "$dim")))
    changed = [f"{name.replace('_', ' ')} {old:,} → {new:,}" for name, (old, new) in found["counts"].items()]
    return [*lines, plain(" · ".join(changed))]
