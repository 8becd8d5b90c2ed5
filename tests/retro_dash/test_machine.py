"""The machine's load, and whether a run's memory fits beside the engine, on devices with given figures."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from retro_dash.machine import MachineMeter
from retro_dash.memory import Room, judge_memory

GIB = 2**30


def nothing(what: str) -> str:
    return ""


def one_card(what: str) -> str:
    """As nvidia-smi answers on a machine with an 80 GiB card, of which our process holds 3 GiB."""
    if what.startswith("compute-apps"):
        return f"{os.getpid()}, 2048\n{os.getpid()}, 1024\n1, 500\n"
    return "NVIDIA H100, 37, 20480, 81920\n"


def test_a_machine_without_an_accelerator_is_measured_by_its_main_memory() -> None:
    machine = MachineMeter(nothing).read()
    assert machine.gpus == ()
    assert machine.device == "main memory"
    assert 0 <= machine.cpu_share <= 1
    assert machine.cores == os.cpu_count()
    assert 0 < machine.memory_used < machine.memory_total
    assert machine.free == machine.memory_total - machine.memory_used


def test_a_machine_with_an_accelerator_is_measured_by_its_memory() -> None:
    machine = MachineMeter(one_card).read()
    assert machine.device == "NVIDIA H100"
    assert machine.free == 60 * GIB
    assert machine.shares()["gpu_share"] == pytest.approx(0.37)
    assert machine.shares()["gpu_memory_share"] == pytest.approx(0.25)


@pytest.mark.parametrize("broken", ["[N/A], 3\n", "no devices were found\n", "H100, [N/A], [N/A], [N/A]\n", "\0"])
def test_what_the_tool_cannot_say_is_left_out(broken: str) -> None:
    assert MachineMeter(lambda what: broken).read().gpus == ()


def test_what_a_process_and_its_children_hold_is_counted_once_each() -> None:
    hold = "import time; block = bytearray(60_000_000); print(1, flush=True); time.sleep(30)"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {hold!r}]).wait()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        held = MachineMeter(nothing).held({"engine": parent.pid, "gone": 2**22 - 1})
        os.killpg(parent.pid, 9)
    assert held["engine"] > 60_000_000
    assert held["gone"] == 0


def test_of_an_accelerator_the_memory_of_every_context_of_a_process_is_counted() -> None:
    assert MachineMeter(one_card).held({"us": os.getpid()}) == {"us": 3 * GIB}


ROOM = Room(device="NVIDIA H100", total=80 * GIB, free=10 * GIB, engine=60 * GIB)


@pytest.mark.parametrize(
    ("needed", "pauses", "level", "words"),
    [
        (8, False, "ok", "Needs about 8.0 GiB of NVIDIA H100; 10.0 GiB of 80.0 GiB are free."),
        (40, False, "stop", "The engine holds 60.0 GiB: choose to pause it while the run trains"),
        (40, True, "ok", "10.0 GiB of 80.0 GiB are free, 70.0 GiB with the engine paused."),
        (75, True, "stop", "Lower batch.tokens_per_pack"),
        (75, False, "stop", "Lower batch.tokens_per_pack"),
    ],
)
def test_a_run_that_does_not_fit_is_stopped_with_the_numbers_and_the_way_out(
    needed: int, pauses: bool, level: str, words: str
) -> None:
    found, text = judge_memory(needed * GIB, ROOM, pauses)
    assert found == level
    assert words in text


def test_memory_of_runs_that_end_before_counts_as_free() -> None:
    room = ROOM.model_copy(update={"workers": {"train-1": 8 * GIB}})
    found, text = judge_memory(15 * GIB, room, pauses_engine=False)
    assert found == "ok"
    assert "18.0 GiB of 80.0 GiB are free once the runs before it have ended" in text
