from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from envs.sql_catalog import Catalog, open_dump
from envs.sql_dialect import parse, translate
from envs.sql_questions import generate_questions, open_world
from envs.sql_tasks import bundled_dump, bundled_tasks


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setenv("RETRO_HOME", str(tmp_path))
    return open_dump(bundled_dump())


def test_generated_questions_are_different_answered_and_of_all_hardness_levels(catalog: Catalog) -> None:
    from random import Random

    tasks = generate_questions(3, 120)
    assert len(tasks) == 120
    assert len({task.metadata["gold"] for task in tasks}) == 120
    assert len({task.id for task in tasks}) == 120
    assert set(Counter(str(task.metadata["hardness"]) for task in tasks)) == {"easy", "medium", "hard", "extra"}
    assert {task.metadata["database"] for task in tasks} == set(catalog.names)
    worlds = {name: open_world(catalog, name, Random(0)) for name in catalog.names}
    for task in tasks:
        assert worlds[str(task.metadata["database"])].rows(str(task.metadata["gold"])), task.instruction
        assert "_" not in task.instruction
    for world in worlds.values():
        world.connection.close()


def test_the_same_seed_gives_the_same_questions_and_another_seed_others(catalog: Catalog) -> None:
    first = generate_questions(5, 20)
    assert generate_questions(5, 20) == first
    assert {t.instruction for t in generate_questions(6, 20)} != {t.instruction for t in first}


def test_bundled_golds_translate_without_an_engine(catalog: Catalog) -> None:
    for split in ("train", "valid"):
        for task in bundled_tasks(split):
            schema = catalog.schema(str(task.metadata["database"]))
            assert translate(parse(str(task.metadata["gold"])), schema).outputs
