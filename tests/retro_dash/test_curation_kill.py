"""A hub that is killed while ten annotators label loses nothing that it acknowledged and doubles nothing."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from curation_examples import fill, make_episode, request, target

from data.store import Store
from retro_dash.curation import Curation
from retro_dash.labels import LabelRequest, audit

KILLS, ANNOTATORS, EPISODES = 30, 10, 5
ROOT = Path(__file__).parents[2]


class Hub:
    """A process that serves the API of a home, always on the same port."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        command = [sys.executable, str(Path(__file__).with_name("label_hub.py")), str(home), str(self.port)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._parent = subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, **pipes)
        self._pid = 0

    def start(self) -> None:
        assert self._parent.stdin is not None
        self._parent.stdin.write("start\n")
        self._parent.stdin.flush()
        self._pid = int(self._line())

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        assert self._line() == "\n"

    def end(self) -> None:
        self._parent.communicate(timeout=30)

    def _line(self) -> str:
        assert self._parent.stdout is not None
        return self._parent.stdout.readline()


class Annotator(threading.Thread):
    """Labels as a browser does: a label that was not acknowledged is sent again, with the same id, until it is."""

    def __init__(self, number: int, port: int, is_over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self.repeats = 0
        """Labels that the hub had stored already without being able to say so."""
        self._number, self._is_over = number, is_over
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=10)

    def run(self) -> None:
        made = 0
        while not self._is_over.is_set():
            self._deliver([self._make(made + k) for k in range(1 + made % 2)])
            made += 1 + made % 2

    def _make(self, made: int) -> dict[str, Any]:
        value = ("good", "bad", "expert")[made % 3]
        on = target(f"e{made % EPISODES}")
        return request(value, on=on, annotator=f"annotator-{self._number}", id_=f"{self._number}-{made}")

    def _deliver(self, labels: list[dict[str, Any]]) -> None:
        while True:
            try:
                answer = self._http.post("/labels", json={"labels": labels})
            except httpx.HTTPError:
                time.sleep(0.02)
                continue
            stored = answer.raise_for_status().json()
            self.acknowledged += [one["label"]["id"] for one in stored]
            self.repeats += sum(not one["is_new"] for one in stored)
            return


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with Store.open(tmp_path) as store:
        fill(store, *(make_episode(f"e{n}") for n in range(EPISODES)))
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_thirty_kills_with_ten_annotators_lose_and_double_no_label(home: Path):
    dice = random.Random(5)
    hub, is_over = Hub(home), threading.Event()
    annotators = [Annotator(number, hub.port, is_over) for number in range(ANNOTATORS)]
    for annotator in annotators:
        annotator.start()
    for kill in range(KILLS):
        before = sum(len(one.acknowledged) for one in annotators)
        hub.start()
        wanted = before + dice.randint(5, 60)
        deadline = time.monotonic() + 60
        while sum(len(one.acknowledged) for one in annotators) < wanted:
            assert time.monotonic() < deadline, f"the hub does not come back after kill {kill}"
            time.sleep(0.002)
        hub.kill()
    is_over.set()
    hub.start()
    for annotator in annotators:
        annotator.join(60)
    hub.kill()
    hub.end()
    acknowledged = [id_ for annotator in annotators for id_ in annotator.acknowledged]
    assert len(set(acknowledged)) == len(acknowledged) > 500
    assert any(annotator.repeats for annotator in annotators), "no kill fell between the disk and the answer"
    assert_stored_once(home, set(acknowledged))


def assert_stored_once(home: Path, acknowledged: set[str]) -> None:
    """Every acknowledged label is there once, no other is, and sending the last ones again adds nothing."""
    with Store.open(home) as store:
        history = store.labels()
        stored = Counter(label.id for label in history)
        assert stored.keys() == acknowledged
        assert max(stored.values()) == 1
        events = [label.id for label in history]
        assert len(store.events_since(0, run_id="labels", limit=100_000)) == len(events)
        fields = {"id", "target", "name", "value", "annotator"}
        again = [LabelRequest(**label.model_dump(include=fields)) for label in history[-50:]]
        answers = Curation(home, store).label(again)
        assert [answer.is_new for answer in answers] == [False] * len(again)
        assert store.labels() == history
        assert len(audit(history)) == len(history)
