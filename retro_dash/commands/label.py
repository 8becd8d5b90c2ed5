"""`retro-dash label`: say something of an episode, take it back, see who said what and how far people agree.

retro-dash label --annotator kim EPISODE verdict good
retro-dash label --annotator kim EPISODE rewrite '{"text": "Search both."}' --reflection 1
retro-dash label --annotator kim --undo
"""

from __future__ import annotations

import argparse
import json

from pydantic import JsonValue

from data.errors import BadInput
from data.types import LabelTarget
from retro_dash.agreement import AGREED_NAMES, Agreement
from retro_dash.commands.curator import Curator, open_curator
from retro_dash.ids import new_id
from retro_dash.labels import LABEL_NAMES, LabelRequest
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("episode", nargs="?", help="id of the episode")
    parser.add_argument("name", nargs="?", help=", ".join(LABEL_NAMES))
    parser.add_argument("value", nargs="?", help="text or JSON")
    parser.add_argument("--annotator", help="who says it")
    parser.add_argument("--trial", type=int, help="of this trial instead of the episode")
    parser.add_argument("--turn", type=int, help="of this turn of the trial")
    parser.add_argument("--reflection", type=int, metavar="TRIAL", help="of the reflection after this trial")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--undo", action="store_true", help="take back the annotator's last statement")
    what.add_argument("--redo", action="store_true", help="put back what was taken back last")
    what.add_argument("--list", action="store_true", help="the labels that stand (of an episode, an annotator)")
    what.add_argument("--audit", action="store_true", help="every change: who, when, before, after")
    what.add_argument("--agreement", choices=AGREED_NAMES, help="kappa and alpha between annotators")
    parser.add_argument("--limit", type=int, default=200, help="lines of the audit (default 200)")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    with open_curator(settings) as curator:
        for text, as_json in _answers(arguments, curator):
            print(as_json if arguments.json else text)
    return 0


def _answers(arguments: argparse.Namespace, curator: Curator) -> list[tuple[str, str]]:
    """(for people, as JSON) lines."""
    if arguments.list:
        labels = curator.find_labels(arguments.episode, arguments.annotator, arguments.name)
        return [
            (_said(label.annotator, label.target, label.name, label.value), label.model_dump_json())
            for label in labels
        ]
    if arguments.audit:
        changes = curator.audit(arguments.episode, arguments.annotator, arguments.limit)
        return [
            (
                f"{c.label.at:%Y-%m-%d %H:%M:%S}  "
                + _said(c.label.annotator, c.label.target, c.label.name, f"{c.before!r} -> {c.after!r}"),
                c.model_dump_json(),
            )
            for c in changes
        ]
    if arguments.agreement:
        found = curator.agreement(arguments.agreement)
        return [(_agreement(found), found.model_dump_json())]
    if not arguments.annotator:
        raise BadInput("Say who labels: --annotator NAME.")
    if arguments.undo or arguments.redo:
        verb = "undo" if arguments.undo else "redo"
        stored = curator.step(verb, arguments.annotator, new_id("label"))
    else:
        stored = curator.send_labels([_request(arguments)])[0]
    label = stored.label
    return [(_said(label.annotator, label.target, label.name, label.value), stored.model_dump_json())]


def _request(arguments: argparse.Namespace) -> LabelRequest:
    if not (arguments.episode and arguments.name and arguments.value is not None):
        raise BadInput("Say what: retro-dash label --annotator NAME EPISODE verdict good")
    part = "episode"
    trial = arguments.trial
    if arguments.reflection is not None:
        part, trial = "reflection", arguments.reflection
    elif arguments.turn is not None:
        part = "turn"
    elif trial is not None:
        part = "trial"
    where = {"episode_id": arguments.episode, "part": part, "trial": trial, "turn": arguments.turn}
    return LabelRequest(
        id=new_id("label"),
        target=LabelTarget.model_validate(where),
        name=arguments.name,
        value=_value(arguments.name, arguments.value),
        annotator=arguments.annotator,
    )


def _value(name: str, text: str) -> JsonValue:
    """Text for the labels that are text, JSON for the others; `loop,lucky` for tags."""
    if name in ("verdict", "note"):
        return text
    try:
        value: JsonValue = json.loads(text)
        return value
    except ValueError:
        if name == "tags":
            return [tag.strip() for tag in text.split(",")]
        raise BadInput(
            f"The value of {name} is JSON, for example {EXAMPLES.get(name, '1')}; not {text[:60]!r}."
        ) from None


EXAMPLES = {
    "rewrite": '\'{"text": "Search both."}\'',
    "quality": "'{\"accurate\": true}'",
    "adjudication": '\'{"verdict": "good"}\'',
    "preference": '\'{"episode_id": "…", "trial": 1, "winner": "this"}\'',
}


def _said(annotator: str, target: LabelTarget, name: str, value: object) -> str:
    where = f"{target.part} {target.trial or ''}{f'.{target.turn}' if target.turn else ''}".strip()
    return f"{annotator}  {target.episode_id}  {where}  {name}: {value}"


def _agreement(found: Agreement) -> str:
    def shown(value: float | None) -> str:
        return "not defined" if value is None else f"{value:.3f}"

    lines = [
        f"{found.name}: {found.items} items judged by two or more of {found.annotators} annotators",
        f"  agreeing pairs {shown(found.percent)}, Cohen's kappa {shown(found.cohen_kappa)}",
        f"  Fleiss' kappa {shown(found.fleiss_kappa)} (on {found.fleiss_items} items that all judged)",
        f"  Krippendorff's alpha {shown(found.krippendorff_alpha)}",
    ]
    lines += [
        f"  {one.annotator}: {one.items} items, with the majority on {shown(one.with_majority)} of {one.with_others}"
        for one in found.statistics
    ]
    lines.append(f"  {len(found.disagreements)} disagreements")
    return "\n".join(lines)
