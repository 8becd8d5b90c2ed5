"""A worker that does what its config's `env` (or `model`) says, mostly something bad.

Its one argument is the run folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from data.events import EpisodeFinished, MetricsLogged, RunStateChanged
from data.types import EpisodeState, RunState
from retro_dash.processes import write_identity
from retro_dash.run_folder import EventLog, RunFolder

STEP_SECONDS = 0.02


def main() -> None:
    folder = RunFolder(Path(sys.argv[1]))
    config = folder.config()
    what, _, argument = str(config.get("env") or config["model"]).partition(" ")
    if what == "silent":
        time.sleep(60)
    write_identity(folder, os.getpid())
    events = EventLog(folder)
    events.append(RunStateChanged(state=RunState.RUNNING))
    if what != "breathless":
        folder.heartbeat.touch()
    {
        "finish": finish,
        "steps": steps,
        "crash": crash,
        "exit": leave,
        "killed": die,
        "out-of-memory": run_out_of_memory,
        "full": fill_the_disk,
        "nan": lose_the_number,
        "odd-number": log_what_is_no_number,
        "clock": live_through_clock_jumps,
        "hang": hang,
        "breathless": hang,
        "faint": faint,
        "deaf": be_deaf,
        "grandchild": leave_a_grandchild,
        "torn": write_torn_lines,
        "misfit": tell_a_misfit,
        "flood": flood,
        "count": count_dataset,
    }[what](folder, events, argument)


def end(events: EventLog, state: RunState = RunState.FINISHED) -> None:
    events.append(RunStateChanged(state=state))
    events.close()


def finish(folder: RunFolder, events: EventLog, argument: str) -> None:
    """Finish after so many seconds, whatever it is told."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(float(argument or 0))
    end(events)


def steps(folder: RunFolder, events: EventLog, argument: str) -> None:
    """So many steps, with a metric each; SIGTERM saves and ends."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    for step in range(1, int(argument) + 1):
        if stopping.is_set():
            end(events, RunState.CANCELLED)
            return
        folder.heartbeat.touch()
        events.append(MetricsLogged(step=step, values={"loss": 1 / step}))
        time.sleep(STEP_SECONDS)
    end(events)


def crash(folder: RunFolder, events: EventLog, argument: str) -> None:
    raise RuntimeError("the wheels came off")


def leave(folder: RunFolder, events: EventLog, argument: str) -> None:
    sys.exit(int(argument))


def die(folder: RunFolder, events: EventLog, argument: str) -> None:
    os.kill(os.getpid(), int(argument))


def run_out_of_memory(folder: RunFolder, events: EventLog, argument: str) -> None:
    print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", flush=True)
    sys.exit(1)


def fill_the_disk(folder: RunFolder, events: EventLog, argument: str) -> None:
    raise OSError(28, "No space left on device", str(folder.path / "checkpoints"))


def lose_the_number(folder: RunFolder, events: EventLog, argument: str) -> None:
    print("step 12  planner/il_loss nan", flush=True)
    sys.exit(1)


def log_what_is_no_number(folder: RunFolder, events: EventLog, argument: str) -> None:
    events.append(MetricsLogged(step=1, values={"planner/il_loss": 1.0}))
    events.append(MetricsLogged(step=2, values={"planner/il_loss": float("nan"), "planner/rl_loss": 0.5}))
    end(events)


def live_through_clock_jumps(folder: RunFolder, events: EventLog, argument: str) -> None:
    """Beat for so many seconds while the clock says yesterday, tomorrow and last year in turn."""
    until = time.monotonic() + float(argument)
    jumps = 0
    while time.monotonic() < until:
        jumps += 1
        then = time.time() + (-86_400, 86_400, -31_536_000)[jumps % 3] + jumps
        os.utime(folder.heartbeat, (then, then))
        time.sleep(0.1)
    end(events)


def hang(folder: RunFolder, events: EventLog, argument: str) -> None:
    time.sleep(60)


def faint(folder: RunFolder, events: EventLog, argument: str) -> None:
    """No sign of life for so many seconds, then some, then the end."""
    time.sleep(float(argument))
    for _ in range(40):
        folder.heartbeat.touch()
        time.sleep(0.05)
    end(events)


def be_deaf(folder: RunFolder, events: EventLog, argument: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def leave_a_grandchild(folder: RunFolder, events: EventLog, argument: str) -> None:
    """Start a process in a session of its own that outlives us."""
    child = subprocess.Popen(["setsid", "--fork", "sh", "-c", f"echo $$ > {folder.path}/grandchild; exec sleep 60"])
    child.wait()
    while not (folder.path / "grandchild").exists():
        time.sleep(0.02)
    time.sleep(float(argument))


def write_torn_lines(folder: RunFolder, events: EventLog, argument: str) -> None:
    events.append(MetricsLogged(step=1, values={"loss": 1.0}))
    whole = folder.events.read_bytes().splitlines()[-1]
    with folder.events.open("ab") as file:
        file.write(b"\x00\xff\xfe binary \x80\n" + whole[: len(whole) // 2] + b"\n" + whole + b"\n" + b"[]\n\n")
        file.write(whole.replace(folder.run_id.encode(), b"somebody-else") + b"\n")
        file.write(b'{"run_id": "x", "seq": -1}\n')
        file.flush()
    events.append(MetricsLogged(step=2, values={"loss": 0.5}))
    end(events)


def tell_a_misfit(folder: RunFolder, events: EventLog, argument: str) -> None:
    """The end of an episode that never began, between things that make sense."""
    events.append(EpisodeFinished(episode_id="never-began", state=EpisodeState.SOLVED))
    events.append(MetricsLogged(step=1, values={"loss": 1.0}))
    end(events)


def flood(folder: RunFolder, events: EventLog, argument: str) -> None:
    """More than any pipe holds, without a line break."""
    for _ in range(int(argument)):
        sys.stdout.write("x" * 1024)
    sys.stdout.write("\nthe end\n")
    sys.stdout.flush()
    end(events)


def count_dataset(folder: RunFolder, events: EventLog, argument: str) -> None:
    lines = folder.dataset.read_text(encoding="utf-8").splitlines()
    events.append(MetricsLogged(step=1, values={"lines": float(len(lines))}))
    end(events)


if __name__ == "__main__":
    main()
