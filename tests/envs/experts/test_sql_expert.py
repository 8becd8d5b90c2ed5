from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest

from data.types import Task, Trial, Turn
from envs import sandbox
from envs.experts.intercode_sql import IntercodeSqlExpert, gold_query
from envs.experts.sql_clauses import clauses_of, tables_of
from envs.experts.sql_mistakes import perturbed
from envs.intercode_sql import KIND

needs_sandbox = pytest.mark.skipif(not sandbox.probe().works, reason=sandbox.probe().detail)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("RETRO_HOME")
    os.environ["RETRO_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    if before is None:
        del os.environ["RETRO_HOME"]
    else:
        os.environ["RETRO_HOME"] = before


def asked(gold: str) -> Task:
    return Task(id="t", env="intercode_sql", split="x", instruction="?", metadata={"gold": gold, "database": "d"})


def trial(index: int = 1, *actions: str) -> Trial:
    turns = tuple(
        Turn(index=n, thought="", action=action, observation="[]", reward=0.0) for n, action in enumerate(actions, 1)
    )
    return Trial(index=index, prompt="", opening="Question: ?", turns=turns, started_at=NOW)


def play(task: Task, expert: IntercodeSqlExpert, reflections: Sequence[str], index: int) -> tuple[Trial, float]:
    environment = KIND.open(task, {})
    opening, turns = environment.start(), list[Turn]()
    reward = 0.0
    try:
        for number in range(1, KIND.turn_limit + 1):
            running = Trial(index=index, prompt="", opening=opening, turns=tuple(turns), started_at=NOW)
            move = expert.move(task, reflections, running)
            outcome = environment.step(move.action)
            reward = outcome.reward
            turns.append(
                Turn(
                    index=number,
                    thought=move.thought,
                    action=move.action,
                    observation=outcome.observation,
                    reward=reward,
                    is_valid=outcome.is_valid,
                )
            )
            if outcome.stop:
                break
    finally:
        environment.close()
    return Trial(index=index, prompt="", opening=opening, turns=tuple(turns), started_at=NOW), reward


JOIN = "SELECT T1.a FROM x AS T1 JOIN y AS T2 ON T1.i = T2.i WHERE T2.b > 3 ORDER BY T1.c DESC LIMIT 2"


def test_it_looks_at_the_tables_then_at_each_one_it_needs_then_queries_then_submits() -> None:
    done: list[str] = []
    for _ in range(5):
        done.append(IntercodeSqlExpert().move(asked(JOIN), (), trial(1, *done)).action)
    assert done == ["execute[SHOW TABLES]", "execute[DESC x]", "execute[DESC y]", f"execute[{JOIN}]", "submit"]


def test_it_carries_on_from_what_a_person_did_in_its_place() -> None:
    move = IntercodeSqlExpert().move(asked(JOIN), (), trial(1, "execute[show tables]", "execute[describe `Y`]"))
    assert move.action == "execute[DESC x]"


def test_it_submits_in_time_however_many_tables_there_are() -> None:
    gold = "SELECT 1 FROM " + ", ".join(f"t{n}" for n in range(12))
    done: list[str] = []
    for _ in range(10):
        done.append(IntercodeSqlExpert().move(asked(gold), (), trial(1, *done)).action)
    assert done[-2:] == [f"execute[{gold}]", "submit"]


def test_derived_tables_are_not_looked_at() -> None:
    assert tables_of("WITH c AS (SELECT 1 FROM b) SELECT * FROM c JOIN A ON 1 WHERE x IN (SELECT y FROM d)") == [
        "b",
        "A",
        "d",
    ]


def test_clauses_name_what_a_query_does() -> None:
    found = {clause.name: clause.detail for clause in clauses_of(JOIN)}
    assert found == {
        "SELECT": "a", "FROM": "x and y", "WHERE": "b > 3", "ORDER BY": "c DESC", "LIMIT": "2",
    }  # fmt: skip
    union = clauses_of("SELECT a FROM x EXCEPT SELECT b FROM y WHERE c = 1")
    assert (union[-1].name, union[-1].detail) == ("EXCEPT", "with SELECT b, FROM y, WHERE c = 1")


@pytest.mark.parametrize(
    ("gold", "broken", "clause"),
    [
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t", "WHERE"),
        ("SELECT a FROM t WHERE b = 1 AND c = 2", "SELECT a FROM t WHERE b = 1", "WHERE"),
        ("SELECT a FROM t ORDER BY b", "SELECT a FROM t", "ORDER BY"),
        ("SELECT a FROM t ORDER BY b DESC LIMIT 1", "SELECT a FROM t ORDER BY b LIMIT 1", "ORDER BY"),
        ("SELECT a FROM t ORDER BY b DESC LIMIT 1", "SELECT a FROM t ORDER BY b DESC", "LIMIT"),
        ("SELECT DISTINCT a FROM t", "SELECT a FROM t", "DISTINCT"),
        ("SELECT COUNT(DISTINCT a) FROM t", "SELECT COUNT(a) FROM t", "SELECT"),
        ("SELECT COUNT(*) FROM t", "SELECT * FROM t", "SELECT"),
        ("SELECT AVG(a) FROM t", "SELECT MAX(a) FROM t", "SELECT"),
        ("SELECT a FROM t GROUP BY a HAVING COUNT(*) > 1", "SELECT a FROM t GROUP BY a", "HAVING"),
        ("SELECT a, b FROM t", "SELECT a FROM t", "SELECT"),
        ("SELECT a FROM t WHERE b = 1", "SELECT a, b FROM t WHERE b = 1", "SELECT"),
        ("SELECT a FROM t WHERE b = 1", "SELECT b FROM t WHERE b = 1", "SELECT"),
        ("SELECT a FROM t UNION SELECT b FROM u", "SELECT a FROM t", "UNION"),
    ],
)
def test_each_mistake_breaks_one_clause_of_the_gold_query(gold: str, broken: str, clause: str) -> None:
    found = {
        (" ".join(plan.query.split()).replace(" ASC", ""), plan.mistake.name)
        for plan in perturbed(gold)
        if plan.mistake
    }
    assert (broken, clause) in {(query, name) for query, name in found}
    assert gold not in {query for query, _ in found}


def test_mistakes_come_at_the_given_rate_and_only_from_seed_task_and_trial() -> None:
    expert = IntercodeSqlExpert(mistake_rate=0.3, seed=5)
    tasks = [asked(JOIN).model_copy(update={"id": f"t{n}"}) for n in range(400)]
    wrong = [expert.plan(task, (), 1) for task in tasks]
    assert 0.22 < sum(plan.mistake is not None for plan in wrong) / 400 < 0.38
    assert wrong == [IntercodeSqlExpert(mistake_rate=0.3, seed=5).plan(task, (), 1) for task in tasks]
    assert wrong != [expert.plan(task, (), 2) for task in tasks]
    assert {plan.mistake.name for plan in wrong if plan.mistake} == {"SELECT", "WHERE", "ORDER BY", "LIMIT"}


def test_a_reflection_that_names_the_fix_prevents_the_mistake_and_another_does_not() -> None:
    expert = IntercodeSqlExpert(mistake_rate=1.0)
    task = asked("SELECT a FROM t WHERE b = 1 AND c = 2")
    index = next(n for n in range(1, 50) if str(expert.plan(task, (), n).query).endswith("WHERE b = 1"))
    assert expert.plan(task, ("I must be more careful.",), index).mistake is not None
    assert expert.plan(task, ("My query needs a WHERE on b and on c.",), index).mistake is None


def test_a_reflection_says_which_clause_differs() -> None:
    task, expert = asked("SELECT a FROM t WHERE b = 1"), IntercodeSqlExpert()
    told = expert.reflect(task, (), trial(1, "execute[SELECT a FROM t]", "submit"))
    assert told.startswith("My answer was wrong: my query had no WHERE b = 1.")
    assert "WHERE b = 1, and submit" in told
    told = expert.reflect(task, (), trial(1, "execute[SELECT c FROM t WHERE b = 1]", "submit"))
    assert "its SELECT was c where a is needed" in told
    told = expert.reflect(task, (), trial(1, "execute[SELECT a FROM t WHERE b = 1 LIMIT 3]", "submit"))
    assert "its LIMIT 3 was not asked for" in told
    told = expert.reflect(task, (), trial(1, "execute[SELECT a FROM t WHERE b = 1]"))
    assert told.startswith("I used up my turns and did not submit, although my last query was right.")
    assert expert.reflect(task, (), trial(1, "submit")).startswith("I never ran a query.")


def test_a_gold_query_that_cannot_be_parsed_is_still_played() -> None:
    task = asked("SELECT FROM WHERE ((")
    expert = IntercodeSqlExpert(mistake_rate=1.0)
    assert expert.move(task, (), trial(1, "execute[SHOW TABLES]")).action == "execute[SELECT FROM WHERE ((]"
    assert expert.reflect(task, (), trial(1, "execute[SELECT 1]", "submit"))


@needs_sandbox
@pytest.mark.slow
def test_the_expert_solves_the_bundled_tasks_and_its_reflections_raise_the_reward_of_the_next_trial() -> None:
    tasks = [task for split in KIND.splits for task in KIND.bundled(split)][::3]
    right = [play(task, IntercodeSqlExpert(), (), 1)[1] for task in tasks]
    assert sum(reward == 1.0 for reward in right) >= 0.98 * len(tasks)
    clumsy, gains = IntercodeSqlExpert(mistake_rate=1.0), []
    for task in tasks:
        first, before = play(task, clumsy, (), 1)
        if before < 1.0:
            reflection = clumsy.reflect(task, (), first)
            assert gold_query(task) not in reflection
            gains.append(play(task, clumsy, (reflection,), 2)[1] - play(task, clumsy, (), 2)[1])
    assert len(gains) >= 0.6 * len(tasks)
    assert sum(gains) / len(gains) >= 0.5
