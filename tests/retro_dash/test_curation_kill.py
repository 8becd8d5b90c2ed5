"""A process that is killed in the middle of labelling loses nothing that it acknowledged and doubles nothing."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from curation_examples import fill, make_episode

from data.store import Store
from retro_dash.curation import Curation
from retro_dash.labels import LabelRequest, audit

KILLS = 10
ROOT = Path(__file__).parents[2]


def acknowledged_until_killed(home: Path, first: int, after: int) -> list[str]:
    """Run the writer and kill it (SIGKILL) once it acknowledged so many labels."""
    command = [sys.executable, str(Path(__file__).with_name("label_writer.py")), str(home), str(first)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    ) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(after)]
        writer.kill()
        lines += writer.stdout.readlines()
    assert lines[0], "the writer died before its first label"
    return [line.strip() for line in lines if line.endswith("\n")]


@pytest.mark.slow
def test_ten_kills_with_ten_annotators_lose_and_double_no_label(tmp_path: Path):
    dice = random.Random(5)
    with Store.open(tmp_path) as store:
        fill(store, *(make_episode(f"e{n}") for n in range(5)))
    acknowledged: set[str] = set()
    for kill in range(KILLS):
        made = acknowledged_until_killed(tmp_path, first=kill * 10_000, after=dice.randint(5, 60))
        assert len(set(made)) == len(made)
        acknowledged.update(made)
        with Store.open(tmp_path) as store:
            stored = Counter(label.id for label in store.labels())
            assert acknowledged - stored.keys() == set(), f"lost after kill {kill + 1}"
            assert max(stored.values()) == 1, f"doubled after kill {kill + 1}"
            events = store.events_since(0, run_id="labels", limit=100_000)
            assert len({event.seq for event in events}) == len(events) == len(stored)
    assert len(acknowledged) > 100
    assert_sending_again_adds_nothing(tmp_path, acknowledged)


def assert_sending_again_adds_nothing(home: Path, acknowledged: set[str]) -> None:
    """What a browser does that does not know whether its last labels arrived."""
    with Store.open(home) as store:
        history = store.labels()
        fields = {"id", "target", "name", "value", "annotator"}
        known = [label for label in history if label.id in acknowledged][-50:]
        again = [LabelRequest(**label.model_dump(include=fields)) for label in known]
        answers = Curation(home, store).label(again)
        assert [answer.is_new for answer in answers] == [False] * len(again)
        assert store.labels() == history
        assert len(audit(history)) == len(history)
