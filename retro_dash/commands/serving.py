"""`retro-dash serving`: what the Serving page shows; load and unload an adapter.

retro-dash serving --json
retro-dash serving load ADAPTER
retro-dash serving unload ADAPTER
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from data.errors import BadInput
from retro_dash.client import HubClient
from retro_dash.settings import Settings

VERBS = ("show", "load", "unload")
MOST_RUNS = 50
"""As on the pages: the run at work and the next one are among the newest."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", nargs="?", choices=VERBS, default="show", help="what to do (default: show)")
    parser.add_argument("adapter", nargs="?", default="", help="its name")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    with HubClient.find(settings.home) as hub:
        if arguments.verb != "show":
            _change(hub, arguments.verb, arguments.adapter)
        elif arguments.adapter:
            raise BadInput(f"show takes no adapter. Did you mean: retro-dash serving load {arguments.adapter}")
        _show(hub, arguments.json)
    return 0


def _change(hub: HubClient, verb: str, name: str) -> None:
    if not name:
        raise BadInput("Which adapter? Name it: retro-dash serving lists them.")
    if verb == "load":
        hub.load_adapter(name)
    else:
        hub.unload_adapter(name)


def _show(hub: HubClient, as_json: bool) -> None:
    from retro_dash.tui.adapterwords import best_score, engine_words, memory_words, served_adapters
    from retro_dash.tui.text import age, one_line

    status, rows, machine = hub.status(), hub.adapter_rows(), hub.machine()
    engine: Any = status["engine"]
    served = served_adapters(engine, hub.policies()["planners"])
    if as_json:
        print(json.dumps(_whole(status, rows, machine, served)))
        return
    print(engine_words(engine).plain)
    print(memory_words(engine, machine, hub.run_rows(MOST_RUNS)).plain)
    for row in rows:
        adapter = row["adapter"]
        state = "● served" if adapter["name"] in served else "✕ cannot" if row["problem"] else "○"
        names = f"{one_line(adapter['name']):34}  {adapter['role']:9}  {age(adapter['created_at']):>6}"
        print(f"{state:8}  {names}  {best_score(row)}".rstrip())
        if row["problem"]:
            print(f"          {one_line(row['problem'])}")
    if not rows:
        print("No adapters yet. A training run publishes one for each role.")


def _whole(
    status: dict[str, Any], rows: list[dict[str, Any]], machine: dict[str, Any], served: set[str]
) -> dict[str, Any]:
    """Engine with its load, episodes and runs that are played, wait and train, who has the memory, the adapters."""
    return {
        "engine": status["engine"],
        "live": status["live"],
        "runs": status["runs"],
        "machine": machine["machine"],
        "memory": machine["room"],
        "adapters": [{**row, "is_served": row["adapter"]["name"] in served} for row in rows],
    }
