"""A query as a person would compare it with another: its clauses, what each does, and the words that name it."""

from __future__ import annotations

from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

AGGREGATES = {exp.Count: "COUNT", exp.Sum: "SUM", exp.Avg: "AVG", exp.Min: "MIN", exp.Max: "MAX"}


@dataclass(frozen=True)
class Clause:
    """One clause of a query in words that two queries can be compared by."""

    name: str
    """SELECT, DISTINCT, FROM, WHERE, GROUP BY, HAVING, ORDER BY, LIMIT, or UNION, INTERSECT, EXCEPT."""
    detail: str
    """What it does, short: columns, conditions."""
    words: tuple[str, ...]
    """What a reflection has to name to fix it."""


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
