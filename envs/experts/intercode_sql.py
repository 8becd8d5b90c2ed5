"""The schema-looking gold follower: SHOW TABLES, DESC of each table that is needed, the query, submit.

It knows the task's gold query, so it shows how a question is solved, not that a model could. With a mistake rate some
trials fail as agents really fail: a clause of the gold query is dropped or changed in its syntax tree. A reflection
names the clause; a trial whose reflections name the fix does not make the mistake.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from data.types import Task, Trial
from envs.base import Move
from envs.experts.chance import chance
from envs.experts.sql_clauses import Clause, clauses_of, tables_of
from envs.experts.sql_mistakes import Plan, perturbed

LONGEST_THOUGHT_LIST = 6


class IntercodeSqlExpert:
    """`mistake_rate` is the share of trials that go wrong on purpose; which ones and how depends only on the seed,
    the task's id and the trial's index."""

    def __init__(self, mistake_rate: float = 0.0, seed: int = 0) -> None:
        self.mistake_rate = mistake_rate
        self.seed = seed

    def move(self, task: Task, reflections: Sequence[str], trial: Trial) -> Move:
        """Look at the tables, then at each one that is needed, then query, then submit."""
        done = [_statement(turn.action) for turn in trial.turns]
        plan = self.plan(task, reflections, trial.index)
        tables, turns_left = tables_of(plan.query), (task.turn_limit or 10) - len(done)
        if trial.turns and trial.turns[-1].is_valid and done[-1] == plan.query:
            return Move(_submit_thought(plan), "submit")
        if turns_left > 2 and not any(re.match(r"show\s+tables", text, re.I) for text in done):
            return Move("I should find out which tables the database has.", "execute[SHOW TABLES]")
        unseen = [name for name in tables if not _was_described(name, done)]
        if unseen and turns_left > 2:
            return Move(_look_thought(unseen[0], tables), f"execute[DESC {unseen[0]}]")
        return Move(_query_thought(plan, reflections), f"execute[{plan.query}]")

    def plan(self, task: Task, reflections: Sequence[str], trial_index: int) -> Plan:
        """The gold query, or one with a mistake when the dice say so and no reflection names the fix."""
        gold = gold_query(task)
        dice = chance(f"{self.seed}:{task.id}:{trial_index}")
        if dice.random() >= self.mistake_rate:
            return Plan(gold)
        mistakes = perturbed(gold)
        if not mistakes:
            return Plan(gold)
        clause = dice.choice(sorted({plan.mistake.name for plan in mistakes if plan.mistake}))
        plan = dice.choice([plan for plan in mistakes if plan.mistake and plan.mistake.name == clause])
        return Plan(gold) if _names_fix(plan.mistake, reflections) else plan

    def reflect(self, task: Task, reflections: Sequence[str], trial: Trial) -> str:
        """Say which clause of the last query differs from what the question needs, and plan every clause."""
        gold = clauses_of(gold_query(task))
        queries = [_statement(turn.action) for turn in trial.turns if turn.is_valid]
        last = next((text for text in reversed(queries) if re.match(r"\(*\s*(select|with)\b", text, re.I)), None)
        steps = "; ".join(f"{clause.name} {clause.detail}".strip() for clause in gold)
        return (
            f"{_diagnosis(gold, last, trial)} Next time I will write one query with {steps}, and submit its answer."
        )


def gold_query(task: Task) -> str:
    return " ".join(str(task.metadata["gold"]).split()).rstrip("; ")


def _names_fix(clause: Clause | None, reflections: Sequence[str]) -> bool:
    told = f" {re.sub(r'[^a-z0-9_]+', ' ', ' '.join(reflections).lower())} "
    return clause is not None and bool(clause.words) and all(f" {word} " in told for word in clause.words)


def _diagnosis(gold: list[Clause], last: str | None, trial: Trial) -> str:
    if last is None:
        failed = any(turn.observation.startswith("Error") for turn in trial.turns)
        return "None of my queries ran, so I had no answer to submit." if failed else "I never ran a query."
    submitted = any(turn.action.strip().lower() == "submit" for turn in trial.turns)
    ending = "My answer was wrong" if submitted else "I used up my turns and did not submit"
    ours = {clause.name: clause for clause in clauses_of(last)}
    said = []
    for clause in gold:
        mine = ours.pop(clause.name, None)
        if mine is None:
            said.append(f"my query had no {clause.name} {clause.detail}".rstrip())
        elif mine.detail.lower() != clause.detail.lower():
            said.append(f"its {clause.name} was {mine.detail} where {clause.detail} is needed")
    said += [f"its {clause.name} {clause.detail} was not asked for" for clause in ours.values()]
    return f"{ending}: {', and '.join(said[:2])}." if said else f"{ending}, although my last query was right."


def _statement(action: str) -> str:
    found = re.fullmatch(r"\s*execute\s*\[(.*)\]\s*", action, re.DOTALL | re.IGNORECASE)
    return found.group(1).strip() if found else ""


def _was_described(table: str, statements: Sequence[str]) -> bool:
    pattern = rf"(desc|describe|show\s+columns\s+from)\s+`?{re.escape(table)}`?"
    return any(re.fullmatch(pattern, text, re.I) for text in statements)


def _look_thought(table: str, tables: Sequence[str]) -> str:
    if table == tables[0]:
        return f"The {table} table should hold what is asked for. I check its columns."
    return f"I also need the {table} table. I check its columns and how it is linked."


def _query_thought(plan: Plan, reflections: Sequence[str]) -> str:
    clauses = {clause.name: clause.detail for clause in clauses_of(plan.query)}
    told = "My reflection tells me what was missing. " if reflections and plan.mistake is None else ""
    parts = [
        f"I take {clauses.get('SELECT', 'the answer')}" + (f" from {clauses['FROM']}" if "FROM" in clauses else "")
    ]
    for name, words in (("WHERE", "keep rows with"), ("GROUP BY", "group by"), ("HAVING", "keep groups with"),
                        ("ORDER BY", "order by")):  # fmt: skip
        if name in clauses:
            parts.append(f"{words} {clauses[name]}")
    if "LIMIT" in clauses:
        parts.append(f"keep the first {clauses['LIMIT']}")
    for name, words in (("UNION", "add the rows of"), ("INTERSECT", "keep only rows that are also in"),
                        ("EXCEPT", "leave out the rows of")):  # fmt: skip
        if name in clauses:
            parts.append(f"{words} a second query")
    return f"{told}{', '.join(parts[:LONGEST_THOUGHT_LIST])}."


def _submit_thought(plan: Plan) -> str:
    clauses = {clause.name: clause.detail for clause in clauses_of(plan.query)}
    return f"The answer shows {clauses.get('SELECT', 'the rows')}, which is what was asked for. I submit it."
