"""Questions of our own about made-up worlds, in HotpotQA's format: two pages are needed, eight lead astray.

    python -m envs.hotpotqa_questions FOLDER        writes the bundled splits

A question is a bridge (the first page leads to the second, which has the answer) or a comparison of two pages of a
kind. `easy` compares, `medium` names the first page, `hard` only describes it.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from data.types import Task
from envs.hotpotqa_families import BRIDGES, COMPARISONS, SAMENESSES, Bridge, Comparison, Sameness
from envs.hotpotqa_files import ENVIRONMENT
from envs.hotpotqa_prose import Page, fill, write_page
from envs.hotpotqa_search import plain
from envs.hotpotqa_world import Entity, make_world

QUESTIONS_PER_WORLD = 16
PARAGRAPHS = 10
BUNDLED = (("valid", 64), ("train", 96))


@dataclass(frozen=True)
class _Draft:
    """A question before its paragraphs are chosen."""

    text: str
    answer: str
    type: str
    level: str
    pages: tuple[Page, Page]
    facts: tuple[tuple[str, int], ...]


def generate_questions(seed: int, count: int, split: str = "train") -> list[Task]:
    """Make questions, the same ones for the same seed; a smaller count gives the first of them.

    Worlds of `train` share no names with worlds of any other split.
    """
    tasks: list[Task] = []
    for number in range(-(-count // QUESTIONS_PER_WORLD)):
        world_seed = seed * 100_003 + number
        for draft, context in _questions_of_world(world_seed, split == "train"):
            metadata = {
                "answer": draft.answer,
                "type": draft.type,
                "level": draft.level,
                "supporting_facts": [[title, sentence] for title, sentence in draft.facts],
                "context": [[page.entity.title, [s.text for s in page.sentences]] for page in context],
            }
            identity = f"hotpotqa-{split}-{seed}-{len(tasks) + 1:04d}"
            task = {
                "id": identity,
                "env": ENVIRONMENT,
                "split": split,
                "instruction": draft.text,
                "metadata": metadata,
            }
            tasks.append(Task.model_validate(task))
    return tasks[:count]


def official_row(task: Task) -> dict[str, object]:
    """A task as a row of the official format."""
    return {"_id": task.id, "question": task.instruction, **task.metadata}


def _questions_of_world(seed: int, is_for_training: bool) -> Iterator[tuple[_Draft, list[Page]]]:
    world = make_world(seed, is_for_training)
    dice = Random(f"hotpotqa questions {seed} {is_for_training}")  # noqa: S311 - reproducible, not secret
    pages = {entity: write_page(entity, str(seed)) for entity in world}
    asked: set[tuple[str, ...]] = set()
    made = 0
    while made < QUESTIONS_PER_WORLD:
        draft = _draft(dice, world, pages, made)
        if draft is None:
            continue
        # The same two pages are asked about once in a world.
        key = tuple(sorted(page.entity.title for page in draft.pages))
        if key not in asked:
            asked.add(key)
            made += 1
            yield draft, _choose_paragraphs(dice, draft, pages)


def _draft(dice: Random, world: Sequence[Entity], pages: dict[Entity, Page], number: int) -> _Draft | None:
    """One attempt; every fourth question is a comparison, every eighth one of yes or no."""
    if number % 8 == 3:
        return _draft_sameness(dice, dice.choice(SAMENESSES), world, pages)
    if number % 8 == 7:
        return _draft_comparison(dice, dice.choice(COMPARISONS), world, pages)
    level = "hard" if number % 8 in (2, 5, 6) else "medium"
    return _draft_bridge(dice, dice.choice([bridge for bridge in BRIDGES if bridge.level == level]), world, pages)


def _draft_bridge(dice: Random, bridge: Bridge, world: Sequence[Entity], pages: dict[Entity, Page]) -> _Draft | None:
    first = dice.choice([entity for entity in world if entity.kind == bridge.kind])
    second = first.facts.get(bridge.via)
    question = fill(dice.choice(bridge.texts), first)
    if question is None or not isinstance(second, Entity) or second.facts.get(bridge.target) is None:
        return None
    if bridge.via_kind and second.kind != bridge.via_kind:
        return None
    described = sorted(question.states - {"name"})
    if described and _is_ambiguous(first, described, world):
        return None
    answer = str(second.facts[bridge.target])
    clues = [pages[first].find(key) for key in [*described, "deed" if bridge.via == "work" else bridge.via]]
    target = pages[second].find(bridge.target)
    if None in clues or target is None or _gives_away(question.text, answer, pages[first], second):
        return None
    facts = [(first.title, clue) for clue in sorted({clue for clue in clues if clue is not None})]
    facts.append((second.title, target))
    return _Draft(question.text, answer, "bridge", bridge.level, (pages[first], pages[second]), tuple(facts))


def _draft_comparison(
    dice: Random, kind: Comparison, world: Sequence[Entity], pages: dict[Entity, Page]
) -> _Draft | None:
    one, two = dice.sample([entity for entity in world if entity.kind == kind.kind], 2)
    values = [int(str(entity.facts[kind.key]).replace(",", "")) for entity in (one, two)]
    sentences = [pages[entity].find(kind.key) for entity in (one, two)]
    if values[0] == values[1] or sentences[0] is None or sentences[1] is None:
        return None
    is_first = (values[0] > values[1]) == kind.is_largest
    text = dice.choice(kind.texts).format(a=one.name, b=two.name)
    facts = ((one.title, sentences[0]), (two.title, sentences[1]))
    answer = one.name if is_first else two.name
    return _Draft(text, answer, "comparison", "easy", (pages[one], pages[two]), facts)


def _draft_sameness(
    dice: Random, kind: Sameness, world: Sequence[Entity], pages: dict[Entity, Page]
) -> _Draft | None:
    one, two = dice.sample([entity for entity in world if entity.kind == kind.kind], 2)
    is_same = one.facts[kind.key] == two.facts[kind.key]
    # Few pairs agree, so most of those that do not are passed over.
    if dice.random() < 0.8 and not is_same:
        return None
    sentences = [pages[entity].find(kind.key) for entity in (one, two)]
    if sentences[0] is None or sentences[1] is None:
        return None
    text = dice.choice(kind.texts).format(a=one.name, b=two.name)
    facts = ((one.title, sentences[0]), (two.title, sentences[1]))
    return _Draft(text, "yes" if is_same else "no", "comparison", "easy", (pages[one], pages[two]), facts)


def _is_ambiguous(first: Entity, described: Sequence[str], world: Sequence[Entity]) -> bool:
    """Whether another entity of the kind fits the description, too."""
    return any(
        other is not first
        and other.kind == first.kind
        and all(other.facts.get(key) == first.facts[key] for key in described)
        for other in world
    )


def _gives_away(question: str, answer: str, first: Page, second: Entity) -> bool:
    """Whether the question names the second page, or the answer is there without it."""
    asked = f" {plain(question)} "
    known = f"{asked}{' '.join(plain(sentence.text) for sentence in first.sentences)} "
    return f" {plain(answer)} " in known or f" {plain(second.name)} " in asked


def _choose_paragraphs(dice: Random, draft: _Draft, pages: dict[Entity, Page]) -> list[Page]:
    """The two needed pages and eight that lead astray: of the same kinds, related to them, or with a word in
    common."""
    needed = [page.entity for page in draft.pages]
    kinds = {entity.kind for entity in needed}
    words = {word for entity in needed for word in plain(entity.name).split()} - {"the", "of", "a", "and"}

    def pull(entity: Entity) -> float:
        is_related = any(value in needed for value in entity.facts.values() if isinstance(value, Entity)) or any(
            entity is value for one in needed for value in one.facts.values()
        )
        shares_word = bool(words & set(plain(entity.name).split()))
        return 1.2 * (entity.kind in kinds) + 1.0 * is_related + 1.6 * shares_word + dice.random()

    others = [entity for entity in pages if entity not in needed]
    pulls = {entity: pull(entity) for entity in others}
    astray = sorted(others, key=lambda entity: (-pulls[entity], entity.title))[: PARAGRAPHS - 2]
    context = [pages[entity] for entity in (*needed, *astray)]
    dice.shuffle(context)
    return context


def write_bundled(folder: Path) -> None:
    """Write the bundled splits as `hotpotqa_SPLIT.json.gz`, the same bytes every time."""
    for split, count in BUNDLED:
        rows = [official_row(task) for task in generate_questions(7, count, split)]
        content = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
        (folder / f"hotpotqa_{split}.json.gz").write_bytes(gzip.compress(content, 9, mtime=0))


if __name__ == "__main__":
    write_bundled(Path(sys.argv[1]))
