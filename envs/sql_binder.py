"""Resolve the names of a MySQL query against a schema, as MySQL does and with MySQL's complaints.

The binder walks a sqlglot tree once. It finds what every column is, raises `SqlError` for what does not exist, works
out the kind of each value, and rewrites comparisons where SQLite would compare otherwise than MySQL (text with
number, date with text, text without a collation).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sqlglot import exp

from envs.sql_functions import COLLATION, moment_of
from envs.sql_kinds import ANY, COMPARISONS, INTEGER, Kind, kind_of, merged_kind
from envs.sql_schema import INFORMATION_SCHEMA, Schema, Table


class SqlError(Exception):
    """What the server would say, without the leading `Error executing query: `."""


class Output(NamedTuple):
    """One column that a query gives."""

    name: str
    kind: Kind


@dataclass
class Source:
    """A table or derived table in FROM."""

    alias: str
    columns: dict[str, Output]
    """By lower-case name, in order."""


@dataclass
class Scope:
    """What names mean inside one SELECT."""

    outer: Scope | None
    ctes: dict[str, list[Output]]
    sources: list[Source] = field(default_factory=list)
    merged: set[str] = field(default_factory=set)
    """Columns joined by USING or NATURAL: not ambiguous."""
    aliases: dict[str, Kind] = field(default_factory=dict)
    grouped: set[str] = field(default_factory=set)
    """Names that HAVING may use outside an aggregate: what is selected or grouped by."""
    clause: str = "field list"


class Binder:
    """Binds queries over one schema."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def bind(self, query: exp.Expr) -> list[Output]:
        """The columns that `query` gives; raises SqlError. Changes the tree."""
        names = {cte.alias.lower() for cte in query.find_all(exp.CTE)}
        for table in query.find_all(exp.Table):
            self._check_table(table, names)
        return self._query(query, None, {})

    def _table(self, name: str) -> Table | None:
        return self.schema.table(name) or next((t for t in INFORMATION_SCHEMA.values() if t.name == name), None)

    def _check_table(self, table: exp.Table, ctes: set[str]) -> None:
        database, name = table.db.lower(), table.name.lower()
        if isinstance(table.this, exp.Func):
            raise SqlError(f"FUNCTION {self.schema.name.lower()}.{function_name(table.this)} does not exist")
        if database == "information_schema" and name in INFORMATION_SCHEMA:
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(name)))
            table.set("this", exp.to_identifier(INFORMATION_SCHEMA[name].name))
            table.set("db", None)
            return
        if database and database != self.schema.name.lower():
            raise SqlError(f"Table '{database}.{name}' doesn't exist")
        if not (self._table(name) or (name in ctes and not database)):
            raise SqlError(f"Table '{self.schema.name.lower()}.{name}' doesn't exist")
        table.set("db", None)

    def _query(self, query: exp.Expr, outer: Scope | None, ctes: dict[str, list[Output]]) -> list[Output]:
        ctes = self._with(query, outer, ctes)
        if isinstance(query, exp.Subquery):
            return self._query(query.this, outer, ctes)
        if isinstance(query, exp.SetOperation):
            left = self._query(query.this, outer, ctes)
            right = self._query(query.expression, outer, ctes)
            if len(left) != len(right):
                raise SqlError("The used SELECT statements have a different number of columns")
            outputs = [Output(a.name, merged_kind([a.kind, b.kind])) for a, b in zip(left, right, strict=True)]
            scope = Scope(outer, ctes, [Source("", {o.name.lower(): o for o in outputs})], clause="order clause")
            if order := query.args.get("order"):
                self._visit(order, scope)
            return outputs
        if isinstance(query, exp.Select):
            return self._select(query, Scope(outer, ctes))
        raise SqlError("This kind of query is not supported here; use SELECT")

    def _with(self, query: exp.Expr, outer: Scope | None, ctes: dict[str, list[Output]]) -> dict[str, list[Output]]:
        clause = query.args.get("with_")
        if clause is None:
            return ctes
        known = dict(ctes)
        for cte in clause.expressions:
            columns = [c.name for c in cte.args["alias"].args.get("columns") or ()]
            if clause.args.get("recursive") and isinstance(cte.this, exp.SetOperation):
                known[cte.alias.lower()] = renamed(self._query(cte.this.this, outer, dict(known)), columns)
            known[cte.alias.lower()] = renamed(self._query(cte.this, outer, known), columns)
        return known

    def _select(self, select: exp.Select, scope: Scope) -> list[Output]:
        origin = select.args.get("from_")
        joins: list[exp.Join] = []
        if origin is not None:
            self._source(origin.this, scope, joins)
        for join in select.args.get("joins") or ():
            self._join(join, scope, joins)
        outputs: list[Output] = []
        if not select.expressions:
            raise SqlError("No tables used")
        for expression in select.expressions:
            outputs.extend(self._projection(expression, scope))
        self._clause(select.args.get("where"), scope, "where clause")
        for join in reversed(joins):
            self._clause(join.args.get("on"), scope, "on clause")
        scope.aliases = {e.alias.lower(): ANY for e in select.expressions if isinstance(e, exp.Alias)}
        scope.aliases |= {o.name.lower(): o.kind for o in outputs if o.name.lower() in scope.aliases}
        self._clause(select.args.get("group"), scope, "group statement")
        scope.grouped = grouped_names(select, scope)
        self._clause(select.args.get("having"), scope, "having clause")
        self._clause(select.args.get("order"), scope, "order clause")
        for window in select.args.get("windows") or ():
            self._clause(window, scope, "window")
        return outputs

    def _clause(self, clause: exp.Expr | None, scope: Scope, name: str) -> None:
        if clause is not None:
            scope.clause = name
            self._visit(clause, scope)

    def _source(self, node: exp.Expr, scope: Scope, joins: list[exp.Join]) -> None:
        if isinstance(node, exp.Table):
            scope.sources.append(Source(node.alias_or_name.lower(), self._table_columns(node, scope)))
        elif isinstance(node, exp.Subquery):
            inner = node.this
            if isinstance(inner, exp.Table):
                self._source(inner, scope, joins)
            else:
                alias = node.args.get("alias")
                columns = [c.name for c in (alias.args.get("columns") or ())] if alias else []
                outputs = renamed(self._query(inner, scope.outer, scope.ctes), columns)
                scope.sources.append(Source(node.alias.lower(), {o.name.lower(): o for o in outputs}))
        elif isinstance(node, exp.Paren):
            self._source(node.this, scope, joins)
        else:
            raise SqlError("This kind of table in FROM is not supported here")
        for join in node.args.get("joins") or ():
            self._join(join, scope, joins)

    def _table_columns(self, table: exp.Table, scope: Scope) -> dict[str, Output]:
        if table.name.lower() in scope.ctes:
            return {output.name.lower(): output for output in scope.ctes[table.name.lower()]}
        known = self._table(table.name)
        if known is None:
            raise SqlError(f"Table '{self.schema.name.lower()}.{table.name.lower()}' doesn't exist")
        return {c.name.lower(): Output(c.name, Kind(c.kind, c.decimals)) for c in known.columns}

    def _join(self, join: exp.Join, scope: Scope, joins: list[exp.Join]) -> None:
        before = {name for source in scope.sources for name in source.columns}
        self._source(join.this, scope, joins)
        joins.append(join)
        if join.side == "FULL":
            raise SqlError("FULL OUTER JOIN does not exist in MySQL; use a UNION of a LEFT JOIN and a RIGHT JOIN")
        aliases = [source.alias for source in scope.sources if source.alias]
        if len(set(aliases)) != len(aliases):
            raise SqlError(f"Not unique table/alias: '{aliases[-1]}'")
        if join.args.get("method") == "NATURAL":
            scope.merged |= before & set(scope.sources[-1].columns)
        scope.merged |= {name.name.lower() for name in join.args.get("using") or ()}

    def _projection(self, expression: exp.Expr, scope: Scope) -> list[Output]:
        if isinstance(expression, exp.Star):
            return [column for source in scope.sources for column in source.columns.values()]
        if isinstance(expression, exp.Column) and isinstance(expression.this, exp.Star):
            for source in scope.sources:
                if source.alias == expression.table.lower():
                    return list(source.columns.values())
            raise SqlError(f"Unknown table '{expression.table}'")
        name = expression.output_name or expression.sql("mysql")
        return [Output(name, self._visit(expression, scope))]

    def _column(self, column: exp.Column, scope: Scope) -> Kind:
        name, table = column.name.lower(), column.table.lower()
        if column.args.get("db") is not None and column.db.lower() == self.schema.name.lower():
            column.set("db", None)
        here: Scope | None = scope
        if not table and scope.clause not in ("field list", "where clause", "on clause") and name in scope.aliases:
            return scope.aliases[name]
        while here is not None:
            found = [s for s in here.sources if name in s.columns and (not table or s.alias == table)]
            if len(found) > 1 and name not in here.merged:
                raise SqlError(f"Column '{column.name}' in {scope.clause} is ambiguous")
            if found and here is scope and is_hidden_from_having(column, scope):
                break
            if found:
                if scope.clause == "group statement" and here is not scope:
                    # One value for the whole subquery; SQLite would look for it in the subquery's own tables.
                    column.replace(exp.Null())
                return found[0].columns[name].kind
            if not table and here is not scope and name in here.aliases:
                return here.aliases[name]
            here = here.outer
        shown = ".".join(part.name for part in column.parts)
        raise SqlError(f"Unknown column '{shown}' in '{scope.clause}'")

    def _visit(self, node: exp.Expr, scope: Scope) -> Kind:
        """Bind what is inside `node` and return its kind."""
        if isinstance(node, exp.Column):
            return INTEGER if isinstance(node.this, exp.Star) else self._column(node, scope)
        if isinstance(node, exp.Query):
            outputs = self._query(node, scope, scope.ctes)
            if isinstance(node, exp.Subquery) and len(outputs) == 1:
                limit_to_one_row(node, outputs[0])
            return outputs[0].kind if len(outputs) == 1 else ANY
        kinds = [self._visit(child, scope) for child in list(node.iter_expressions())]
        if isinstance(node, (*COMPARISONS, exp.In, exp.Between)):
            compare_as_mysql(node, kinds)
        if isinstance(node, (exp.Sum, exp.Avg)) and kinds and kinds[0].is_moment:
            node.this.replace(exp.Anonymous(this="mysql_number", expressions=[node.this.copy()]))
        return kind_of(node, kinds)


def grouped_names(select: exp.Select, scope: Scope) -> set[str]:
    names = {column.name.lower() for e in select.expressions for column in e.find_all(exp.Column)}
    if any(e.is_star for e in select.expressions):
        names |= {name for source in scope.sources for name in source.columns}
    group = select.args.get("group")
    return names | set(scope.aliases) | {c.name.lower() for c in (group.find_all(exp.Column) if group else ())}


def is_hidden_from_having(column: exp.Column, scope: Scope) -> bool:
    """MySQL's HAVING sees the rows after grouping: other columns only inside an aggregate."""
    if scope.clause != "having clause" or column.name.lower() in scope.grouped:
        return False
    return column.find_ancestor(exp.AggFunc, exp.Having) is None or isinstance(
        column.find_ancestor(exp.AggFunc, exp.Having), exp.Having
    )


def function_name(function: exp.Func) -> str:
    return function.name if isinstance(function, exp.Anonymous) else function.sql_name()


def renamed(outputs: list[Output], names: list[str]) -> list[Output]:
    return [Output(name, output.kind) for name, output in zip(names, outputs, strict=False)] if names else outputs


def limit_to_one_row(subquery: exp.Subquery, output: Output) -> None:
    """Make SQLite refuse a second row of a scalar subquery, which it would pass over."""
    inner, parent = subquery.this, subquery.parent
    if isinstance(parent, (exp.In, exp.Exists, exp.Any, exp.All, exp.SetOperation, exp.Tuple, exp.Subquery)):
        return
    if not isinstance(inner, exp.Select) or inner.args.get("limit") or inner.expressions[0].is_star:
        return
    if not inner.args.get("group") and inner.expressions[0].find(exp.AggFunc):
        return
    if not isinstance(inner.expressions[0], exp.Alias):
        inner.expressions[0].replace(exp.alias_(inner.expressions[0].copy(), "only_value"))
    value: exp.Expr = exp.Anonymous(this="only_row", expressions=[exp.column(inner.expressions[0].alias)])
    if output.kind.name == "text":
        value = exp.Collate(this=value, expression=exp.var(COLLATION))
    subquery.set("this", exp.select(value).from_(inner.subquery("only_rows")))


def compare_as_mysql(node: exp.Expr, kinds: list[Kind]) -> None:
    """Make SQLite compare the sides of `node` as MySQL would."""
    sides = [(child, kind) for child, kind in zip(list(node.iter_expressions()), kinds, strict=True)]
    names = {kind.name for _, kind in sides}
    if "text" in names and any(kind.is_number for _, kind in sides):
        for side, kind in sides:
            if kind.name == "text" and not isinstance(side, exp.Query):
                side.replace(exp.cast(side.copy(), "double"))
    elif any(kind.is_moment for _, kind in sides):
        moment = next(kind for _, kind in sides if kind.is_moment)
        for side, kind in sides:
            if kind.is_number and not isinstance(side, exp.Query):
                side.replace(exp.Cast(this=side.copy(), to=exp.DataType.build("text")))
            elif isinstance(side, exp.Literal) and (value := moment_of(side.this)):
                has_time = moment.name == "datetime" or value.time() != value.min.time()
                side.replace(exp.Literal.string(value.strftime("%Y-%m-%d %H:%M:%S" if has_time else "%Y-%m-%d")))
    elif "text" in names and not isinstance(sides[0][0], (exp.Column, exp.Collate, exp.Query)):
        sides[0][0].replace(exp.Collate(this=exp.paren(sides[0][0].copy()), expression=exp.var(COLLATION)))
