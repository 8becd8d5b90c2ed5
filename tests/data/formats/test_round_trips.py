"""What is exported is imported back equal; where a format cannot hold something, it says so and the rest is equal."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_examples import empty_episode, episodes

from data.episodes import with_gains
from data.formats import detect_format
from data.formats.atif import trajectories
from data.formats.entry import About, Dropped, Entry
from data.formats.page import page
from data.formats.table import safe_cell
from data.types import Episode, Label, LabelTarget
from retro_dash.exporting import EXPORTS, export

ABOUT = About(dataset_hash="abc", tagset_version=3)
EPISODE = empty_episode()
LOSSLESS = sorted(name for name, found in EXPORTS.items() if found.is_lossless)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    episode: Episode = with_gains(draw(episodes()))
    target = LabelTarget(episode_id=episode.id, part="episode")
    label = Label(id="l", target=target, name="note", value="=1+1", annotator="kim", at=episode.created_at)
    return Entry(episode, draw(st.sampled_from([(), (label,)])))


def read_back(path: Path) -> list[Entry]:
    found = list(detect_format(path).read(path))
    assert all(isinstance(item, Entry) for item in found), found
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("name", LOSSLESS)
@quick
@given(entry=entries())
def test_a_lossless_export_imports_back_equal(name: str, entry: Entry):
    with tempfile.TemporaryDirectory() as folder:
        path = export(name, [entry], Path(folder) / f"out{EXPORTS[name].suffix}", ABOUT).path
        (back,) = read_back(path)
    assert back.episode == entry.episode
    assert back.labels == entry.labels


def test_the_lossless_formats_are_these():
    assert LOSSLESS == ["atif", "episodes", "hf", "html"]


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
