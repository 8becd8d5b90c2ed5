"""More of what befalls background runs: causes, kills in every state, clocks, metrics lost, memory shared."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import time
from pathlib import Path

import pytest
from test_jobs import Hub, MakeHub, ended, importable, killed_hub, make_hub, metric_lines, until

from data.events import MetricsLogged
from data.types import RunState
from retro_dash.alerts import alerts
from retro_dash.jobs import ENDED
from retro_dash.run_folder import RunFolder, all_events

__all__ = ["importable", "make_hub"]


@pytest.mark.parametrize(
    ("what", "said"), [("full", "The disk is full."), ("nan", "The loss is not a number."), ("killed 15", "SIGTERM")]
)
def test_the_cause_is_named_and_the_log_is_kept(make_hub: MakeHub, what: str, said: str) -> None:
    hub = make_hub()
    run_id = hub.submit(what)
    run = hub.wait(run_id)
    assert run.state is RunState.FAILED
    assert said in str(run.error)
    assert len(hub.jobs.log_tail(run_id, 50).splitlines()) <= 50


def test_a_value_that_is_no_number_is_kept_beside_the_others_and_is_an_alert(make_hub: MakeHub) -> None:
    hub = make_hub()
    run_id = hub.submit("odd-number")
    run = hub.wait(run_id)
    curves = {series.name: [point.value for point in series.points] for series in hub.store.metrics(run_id)}
    assert curves["planner/il_loss"][0] == 1.0
    assert math.isnan(curves["planner/il_loss"][1])
    assert curves["planner/rl_loss"] == [0.5]
    (alert,) = alerts(run, hub.store.metrics(run_id))
    assert alert.startswith("planner/il_loss is not a number.")


def test_a_clock_that_jumps_neither_stalls_nor_revives_a_run(make_hub: MakeHub) -> None:
    hub = make_hub(stalled=1.0)
    run_id = hub.submit("clock 3")
    assert hub.wait(run_id).state is RunState.FINISHED
    assert hub.states(run_id) == [RunState.RUNNING, RunState.FINISHED]


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.STALLED, RunState.CANCELLING])
def test_the_next_run_starts_within_15_seconds_of_a_kill_in_any_state(make_hub: MakeHub, state: RunState) -> None:
    hub = make_hub(stalled=0.5 if state is RunState.STALLED else 30.0, grace=60.0)
    first, second = hub.submit("deaf"), hub.submit("finish")
    hub.wait(first, RunState.RUNNING, RunState.STALLED)
    if state is RunState.CANCELLING:
        hub.jobs.cancel(first)
    hub.wait(first, state)
    os.kill(json.loads((hub.runs / first / "worker.json").read_text())["pid"], signal.SIGKILL)
    began = time.monotonic()
    hub.wait(second, RunState.RUNNING, RunState.FINISHED)
    assert time.monotonic() - began < 15
    expected = RunState.CANCELLED if state is RunState.CANCELLING else RunState.FAILED
    assert hub.wait(first).state is expected


def test_a_kill_loses_at_most_the_last_line_and_reading_again_adds_nothing(make_hub: MakeHub, tmp_path: Path) -> None:
    hub = make_hub()
    run_id = hub.submit("steps 100000")
    folder = RunFolder(hub.runs / run_id)
    until(lambda: metric_lines(folder) > 40, "forty lines")
    os.kill(json.loads(folder.worker.read_text())["pid"], signal.SIGKILL)
    hub.wait(run_id, RunState.FAILED)
    written = [event.body.step for event in all_events(folder.events) if isinstance(event.body, MetricsLogged)]
    (loss,) = hub.store.metrics(run_id, max_points=10_000)
    assert [point.step for point in loss.points] == written == list(range(1, len(written) + 1))
    hub.leave()
    again = make_hub()
    assert again.store.append(list(all_events(folder.events))) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_cancels_around_the_end_give_one_last_state_each(make_hub: MakeHub) -> None:
    hub = make_hub(grace=5.0)
    draw = random.Random(11)
    for number in range(200):
        run_id = hub.submit("finish 0.05")
        if number % 4:
            hub.wait(run_id, RunState.RUNNING, *ENDED)
        time.sleep(draw.uniform(0, 0.15))
        hub.jobs.cancel(run_id)
        hub.jobs.cancel(run_id, at_once=number % 3 == 0)
        hub.wait(run_id)
        assert len([state for state in hub.states(run_id) if state in ENDED]) == 1


# Memory that training and serving share -----------------------------------------------------------------------------


class Room:
    """An engine that lets go of its memory a moment after it is asked to."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.asked_at: float | None = None
        self.told: list[str | None] = []

    def make(self, run_id: str | None) -> bool:
        if not self.told or self.told[-1] != run_id:
            self.told.append(run_id)
            self.asked_at = time.monotonic()
        assert self.asked_at is not None
        return run_id is None or time.monotonic() - self.asked_at > self.seconds


def test_a_run_that_needs_the_memory_starts_when_the_engine_has_let_go_and_gives_it_back(make_hub: MakeHub) -> None:
    room = Room()
    hub = make_hub(make_room=room.make)
    run_id = submit_alone(hub, "steps 100")
    began = time.monotonic()
    hub.wait(run_id, RunState.RUNNING)
    assert time.monotonic() - began > 0.9
    hub.wait(run_id, RunState.FINISHED)
    until(lambda: room.told[-1] is None, "the engine's return")
    assert room.told == [None, run_id, None] or room.told == [run_id, None]


def test_a_hub_that_starts_anew_keeps_the_engine_away_from_a_run_that_has_its_memory(make_hub: MakeHub) -> None:
    hub = make_hub(make_room=Room(0).make)
    run_id = submit_alone(hub, "steps 2000")
    hub.wait(run_id, RunState.RUNNING)
    hub.leave()
    room = Room()
    again = make_hub(make_room=room.make)
    until(lambda: room.told, "a word to the engine")
    assert room.told[0] == run_id
    again.jobs.cancel(run_id)
    again.wait(run_id)
    until(lambda: room.told[-1] is None, "the engine's return")


def submit_alone(hub: Hub, what: str) -> str:
    """A run that asks the engine to make room; only training may, and of its config the worker reads the model."""
    return hub.jobs.submit("train", what, {"kind": "train", "memory": "pause", "model": what}, ["{}"]).id


def test_a_hub_that_is_killed_leaves_workers_that_are_stopped_by_the_next(make_hub: MakeHub, tmp_path: Path) -> None:
    folder = killed_hub(tmp_path, "steps 100000", lambda folder: metric_lines(folder) > 2)
    pid = json.loads(folder.worker.read_text())["pid"]
    hub = make_hub()
    hub.jobs.cancel(folder.run_id)
    assert hub.wait(folder.run_id).state is RunState.CANCELLED
    until(lambda: ended(pid), "the worker's end")
