"""`retro-dash evaluate`: the papers' protocol for one or more methods on the same tasks."""

from __future__ import annotations

import argparse

from data.errors import BadInput
from envs import environment_kind
from retro_dash.commands.collect import read_adapters
from retro_dash.commands.play import add_task_arguments, choose_tasks, open_storage, read_options
from retro_dash.foreground import run_in_foreground
from retro_dash.library import allowed_options, refuse_unavailable
from retro_dash.run_config import parse_run_config
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_task_arguments(parser)
    parser.add_argument(
        "--arm",
        action="append",
        required=True,
        metavar="NAME=PLANNER[,REFLECTOR[,STRATEGY]]",
        help="a method; the first is what the others are compared with",
    )
    parser.add_argument(
        "--adapter", action="append", default=[], metavar="NAME=FOLDER", help="load an adapter by name"
    )
    parser.add_argument("--trials", type=int, default=10, help="trials per task (default 10)")
    parser.add_argument("--seeds", default="0", help="seeds, comma-separated (default 0)")
    parser.add_argument("--measure", default="reward", choices=("reward", "success"), help="what is scored")
    parser.add_argument("--parallel", type=int, default=8, help="episodes at the same time (default 8)")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    kind = environment_kind(arguments.env)
    options = allowed_options(read_options(arguments), kind, settings)
    tasks = choose_tasks(arguments, options)
    refuse_unavailable(kind, options)
    given = {
        "kind": "evaluate",
        "env": arguments.env,
        "model": settings.model,
        "adapters": read_adapters(arguments.adapter),
        "options": options,
        "arms": [_arm(text) for text in arguments.arm],
        "trials": arguments.trials,
        "seeds": arguments.seeds.split(","),
        "measure": arguments.measure,
        "parallel": arguments.parallel,
    }
    config = parse_run_config(given, "evaluate").model_dump(mode="json")
    with open_storage(settings) as append:
        lines = (task.model_dump_json() for task in tasks)
        name = f"evaluate {arguments.env}"
        folder = run_in_foreground(settings, "evaluate", name, config, lines, append, arguments.json)
    report = folder.report if arguments.json else folder.report.with_suffix(".md")
    print(report.read_text(encoding="utf-8"))
    return 0


def _arm(text: str) -> dict[str, str]:
    name, equals, rest = text.partition("=")
    parts = rest.split(",")
    if not equals or not name or not parts[0] or len(parts) > 3:
        raise BadInput(f"--arm takes NAME=PLANNER[,REFLECTOR[,STRATEGY]], not {text!r}.")
    return {"name": name, **dict(zip(("planner", "reflector", "strategy"), parts, strict=False))}
