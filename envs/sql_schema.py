"""The shape of a MySQL database as a model sees it: tables, columns, keys. Plain data that travels as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    """As MySQL writes it: `int`, `varchar(20)`, `decimal(19,4)`."""
    is_nullable: bool = True
    key: str = ""
    """`PRI`, `UNI`, `MUL` or nothing, as DESC shows it."""
    default: str | None = None
    extra: str = ""

    @property
    def kind(self) -> str:
        """What values are to MySQL: integer, decimal, float, date, datetime, time, bytes or text."""
        base = self.type.split("(")[0].split(" ")[0].lower()
        return KINDS.get(base, "text")

    @property
    def decimals(self) -> int:
        """Digits after the point of `decimal(m,d)` or `float(m,d)`."""
        inside = self.type.partition("(")[2].partition(")")[0]
        return int(inside.split(",")[1]) if "," in inside else 0


KINDS = {
    **dict.fromkeys(
        ("int", "integer", "tinyint", "smallint", "mediumint", "bigint", "year", "bit", "bool"), "integer"
    ),
    **dict.fromkeys(("decimal", "numeric", "dec", "fixed"), "decimal"),
    **dict.fromkeys(("double", "float", "real"), "float"),
    **dict.fromkeys(("datetime", "timestamp"), "datetime"),
    **dict.fromkeys(("blob", "tinyblob", "mediumblob", "longblob", "binary", "varbinary"), "bytes"),
    "date": "date",
    "time": "time",
}


@dataclass(frozen=True)
class ForeignKey:
    columns: tuple[str, ...]
    table: str
    table_columns: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()

    def column(self, name: str) -> Column | None:
        """Column names are not case-sensitive in MySQL."""
        return next((c for c in self.columns if c.name.lower() == name.lower()), None)


@dataclass(frozen=True)
class Schema:
    """One database."""

    name: str
    tables: dict[str, Table] = field(default_factory=dict)
    """By lower-case name: table names are not case-sensitive here, as on InterCode's server."""

    def table(self, name: str) -> Table | None:
        return self.tables.get(name.lower())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> Schema:
        tables = {}
        for key, table in value["tables"].items():
            tables[key] = Table(
                table["name"],
                tuple(Column(**column) for column in table["columns"]),
                tuple(table["primary_key"]),
                tuple(
                    ForeignKey(tuple(k["columns"]), k["table"], tuple(k["table_columns"]))
                    for k in table["foreign_keys"]
                ),
            )
        return Schema(value["name"], tables)


def _information(name: str, columns: str) -> Table:
    numbers = ("ORDINAL_POSITION",)
    return Table(name, tuple(Column(c, "bigint" if c in numbers else "varchar(64)") for c in columns.split()))


INFORMATION_SCHEMA = {
    "tables": _information("information_schema_tables", "TABLE_SCHEMA TABLE_NAME TABLE_TYPE"),
    "columns": _information(
        "information_schema_columns",
        "TABLE_SCHEMA TABLE_NAME COLUMN_NAME ORDINAL_POSITION DATA_TYPE COLUMN_TYPE IS_NULLABLE COLUMN_KEY"
        " COLUMN_DEFAULT EXTRA",
    ),
}
"""What is here of MySQL's `information_schema`: one table of tables and one of columns."""
