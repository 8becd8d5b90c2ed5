"""`retro-dash reproduce EXPERIMENT.toml`: do an experiment's stages that are not done, and print what they scored."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from retro_dash.reproduce import Done, read_experiment, reproduce
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", type=Path, help="TOML: stages that collect, train and evaluate, in order")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    experiment = read_experiment(arguments.experiment)
    for done in reproduce(experiment, settings, arguments.json):
        _print(done, arguments.json)
    return 0


def _print(done: Done, as_json: bool) -> None:
    report = done.folder.report
    if as_json:
        scores = json.loads(report.read_text(encoding="utf-8")) if report.exists() else None
        print(json.dumps({"stage": done.stage, "run_id": done.folder.run_id, "report": scores}), flush=True)
        return
    print(f"{done.stage}: {'was done already' if done.was_done else 'done'}, run {done.folder.run_id}")
    if report.exists():
        print(report.with_suffix(".md").read_text(encoding="utf-8"))
