"""Statements that look at the database rather than query it: SHOW, DESC, USE, SET; and the refusal of all that write.

Answers have the shape and order of MySQL 8's. `show` needs only a schema, so that a model's SHOW TABLES never reaches
an engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from envs.sql_answer import Answer
from envs.sql_dialect import syntax_error
from envs.sql_schema import Column, Schema, Table

NAME = r"[`\"']?([\w$-]+)[`\"']?"
FROM_TABLE = rf"(?:FROM|IN)\s+(?:{NAME}\s*\.\s*)?{NAME}(?:\s+(?:FROM|IN)\s+{NAME})?"
LIKE = r"(?:\s+LIKE\s+['\"](?P<like>[^'\"]*)['\"])?"
READING = ("SELECT", "WITH", "VALUES", "TABLE", "(")
WRITING = (
    "INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER", "TRUNCATE", "RENAME", "GRANT", "REVOKE",
    "LOAD", "LOCK", "CALL", "DO", "HANDLER", "INSTALL", "PREPARE", "EXECUTE", "KILL", "FLUSH", "RESET", "IMPORT",
    "OPTIMIZE", "ANALYZE", "CHECK", "REPAIR", "SHUTDOWN", "CHANGE", "XA",
)  # fmt: skip
USER = "'retro'@'localhost'"


def verb(statement: str) -> str:
    """The first word in capitals, comments skipped."""
    bare = re.sub(r"^(?:\s+|/\*.*?\*/|--\s[^\n]*\n|#[^\n]*\n)+", "", statement, flags=re.DOTALL)
    found = re.match(r"\(|\w+", bare)
    return found.group().upper() if found else ""


def show(statement: str, schema: Schema, databases: Iterable[str]) -> Answer | None:
    """The answer to a statement that needs no engine; None when it is a query."""
    first = verb(statement)
    if first in READING:
        return None
    if first in ("SHOW", "DESC", "DESCRIBE", "EXPLAIN"):
        return look(statement, schema, databases)
    if first == "USE":
        found = re.fullmatch(rf"USE\s+{NAME}\s*", statement.strip(), re.I)
        if found and found.group(1).lower() == schema.name.lower():
            return Answer()
        wanted = found.group(1) if found else ""
        return Answer(error=f"Access denied for user {USER} to database '{wanted}'")
    if first in ("SET", "START", "BEGIN", "COMMIT", "ROLLBACK"):
        return Answer()
    if first in WRITING:
        target = re.search(
            rf"(?:INTO|FROM|TABLE|UPDATE|VIEW)\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?{NAME}", statement, re.I
        )
        where = f" for table '{target.group(1)}'" if target else ""
        return Answer(error=f"{first} command denied to user {USER}{where}")
    return Answer(error=str(syntax_error(statement.strip())))


def look(statement: str, schema: Schema, databases: Iterable[str]) -> Answer:
    text = statement.strip()
    described = re.fullmatch(rf"(?:DESC|DESCRIBE|EXPLAIN)\s+(?:{NAME}\s*\.\s*)?{NAME}(?:\s+{NAME})?", text, re.I)
    if described:
        database, table, column = described.groups()
        return of_table(schema, database, table, lambda found: columns_of(found, column or "", False))
    listed = re.fullmatch(
        rf"SHOW\s+(FULL\s+)?TABLES(?:\s+(?:FROM|IN)\s+{NAME})?{LIKE}(?:\s+WHERE\s.*)?", text, re.I | re.S
    )
    if listed:
        return tables_of(schema, listed.group(2), listed["like"], listed.group(1) is not None)
    if re.match(r"SHOW\s+(DATABASES|SCHEMAS)\b", text, re.I):
        return Answer([(name.lower(),) for name in sorted(databases, key=str.lower)], ("Database",))
    shown = re.fullmatch(rf"SHOW\s+(FULL\s+)?(?:COLUMNS|FIELDS)\s+{FROM_TABLE}{LIKE}", text, re.I)
    if shown:
        full, before, table, after = shown.groups()[:4]
        like = shown["like"] or ""
        return of_table(schema, before or after, table, lambda found: columns_of(found, like, full is not None))
    created = re.fullmatch(rf"SHOW\s+CREATE\s+TABLE\s+(?:{NAME}\s*\.\s*)?{NAME}", text, re.I)
    if created:
        return of_table(schema, created.group(1), created.group(2), creation_of)
    indexed = re.fullmatch(rf"SHOW\s+(?:INDEX|INDEXES|KEYS)\s+{FROM_TABLE}", text, re.I)
    if indexed:
        before, table, after = indexed.groups()
        return of_table(schema, before or after, table, keys_of)
    if re.match(r"(EXPLAIN|DESC|DESCRIBE)\s+(SELECT|WITH|FORMAT|ANALYZE|EXTENDED|\()", text, re.I):
        return Answer(error="EXPLAIN of a query is not supported here; run the query itself")
    return Answer(error=str(syntax_error(statement.strip())))


def of_table(schema: Schema, database: str | None, name: str, answer: Callable[[Table], Answer]) -> Answer:
    if database and database.lower() != schema.name.lower():
        return Answer(error=f"SELECT command denied to user {USER} for table '{name.lower()}'")
    table = schema.table(name)
    if table is None:
        return Answer(error=f"Table '{schema.name.lower()}.{name.lower()}' doesn't exist")
    return answer(table)


def is_like(name: str, pattern: str) -> bool:
    parts = (".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), name, re.I) is not None


def tables_of(schema: Schema, database: str | None, like: str | None, is_full: bool) -> Answer:
    if database and database.lower() != schema.name.lower():
        return Answer(error=f"Access denied for user {USER} to database '{database}'")
    names = sorted(name for name in schema.tables if not like or is_like(name, like))
    rows: list[tuple[str, ...]] = [(name, "BASE TABLE") if is_full else (name,) for name in names]
    return Answer(rows, (f"Tables_in_{schema.name.lower()}", "Table_type")[: 1 + is_full])


def row_of(column: Column) -> tuple[str | None, ...]:
    nullable = "YES" if column.is_nullable else "NO"
    return (column.name, column.type, nullable, column.key, column.default, column.extra)


def columns_of(table: Table, like: str, is_full: bool) -> Answer:
    columns = [c for c in table.columns if not like or is_like(c.name, like)]
    rows = [row_of(column) for column in columns]
    if is_full:
        rights = ("select", "")
        rows = [(*row[:2], "utf8mb4_general_ci" if c.kind == "text" else None, *row[2:], *rights)
                for c, row in zip(columns, rows, strict=True)]  # fmt: skip
        return Answer(
            list(rows), ("Field", "Type", "Collation", "Null", "Key", "Default", "Extra", "Privileges", "Comment")
        )
    return Answer(list(rows), ("Field", "Type", "Null", "Key", "Default", "Extra"))


def creation_of(table: Table) -> Answer:
    lines = []
    for column in table.columns:
        null = "" if column.is_nullable else " NOT NULL"
        default = (
            f" DEFAULT '{column.default}'" if column.default is not None else " DEFAULT NULL" * column.is_nullable
        )
        extra = " AUTO_INCREMENT" if column.extra == "auto_increment" else ""
        lines.append(f"  `{column.name}` {column.type}{null}{default}{extra}")
    if table.primary_key:
        lines.append(f"  PRIMARY KEY ({','.join(f'`{name}`' for name in table.primary_key)})")
    for key in table.foreign_keys:
        here, there = (",".join(f"`{name}`" for name in names) for names in (key.columns, key.table_columns))
        lines.append(f"  FOREIGN KEY ({here}) REFERENCES `{key.table}` ({there})")
    text = f"CREATE TABLE `{table.name}` (\n" + ",\n".join(lines) + "\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
    return Answer([(table.name, text)], ("Table", "Create Table"))


def keys_of(table: Table) -> Answer:
    rows: list[tuple[str | int, ...]] = []
    rows += [(table.name, 0, "PRIMARY", place, name) for place, name in enumerate(table.primary_key, 1)]
    rows += [(table.name, int(c.key == "MUL"), c.name, 1, c.name) for c in table.columns if c.key in ("MUL", "UNI")]
    return Answer(list(rows), ("Table", "Non_unique", "Key_name", "Seq_in_index", "Column_name"))
