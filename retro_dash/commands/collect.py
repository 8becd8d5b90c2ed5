"""`retro-dash collect`: play many tasks as a run with a folder of its own; a stopped one goes on where it was."""

from __future__ import annotations

import argparse

from envs import environment_kind
from retro_dash.agent.policies import EXPERT
from retro_dash.commands.play import add_task_arguments, choose_tasks, open_storage, read_options
from retro_dash.foreground import run_in_foreground
from retro_dash.library import allowed_options, refuse_unavailable
from retro_dash.run_config import parse_run_config
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_task_arguments(parser)
    parser.add_argument("--planner", default=EXPERT, help="expert, scripted:FILE, or a model or adapter")
    parser.add_argument("--reflector", default=EXPERT, help="the same choices")
    parser.add_argument(
        "--adapter", action="append", default=[], metavar="NAME=FOLDER", help="load an adapter by name"
    )
    parser.add_argument("--strategy", default="reflexion", help="none, last_attempt, reflexion or both")
    parser.add_argument("--trials", type=int, default=3, help="trials an episode may take (default 3)")
    parser.add_argument("--temperature", type=float, default=0.0, help="sampling temperature (default 0)")
    parser.add_argument("--parallel", type=int, default=8, help="episodes at the same time (default 8)")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    kind = environment_kind(arguments.env)
    options = allowed_options(read_options(arguments), kind, settings)
    tasks = choose_tasks(arguments, options)
    refuse_unavailable(kind, options)
    given = {
        "kind": "collect",
        "env": arguments.env,
        "model": settings.model,
        "adapters": read_adapters(arguments.adapter),
        "options": options,
        "planner": arguments.planner,
        "reflector": arguments.reflector,
        "strategy": arguments.strategy,
        "trials": arguments.trials,
        "temperature": arguments.temperature,
        "seed": arguments.seed,
        "parallel": arguments.parallel,
    }
    config = parse_run_config(given, "collect").model_dump(mode="json")
    with open_storage(settings) as append:
        lines = (task.model_dump_json() for task in tasks)
        run_in_foreground(settings, "collect", f"collect {arguments.env}", config, lines, append, arguments.json)
    return 0


def read_adapters(pairs: list[str]) -> dict[str, str]:
    """`NAME=FOLDER` pairs. Raises BadInput for anything else."""
    from data.errors import BadInput

    adapters = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        if not equals or not name or not folder:
            raise BadInput(f"--adapter takes NAME=FOLDER, not {pair!r}.")
        adapters[name] = folder
    return adapters
