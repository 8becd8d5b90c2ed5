"""`retro-dash evaluate`: the papers' protocol for one or more methods on the same tasks."""

from __future__ import annotations

import argparse

from data.errors import BadInput
from retro_dash.commands.collect import add_run_arguments, play_as_run
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser, trials=10)
    parser.add_argument(
        "--arm",
        action="append",
        required=True,
        metavar="NAME=PLANNER[,REFLECTOR[,STRATEGY]]",
        help="a method; the first is what the others are compared with",
    )
    parser.add_argument("--seeds", default="0", help="seeds, comma-separated (default 0)")
    parser.add_argument("--measure", default="reward", choices=("reward", "success"), help="what is scored")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    arms, seeds = [_arm(text) for text in arguments.arm], arguments.seeds.split(",")
    more = {"arms": arms, "seeds": seeds, "measure": arguments.measure}
    folder = play_as_run(arguments, settings, "evaluate", more)
    report = folder.report if arguments.json else folder.report.with_suffix(".md")
    print(report.read_text(encoding="utf-8"))
    return 0


def _arm(text: str) -> dict[str, str]:
    name, equals, rest = text.partition("=")
    parts = rest.split(",")
    if not equals or not name or not parts[0] or len(parts) > 3:
        raise BadInput(f"--arm takes NAME=PLANNER[,REFLECTOR[,STRATEGY]], not {text!r}.")
    return {"name": name, **dict(zip(("planner", "reflector", "strategy"), parts, strict=False))}
