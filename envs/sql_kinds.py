"""Kinds of SQL values: which one an expression has by MySQL's rules, from the kinds of its parts."""

from __future__ import annotations

from typing import NamedTuple

from sqlglot import exp


class Kind(NamedTuple):
    """What a value is to MySQL: integer, decimal, float, text, date, datetime, time, bytes, null or any."""

    name: str
    decimals: int = 0

    @property
    def is_number(self) -> bool:
        return self.name in ("integer", "decimal", "float")

    @property
    def is_moment(self) -> bool:
        return self.name in ("date", "datetime")


INTEGER, FLOAT, TEXT, DATE, ANY, NULL = (Kind(n) for n in ("integer", "float", "text", "date", "any", "null"))
COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)
INTEGER_NODES = (
    *COMPARISONS, exp.And, exp.Or, exp.Not, exp.Xor, exp.In, exp.Between, exp.Like, exp.Is, exp.Exists, exp.Boolean,
    exp.RegexpLike, exp.Count, exp.Length, exp.Year, exp.Month, exp.Day, exp.DateDiff, exp.TimestampDiff, exp.Quarter,
    exp.DayOfWeek, exp.DayOfMonth, exp.DayOfYear, exp.Week, exp.WeekOfYear, exp.Hour, exp.Minute, exp.Second,
    exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile, exp.IntDiv, exp.Floor, exp.Ceil, exp.StrPosition, exp.Extract,
    exp.Sign, exp.Ascii,
)  # fmt: skip
SAME_KIND = (
    exp.Alias, exp.Paren, exp.Neg, exp.Abs, exp.Min, exp.Max, exp.AnyValue, exp.Distinct, exp.Window, exp.DateAdd,
    exp.DateSub, exp.Nullif, exp.Collate,
)  # fmt: skip
"""Nodes whose value has the kind of their first child."""
CAST_KINDS = {
    "DATE": DATE,
    "DATETIME": Kind("datetime"),
    "TIMESTAMP": Kind("datetime"),
    "TIME": Kind("time"),
    "CHAR": TEXT,
    "TEXT": TEXT,
    "VARCHAR": TEXT,
    "NCHAR": TEXT,
    "FLOAT": FLOAT,
    "DOUBLE": FLOAT,
    **dict.fromkeys(("INT", "BIGINT", "UBIGINT", "UINT", "SMALLINT", "TINYINT"), INTEGER),
}


def merged_kind(kinds: list[Kind]) -> Kind:
    """The kind of a value that comes from any of several branches."""
    known = {kind for kind in kinds if kind != NULL}
    if len(known) == 1:
        return known.pop()
    if known and all(kind.is_number for kind in known):
        return arithmetic(list(known))
    return ANY


def arithmetic(kinds: list[Kind]) -> Kind:
    if all(kind.name == "integer" for kind in kinds):
        return INTEGER
    if all(kind.name in ("integer", "decimal") for kind in kinds):
        return Kind("decimal", max(kind.decimals for kind in kinds))
    return FLOAT


def kind_of(node: exp.Expr, kinds: list[Kind]) -> Kind:
    """The kind of a node from the kinds of its children, in order."""
    first = kinds[0] if kinds else ANY
    if isinstance(node, exp.Literal):
        if node.is_string:
            return TEXT
        return Kind("decimal", len(node.this.partition(".")[2])) if "." in node.this else INTEGER
    if isinstance(node, exp.Null):
        return NULL
    if isinstance(node, INTEGER_NODES):
        return INTEGER
    if isinstance(node, (exp.Add, exp.Sub, exp.Mod)):
        return arithmetic(kinds[:2])
    if isinstance(node, exp.Mul):
        both = arithmetic(kinds[:2])
        return Kind("decimal", sum(k.decimals for k in kinds[:2])) if both.name == "decimal" else both
    if isinstance(node, exp.Div):
        return Kind("decimal", first.decimals + 4) if first.name in ("integer", "decimal") else FLOAT
    if isinstance(node, exp.Sum):
        return Kind("decimal", first.decimals) if first.name in ("integer", "decimal") else FLOAT
    if isinstance(node, exp.Avg) and first.name == "float":
        return Kind("float", first.decimals + 4) if first.decimals else FLOAT
    if isinstance(node, exp.Avg):
        exact = first.name in ("integer", "decimal") or first.is_moment
        return Kind("decimal", first.decimals + 4) if exact else FLOAT
    if isinstance(node, exp.Round):
        return rounded(node, first)
    if isinstance(node, exp.Cast):
        return cast_kind(node.to)
    if isinstance(node, exp.If):
        return merged_kind(kinds[1:])
    if isinstance(node, exp.Case):
        return merged_kind(
            [k for child, k in zip(node.iter_expressions(), kinds, strict=True) if child is not node.this]
        )
    if isinstance(node, (exp.Coalesce, exp.Greatest, exp.Least)):
        return merged_kind(kinds)
    if isinstance(node, (exp.CurrentDate, exp.TsOrDsToDate, exp.LastDay)):
        return DATE
    if isinstance(node, (exp.Concat, exp.Lower, exp.Upper, exp.Substring, exp.Trim, exp.GroupConcat, exp.TimeToStr)):
        return TEXT
    if isinstance(node, exp.DPipe):
        return TEXT
    return first if isinstance(node, SAME_KIND) else ANY


def rounded(node: exp.Round, kind: Kind) -> Kind:
    digits = node.args.get("decimals")
    if kind.name != "decimal":
        return kind
    return (
        Kind("decimal", min(kind.decimals, int(digits.name))) if digits and digits.name.isdigit() else Kind("decimal")
    )


def cast_kind(to: exp.DataType) -> Kind:
    name = to.this.name if isinstance(to.this, exp.DType) else str(to.this)
    if name == "DECIMAL":
        return Kind("decimal", int(to.expressions[1].name) if len(to.expressions) > 1 else 0)
    return CAST_KINDS.get(name, ANY)
