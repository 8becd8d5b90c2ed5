"""Background runs with a worker that misbehaves on command."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from data.errors import BadConfig, Refused, UnknownName
from data.events import Event, RunStateChanged
from data.store import Store
from data.types import Run, RunState
from envs import environment_kind
from retro_dash.jobs import ENDED, Jobs
from retro_dash.run_config import TrainRunConfig
from retro_dash.run_folder import RunFolder, all_events, make_run_folder
from retro_dash.worker import lease

ROOT = Path(__file__).parents[2]
WORKER = (sys.executable, str(Path(__file__).with_name("misbehaving_worker.py")))
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are processes of their own and find our packages by the path."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


class Ear:
    """A store that also remembers what it was told, in order."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.told: list[Event] = []

    def append(self, events: Sequence[Event]) -> int:
        self.told += events
        return self.store.append(events)

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


class Hub:
    """A store and its jobs."""

    def __init__(
        self,
        home: Path,
        grace: float = 5.0,
        stalled: float = 30.0,
        command: tuple[str, ...] = WORKER,
        make_room: Callable[[str | None], bool] = lambda run_id: True,
    ) -> None:
        self.store = Store.open(home)
        self.ear = Ear(self.store)
        self.jobs = Jobs(
            home,
            self.ear,  # type: ignore[arg-type]
            worker_command=command,
            grace_seconds=grace,
            stalled_seconds=stalled,
            make_room=make_room,
        )
        self.runs = home / "runs"
        self.is_open = True

    def submit(self, what: str, key: str | None = None) -> str:
        return self.jobs.submit("collect", what, {"kind": "collect", "env": what}, ["{}"], key).id

    def state(self, run_id: str) -> RunState:
        return self.store.run(run_id).state

    def wait(self, run_id: str, *states: RunState) -> Run:
        wanted = states or tuple(ENDED)
        until(lambda: self.state(run_id) in wanted, f"{run_id} in {wanted}")
        return self.store.run(run_id)

    def states(self, run_id: str) -> list[RunState]:
        """The states that the store was told of, in order."""
        events = {(event.run_id, event.seq): event for event in self.ear.told}
        return [e.body.state for e in events.values() if e.run_id == run_id and isinstance(e.body, RunStateChanged)]

    def leave(self) -> None:
        """As a hub that is stopped: its workers go on."""
        self.is_open = False
        self.jobs.close()
        self.store.close()

    def close(self) -> None:
        if not self.is_open:
            return
        for run in self.store.runs(states=tuple(set(RunState) - ENDED)):
            self.jobs.cancel(run.id, at_once=True)
        self.leave()


def until(look: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < end, f"{what} did not happen in {PATIENCE} seconds"
        time.sleep(0.02)


def ended(pid: int) -> bool:
    """Gone, or a zombie: in a container the first process need not reap what it adopts."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def make_hub(tmp_path: Path) -> Iterator[Callable[..., Hub]]:
    hubs: list[Hub] = []

    def make(**settings: Any) -> Hub:
        hubs.append(Hub(tmp_path, **settings))
        return hubs[-1]

    yield make
    for hub in hubs:
        hub.close()


MakeHub = Callable[..., Hub]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("crash", ["exit code 1", "RuntimeError: the wheels came off"]),
        ("exit 3", ["exit code 3", "Its log is empty"]),
        ("killed 9", ["was killed (signal 9), as the system does when memory runs out"]),
        ("killed 11", ["ended by SIGSEGV"]),
        ("out-of-memory", ["It ran out of memory.", "Tried to allocate 2 GiB"]),
    ],
)
def test_a_worker_that_dies_gives_a_failed_run_with_the_cause_and_the_next_one_goes_on(
    make_hub: MakeHub, what: str, said: list[str]
) -> None:
    hub = make_hub()
    broken, next_ = hub.submit(what), hub.submit("finish")
    run = hub.wait(broken)
    assert run.state is RunState.FAILED
    assert all(part in str(run.error) for part in said), run.error
    assert hub.wait(next_).state is RunState.FINISHED


def test_a_worker_that_cannot_be_started_is_a_failed_run(make_hub: MakeHub) -> None:
    hub = make_hub(command=("/nowhere/python",))
    run = hub.wait(hub.submit("finish"))
    assert run.state is RunState.FAILED
    assert "could not be started: [Errno 2]" in str(run.error)


@pytest.mark.parametrize("what", ["hang", "breathless", "silent"])
def test_a_worker_that_gives_no_sign_of_life_is_stalled_also_when_it_never_gave_one(
    make_hub: MakeHub, what: str
) -> None:
    hub = make_hub(stalled=1.0)
    run_id = hub.submit(what)
    assert "No sign of life for" in str(hub.wait(run_id, RunState.STALLED).error)
    hub.jobs.cancel(run_id, at_once=True)
    assert hub.wait(run_id).state is RunState.CANCELLED


def test_a_stalled_worker_that_comes_back_is_running_again_and_finishes(make_hub: MakeHub) -> None:
    hub = make_hub(stalled=0.8)
    run_id = hub.submit("faint 2")
    hub.wait(run_id, RunState.STALLED)
    hub.wait(run_id, RunState.FINISHED)
    assert hub.states(run_id)[-2:] == [RunState.RUNNING, RunState.FINISHED]


def test_a_polite_worker_saves_and_ends_when_it_is_cancelled(make_hub: MakeHub) -> None:
    hub = make_hub()
    run_id = hub.submit("steps 1000")
    until(lambda: hub.store.metrics(run_id), "a first step")
    hub.jobs.cancel(run_id)
    hub.jobs.cancel(run_id)
    assert hub.wait(run_id).state is RunState.CANCELLED
    assert hub.states(run_id) == [RunState.RUNNING, RunState.CANCELLING, RunState.CANCELLED]


def test_a_worker_that_ignores_the_request_is_killed_after_the_grace_period(make_hub: MakeHub) -> None:
    hub = make_hub(grace=1.0)
    run_id = hub.submit("deaf")
    hub.wait(run_id, RunState.RUNNING)
    began = time.monotonic()
    hub.jobs.cancel(run_id)
    assert hub.wait(run_id).state is RunState.CANCELLED
    assert 0.9 < time.monotonic() - began < 10


@pytest.mark.skipif(sys.platform != "linux", reason="setsid(1) is a Linux tool")
@pytest.mark.parametrize("seconds", [60, 0])
def test_nothing_that_a_worker_started_outlives_it_also_not_in_a_session_of_its_own(
    make_hub: MakeHub, seconds: int
) -> None:
    hub = make_hub(grace=0.5)
    run_id = hub.submit(f"grandchild {seconds}")
    noted = hub.runs / run_id / "grandchild"
    until(lambda: noted.exists() and noted.read_text(), "the grandchild")
    grandchild = int(noted.read_text())
    hub.jobs.cancel(run_id)
    hub.wait(run_id)
    until(lambda: ended(grandchild), "the grandchild's end")


def test_a_queued_run_is_cancelled_without_ever_starting(make_hub: MakeHub) -> None:
    hub = make_hub()
    first, second = hub.submit("steps 1000"), hub.submit("finish")
    hub.jobs.cancel(second)
    assert hub.state(second) is RunState.CANCELLED
    assert hub.states(second) == [RunState.CANCELLED]
    assert not (hub.runs / second / "worker.json").exists()
    hub.jobs.cancel(first)
    hub.wait(first)
    hub.jobs.cancel(first)
    assert hub.state(first) is RunState.CANCELLED


@pytest.mark.slow
def test_a_run_that_finishes_at_the_moment_of_its_cancel_ends_exactly_once(make_hub: MakeHub) -> None:
    hub = make_hub(grace=5.0)
    draw = random.Random(7)
    for _ in range(20):
        run_id = hub.submit("finish 0.1")
        hub.wait(run_id, RunState.RUNNING, RunState.FINISHED)
        time.sleep(draw.uniform(0, 0.3))
        hub.jobs.cancel(run_id)
        ended = hub.wait(run_id).state
        time.sleep(0.05)
        assert hub.state(run_id) is ended
        assert [state for state in hub.states(run_id) if state in ENDED] == [ended]
        assert hub.states(run_id)[-1] is ended


def test_the_same_key_is_one_run_and_one_at_a_time_works(make_hub: MakeHub) -> None:
    hub = make_hub()
    with ThreadPoolExecutor(25) as pool:
        ids = list(pool.map(lambda number: hub.submit("finish", f"key-{number % 10}"), range(50)))
    assert len(set(ids)) == 10
    assert sorted(path.name for path in hub.runs.iterdir() if path.is_dir()) == sorted(set(ids))
    running: set[str] = set()
    for run_id in set(ids):
        hub.wait(run_id)
    for event in hub.ear.told:
        if isinstance(event.body, RunStateChanged):
            (running.add if event.body.state is RunState.RUNNING else running.discard)(event.run_id)
            assert len(running) <= 1


def test_the_same_key_is_one_run_after_a_restart_too(make_hub: MakeHub) -> None:
    hub = make_hub()
    run_id = hub.submit("finish", "once")
    hub.wait(run_id)
    hub.leave()
    again = make_hub()
    assert again.submit("finish", "once") == run_id
    assert again.jobs.queue() == []


def test_torn_binary_foreign_and_repeated_lines_are_passed_over(make_hub: MakeHub) -> None:
    hub = make_hub()
    run_id = hub.submit("torn")
    assert hub.wait(run_id).state is RunState.FINISHED
    (loss,) = hub.store.metrics(run_id)
    assert [(point.step, point.value) for point in loss.points] == [(1, 1.0), (2, 0.5)]


def test_an_event_that_does_not_fit_the_store_does_not_keep_the_run_from_ending(make_hub: MakeHub) -> None:
    hub = make_hub()
    run_id = hub.submit("misfit")
    assert hub.wait(run_id).state is RunState.FINISHED
    assert [series.name for series in hub.store.metrics(run_id)] == ["loss"]


def test_a_flood_of_output_never_blocks_the_worker_and_the_tail_is_its_end(make_hub: MakeHub) -> None:
    hub = make_hub()
    run_id = hub.submit("flood 4096")
    assert hub.wait(run_id).state is RunState.FINISHED
    assert hub.jobs.log_tail(run_id, 1) == "the end"


def test_what_a_run_works_on_is_frozen_when_it_is_made(make_hub: MakeHub, tmp_path: Path) -> None:
    hub = make_hub()
    source = tmp_path / "episodes.jsonl"
    source.write_text("{}\n" * 7)
    blocker = hub.submit("steps 20")
    with source.open() as lines:
        config = {"kind": "collect", "env": "count"}
        run_id = hub.jobs.submit("collect", "", config, (line.strip() for line in lines)).id
    source.unlink()
    hub.wait(blocker)
    assert hub.wait(run_id).state is RunState.FINISHED
    assert hub.store.metrics(run_id)[0].points[0].value == 7


def test_the_order_of_the_queue_can_be_changed_and_survives_a_restart(make_hub: MakeHub) -> None:
    hub = make_hub()
    first = hub.submit("steps 2000")
    hub.wait(first, RunState.RUNNING)
    a, b, c = (hub.submit(f"finish {number / 100}") for number in range(3))
    assert hub.jobs.queue() == [a, b, c]
    assert hub.jobs.move(c, 0) == [c, a, b]
    with pytest.raises(UnknownName):
        hub.jobs.move(first, 0)
    hub.leave()
    again = make_hub()
    assert again.jobs.queue() == [c, a, b]
    again.jobs.cancel(first)
    for run_id in (c, a, b):
        again.wait(run_id)
    order = sorted((a, b, c), key=lambda run_id: str(again.store.run(run_id).started_at))
    assert order == [c, a, b]


def test_a_stopped_run_goes_on_where_it_was_and_a_finished_one_refuses(make_hub: MakeHub) -> None:
    hub = make_hub()
    run_id = hub.submit("steps 30")
    until(lambda: hub.store.metrics(run_id), "a first step")
    hub.jobs.cancel(run_id)
    hub.wait(run_id, RunState.CANCELLED)
    hub.jobs.resume(run_id)
    with pytest.raises(Refused, match="nothing to resume"):
        hub.jobs.resume(run_id)
    hub.wait(run_id, RunState.FINISHED)
    with pytest.raises(Refused, match="Clone it"):
        hub.jobs.resume(run_id)


def test_a_config_that_is_wrong_is_refused_before_anything_is_written(make_hub: MakeHub) -> None:
    hub = make_hub()
    with pytest.raises(BadConfig, match="parallel"):
        hub.jobs.submit("collect", "", {"kind": "collect", "env": "finish", "parallel": 0}, ["{}"])
    assert list(hub.runs.glob("*")) == []


def test_the_frozen_config_holds_every_default(make_hub: MakeHub) -> None:
    hub = make_hub()
    run = hub.store.run(hub.submit("finish"))
    assert run.config["trials"] == 3
    assert run.dataset_hash == hashlib.sha256(b"{}\n").hexdigest()


HUB_SCRIPT = """
import sys, threading
from pathlib import Path
from data.store import Store
from retro_dash.jobs import Jobs
home = Path(sys.argv[1])
jobs = Jobs(home, Store.open(home), worker_command=tuple(sys.argv[3:]))
print(jobs.submit("collect", "", {"kind": "collect", "env": sys.argv[2]}, ["{}"]).id, flush=True)
threading.Event().wait()
"""


def killed_hub(home: Path, what: str, ready: Callable[[RunFolder], object]) -> RunFolder:
    """A hub in a process of its own that is killed -9 while its run works."""
    command = [sys.executable, "-c", HUB_SCRIPT, str(home), what, *WORKER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as hub:
        assert hub.stdout is not None
        folder = RunFolder(home / "runs" / hub.stdout.readline().strip())
        until(lambda: ready(folder), "the worker's start")
        hub.kill()
    return folder


def metric_lines(folder: RunFolder) -> int:
    return sum(event.body.kind == "metrics_logged" for event in all_events(folder.events))


def test_a_run_goes_on_through_the_hubs_kill_and_is_adopted_without_gap_or_double(
    make_hub: MakeHub, tmp_path: Path
) -> None:
    folder = killed_hub(tmp_path, "steps 150", lambda folder: metric_lines(folder) > 5)
    pid = json.loads(folder.worker.read_text())["pid"]
    assert psutil.pid_exists(pid)
    hub = make_hub()
    assert hub.jobs.counts() == {"queued": 0, "running": 1}
    assert hub.wait(folder.run_id).state is RunState.FINISHED
    assert json.loads(folder.worker.read_text())["pid"] == pid
    (loss,) = hub.store.metrics(folder.run_id, max_points=1000)
    assert [point.step for point in loss.points] == list(range(1, 151))


def test_a_run_that_died_while_no_hub_was_there_is_failed_when_one_starts(make_hub: MakeHub, tmp_path: Path) -> None:
    folder = killed_hub(tmp_path, "hang", lambda folder: folder.heartbeat.exists())
    os.kill(json.loads(folder.worker.read_text())["pid"], signal.SIGKILL)
    hub = make_hub()
    assert "Its process is gone" in str(hub.wait(folder.run_id, RunState.FAILED).error)


def test_a_cancel_that_the_hub_did_not_live_to_finish_is_finished_by_the_next(make_hub: MakeHub) -> None:
    hub = make_hub(grace=60.0)
    run_id = hub.submit("deaf")
    hub.wait(run_id, RunState.RUNNING)
    hub.jobs.cancel(run_id)
    hub.leave()
    again = make_hub(grace=0.5)
    assert again.wait(run_id).state is RunState.CANCELLED


def test_a_stranger_with_the_workers_pid_is_neither_counted_nor_touched(make_hub: MakeHub, tmp_path: Path) -> None:
    folder = killed_hub(tmp_path, "hang", lambda folder: folder.heartbeat.exists())
    os.kill(json.loads(folder.worker.read_text())["pid"], signal.SIGKILL)
    with subprocess.Popen(["sleep", "30"]) as stranger:
        folder.worker.write_text(json.dumps({"pid": stranger.pid, "started": 12345.0}))
        hub = make_hub()
        assert hub.wait(folder.run_id).state is RunState.FAILED
        assert stranger.poll() is None
        stranger.kill()


def test_a_run_that_was_made_but_never_stored_is_queued_by_the_next_hub(make_hub: MakeHub, tmp_path: Path) -> None:
    run = Run.model_validate(
        {
            "id": "collect-orphan",
            "kind": "collect",
            "config": {"kind": "collect", "env": "finish"},
            "state": "queued",
            "created_at": "2026-11-20T00:00:00Z",
        }
    )
    make_run_folder(tmp_path / "runs", run, ["{}"])
    hub = make_hub()
    assert hub.wait("collect-orphan").state is RunState.FINISHED


def test_the_real_worker_says_what_is_missing_when_no_engine_can_play(make_hub: MakeHub, tmp_path: Path) -> None:
    (tmp_path / "retro.toml").write_text('engine = "none"\n')
    hub = make_hub(command=(sys.executable, "-m", "retro_dash.worker"))
    config = {"kind": "collect", "env": "alfworld", "planner": "nobody@nowhere"}
    task = environment_kind("alfworld").bundled("train")[0]
    run = hub.wait(hub.jobs.submit("collect", "", config, [task.model_dump_json()]).id)
    assert run.state is RunState.FAILED
    assert "need an engine, and the engine is set to none" in str(run.error)


def test_a_training_worker_waits_for_the_accelerator_and_a_killed_holder_frees_it(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    hold = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(runs / "accelerator.lock")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        got = threading.Event()

        def train() -> None:
            with lease(TrainRunConfig(), RunFolder(runs / "train-1"), threading.Event()) as is_ours:
                assert is_ours
                got.set()

        waiting = threading.Thread(target=train)
        waiting.start()
        assert not got.wait(0.6)
        holder.kill()
        assert got.wait(15)
        waiting.join()
