"""A run in the foreground: make its folder, start its worker, show its progress, store what happens.

Ctrl-C asks the worker to save and end; the run can then be resumed with `retro-dash worker RUN_FOLDER`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from pydantic import JsonValue
from rich.console import Console

from data.errors import TrainingError
from data.events import AdapterPublished, EpisodeFinished, Event, MetricsLogged, RunStateChanged
from data.types import Run, RunState
from retro_dash.agent.batch import Append
from retro_dash.ids import new_id
from retro_dash.run_folder import RunFolder, make_run_folder, read_events
from retro_dash.serving.process import EMBEDDED_ENVIRONMENT
from retro_dash.settings import Settings

POLL_SECONDS = 0.3
SHOWN = ("loss", "solved", "per_second", "eta_seconds")


def run_in_foreground(
    settings: Settings,
    kind: str,
    name: str,
    config: dict[str, JsonValue],
    dataset: Iterable[str],
    append: Append,
    as_json: bool,
    source: Mapping[str, JsonValue] | None = None,
) -> RunFolder:
    """Do a whole run and return its folder. `source` says what the dataset was chosen by.

    Raises TrainingError with the worker's last words when it failed.
    """
    run = queued_run(new_id(kind), kind, name, config)
    folder = make_run_folder(settings.home / "runs", run, dataset, source)
    print(json.dumps({"run_id": run.id, "folder": str(folder.path)}) if as_json else f"Run {run.id}: {folder.path}")
    return follow_worker(folder, append, as_json, settings.engine)


def queued_run(run_id: str, kind: str, name: str, config: dict[str, JsonValue]) -> Run:
    """A run as it is before its worker begins."""
    given = {"id": run_id, "kind": kind, "name": name, "config": config, "state": "queued", "created_at": _now()}
    return Run.model_validate(given)


def follow_worker(folder: RunFolder, append: Append, as_json: bool, engine: str | None = None) -> RunFolder:
    """Start the folder's worker, perhaps with another engine, and store and show its events until it ends."""
    command = [sys.executable, "-m", "retro_dash.worker", str(folder.path), *([engine] if engine else [])]
    console = Console(stderr=as_json)
    offset, state, error = 0, RunState.QUEUED, None
    with folder.log.open("ab") as log:
        environment = {**EMBEDDED_ENVIRONMENT, **os.environ}
        worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    try:
        while True:
            has_ended = worker.poll() is not None
            events, offset, _ = read_events(folder.events, offset)
            if events:
                append(events)
            for event in events:
                _show(event, console, as_json)
                if isinstance(event.body, RunStateChanged):
                    state, error = event.body.state, event.body.error
            if has_ended and not events:
                break
            if not events:
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        worker.send_signal(signal.SIGTERM)
        worker.wait()
        append(read_events(folder.events, offset)[0])
        again = f"retro-dash worker {folder.path}" + (
            f" --engine {engine}" if engine not in (None, "embedded") else ""
        )
        print(f"Stopped and saved. Go on with: {again}", file=sys.stderr)
        raise
    if state is RunState.FAILED or worker.returncode != 0:
        raise TrainingError(error or f"The worker ended with exit code {worker.returncode}. See {folder.log}.")
    return folder


def _show(event: Event, console: Console, as_json: bool) -> None:
    body = event.body
    if as_json:
        if isinstance(body, EpisodeFinished | AdapterPublished | RunStateChanged | MetricsLogged):
            print(event.model_dump_json(), flush=True)
        return
    match body:
        case MetricsLogged():
            shown = {
                k: v for k, v in body.values.items() if k.endswith(("loss", "solved", "per_second", "eta_seconds"))
            }
            text = "  ".join(f"{name} [bold]{value:.4g}[/bold]" for name, value in shown.items())
            console.print(f"step {body.step}  {text}", highlight=False)
        case AdapterPublished():
            console.print(f"published {body.adapter.name}: {body.adapter.path}", markup=False)
        case RunStateChanged():
            console.print(f"{body.state} {body.error or ''}".rstrip(), markup=False)


def _now() -> datetime:
    return datetime.now(UTC)
