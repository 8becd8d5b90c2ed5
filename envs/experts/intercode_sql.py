"""The schema-looking gold follower: SHOW TABLES, DESC of each table that is needed, the query, submit.

It knows the task's gold query, so it shows how a question is solved, not that a model could. With a mistake rate some
trials fail as agents really fail: a clause of the gold query is dropped or changed in its syntax tree. A reflection
names the clause; a trial whose reflections name the fix does not make the mistake.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from data.types import Task, Trial
from envs.base import Move

LONGEST_THOUGHT_LIST = 6
AGGREGATES = {exp.Count: "COUNT", exp.Sum: "SUM", exp.Avg: "AVG", exp.Min: "MIN", exp.Max: "MAX"}
SWAPS: dict[type[exp.Expr], type[exp.Expr]] = {exp.Avg: exp.Max, exp.Max: exp.Min, exp.Min: exp.Max, exp.Sum: exp.Avg}


@dataclass(frozen=True)
class Clause:
    """One clause of a query in words that two queries can be compared by."""

    name: str
    """SELECT, DISTINCT, FROM, WHERE, GROUP BY, HAVING, ORDER BY, LIMIT, or UNION, INTERSECT, EXCEPT."""
    detail: str
    """What it does, short: columns, conditions."""
    words: tuple[str, ...]
    """What a reflection has to name to fix it."""


@dataclass(frozen=True)
class Plan:
    """The query that a trial will submit, and the mistake in it."""

    query: str
    mistake: Clause | None = None
    """The clause of the gold query that was dropped or changed."""


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
        dice = Random(_number(self.seed, task.id, trial_index))  # noqa: S311 - reproducible, not secret
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


def tree_of(query: str) -> exp.Query | None:
    try:
        tree = sqlglot.parse_one(query, read="mysql")
    except (SqlglotError, RecursionError):
        return None
    return tree if isinstance(tree, exp.Query) else None


def tables_of(query: str) -> list[str]:
    """The real tables that a query reads, in the order in which it names them."""
    tree = tree_of(query)
    if tree is None:
        return []
    derived = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    text = query.lower()
    names = {table.name for table in tree.find_all(exp.Table) if table.name.lower() not in derived}
    unique = {name.lower(): name for name in sorted(names)}
    return sorted(unique.values(), key=lambda name: (text.find(name.lower(), text.find(" from ")), name))


def clauses_of(query: str) -> list[Clause]:
    """The clauses of a query, in the order in which SQL writes them; a set operation follows its first half."""
    tree = tree_of(query)
    if tree is None:
        return []
    first = tree.find(exp.Select) if isinstance(tree, exp.SetOperation) else tree
    found = _select_clauses(first) if isinstance(first, exp.Select) else []
    if isinstance(tree, exp.SetOperation):
        second = tree.expression.find(exp.Select)
        parts = _select_clauses(second) if second else []
        detail = "with " + ", ".join(f"{part.name} {part.detail}" for part in parts)
        words = tuple(word for part in parts for word in part.words)
        found.append(Clause(type(tree).__name__.upper(), detail, words))
    return found


def _select_clauses(select: exp.Select) -> list[Clause]:
    columns = ", ".join(_short(e) for e in select.expressions)
    found = [Clause("SELECT", columns, _words(*select.expressions))]
    if select.args.get("distinct"):
        found.append(Clause("DISTINCT", "rows", ("distinct",)))
    tables = [table for table in select.find_all(exp.Table) if table.find_ancestor(exp.Select) is select]
    names = list(dict.fromkeys(table.name for table in tables))
    found.append(Clause("FROM", " and ".join(names), tuple(name.lower() for name in names)))
    for key, name in (("where", "WHERE"), ("group", "GROUP BY"), ("having", "HAVING"), ("order", "ORDER BY")):
        part = select.args.get(key)
        if part is not None:
            shown = part.this if key in ("where", "having") else part
            inside = [part.this] if key in ("where", "having") else part.expressions
            found.append(_clause(name, part, ", ".join(_short(e) for e in inside) if inside else _short(shown)))
    if limit := select.args.get("limit"):
        found.append(Clause("LIMIT", _short(limit.expression), ("limit",)))
    return found


def _clause(name: str, tree: exp.Expr, detail: str) -> Clause:
    # A long detail is cut; only what it still names can be asked of a reflection.
    return Clause(name, detail, (name.lower(), *(word for word in _words(tree) if word in detail.lower())))


def _words(*trees: exp.Expr) -> tuple[str, ...]:
    """The columns and aggregates of an expression: what names it in words."""
    words = [column.name.lower() for tree in trees for column in tree.find_all(exp.Column)]
    words += [name.lower() for tree in trees for kind, name in AGGREGATES.items() if tree.find(kind)]
    words += ["distinct" for tree in trees if tree.find(exp.Distinct)]
    words += ["desc" for tree in trees for part in tree.find_all(exp.Ordered) if part.args.get("desc")]
    return tuple(dict.fromkeys(word for word in words if word and word != "*"))


def _short(tree: exp.Expr) -> str:
    """SQL text without table aliases, as a person would say it."""
    plain = tree.copy()
    for column in plain.find_all(exp.Column):
        column.set("table", None)
    text = plain.sql("mysql")
    return text if len(text) <= 160 else text[:159] + "…"


@functools.lru_cache(maxsize=2000)
def perturbed(gold: str) -> tuple[Plan, ...]:
    """Every query that one mistake makes of the gold query, with the clause that it breaks."""
    plans = []
    for change in CHANGES:
        tree = tree_of(gold)
        if tree is None:
            return ()
        name = change(tree)
        if name is None:
            continue
        root = tree.this if name in ("UNION", "INTERSECT", "EXCEPT") and isinstance(tree, exp.SetOperation) else tree
        clause = next((clause for clause in clauses_of(gold) if clause.name == name), None)
        query = root.sql("mysql")
        if clause and query != _normal(gold):
            plans.append(Plan(query, clause))
    return tuple(plans)


def _normal(query: str) -> str:
    tree = tree_of(query)
    return query if tree is None else tree.sql("mysql")


def _main(tree: exp.Query) -> exp.Select | None:
    select = tree if isinstance(tree, exp.Select) else tree.find(exp.Select)
    return select if isinstance(select, exp.Select) else None


def drop_where(tree: exp.Query) -> str | None:
    """Forget the last condition, or the only one."""
    select = _main(tree)
    where = select.args.get("where") if select else None
    if where is None:
        return None
    if isinstance(where.this, exp.And):
        where.set("this", where.this.this)
    else:
        where.pop()
    return "WHERE"


def drop_order(tree: exp.Query) -> str | None:
    """Forget the order, unless a limit hangs on it: then sort the other way round."""
    select = _main(tree)
    order = select.args.get("order") if select else None
    if select is None or order is None:
        return None
    if select.args.get("limit"):
        first = order.expressions[0]
        first.set("desc", not first.args.get("desc"))
        first.set("nulls_first", not first.args["desc"])
    else:
        order.pop()
    return "ORDER BY"


def drop_limit(tree: exp.Query) -> str | None:
    select = _main(tree)
    return "LIMIT" if select and select.args.get("limit") and select.args["limit"].pop() is not None else None


def drop_distinct(tree: exp.Query) -> str | None:
    select = _main(tree)
    if select is None:
        return None
    if select.args.get("distinct"):
        select.set("distinct", None)
        return "DISTINCT"
    for count in (node for expression in select.expressions for node in expression.find_all(exp.Count)):
        if isinstance(count.this, exp.Distinct) and len(count.this.expressions) == 1:
            count.set("this", count.this.expressions[0])
            return "SELECT"
    return None


def forget_count(tree: exp.Query) -> str | None:
    """Show the rows where only their number was asked for."""
    select = _main(tree)
    if select is None or len(select.expressions) != 1 or select.args.get("group"):
        return None
    count = select.expressions[0].unalias()
    if not isinstance(count, exp.Count) or isinstance(count.this, exp.Distinct):
        return None
    select.set("expressions", [count.this.copy()])
    return "SELECT"


def drop_having(tree: exp.Query) -> str | None:
    select = _main(tree)
    return "HAVING" if select and select.args.get("having") and select.args["having"].pop() is not None else None


def swap_aggregate(tree: exp.Query) -> str | None:
    """Take another aggregate of the same column."""
    select = _main(tree)
    for expression in select.expressions if select else ():
        for node in expression.find_all(*SWAPS):
            node.replace(SWAPS[type(node)](this=node.this.copy()))
            return "SELECT"
    return None


def add_column(tree: exp.Query) -> str | None:
    """Answer with the column that the rows were sorted, grouped or filtered by as well."""
    select = _main(tree)
    if select is None or not isinstance(tree, exp.Select):
        return None
    column = _other_column(select)
    if column is None:
        return None
    select.append("expressions", column.copy())
    return "SELECT"


def wrong_column(tree: exp.Query) -> str | None:
    """Answer with another column of the query in place of the first one."""
    select = _main(tree)
    if select is None or not isinstance(tree, exp.Select) or not isinstance(select.expressions[0], exp.Column):
        return None
    column = _other_column(select)
    if column is None or select.args.get("group"):
        return None
    select.set("expressions", [column.copy(), *select.expressions[1:]])
    return "SELECT"


def _other_column(select: exp.Select) -> exp.Column | None:
    """A column that the query sorts, groups or filters by and does not show."""
    shown = {column.name.lower() for e in select.expressions for column in e.find_all(exp.Column)}
    for key in ("order", "group", "where"):
        part: exp.Expr | None = select.args.get(key)
        for column in part.find_all(exp.Column) if part is not None else ():
            if column.find_ancestor(exp.Select) is select and column.name.lower() not in shown:
                return column
    return None


def drop_column(tree: exp.Query) -> str | None:
    select = _main(tree)
    if select is None or len(select.expressions) < 2 or not isinstance(tree, exp.Select):
        return None
    select.set("expressions", select.expressions[:-1])
    return "SELECT"


def drop_half(tree: exp.Query) -> str | None:
    return type(tree).__name__.upper() if isinstance(tree, exp.SetOperation) else None


CHANGES: tuple[Callable[[exp.Query], str | None], ...] = (
    drop_where, drop_order, drop_limit, drop_distinct, drop_having, swap_aggregate, forget_count, add_column,
    wrong_column, drop_column, drop_half,
)  # fmt: skip


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


def _number(seed: int, task_id: str, trial_index: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{task_id}:{trial_index}".encode()).digest()[:8], "big")
