"""What is exported is imported back equal, in every format."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydantic import JsonValue
from store_examples import empty_episode, episodes

from data.episodes import with_gains
from data.errors import BadInput
from data.formats import detect_format
from data.formats.atif import trajectories
from data.formats.entry import About, Dropped, Entry
from data.formats.page import page
from data.formats.table import COLUMNS, plain_cell, safe_cell
from data.types import Completion, Episode, Label, LabelTarget, Trial, Turn
from retro_dash.exporting import EXPORTS, export

ABOUT = About(dataset_hash="abc", tagset_version=3)
EPISODE = empty_episode()
SAMPLED = Completion(policy="p", text="go", context_ids=(1, 2), token_ids=(3,), logprobs=(-0.5,))
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


@st.composite
def entries(draw: st.DrawFn, id_: str = "e1") -> Entry:
    episode: Episode = with_gains(draw(episodes(id_)))
    return Entry(episode, draw(st.sampled_from([(), tuple(_labels(episode))])))


def _labels(episode: Episode) -> Iterator[Label]:
    """What people say of every part, so that there are rows for every trainer."""
    for trial in episode.trials:
        for turn in trial.turns:
            yield _label(episode, "turn", trial.index, turn.index, "step_reward", 1)
        yield _label(episode, "trial", trial.index, None, "verdict", "good")
    for reflection in episode.reflections:
        yield _label(episode, "reflection", reflection.after_trial, None, "rewrite", {"text": "Look first."})
    yield _label(episode, "episode", None, None, "note", "=1+1")


def _label(episode: Episode, part: str, trial: int | None, turn: int | None, name: str, value: JsonValue) -> Label:
    where = {"episode_id": episode.id, "part": part, "trial": trial, "turn": turn}
    id_ = f"{episode.id}-{part}-{trial}-{turn}"
    return Label(
        id=id_,
        target=LabelTarget.model_validate(where),
        name=name,
        value=value,
        annotator="kim",
        at=episode.created_at,
    )


def read_back(path: Path) -> list[Entry]:
    found = list(detect_format(path).read(path))
    assert all(isinstance(item, Entry) for item in found), found
    return found  # type: ignore[return-value]


def exported(name: str, given: Sequence[Entry], folder: Path) -> Path:
    """The file; a selection that has no row in this format is no example."""
    try:
        return export(name, given, folder / f"out-{len(list(folder.iterdir()))}{EXPORTS[name].suffix}", ABOUT).path
    except BadInput:
        reject()


def content(path: Path) -> object:
    """What the file says, row by row."""
    return {child.name: child.read_bytes() for child in path.iterdir()} if path.is_dir() else path.read_bytes()


@pytest.mark.parametrize("name", EXPORTS)
@quick
@given(one=entries("e1"), other=entries("e2"))
def test_what_is_exported_imports_back_equal_and_exports_the_same_again(name: str, one: Entry, other: Entry):
    with tempfile.TemporaryDirectory() as folder:
        path = exported(name, [one] if name == "html" else [one, other], Path(folder))
        back = read_back(path)
        for entry in back:
            before = one if entry.episode.id == "e1" else other
            assert entry.episode == before.episode
            assert entry.labels == before.labels
        again = exported(name, back, Path(folder))
        assert content(path) == content(again)


def told(id_: str = "e1") -> Entry:
    """An episode that has rows in every format."""
    turn = Turn(index=1, thought="=1+1", action="@go", observation="-", reward=0, completion=SAMPLED)
    trials = tuple(
        Trial(index=n, prompt="p", opening="o", turns=(turn,), started_at=EPISODE.created_at) for n in (1, 2)
    )
    episode = empty_episode(id_).model_copy(update={"trials": trials, "planner": "'=cmd|' /C calc'!A0"})
    return Entry(episode, tuple(_labels(episode)))


@pytest.mark.parametrize("name", ["unpaired", "stepwise", "rl", "csv"])
def test_our_own_rows_are_known_by_their_name_and_say_what_is_imported(name: str, tmp_path: Path):
    path = exported(name, [told("e1"), told("e2")], tmp_path)
    found = detect_format(path)
    first, second = found.read(path)
    assert found.name == name
    assert isinstance(first, Entry)
    assert isinstance(second, Entry)
    assert (first.episode.id, second.episode.id) == ("e1", "e2")
    assert all("imported is the record" in note for note in first.notes)
    assert first.rows == (1 if name == "csv" else 2)


def test_a_preference_is_known_by_its_name(tmp_path: Path):
    entry = told()
    rewrite = _label(entry.episode, "turn", 1, 1, "rewrite", {"action": "look"})
    path = exported("preference", [Entry(entry.episode, (rewrite,))], tmp_path)
    assert detect_format(path).name == "preference"
    (back,) = read_back(path)
    assert back.labels == (rewrite,)


def reasons(path: Path) -> list[str]:
    """What became of the file: an episode's id, or why rows were dropped."""
    found = detect_format(path).read(path)
    return [item.episode.id if isinstance(item, Entry) else f"{item.row} {item.reason[:34]}" for item in found]


GONE = "the record of its episode is not i"


def test_rows_whose_record_was_taken_out_or_damaged_are_dropped_and_the_others_kept(tmp_path: Path):
    path = exported("unpaired", [told("e1"), told("e2"), told("e3")], tmp_path)
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    broken = {**rows[2], "records": [rows[2]["records"][0][:-9]]}
    path.write_text("\n".join(map(json.dumps, [rows[1], broken, rows[3], [1], *rows[4:]])) + "\n{")
    assert reasons(path) == [
        "4 the row is not an object",
        "7 the row is cut",
        "2 the record of the episode is cut o",
        "e3",
        f"1 {GONE}",
        f"3 {GONE}",
    ]


@pytest.mark.parametrize("records", [5, None, [5], [None], [{}], ["[]"], ["{}"], ['{"format": "retro-dash/1"}']])
def test_a_record_that_is_none_drops_its_row_once(records: object, tmp_path: Path):
    row = {"prompt": [], "completion": [], "label": True, "episode_id": "e1", "records": records}
    (tmp_path / "bad.jsonl").write_text(json.dumps(row) + "\n")
    (dropped,) = detect_format(tmp_path / "bad.jsonl").read(tmp_path / "bad.jsonl")
    assert isinstance(dropped, Dropped)
    assert dropped.row == 1


def test_rl_rows_that_stand_apart_or_hold_no_numbers_are_dropped(tmp_path: Path):
    path = exported("rl", [told("e1"), told("e2")], tmp_path)
    first, second, third, fourth = pq.read_table(path).to_pylist()
    lines = [first, third, fourth, second, {**first, "token_ids": ["x"]}, {**first, "record": "{"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines) + "{\n")
    assert reasons(tmp_path / "rows.jsonl") == [
        "e1",
        "e2",
        f"4 {GONE}",
        f"5 {GONE}",
        f"6 {GONE}",
        "7 the row is not JSON",
    ]
    (tmp_path / "one.jsonl").write_text(json.dumps({**first, "token_ids": ["x"]}) + "\n")
    assert reasons(tmp_path / "one.jsonl") == ["1 the tokens of a row are no lists o"]


def test_a_table_comes_back_from_a_spreadsheet_that_writes_semicolons(tmp_path: Path):
    given = [told("e1"), told("e2")]
    path = exported("csv", given, tmp_path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        cells = list(csv.reader(file))
    with (tmp_path / "saved.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows([*cells, [], [cells[1][0]], [*cells[2][:-1], cells[2][-1][:50]]])
    first, second, missing, cut = detect_format(tmp_path / "saved.csv").read(tmp_path / "saved.csv")
    assert [first, second] == [replace(entry, row=k, notes=first.notes) for k, entry in enumerate(given, 1)]
    assert "is not in the file" in missing.reason
    assert "is cut" in cut.reason


def test_a_record_is_cut_into_cells_that_a_spreadsheet_can_hold_and_none_is_a_formula(tmp_path: Path):
    entry = told()
    long = entry.episode.model_copy(update={"planner": "=" * 100_000})
    path = exported("csv", [Entry(long)], tmp_path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        _, row = csv.reader(file)
    record = row[len(COLUMNS) :]
    assert len(record) > 3
    assert all(len(cell) <= 32_767 and cell.startswith(("{", "'")) for cell in record[:-1])
    (back,) = read_back(path)
    assert back.episode == long


@quick
@given(
    text=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=9) | st.sampled_from("=+-@'")
)
def test_a_guarded_cell_comes_back_as_it_was(text: str):
    assert plain_cell(str(safe_cell(text))) == text


@pytest.mark.parametrize("name", ["atif", "episodes"])
@pytest.mark.parametrize("id_", ["", "../../etc/passwd", "a\\b", "..", "a\nb", "\x1b[31m", "x" * 201])
def test_an_episode_that_no_address_could_name_is_dropped(tmp_path: Path, name: str, id_: str):
    path = export(name, [Entry(empty_episode(id_))], tmp_path / "one.jsonl", ABOUT).path
    (found,) = detect_format(path).read(path)
    assert isinstance(found, Dropped)
    assert "no address could name it" in found.reason


@pytest.mark.parametrize(("before", "after"), [("hidden>{&quot;", "hidden>{x"), ("</pre>\n</body>", "")])
def test_an_edited_page_is_dropped_with_the_reason(tmp_path: Path, before: str, after: str):
    path = export("html", [Entry(EPISODE)], tmp_path / "one.html", ABOUT).path
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    (found,) = detect_format(path).read(path)
    assert isinstance(found, Dropped)
    assert "edited" in found.reason


@quick
@given(entry=entries())
def test_every_row_of_our_own_says_where_it_came_from(entry: Entry):
    with tempfile.TemporaryDirectory() as folder:
        path = export("episodes", [entry], Path(folder) / "out.jsonl", ABOUT).path
        row = json.loads(path.read_text())
    assert (row["dataset_hash"], row["tagset_version"], row["source"]) == ("abc", 3, "retro-dash")


@quick
@given(entry=entries())
def test_atif_documents_are_valid_by_the_rules_of_its_package(entry: Entry):
    atif = pytest.importorskip("atif", reason="the optional package `atif` is not installed")
    for document in trajectories(entry, ABOUT):
        atif.Trajectory.model_validate(document)


@quick
@given(text=st.text(max_size=40))
def test_no_cell_can_become_a_formula(text: str):
    cell = str(safe_cell(text))
    assert not cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r"))
    assert all(c == "\n" or ord(c) >= 32 for c in cell)


@pytest.mark.parametrize("formula", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "＝1", "\r\n=1"])
def test_a_formula_is_written_as_text(formula: str):
    assert str(safe_cell(formula)).startswith("'")


def test_a_number_stays_a_number():
    assert safe_cell(-0.5) == -0.5


@quick
@given(
    entry=entries(),
    attack=st.sampled_from(["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</pre><b>"]),
)
def test_an_html_page_holds_the_text_and_none_of_its_markup(entry: Entry, attack: str):
    hostile = entry.episode.model_copy(
        update={"planner": attack, "task": entry.episode.task.model_copy(update={"instruction": attack})}
    )
    html = page(Entry(hostile, entry.labels), ABOUT)
    assert attack not in html
    assert "<script" not in html
    assert "default-src 'none'" in html
