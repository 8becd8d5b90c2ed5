"""`retro-dash worker RUN_FOLDER`: do, or go on with, the work of one run folder; no hub is needed."""

from __future__ import annotations

import argparse
from pathlib import Path

from data.types import RunState
from retro_dash.run_folder import RunFolder
from retro_dash.settings import Settings
from retro_dash.worker import log_to_stdout, work


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="a run folder, as under HOME/runs")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    log_to_stdout()
    state = work(RunFolder(arguments.folder.resolve()), arguments.engine)
    return 0 if state in (RunState.FINISHED, RunState.CANCELLED) else 8
