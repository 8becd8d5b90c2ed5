"""`retro-dash collect`: play many tasks as a run with a folder of its own; a stopped one goes on where it was."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Literal

from data.errors import BadInput
from envs import environment_kind
from retro_dash.agent.policies import EXPERT
from retro_dash.commands.play import add_task_arguments, choose_tasks, open_storage, read_options
from retro_dash.foreground import run_in_foreground
from retro_dash.library import allowed_options, refuse_unavailable
from retro_dash.run_config import parse_run_config
from retro_dash.run_folder import RunFolder
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser, trials=3)
    parser.add_argument(
        "--planner", default=EXPERT, help="expert, expert:careless, scripted:FILE, or a model or adapter"
    )
    parser.add_argument("--reflector", default=EXPERT, help="the same choices")
    parser.add_argument("--strategy", default="reflexion", help="none, last_attempt, reflexion or both")
    parser.add_argument("--temperature", type=float, default=0.0, help="sampling temperature (default 0)")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    named = ("planner", "reflector", "strategy", "temperature", "seed")
    play_as_run(arguments, settings, "collect", {name: getattr(arguments, name) for name in named})
    return 0


def add_run_arguments(parser: argparse.ArgumentParser, trials: int) -> None:
    """What every run that plays is told: its tasks, its adapters, how many trials, how many at a time."""
    add_task_arguments(parser)
    parser.add_argument(
        "--adapter", action="append", default=[], metavar="NAME=FOLDER", help="load an adapter by name"
    )
    parser.add_argument("--trials", type=int, default=trials, help=f"trials a task may take (default {trials})")
    parser.add_argument("--parallel", type=int, default=8, help="episodes at the same time (default 8)")


def play_as_run(
    arguments: argparse.Namespace,
    settings: Settings,
    kind: Literal["collect", "evaluate"],
    more: Mapping[str, object],
) -> RunFolder:
    """Play the chosen tasks to the end in this terminal; `more`: the keys of its config that only this kind has."""
    environment = environment_kind(arguments.env)
    options = allowed_options(read_options(arguments), environment, settings)
    tasks = choose_tasks(arguments, options)
    refuse_unavailable(environment, options)
    given = {
        "kind": kind,
        "env": arguments.env,
        "model": settings.model,
        "adapters": read_adapters(arguments.adapter),
        "options": options,
        "trials": arguments.trials,
        "parallel": arguments.parallel,
        **more,
    }
    config = parse_run_config(given, kind).model_dump(mode="json")
    with open_storage(settings) as append:
        lines = (task.model_dump_json() for task in tasks)
        name = f"{kind} {arguments.env}"
        return run_in_foreground(settings, kind, name, config, lines, append, arguments.json)


def read_adapters(pairs: list[str]) -> dict[str, str]:
    """`NAME=FOLDER` pairs. Raises BadInput for anything else."""
    adapters = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        if not equals or not name or not folder:
            raise BadInput(f"--adapter takes NAME=FOLDER, not {pair!r}.")
        adapters[name] = folder
    return adapters
