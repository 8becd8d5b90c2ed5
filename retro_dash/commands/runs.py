"""`retro-dash runs`: the background runs of a home; how one stands, its log, to stop it and to go on with it.

retro-dash runs --state running
retro-dash runs log RUN
retro-dash runs stop RUN
"""

from __future__ import annotations

import argparse
import json

from data.errors import BadInput
from data.types import Run, RunState
from retro_dash.client import HubClient
from retro_dash.commands.episodes import open_reader
from retro_dash.run_list import BACKGROUND
from retro_dash.settings import Settings

VERBS = ("list", "show", "log", "stop", "resume")
POINTS = 2
"""Of a curve that is shown by its newest value."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", nargs="?", choices=VERBS, default="list", help="what to do (default: list them)")
    parser.add_argument("run", nargs="?", default="", help="id of the run; - is the newest")
    parser.add_argument("--state", choices=[state.value for state in RunState], help="list: only such runs")
    parser.add_argument("--limit", type=int, default=20, help="list: so many of the newest (default 20)")
    parser.add_argument("--lines", type=int, default=50, help="log: its last lines (default 50)")
    parser.add_argument("--at-once", action="store_true", help="stop: without saving first")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.verb == "list":
        _list(arguments, settings)
        return 0
    with HubClient.find(settings.home) as hub:
        chosen = _chosen(hub, arguments.run)
        match arguments.verb:
            case "show":
                _show(hub, chosen, arguments.json)
            case "log":
                text = hub.run_log(chosen.id, arguments.lines)
                print(json.dumps({"run_id": chosen.id, "log": text}) if arguments.json else _plain(text).rstrip("\n"))
            case "stop":
                _print(hub.cancel_run(chosen.id, arguments.at_once), arguments.json)
            case _:
                _print(hub.resume_run(chosen.id), arguments.json)
    return 0


def _list(arguments: argparse.Namespace, settings: Settings) -> None:
    states = [RunState(arguments.state)] if arguments.state else []
    with open_reader(settings) as reader:
        for one in reader.runs(BACKGROUND, states, limit=max(1, arguments.limit)):
            _print(one, arguments.json)


def _chosen(hub: HubClient, run_id: str) -> Run:
    if run_id != "-" and run_id:
        return hub.run(run_id)
    newest = hub.runs(limit=1)
    if not run_id or not newest:
        raise BadInput("Which run? Name its id, or - for the newest: retro-dash runs lists them.")
    return newest[0]


def _show(hub: HubClient, run: Run, as_json: bool) -> None:
    """The run with the newest value of each curve, its alerts, and the report of an evaluation."""
    newest = {one.name: one.points[-1] for one in hub.metrics(run.id, max_points=POINTS) if one.points}
    alerts = hub.run_alerts(run.id)
    if as_json:
        metrics = {name: {"step": point.step, "value": point.value} for name, point in newest.items()}
        whole = {"run": run.model_dump(mode="json"), "metrics": metrics, "alerts": alerts}
        print(json.dumps({**whole, "report": hub.report(run.id)}))
        return
    _print(run, as_json)
    for name, point in newest.items():
        print(f"  {_plain(name):40} {point.value:.4g}  (step {point.step})")
    for alert in alerts:
        print(f"  ! {_plain(alert)}")


def _print(run: Run, as_json: bool) -> None:
    if as_json:
        print(run.model_dump_json())
        return
    print(f"{run.id}  {run.state:10}  {run.kind:8}  {run.created_at:%Y-%m-%d %H:%M}  {_plain(run.name)}")
    if run.error:
        print(f"  {_plain(run.error)}")


def _plain(text: str) -> str:
    """Without what could move the cursor or colour the terminal."""
    return "".join(one if one.isprintable() or one == "\n" else "·" for one in text)
