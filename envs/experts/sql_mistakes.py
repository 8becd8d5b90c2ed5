"""Realistic mistakes: a gold query with one clause dropped or changed in its syntax tree."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

from envs.experts.sql_clauses import Clause, clauses_of, tree_of

SWAPS: dict[type[exp.Expr], type[exp.Expr]] = {exp.Avg: exp.Max, exp.Max: exp.Min, exp.Min: exp.Max, exp.Sum: exp.Avg}


@dataclass(frozen=True)
class Plan:
    """The query that a trial will submit, and the mistake in it."""

    query: str
    mistake: Clause | None = None
    """The clause of the gold query that was dropped or changed."""


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
