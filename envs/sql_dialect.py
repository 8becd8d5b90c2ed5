"""MySQL in, SQLite out: translate one query with sqlglot and say what kind each column of its answer has."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.errors import SqlglotError
from sqlglot.generator import Generator
from sqlglot.generators.sqlite import SQLiteGenerator

from envs.sql_binder import Binder, Output, SqlError
from envs.sql_functions import COLLATION
from envs.sql_schema import Schema

LONGEST_QUERY = 20_000
"""Characters. A model's query is far shorter; a longer one is refused before anything parses it."""

SYNTAX_ERROR = (
    "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version "
    "for the right syntax to use near '{near}' at line {line}"
)
QUOTED = re.compile(r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`", re.DOTALL)
RESERVED = re.compile(
    r"(?<![\w.@])(rank|dense_rank|row_number|ntile|lead|lag|cume_dist|percent_rank|first_value|last_value|nth_value)\b"
    r"(?!\s*[(.])",
    re.IGNORECASE,
)
RENAMED = {"now": "mysql_now", "sysdate": "mysql_now", "mid": "substr", "version": "mysql_version"}
KNOWN = {
    "field", "find_in_set", "weekday", "strcmp", "unix_timestamp", "abs", "hex", "mysql_number", "lcase", "ucase",
    "bit_length", "now", "sysdate", "mid", "curtime", "adddate", "subdate", "monthname", "to_days", "last_day", "elt",
    "only_row", "localtime", "localtimestamp", "current_timestamp",
}  # fmt: skip
"""MySQL functions that sqlglot leaves as they are and that the child process has."""


def call(name: str) -> Callable[[Generator, exp.Expr], str]:
    """Render a node as a call of `name` with the node's arguments in order."""

    def render(generator: Generator, node: exp.Expr) -> str:
        return generator.func(name, *node.iter_expressions())

    return render


def add_unit(sign: int) -> Callable[[Generator, exp.Expr], str]:
    def render(generator: Generator, node: exp.Expr) -> str:
        amount, unit = node.expression, node.args.get("unit")
        if isinstance(amount, exp.Interval):
            amount, unit = amount.this, amount.args.get("unit")
        value = generator.sql(amount)
        return generator.func(
            "date_add_unit", node.this, f"{sign} * ({value})", exp.Literal.string(unit.name if unit else "DAY")
        )

    return render


def add_or_subtract(sign: int, operator: str) -> Callable[[Generator, exp.Expr], str]:
    def render(generator: Generator, node: exp.Expr) -> str:
        if isinstance(node.expression, exp.Interval):
            return add_unit(sign)(generator, node)
        return generator.binary(node, operator)  # type: ignore[arg-type]

    return render


def unit_difference(generator: Generator, node: exp.Expr) -> str:
    unit = node.args.get("unit")
    return generator.func(
        "timestampdiff", exp.Literal.string(unit.name if unit else "DAY"), node.expression, node.this
    )


def unit_part(generator: Generator, node: exp.Expr) -> str:
    return generator.func(node.name.lower(), node.expression)


def cast(generator: Generator, node: exp.Expr) -> str:
    """CAST in MySQL's sense: text to a whole number rounds, dates are parsed."""
    assert isinstance(node, exp.Cast)
    name = node.to.this.name if isinstance(node.to.this, exp.DType) else ""
    if name == "DATE":
        return generator.func("date_of", node.this)
    if name in ("DATETIME", "TIMESTAMP"):
        return generator.func("date_format", node.this, exp.Literal.string("%Y-%m-%d %H:%i:%s"))
    if name == "DECIMAL":
        digits = int(node.to.expressions[1].name) if len(node.to.expressions) > 1 else 0
        return f"ROUND(CAST({generator.sql(node.this)} AS REAL), {digits})"
    if "INT" in name:
        return f"CAST(ROUND({generator.sql(node.this)}) AS INTEGER)"
    kind = "REAL" if name in ("FLOAT", "DOUBLE") else "BLOB" if "BINARY" in name else "TEXT"
    return f"CAST({generator.sql(node.this)} AS {kind})"


def collate(generator: Generator, node: exp.Expr) -> str:
    name = node.expression.name.lower()
    return f"{generator.sql(node, 'this')} COLLATE {'BINARY' if name.endswith('_bin') else COLLATION}"


def length(generator: Generator, node: exp.Expr) -> str:
    return generator.func("length" if node.args.get("binary") else "char_length", node.this)


def position(generator: Generator, node: exp.Expr) -> str:
    start = node.args.get("position")
    return generator.func("locate", node.args.get("substr"), node.this, *([start] if start else []))


def pad(generator: Generator, node: exp.Expr) -> str:
    return generator.func("lpad" if node.args.get("is_left") else "rpad", node.this, node.expression,
                          node.args.get("fill_pattern"))  # fmt: skip


def group_concat(generator: Generator, node: exp.Expr) -> str:
    """SQLite takes a separator only without DISTINCT, and an ORDER BY only from 3.44 on."""
    inner = node.this.this if isinstance(node.this, exp.Order) else node.this
    separator = node.args.get("separator")
    text = exp.Literal.string(separator.name if separator else ",")
    if isinstance(inner, exp.Distinct):
        joined = f"GROUP_CONCAT(DISTINCT {generator.sql(inner.expressions[0])})"
        return f"REPLACE({joined}, ',', {generator.sql(text)})"
    return generator.func("GROUP_CONCAT", inner, text)


def count(generator: Generator, node: exp.Expr) -> str:
    """MySQL counts different combinations of columns, leaving out those with a NULL."""
    columns = node.this.expressions if isinstance(node.this, exp.Distinct) else []
    if len(columns) < 2:
        return generator.function_fallback_sql(node)  # type: ignore[arg-type]
    parts = [part for column in columns for part in (column, exp.Literal.string("\x1f"))]
    return f"COUNT(DISTINCT {generator.func('concat', *parts)} COLLATE {COLLATION})"


def anonymous(generator: Generator, node: exp.Expr) -> str:
    name = node.name.lower()
    if name in ("adddate", "subdate") and len(node.expressions) == 2:
        sign, node_type = (1, exp.DateAdd) if name == "adddate" else (-1, exp.DateSub)
        return add_unit(sign)(generator, node_type(this=node.expressions[0], expression=node.expressions[1]))
    return generator.func(RENAMED.get(name, name), *node.expressions)


class Engine(SQLite):
    """SQLite as `sql_worker` runs it: MySQL's functions are there by name, and names are quoted with ` because
    SQLite takes an unknown name in double quotes for a text."""

    class Tokenizer(SQLite.Tokenizer):
        IDENTIFIERS: ClassVar[list[str | tuple[str, str]]] = ["`"]

    class Generator(SQLiteGenerator):
        TRANSFORMS: ClassVar[dict[type[exp.Expr], Callable[..., str]]] = {
            **SQLiteGenerator.TRANSFORMS,
            exp.Add: add_or_subtract(1, "+"),
            exp.Sub: add_or_subtract(-1, "-"),
            exp.Anonymous: anonymous,
            exp.AnyValue: call("any_value"),
            exp.Cast: cast,
            exp.Collate: collate,
            exp.Concat: call("concat"),
            exp.ConcatWs: call("concat_ws"),
            exp.Count: count,
            exp.CurrentDate: call("curdate"),
            exp.CurrentTimestamp: call("mysql_now"),
            exp.DateAdd: add_unit(1),
            exp.DateSub: add_unit(-1),
            exp.TimestampAdd: add_unit(1),
            exp.DateDiff: call("datediff"),
            exp.Dayname: call("dayname"),
            exp.DayOfWeek: call("dayofweek"),
            exp.DayOfMonth: call("dayofmonth"),
            exp.DayOfYear: call("dayofyear"),
            exp.WeekOfYear: call("weekofyear"),
            exp.Extract: unit_part,
            exp.Greatest: call("greatest"),
            exp.Least: call("least"),
            exp.GroupConcat: group_concat,
            exp.IntDiv: lambda g, n: (
                f"CAST(CAST({g.sql(n, 'this')} AS REAL) / ({g.sql(n, 'expression')}) AS INTEGER)"
            ),
            exp.Left: call("first_characters"),
            exp.Right: call("last_characters"),
            exp.Length: length,
            exp.Log: lambda g, n: g.func("LOG", n.this, n.expression),
            exp.NumberToStr: lambda g, n: g.func("comma_format", n.this, n.args.get("format")),
            exp.Pad: pad,
            exp.RegexpLike: lambda g, n: g.func("regexp", n.expression, n.this),
            exp.Repeat: call("repeat"),
            exp.Space: call("space"),
            exp.StrPosition: position,
            exp.StrToDate: lambda g, n: g.func("str_to_date", n.this, mysql_format(n)),
            exp.TimeToStr: lambda g, n: g.func("date_format", n.this, mysql_format(n)),
            exp.TimestampDiff: unit_difference,
            exp.Trunc: call("truncate"),
            exp.TsOrDsToDate: call("date_of"),
            exp.Time: call("time_of"),
            exp.UnixToTime: lambda g, n: g.func("from_unixtime", n.this),
            exp.VariancePop: call("var_pop"),
            exp.Variance: call("var_samp"),
            exp.Stddev: call("stddev"),
            exp.Xor: lambda g, n: f"(NOT ({g.sql(n, 'this')})) <> (NOT ({g.sql(n, 'expression')}))",
        }


def mysql_format(node: exp.Expr) -> exp.Expr:
    """The format of DATE_FORMAT in MySQL's letters again; sqlglot has put it into Python's."""
    form = node.args["format"]
    if not isinstance(form, exp.Literal):
        return form  # type: ignore[no-any-return]
    text: Any = sqlglot.Dialect.get_or_raise("mysql").format_time(form)
    generated = exp.TimeToStr(this=exp.column("x"), format=form).sql("mysql")
    found = re.fullmatch(r"DATE_FORMAT\(x, '(.*)'\)", generated, re.DOTALL)
    return exp.Literal.string(found.group(1).replace("''", "'")) if found else exp.Literal.string(str(text))


@dataclass(frozen=True)
class Translation:
    sql: str
    outputs: list[Output]


def syntax_error(query: str, near: str | None = None, line: int = 1) -> SqlError:
    return SqlError(SYNTAX_ERROR.format(near=(query if near is None else near)[:80], line=line))


def parse(query: str) -> exp.Expr:
    """The tree of one MySQL statement; raises SqlError with MySQL's text."""
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)
    if len(query) > LONGEST_QUERY:
        raise SqlError(f"Got a packet bigger than 'max_allowed_packet' bytes ({len(query)} characters)")
    check_reserved(query)
    try:
        trees = [tree for tree in sqlglot.parse(query, read="mysql") if tree is not None]
    except SqlglotError as error:
        raise syntax_error(query, *place_of(error, query)) from error
    except RecursionError as error:
        raise SqlError("Thread stack overrun: the query is nested too deeply") from error
    if not trees:
        raise SqlError("Query was empty")
    if len(trees) > 1:
        raise syntax_error(query, trees[1].sql("mysql"))
    return trees[0]


def check_reserved(query: str) -> None:
    """MySQL 8 reserved the names of the window functions; sqlglot takes them as column names."""
    bare = QUOTED.sub(lambda found: "x" * len(found.group()), query)
    if found := RESERVED.search(bare):
        line = query.count("\n", 0, found.end()) + 1
        raise syntax_error(query, query[found.end() :].lstrip(), line)


def place_of(error: SqlglotError, query: str) -> tuple[str | None, int]:
    """Where the parser stopped: the rest of the query from there, and the line."""
    found = getattr(error, "errors", None)
    if not found or found[0].get("highlight") is None:
        return None, 1
    place = found[0]
    if (
        place["highlight"]
        and not place["end_context"]
        and query.rstrip().endswith(place["highlight"])
        and ("Expected" in str(place["description"]))
    ):
        return "", int(place["line"] or 1)
    return f"{place['highlight']}{place['end_context']}", int(place["line"] or 1)


def translate(tree: exp.Expr, schema: Schema) -> Translation:
    """The SQLite text of a bound query, and its columns; raises SqlError."""
    if not isinstance(tree, exp.Query):
        raise syntax_error(tree.sql("mysql"))
    try:
        outputs = Binder(schema).bind(tree)
        for node in tree.find_all(exp.Anonymous):
            if node.name.lower() not in KNOWN:
                raise SqlError(f"FUNCTION {schema.name.lower()}.{node.name} does not exist")
        tree = tree.transform(with_constants, schema.name)
        return Translation(Engine().generate(tree, copy=False), outputs)
    except RecursionError as error:
        raise SqlError("Thread stack overrun: the query is nested too deeply") from error
    except (SqlglotError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise SqlError(f"This query cannot be run here ({type(error).__name__}: {error})") from error


def with_constants(node: exp.Expr, database: str) -> exp.Expr:
    """Functions of the session as their values; user and system variables are NULL."""
    if isinstance(node, (exp.CurrentSchema, exp.CurrentDatabase)):
        return exp.Literal.string(database)
    if isinstance(node, exp.CurrentVersion):
        return exp.Literal.string("8.0.32")
    if isinstance(node, (exp.Parameter, exp.SessionParameter)):
        return exp.Null()
    return node
