"""The supporting-fact follower: solves at once, fails on purpose, and its reflections mend that."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from data.types import Task
from envs.experts.hotpotqa import MISTAKES, HotpotqaExpert, answer_kind, descriptions, page_order, wrong_answers
from envs.hotpotqa import KIND, SPLITS, bundled, read
from envs.hotpotqa_metric import score_answer
from envs.hotpotqa_questions import generate_questions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from trial_player import play_episode, play_trial

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("RETRO_SHARED_DATA", ROOT.parent / "shared" / "data"))
REAL = SHARED / "hotpotqa" / "hotpot_distractor_sample.json"
DIALECTS = ("retroact", "react", "reflexion")


@pytest.fixture(scope="module")
def real() -> list[Task]:
    if not REAL.exists():
        pytest.skip(f"{REAL} is not here")
    return read(REAL, {})


def question(text: str, answer: str, kind: str = "bridge", **pages: str) -> Task:
    context: list[Any] = [[title.replace("_", " "), [sentence]] for title, sentence in pages.items()]
    facts = [[title, 0] for title, _ in context]
    metadata = {"answer": answer, "type": kind, "supporting_facts": facts, "context": context}
    return Task(id="q", env="hotpotqa", split="test", instruction=text, metadata=metadata)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_bundled_question_is_solved_in_one_trial(split: str, dialect: str) -> None:
    trials = [play_trial(KIND, task, {"dialect": dialect}, HotpotqaExpert()) for task in bundled(split)]
    assert all(trial.success and trial.reward == 1.0 for trial in trials)
    assert all(turn.is_valid for trial in trials for turn in trial.turns)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_at_least_95_percent_of_the_real_questions_are_solved_in_one_trial(real: list[Task], dialect: str) -> None:
    trials = [play_trial(KIND, task, {"dialect": dialect}, HotpotqaExpert()) for task in real]
    assert len(trials) == 67
    assert sum(trial.reward == 1.0 for trial in trials) >= 64


def test_mistakes_lose_and_the_reflections_after_them_win(real: list[Task]) -> None:
    expert = HotpotqaExpert(mistake_rate=1.0)
    for task in [*bundled("valid"), *real]:
        (first, second), reflections = play_episode(KIND, task, {}, expert, trials=2)
        assert first.reward < 1, task.id
        assert second.reward == 1.0, (task.id, reflections)
        again = play_trial(KIND, task, {}, expert, (), 2)
        assert second.reward - again.reward >= 0.5, "without the reflection the second trial fails as well"


def test_the_mistake_rate_is_the_share_of_first_trials_that_fail_and_all_kinds_occur() -> None:
    expert = HotpotqaExpert(mistake_rate=0.4, seed=1)
    plans = [expert.plan(task, (), 1) for task in generate_questions(2, 192)]
    spoilt = [plan.mistake for plan in plans if plan.mistake]
    # 192 draws at 0.4: 77 expected, standard deviation 6.8
    assert 50 <= len(spoilt) <= 104
    assert set(spoilt) == set(MISTAKES)


def test_a_plan_depends_on_the_seed_the_task_and_the_trial_only() -> None:
    tasks = generate_questions(2, 60)
    one, same, other = (HotpotqaExpert(0.5, seed) for seed in (1, 1, 2))
    plans = [[expert.plan(task, (), 1) for task in tasks] for expert in (one, same, other)]
    assert plans[0] == plans[1] != plans[2]
    assert plans[0] != [one.plan(task, (), 2) for task in tasks]
    assert [one.plan(task, (), 1) for task in reversed(tasks)] == plans[0][::-1]


def test_only_a_reflection_that_names_the_fix_prevents_the_mistake() -> None:
    expert = HotpotqaExpert(mistake_rate=1.0)
    for task in bundled("valid"):
        assert expert.plan(task, ("I must try harder.",), 2).mistake
        trial = play_trial(KIND, task, {}, expert)
        assert expert.plan(task, (expert.reflect(task, (), trial),), 2).mistake is None


def test_a_reflection_names_the_missing_page_or_the_kind_of_answer_but_not_the_answer() -> None:
    expert = HotpotqaExpert(mistake_rate=1.0)
    for task in bundled("valid"):
        trial = play_trial(KIND, task, {}, expert)
        text = expert.reflect(task, (), trial)
        mistake = expert.plan(task, (), 1).mistake
        assert all(title in text for title in page_order(task))
        assert ("I never read" in text) == (mistake != "finishes_with_a_distractor")
        assert answer_kind(task) in text
        answer = str(task.metadata["answer"])
        if task.metadata["type"] == "bridge":
            assert answer not in text, text


def test_a_trial_without_finish_is_told_so() -> None:
    task = bundled("valid")[0]
    trial = play_trial(KIND, task, {}, HotpotqaExpert())
    unfinished = trial.model_copy(update={"turns": trial.turns[:1], "success": False})
    text = HotpotqaExpert().reflect(task, (), unfinished)
    assert text.startswith("I used up my turns without finishing, although I had only read")
    stuck = trial.turns[0].model_copy(update={"action": "look", "observation": "Invalid", "is_valid": False})
    text = HotpotqaExpert().reflect(task, (), trial.model_copy(update={"turns": (stuck,), "success": False}))
    assert "I had read no page that I needed" in text
    assert "exactly as Search[...]" in text


def test_the_expert_goes_on_from_wherever_a_person_left_the_trial() -> None:
    task = bundled("valid")[0]
    whole = play_trial(KIND, task, {}, HotpotqaExpert())
    second_only = whole.model_copy(update={"turns": whole.turns[1:2]})
    move = HotpotqaExpert().move(task, (), second_only)
    assert move.action == whole.turns[0].action
    both = whole.model_copy(update={"turns": (whole.turns[1], whole.turns[0])})
    assert HotpotqaExpert().move(task, (), both).action == whole.turns[2].action


def test_a_page_that_is_never_found_is_searched_once() -> None:
    task = bundled("valid")[0]
    whole = play_trial(KIND, task, {}, HotpotqaExpert())
    lost = tuple(turn.model_copy(update={"observation": "Could not find it."}) for turn in whole.turns[:2])
    assert HotpotqaExpert().move(task, (), whole.model_copy(update={"turns": lost})).action.startswith("Finish[")


def test_the_page_that_the_question_names_comes_first() -> None:
    named = question("Who founded Blue Sail?", "x", Ada_Holm="She founded Blue Sail.", Blue_Sail="Made by Ada Holm.")
    assert page_order(named) == ("Blue Sail", "Ada Holm")
    neither = question("Who?", "x", Ada_Holm="She was born.", Blue_Sail="Made by Ada Holm.")
    assert page_order(neither) == ("Blue Sail", "Ada Holm")
    both = question("Which is older, Blue Sail or Ada Holm?", "x", "comparison", Ada_Holm="Old.", Blue_Sail="Older.")
    assert page_order(both) == ("Blue Sail", "Ada Holm")


def test_a_page_that_is_only_described_is_searched_by_its_description() -> None:
    hard = [task for task in bundled("valid") if task.metadata["level"] == "hard"]
    first = [play_trial(KIND, task, {}, HotpotqaExpert()).turns[0].action[7:-1] for task in hard]
    described = [query for task, query in zip(hard, first, strict=True) if query in task.instruction]
    assert len(described) >= 0.8 * len(hard)
    assert descriptions('Who is "the Fox" of Blue Sail that sank in fog in 1910?') == [
        "the Fox",
        "Blue Sail",
        "sank in fog in 1910",
    ]


def test_thoughts_quote_the_page_just_read() -> None:
    task = next(task for task in bundled("valid") if task.metadata["level"] == "medium")
    trial = play_trial(KIND, task, {}, HotpotqaExpert())
    for turn, before in zip(trial.turns[1:], trial.turns, strict=False):
        assert turn.thought.partition(". ")[0] in before.observation


def test_the_react_dialect_is_written_in_lower_case() -> None:
    task = bundled("valid")[0]
    trial = play_trial(KIND, task, {"dialect": "react"}, HotpotqaExpert())
    assert {turn.action.partition("[")[0] for turn in trial.turns} == {"search", "finish"}


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ("yes", "comparison", "yes or no"),
        ("1912", "bridge", "a year"),
        ("2 March 1972", "bridge", "a date"),
        ("12,345", "bridge", "a number"),
        ("Blue Sail", "comparison", "one of the names that are compared"),
        ("Blue Sail", "bridge", "the name of a page"),
        ("Westport", "bridge", "the name of a place"),
    ],
)
def test_the_kind_of_answer_is_told_in_words(answer: str, kind: str, said: str) -> None:
    task = question("In which town is it?", answer, kind, Blue_Sail="A ship of 1910.", Ada_Holm="Born 1880.")
    assert answer_kind(task) == said
    assert wrong_answers(task)
    assert all(score_answer(wrong, answer).f1 == 0 for wrong in wrong_answers(task))
