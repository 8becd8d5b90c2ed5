"""`retro-dash envs check` and `retro-dash envs replay RECORDED`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from data.errors import BadInput, RetroDashError
from envs import ENVIRONMENTS, environment_kind
from envs.isolated import EnvironmentPool
from envs.replay import replay_file
from envs.replay_report import ReplayReport
from retro_dash.commands.play import read_options
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    check = verbs.add_parser("check", help="what works here, what does not and why")
    check.add_argument("--json", action="store_true", help="print JSON", default=argparse.SUPPRESS)
    replay = verbs.add_parser("replay", help="play recorded actions again and compare")
    replay.add_argument("recorded", type=Path, help="InterCode result file, RetroAct or Reflexion rows, our episodes")
    replay.add_argument("--tasks", type=Path, help="the tasks in the environment's public format")
    replay.set_defaults(env="replay")
    replay.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="environment option")
    replay.add_argument("--database", help="SQL: dump file or mysql:// URL")
    replay.add_argument("--trees", help="Bash: folder of file trees")
    replay.add_argument("--json", action="store_true", help="print JSON", default=argparse.SUPPRESS)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    return _check(arguments.json) if arguments.verb == "check" else _replay(arguments)


def _check(as_json: bool) -> int:
    rows = []
    for name in ENVIRONMENTS:
        try:
            kind = environment_kind(name)
            found = kind.check()
            tasks = {split: len(kind.bundled(split)) for split in kind.splits}
            rows.append({"env": name, "works": found.works, "detail": found.detail, "tasks": tasks})
        except (RetroDashError, ImportError) as error:
            rows.append({"env": name, "works": False, "detail": str(error), "tasks": {}})
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(f"{'✓' if row['works'] else '✕'} {row['env']:15} {row['detail']}  {row['tasks']}")
    return 0 if all(row["works"] for row in rows) else 4


def _replay(arguments: argparse.Namespace) -> int:
    if not arguments.recorded.exists():
        raise BadInput(f"{arguments.recorded} does not exist.")
    options = read_options(arguments)
    with EnvironmentPool() as pool:
        report = replay_file(arguments.recorded, arguments.tasks, options, pool.open)
    if arguments.json:
        print(report.model_dump_json(indent=2))
    else:
        _print(report)
    return 0


def _print(report: ReplayReport) -> None:
    print(report.summary)
    print(f"{report.trials_replayed} trials replayed, {report.trials_not_replayed} not")
    print(f"{report.compared} turns compared")
    print(f"rewards agree      {report.rewards_agree} of {report.rewards_compared}")
    print(f"observations agree {report.observations_agree} of {report.observations_compared}")
    for note, number in report.notes.items():
        print(f"{number:5}  {note}")
