"""Inspect's evaluation logs. `rivers.eval` was written by inspect_ai 0.3.285 (Zstandard): two questions, a model with
fixed answers and a search tool, the scorer `includes`."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from data.errors import BadFile
from data.formats import detect_format
from data.formats.entry import Dropped, Entry
from data.formats.inspect import ZSTANDARD, _content
from data.types import EpisodeState

RIVERS = Path(__file__).with_name("rivers.eval")


def entries(path: Path) -> list[Entry]:
    return [item for item in detect_format(path).read(path) if isinstance(item, Entry)]


def reasons(path: Path) -> list[str]:
    return [item.reason for item in detect_format(path).read(path) if isinstance(item, Dropped)]


def members() -> dict[str, Any]:
    """The JSON inside `rivers.eval`, by name."""
    with zipfile.ZipFile(RIVERS) as archive, RIVERS.open("rb") as raw:
        assert {info.compress_type for info in archive.infolist()} == {ZSTANDARD}
        return {info.filename: json.loads(_content(raw, info)) for info in archive.infolist()}


def write(path: Path, files: dict[str, Any], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_real_log_is_one_trial_a_sample_with_its_score():
    solved, failed = entries(RIVERS)
    assert (solved.episode.planner, solved.episode.task.id) == ("canned/model", "rivers-river")
    (trial,) = solved.episode.trials
    assert [(turn.thought, turn.action) for turn in trial.turns] == [
        ("I look it up.", 'search({"query": "longest river"})'),
        ("", "The Nile"),
    ]
    assert trial.turns[0].observation.startswith("The Nile is 6650 km long.")
    assert (trial.reward, solved.episode.state) == (1.0, EpisodeState.SOLVED)
    assert (failed.episode.trials[0].reward, failed.episode.state) == (0.0, EpisodeState.FAILED)
    assert failed.episode.task.metadata == {"answer": "The Nile"}


def test_the_json_log_and_a_deflated_or_stored_archive_are_the_same_episodes(tmp_path: Path):
    files = members()
    whole = files["header.json"] | {"samples": [files[name] for name in files if name.startswith("samples/")]}
    log = tmp_path / "log.json"
    log.write_text(json.dumps(whole, indent=2))
    paths = [log, write(tmp_path / "a.eval", files), write(tmp_path / "b.eval", files, zipfile.ZIP_STORED)]
    wanted = {entry.episode.id for entry in entries(RIVERS)}
    assert [{entry.episode.id for entry in entries(path)} for path in paths] == [wanted] * 3


def test_a_log_that_was_cut_short_is_read_by_its_journal(tmp_path: Path):
    files = {name: content for name, content in members().items() if name.startswith(("_journal", "samples/river"))}
    assert len(entries(write(tmp_path / "cut.eval", files))) == 1


def test_long_texts_put_aside_as_attachments_stand_in_their_place(tmp_path: Path):
    files = members()
    sample = files["samples/2_epoch_1.json"]
    sample["messages"][-1]["content"] = [
        {"type": "reasoning", "reasoning": "I remember."},
        {"type": "text", "text": "attachment://abc"},
    ]
    sample["attachments"] = {"abc": "The Amazon"}
    (_, changed) = entries(write(tmp_path / "a.eval", files))
    last = changed.episode.trials[0].turns[-1]
    assert (last.thought, last.action) == ("I remember.", "The Amazon")


@pytest.mark.parametrize(
    ("value", "reward", "state"),
    [(0.25, 0.25, "failed"), (True, 1.0, "solved"), ("P", 0.5, "failed"), ({"a": 1}, 0.0, "stopped")],
)
def test_scores_are_numbers_truths_or_grades_and_anything_else_is_not_scored(
    tmp_path: Path, value: object, reward: float, state: str
):
    files = members()
    files["samples/2_epoch_1.json"]["scores"] = {"mine": {"value": value}}
    (_, entry) = entries(write(tmp_path / "a.eval", files))
    assert (entry.episode.trials[0].reward, entry.episode.state.value) == (reward, state)
    assert any("not scored" in note for note in entry.notes) == (state == "stopped")


def test_bad_samples_are_dropped_with_the_reason_and_the_good_one_stays(tmp_path: Path):
    files = members() | {
        "samples/x_epoch_1.json": '{"id": "x", "messages": [',
        "samples/y_epoch_1.json": {"id": "y"},
        "samples/z_epoch_1/sample.json": {"id": "z"},
        "samples/z_epoch_1/messages/0.json": [],
        "samples/../../etc/passwd.json": {"id": "p"},
    }
    path = write(tmp_path / "a.eval", files)
    assert len(entries(path)) == 2
    assert [reason.split(":")[0] for reason in reasons(path)] == [
        "the sample is not JSON",
        "the sample has no messages",
        "a sample in pieces",
    ]


def test_a_sample_that_unpacks_to_more_than_a_row_may_be_is_dropped(tmp_path: Path):
    files = members() | {"samples/bomb_epoch_1.json": " " * (65 * 2**20)}
    path = write(tmp_path / "bomb.eval", files)
    assert path.stat().st_size < 2**20
    assert reasons(path) == ["the sample is longer than 64 MiB"]


def test_an_unknown_compression_is_a_reason_and_not_a_crash(tmp_path: Path):
    path = write(tmp_path / "a.eval", members())
    buffer = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("samples/b_epoch_1.json", "{}")
    path.write_bytes(buffer.getvalue())
    assert reasons(path) == ["the sample is packed with method 12, which is not known here"]


@pytest.mark.parametrize("size", [30, 3000])
def test_a_damaged_archive_is_refused(tmp_path: Path, size: int):
    path = tmp_path / "a.eval"
    path.write_bytes(RIVERS.read_bytes()[:size])
    with pytest.raises(BadFile, match="damaged"):
        entries(path)


def test_a_zip_of_something_else_is_refused_with_what_is_known(tmp_path: Path):
    shutil.make_archive(str(tmp_path / "a"), "zip", Path(__file__).parent, Path(__file__).name)
    with pytest.raises(BadFile, match="none of the formats"):
        entries(tmp_path / "a.zip")
