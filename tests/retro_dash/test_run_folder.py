"""The contract between hub and worker."""

from pathlib import Path

import pytest

from data.errors import BadFile, Refused
from data.events import MetricsLogged
from data.types import Run
from retro_dash.run_folder import EventLog, RunFolder, make_run_folder, read_events

RUN = Run.model_validate(
    {
        "id": "run-1",
        "kind": "train",
        "config": {"kind": "train"},
        "state": "queued",
        "created_at": "2026-11-20T00:00:00Z",
    }
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return make_run_folder(tmp_path / "runs", RUN, ['{"a": 1}', '{"a": 2}'])


def point(step: int) -> MetricsLogged:
    return MetricsLogged(step=step, values={"loss": step / 2})


def test_a_new_folder_holds_its_config_and_dataset(folder: RunFolder):
    assert folder.config() == {"kind": "train"}
    assert folder.dataset.read_text().splitlines() == ['{"a": 1}', '{"a": 2}']


def test_the_same_run_is_not_made_twice(folder: RunFolder):
    with pytest.raises(Refused, match="run-1"):
        make_run_folder(folder.path.parent, RUN)


def test_a_folder_without_a_config_is_not_a_run(tmp_path: Path):
    with pytest.raises(BadFile, match="not a run folder"):
        RunFolder(tmp_path).config()


def test_events_are_numbered_on_after_a_restart(folder: RunFolder):
    log = EventLog(folder)
    log.append(point(0))
    log.append(point(1))
    log.close()
    log = EventLog(folder)
    log.append(point(2))
    log.close()
    events, _, bad = read_events(folder.events, 0)
    assert [event.seq for event in events] == [0, 1, 2, 3]
    assert bad == 0


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_cut_off_and_its_number_used_again(folder: RunFolder, cut: int):
    log = EventLog(folder)
    log.append(point(0))
    log.append(point(1))
    log.close()
    text = folder.events.read_bytes()
    folder.events.write_bytes(text[:-cut])
    log = EventLog(folder)
    log.append(point(7))
    log.close()
    events, _, bad = read_events(folder.events, 0)
    assert [event.seq for event in events] == [0, 1, 2]
    assert events[-1].body == point(7)
    assert bad == 0


def test_reading_goes_on_from_an_offset_and_counts_lines_that_are_no_events(folder: RunFolder):
    log = EventLog(folder)
    log.append(point(0))
    first, offset, _ = read_events(folder.events, 0)
    log.append(point(1))
    log.close()
    with folder.events.open("ab") as file:
        file.write(b"\xff\x00 not an event\n")
        file.write(b'{"half": ')
    second, end, bad = read_events(folder.events, offset)
    assert [event.seq for event in first] == [0, 1]
    assert [event.seq for event in second] == [2]
    assert bad == 1
    assert read_events(folder.events, end) == ([], end, 0)
