"""The filter language: what it finds, what it refuses, and that nothing in it ever becomes SQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from store_examples import NOW, Numbered, empty_episode, label_made, played_episode

from data.errors import BadInput
from data.events import EpisodeStarted, LabelMade
from data.filters import FIELDS, SORTS, compile_filter, compile_sort, describe, parse
from data.store import Store
from data.types import LabelTarget, Reflection, StopReason, Task, Trial, Turn


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Four episodes: solved at once, solved in the third trial, failed, and running without a trial."""
    with Store.open(tmp_path_factory.mktemp("filters")) as store:
        run = Numbered("run-1")
        store.append([run(body) for body in played_episode((1.0,), "once", planner="Expert")])
        store.append([run(body) for body in played_episode((0.0, 0.5, 1.0), "third", seed=7)])
        store.append([run(body) for body in played_episode((0.5, 0.25), "failed", run_id="run-2")])
        task = Task(id="t_100%", env="alfworld", split="test", instruction="Put the mug in 100% of C:\\drawers.")
        trial = Trial(
            index=1, prompt="", opening="", started_at=NOW, reward=0, stop_reason=StopReason.STOPPED,
            turns=(Turn(index=1, thought="Look", action="go to desk_1", observation='He said "hi".', reward=0),),
        )  # fmt: skip
        reflection = Reflection(after_trial=1, text="Straße zuerst", author="human", created_at=NOW)
        running = empty_episode(
            "running", task=task, trials=(trial,), reflections=(reflection,), created_at=NOW + timedelta(days=10)
        )
        store.append([run(EpisodeStarted(episode=running)), run(label_made("l", "good"))])
        yield store


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {"once", "third", "failed", "running"}),
        ("   ", {"once", "third", "failed", "running"}),
        ("env:alfworld", {"running"}),
        ("env:AlfWorld,hotpotqa", {"once", "third", "failed", "running"}),
        ("-env:alfworld", {"once", "third", "failed"}),
        ("outcome:solved", {"once", "third"}),
        ("outcome:failed", {"failed"}),
        ("outcome:running", {"running"}),
        ("-outcome:solved state:failed,running", {"failed", "running"}),
        ("trials>2", {"third"}),
        ("trials>=2 trials<3", {"failed"}),
        ("trials:1,3", {"once", "third", "running"}),
        ("turns=2", {"failed"}),
        ("reward>=0.5", {"once", "third"}),
        ("first=0.5", {"failed"}),
        ("gain>0", {"third"}),
        ("-gain>0", {"once", "failed", "running"}),
        ("planner:SMOL", {"third", "failed", "running"}),
        ("planner:expert", {"once"}),
        ("run:run-2", {"failed"}),
        ("seed:7", {"third"}),
        ("task:100%", {"running"}),
        ("task:%", {"running"}),
        ("task:_", {"running"}),
        ("since:2026-11-25", {"running"}),
        ("before:2026-11-25", {"once", "third", "failed"}),
        ("since:2026-11-20T21:00:00+09:00 before:2026-11-21", {"once", "third", "failed"}),
        ('text:"the nile"', {"once", "third", "failed"}),
        ("nile", {"once", "third", "failed"}),
        ("-nile", {"running"}),
        ("NILE compare", {"third", "failed"}),
        ("desk_1", {"running"}),
        ("desk.1", set()),
        ("100%", {"running"}),
        ('"C:\\\\drawers"', {"running"}),
        ('"said \\"hi\\""', {"running"}),
        ("STRASSE,straße", set()),
        ("text:strasse,Straße", {"running"}),
        ("label:good,bad", set()),
        ("'; DROP TABLE episodes; --", set()),
        ('text:"\' OR 1=1 --"', set()),
        ("env:\"') OR ('1'='1\"", set()),
    ],
)
def test_a_filter_finds_what_it_says(filled: Store, text: str, found: set[str]) -> None:
    page = filled.episode_rows(text)
    assert {row.id for row in page.rows} == found
    assert page.total == len(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("envv:x", r"Position 1: there is no field 'envv'\. Did you mean 'env'\? Known: env, task"),
        ("env:x trails>2", r"Position 7: there is no field 'trails'\. Did you mean 'trials'\?"),
        ("http://x", "there is no field 'http'.*put it in quotes"),
        ("trials>two", "Position 1: 'two' is not a number; write for example 'trials>2'"),
        ("env>x", "Position 1: '>' compares numbers, and 'env' is not one"),
        ("state:dead", "'state' cannot be 'dead'.*Known: running, solved, failed, stopped, error"),
        ("outcome:solvd", r"'outcome' cannot be 'solvd'\. Did you mean 'solved'\?"),
        ("since:yesterday", "'yesterday' is not a date; write for example 'since:2026-11-01'"),
        ("env:", "Position 5: a value is missing after 'env:'"),
        ("env: hotpotqa", "Position 5: a value is missing"),
        ("env:a,,b", "Position 7: a value is missing"),
        ('text:"river', "Position 6: the quote that starts at '\"river' is never closed"),
        ('text:"a"b', "Position 9: a space is missing before 'b'"),
        ("-", 'Position 2: a word is missing after "-"'),
        ("- nile", 'Position 2: a word is missing after "-"'),
        ("x" * 2001, "The filter has 2001 characters; the longest that is read has 2000"),
    ],
)
def test_a_wrong_filter_is_refused_with_position_and_hint(filled: Store, text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        filled.episode_rows(text)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("-created", ["running", "failed", "third", "once"]),
        ("trials,-reward", ["once", "running", "failed", "third"]),
        ("+gain", ["failed", "third", "running", "once"]),
        ("-gain", ["third", "failed", "running", "once"]),
        ("", ["running", "failed", "third", "once"]),
    ],
)
def test_the_list_is_sorted_as_asked_unknown_values_last(filled: Store, sort: str, order: list[str]) -> None:
    assert [row.id for row in filled.episode_rows("", sort).rows] == order
    pages = [filled.episode_rows("", sort, limit=1, offset=place) for place in range(5)]
    assert [row.id for page in pages for row in page.rows] == order
    assert {page.total for page in pages} == {4}


@pytest.mark.parametrize("sort", ["speed", "-id; DROP TABLE runs", "--created", "created_at"])
def test_sorting_by_an_unknown_column_is_refused(filled: Store, sort: str) -> None:
    with pytest.raises(BadInput, match=r"Cannot sort by .* Known: created, env"):
        filled.episode_rows("", sort)


def test_every_described_field_has_an_example_that_works(filled: Store) -> None:
    assert describe() == FIELDS
    for field in FIELDS:
        (term,) = parse(field.example)
        assert term.field == field
        filled.episode_rows(field.example)
    for name in SORTS:
        filled.episode_rows("", name)


fragments = st.sampled_from(
    ['"', "-", ",", ":", ">", "<", "=", "\\", " ", "'", ";", "--", "%", "_", "?", "$1", ")", "(", "\0", "\n", "*",
     "env", "trials", "text", "tag", "label", "since", "1", "2026-11-01", "é", "DROP TABLE episodes", "nan", "1e999"]
)  # fmt: skip


@given(st.text() | st.lists(fragments, max_size=12).map("".join))
@example('env:"')
@example("trials>nan")
@example("since:9999-12-31T23:59:59-14:00")
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_filter_or_bad_input_and_never_becomes_sql(text: str) -> None:
    try:
        condition = compile_filter(text)
    except BadInput:
        return
    literal = {fragment for term in parse(text) for fragment in term.values if len(fragment) > 8}
    assert all(value not in condition.sql for value in literal)
    assert condition.sql.count("?") == len(condition.parameters)


@given(st.text() | st.lists(fragments, max_size=12).map("".join))
@settings(max_examples=150, deadline=None)
def test_any_filter_is_answered_or_refused_by_the_store(filled: Store, text: str) -> None:
    try:
        page = filled.episode_rows(text)
    except BadInput:
        return
    assert 0 <= page.total <= 4
    assert filled.episode_rows().total == 4


def test_labelled_finds_the_episodes_whose_labels_changed_since_a_day_undos_included(store: Store) -> None:
    run = Numbered("run-1")
    store.append([run(EpisodeStarted(episode=empty_episode(id_))) for id_ in ("never", "early", "late", "undone")])
    for id_, at in (("early", NOW), ("late", NOW + timedelta(days=5)), ("undone", NOW)):
        target = LabelTarget(episode_id=id_, part="episode")
        store.append([run(label_made(id_, target=target, at=at))])
    undo = label_made("u", None, undoes="undone", target=LabelTarget(episode_id="undone", part="episode"))
    store.append([run(LabelMade(label=undo.label.model_copy(update={"at": NOW + timedelta(days=6)})))])
    found = {row.id for row in store.episode_rows("labelled:2026-11-25").rows}
    assert found == {"late", "undone"}
    assert {row.id for row in store.episode_rows("-labelled:2026-11-01").rows} == {"never"}


@given(st.text())
def test_any_text_is_a_sort_or_bad_input(text: str) -> None:
    try:
        order = compile_sort(text)
    except BadInput:
        return
    assert set(order.columns.split(", ")) <= {*SORTS.values(), "NULL"}
