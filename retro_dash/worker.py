"""The process behind one run folder: collect, train or evaluate, and nothing outside the folder.

    python -m retro_dash.worker RUN_FOLDER      (the same as `retro-dash worker RUN_FOLDER`)

It may be killed at any moment and started again: it goes on after the last whole line of its events and the newest
whole checkpoint. SIGTERM and Ctrl-C save and end.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import Refused, RetroDashError
from data.events import RunStateChanged
from data.types import RunState
from retro_dash.processes import write_identity
from retro_dash.run_config import CollectConfig, EvaluateConfig, RunConfig, TrainRunConfig, parse_run_config
from retro_dash.run_folder import EventLog, RunFolder
from retro_dash.settings import Settings, load_settings

HEARTBEAT_SECONDS = 2.0
LEASE_POLL_SECONDS = 0.5
log = logging.getLogger("retro_dash.worker")


def work(folder: RunFolder, engine: str | None = None) -> RunState:
    """Do the run's work to its end, or until SIGTERM, with another `engine` than the home's if one is given.

    Returns the state that it recorded. Raises BadFile and BadConfig for a folder that holds no run, Refused when
    another process works on it.
    """
    config = parse_run_config(folder.config(), str(folder.path / "config.json"))
    stopping = threading.Event()
    with _claim(folder), _heartbeat(folder), _on_signals(stopping):
        events = EventLog(folder)
        events.append(RunStateChanged(state=RunState.RUNNING))
        state, error = RunState.FAILED, None
        try:
            with lease(config, folder, stopping) as is_ours:
                if is_ours:
                    _do(config, folder, events, stopping, _settings(folder, engine))
            state = RunState.CANCELLED if stopping.is_set() else RunState.FINISHED
        except RetroDashError as problem:
            error = str(problem)
            log.error("%s", error)
        except MemoryError:
            error = "The run ran out of memory. Lower batch.tokens_per_pack or batch.max_length, or free some memory."
            log.exception(error)
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
            log.exception("The run broke.")
        finally:
            events.append(RunStateChanged(state=state, error=error))
            events.close()
    return state


def _do(
    config: CollectConfig | EvaluateConfig | TrainRunConfig,
    folder: RunFolder,
    events: EventLog,
    stopping: threading.Event,
    settings: Settings,
) -> None:
    match config:
        case CollectConfig():
            from retro_dash.collecting import collect

            collect(config, folder, events, settings, stopping.is_set)
        case EvaluateConfig():
            from retro_dash.evaluating import evaluate

            evaluate(config, folder, events, settings, stopping.is_set)
        case TrainRunConfig():
            from retro_dash.training_run import train_run  # The only kind that needs torch.

            train_run(config, folder, events, settings, stopping.is_set)


def _settings(folder: RunFolder, engine: str | None) -> Settings:
    """Settings of the home that the run folder lies in."""
    config = folder.config()
    home = folder.path.parent.parent
    flags = {"home": home, "model": config.get("model"), "engine": engine}
    return load_settings(flags)


@contextmanager
def _claim(folder: RunFolder) -> Iterator[None]:
    """One worker a folder: the kernel frees the claim when the process ends, however it ends."""
    with (folder.path / "worker.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Refused(f"Another process works on {folder.path} already.") from error
        write_identity(folder, os.getpid())
        yield


@contextmanager
def lease(config: RunConfig, folder: RunFolder, stopping: threading.Event) -> Iterator[bool]:
    """The home's accelerator, which one training run uses at a time; the kernel frees it however that run ends.

    Waits for it; False when the run was told to stop before it came.
    """
    if not isinstance(config, TrainRunConfig):
        yield True
        return
    with (folder.path.parent / "accelerator.lock").open("a") as file:
        is_told = False
        while not stopping.is_set():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if not is_told:
                    log.info("Another run trains on this machine; this one waits for it to end.")
                is_told = True
                stopping.wait(LEASE_POLL_SECONDS)
        yield not stopping.is_set()


@contextmanager
def _heartbeat(folder: RunFolder) -> Iterator[None]:
    done = threading.Event()

    def beat() -> None:
        while not done.is_set():
            folder.heartbeat.touch()
            done.wait(HEARTBEAT_SECONDS)

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def _on_signals(stopping: threading.Event) -> Iterator[None]:
    """SIGTERM, and the SIGINT that Ctrl-C sends to the whole terminal, save and end."""
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def log_to_stdout() -> None:
    """A worker's log, where the page shows its last lines: without a line for every request to the engine."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def main(argv: list[str] | None = None) -> int:
    """`python -m retro_dash.worker RUN_FOLDER [ENGINE]`, ENGINE as in the settings."""
    arguments = sys.argv[1:] if argv is None else argv
    log_to_stdout()
    try:
        state = work(RunFolder(Path(arguments[0]).resolve()), arguments[1] if len(arguments) > 1 else None)
    except RetroDashError as error:
        log.error("%s", error)
        return error.exit_code
    return 0 if state in (RunState.FINISHED, RunState.CANCELLED) else 8


if __name__ == "__main__":
    sys.exit(main())
