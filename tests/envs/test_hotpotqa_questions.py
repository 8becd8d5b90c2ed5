"""Our own questions: well-formed, answerable from their two pages, the same every time, split by names."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest

from data.types import Task
from envs.hotpotqa import SPLITS, bundled, read
from envs.hotpotqa_metric import normalise
from envs.hotpotqa_prose import fill, write_page
from envs.hotpotqa_questions import BUNDLED, generate_questions, write_bundled
from envs.hotpotqa_search import plain
from envs.hotpotqa_world import Entity, make_world


@pytest.fixture(scope="module")
def questions() -> list[Task]:
    return [*generate_questions(11, 304), *generate_questions(11, 96, "valid")]


def texts(task: Task) -> dict[str, list[str]]:
    return dict(task.metadata["context"])  # type: ignore[arg-type]


def evidence(task: Task) -> list[str]:
    pages = texts(task)
    return [pages[title][index] for title, index in task.metadata["supporting_facts"]]  # type: ignore[union-attr,misc]


def test_a_question_has_ten_pages_of_three_to_six_sentences_with_titles_of_their_own(questions: list[Task]) -> None:
    for task in questions:
        pages = texts(task)
        assert len(pages) == 10
        assert len({plain(title) for title in pages}) == 10
        assert all(3 <= len(sentences) <= 6 for sentences in pages.values()), pages
        assert len({title for title, _ in task.metadata["supporting_facts"]}) == 2  # type: ignore[union-attr,misc]


def test_the_answer_is_in_the_evidence_but_not_in_the_question_or_the_first_page(
    questions: list[Task],
) -> None:
    for task in questions:
        answer = normalise(str(task.metadata["answer"]))
        if answer in ("yes", "no"):
            continue
        assert f" {answer} " in f" {normalise(' '.join(evidence(task)))} ", task
        if task.metadata["type"] == "bridge":
            first = str(task.metadata["supporting_facts"][0][0])  # type: ignore[index]
            known = [task.instruction, *texts(task)[first]]
            assert not any(f" {answer} " in f" {normalise(text)} " for text in known), "one page would do"


def test_the_first_page_of_a_bridge_leads_to_the_second(questions: list[Task]) -> None:
    for task in questions:
        if task.metadata["type"] == "bridge":
            second = re.sub(r" \(\w+\)$", "", str(task.metadata["supporting_facts"][-1][0]))  # type: ignore[index]
            first = str(task.metadata["supporting_facts"][0][0])  # type: ignore[index]
            assert any(second in sentence for sentence in texts(task)[first]), task


def test_text_is_clean(questions: list[Task]) -> None:
    for task in questions:
        for text in [task.instruction, *(s for sentences in texts(task).values() for s in sentences)]:
            assert not re.search(r"[{}]|None|a\(n\)|  | ,|\.\.|\b[Aa] [AEIOUaeiou]\w+ian\b", text), text
            assert text[0].isupper() or text[0].isdigit(), text
            assert text[-1] in '.?"', text


def test_kinds_and_levels_are_mixed(questions: list[Task]) -> None:
    kinds = Counter((task.metadata["type"], task.metadata["level"]) for task in questions)
    assert kinds == {("bridge", "medium"): 150, ("bridge", "hard"): 150, ("comparison", "easy"): 100}
    closed = Counter(task.metadata["answer"] for task in questions if task.metadata["answer"] in ("yes", "no"))
    assert sum(closed.values()) == 50
    assert min(closed.values()) >= 10
    assert len({task.instruction for task in questions}) >= 0.99 * len(questions)


def test_the_same_seed_gives_the_same_questions_and_a_smaller_count_the_first_of_them() -> None:
    assert generate_questions(3, 40) == generate_questions(3, 40)
    assert generate_questions(3, 5) == generate_questions(3, 40)[:5]
    assert not {t.instruction for t in generate_questions(3, 40)} & {t.instruction for t in generate_questions(4, 40)}
    assert len({task.id for seed in (3, 4) for task in generate_questions(seed, 40)}) == 80


def test_worlds_of_training_and_of_other_splits_share_no_title() -> None:
    trained = {title for task in generate_questions(1, 160) for title in texts(task)}
    held_out = {title for task in generate_questions(1, 160, "valid") for title in texts(task)}
    assert len(trained) > 800
    assert not trained & held_out


def test_nobody_writes_builds_or_founds_before_growing_up() -> None:
    makers = ("author", "director", "engineer", "captain", "editor", "founder", "singer")
    years = ("year", "opened", "launched", "founded", "formed")
    pairs = 0
    for entity in make_world(5, True):
        for maker in makers:
            person = entity.facts.get(maker)
            if isinstance(person, Entity):
                made = next(entity.year(key) for key in years if key in entity.facts)
                assert 24 <= made - person.year("born") <= 50, (entity.title, person.title)
                pairs += 1
    assert pairs > 60


def test_a_page_says_each_fact_once_and_knows_in_which_sentence() -> None:
    for entity in make_world(6, False):
        page = write_page(entity, "6")
        for key, value in entity.facts.items():
            index = page.find(key)
            if index is not None and key != "he":
                assert str(value)[1:] in page.sentences[index].text, (key, page)
    river = Entity("river", "Arn (river)", "Arn", {"length": 90})
    assert fill("The {name} is {length} km long.", river) is not None
    assert fill("It flows into the {mouth}.", river) is None


def test_neighbouring_sentences_differ() -> None:
    for entity in make_world(8, True):
        sentences = [sentence.text for sentence in write_page(entity, "8").sentences]
        assert all(one != two for one, two in pairwise(sentences))


def test_the_bundled_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    write_bundled(tmp_path)
    for split, count in BUNDLED:
        name = f"hotpotqa_{split}.json.gz"
        shipped = (files("data") / "tasks" / name).read_bytes()
        # Compressed bytes may differ between versions of zlib.
        assert gzip.decompress((tmp_path / name).read_bytes()) == gzip.decompress(shipped)
        assert len(bundled(split)) == count >= 60
        assert [task.id for task in read(tmp_path / name, {})] == [task.id for task in bundled(split)]
    assert tuple(split for split, _ in BUNDLED) == SPLITS
