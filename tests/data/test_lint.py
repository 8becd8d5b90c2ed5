"""Lint finds what is wrong with training texts, and in RetroAct's files what is known to be wrong."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data.formats.entry import Entry
from data.lint import LintReport, lint, near_duplicates
from data.lint_texts import Sizes, Text, episode_texts, measure_by, row_texts
from data.types import Completion, Episode, Task, Trial, Turn

SHARED = Path(os.environ.get("RETRO_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the shared data is not at {SHARED}")


def text(id_: str = "a", target: str = "Look in the drawer.", role: str = "reflector", **changes: object) -> Text:
    fields: dict[str, object] = {"id": id_, "role": role, "prompt": f"prompt of {id_}", "target": target}
    return Text(**{**fields, **changes})  # type: ignore[arg-type]


def kinds(*texts: Text, **settings: object) -> dict[str, int]:
    return counts(lint(texts, **settings))  # type: ignore[arg-type]


def counts(report: LintReport) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


def test_a_good_text_has_no_finding():
    assert kinds(text()) == {}


@pytest.mark.parametrize("target", ["", "  \n"])
def test_an_empty_target_is_an_error(target: str):
    report = lint([text(target=target)])
    assert counts(report) == {"empty_target": 1}
    assert report.has_errors


@pytest.mark.parametrize(
    ("target", "is_cut"), [("I should check whether the cars", True), ("Try 'cars'.", False), ("Go!", False)]
)
def test_a_reflection_that_breaks_off_is_found(target: str, is_cut: bool):
    assert ("cut_target" in kinds(text(target=target))) is is_cut
    assert "cut_target" not in kinds(text(target=target, role="planner"))


@pytest.mark.parametrize(
    ("target", "is_found"),
    [
        ("go to desk 1\n\nSTATUS: OK", True),
        ("submit\nREWARD: 1.0\n", True),
        ("Observation 3: Answer is INCORRECT", True),
        ("The column STATUS: OK is text.", False),
        ("SELECT reward FROM t", False),
    ],
)
def test_verdict_and_reward_lines_in_a_target_are_errors(target: str, is_found: bool):
    assert ("verdict_in_target" in kinds(text(target=target, role="planner"))) is is_found


def test_a_gold_answer_has_leaked_only_where_the_task_does_not_say_it():
    gold = {"gold": ("Larnelle Harris",)}
    assert kinds(text(prompt="Hint: larnelle harris.", **gold)) == {"gold_in_prompt": 1}
    assert kinds(text(prompt="larnelle harris", question="Who is Larnelle Harris?", **gold)) == {}
    assert kinds(text(target="The answer is Larnelle Harris.", **gold)) == {"gold_in_reflection": 1}
    assert kinds(text(target="finish[Larnelle Harris]", role="planner", **gold)) == {}
    assert kinds(text(prompt="2004b and yes", gold=("2004", "yes"))) == {}


def test_duplicates_count_the_copies_not_the_originals():
    same = [text(id_, prompt="p") for id_ in "abc"]
    report = lint([*same, text("d", prompt="p", role="planner")])
    assert counts(report) == {"duplicate": 2}
    assert report.findings[0].examples == ("b", "c")


def test_near_duplicates_share_nine_tenths_of_their_word_runs():
    words = " ".join(f"w{n}" for n in range(100))
    almost, other = words + " and one", " ".join(f"v{n}" for n in range(100))
    found = near_duplicates([text("a", words), text("b", almost), text("c", other), text("d", almost, "planner")])
    assert found == ["b"]


def test_a_training_task_that_is_also_evaluated_is_an_error():
    texts = [text("a", task_id="t"), text("b", task_id="t", split="dev"), text("c", task_id="u")]
    report = lint(texts)
    assert counts(report) == {"task_overlap": 1}
    assert report.findings[0].examples == ("a",)


def test_too_long_is_measured_with_the_given_counter():
    long = text(prompt="abc", target="de.", masked="f")
    by_letters = measure_by(len)
    assert kinds(long, measure=by_letters, limit=6) == {"too_long": 1}
    assert kinds(long, measure=by_letters, limit=7) == {}
    report = lint([long], by_letters, "letters")
    assert (report.prompt, report.trained, report.masked, report.unit) == (3, 3, 1, "letters")


def test_a_training_task_on_an_evaluated_database_is_a_warning():
    about = {"database": "intercode_sql concert"}
    texts = [text("a", task_id="t", **about), text("b", task_id="u", split="evaluation", **about), text("c")]
    report = lint(texts)
    assert counts(report) == {"database_overlap": 1}
    assert not report.has_errors


def test_recorded_tokens_are_the_measure_and_four_characters_make_one_where_there_are_none():
    sampled, written = text("a", tokens=Sizes(7, 3, 2)), text("b", prompt="12345", target="abc.", masked="")
    assert lint([sampled]).unit == "tokens"
    report = lint([sampled, written], limit=11)
    assert (report.unit, report.prompt, report.trained, report.masked) == ("estimated tokens", 7 + 2, 3 + 1, 2)
    assert counts(report) == {"too_long": 1}


def test_the_texts_of_an_episode_know_its_database_and_the_tokens_that_were_sampled():
    def turn(index: int, context: tuple[int, ...], own: tuple[int, ...]) -> Turn:
        sampled = Completion(policy="p", text="x", context_ids=context, token_ids=own)
        return Turn(index=index, thought="", action="x", observation="y", reward=0.0, completion=sampled)

    now = datetime(2026, 11, 20, tzinfo=UTC)
    turns = (turn(1, (1, 2, 3, 4, 5), (6, 7)), turn(2, (8, 9, 10), (11,)))
    trial = Trial(index=1, prompt="p", opening="o", turns=turns, started_at=now)
    by_hand = turns[1].model_copy(update={"author": "human", "completion": None})
    edited = Trial(index=2, prompt="p", opening="o", turns=(turns[0], by_hand), started_at=now)
    episode = Episode(
        id="e", task=Task(id="t", env="intercode_sql", split="train", instruction="i", metadata={"database": "pets"}),
        planner="p", reflector="r", trials=(trial, edited), run_id="r", created_at=now,
    )  # fmt: skip
    first, second = episode_texts(Entry(episode))
    assert (first.database, first.tokens, second.tokens) == ("intercode_sql pets", Sizes(5, 3, 3), None)


@needs_shared
def test_the_defects_of_retroacts_sql_imitation_rows_are_found():
    """On the 560 + 66 rows at hand: half of the planner rows are copies, every planner row ends with its verdict, and
    a third of the reflections is empty."""
    rows = list(row_texts(SHARED / "intercode/sql/retroact_sft.jsonl.gz") or ())
    planner, reflector = (lint([t for t in rows if t.role == role]) for role in ("planner", "reflector"))
    assert (planner.texts, reflector.texts) == (560, 66)
    assert counts(planner)["duplicate"] == 280
    assert counts(planner)["verdict_in_target"] == 560
    assert counts(reflector)["empty_target"] == 23
    assert counts(reflector)["cut_target"] == 22


@needs_shared
def test_the_verdict_and_the_reward_stand_in_every_target_of_retroacts_rl_rows():
    rows = list(row_texts(SHARED / "intercode/sql/retroact_rl.jsonl.gz") or ())
    assert counts(lint(t for t in rows if t.role == "planner")) == {"verdict_in_target": 363}
    assert counts(lint(t for t in rows if t.role == "reflector")) == {"cut_target": 30, "verdict_in_prompt": 72}


@needs_shared
def test_every_planner_row_of_retroacts_household_file_ends_with_its_verdict():
    rows = list(row_texts(SHARED / "alfworld/retroact_sft.jsonl.gz") or ())
    assert counts(lint(t for t in rows if t.role == "planner"))["verdict_in_target"] == 460
    assert counts(lint(t for t in rows if t.role == "reflector"))["cut_target"] == 19
