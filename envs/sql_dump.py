"""Read a MySQL dump (`mysqldump`, plain or gzipped) without a server: schemas and rows of each database in it.

Understood: USE and CREATE DATABASE, CREATE TABLE, INSERT ... VALUES, comments of every kind. Other statements (SET,
LOCK, users, triggers, views) change no row that can be read here and are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import BadFile
from envs.sql_schema import Column, ForeignKey, Schema, Table
from envs.task_files import read_text

LARGEST_DUMP = 256 << 20
"""Bytes of SQL text, unpacked."""

Value = None | int | float | str | bytes
Row = tuple[Value, ...]

STRING = r"'(?:[^'\\]|\\.|'')*'"
TOKEN = re.compile(rf'{STRING}|"(?:[^"\\]|\\.|"")*"|`[^`]*`|--(?=[\s])[^\n]*|\#[^\n]*|/\*.*?\*/|;|[\'"`]', re.DOTALL)
VALUE = re.compile(
    rf"\s*(?:(?P<text>(?:_\w+\s*)?{STRING})|(?P<null>NULL\b)|(?P<hex>0x[0-9A-Fa-f]+)|(?P<bits>b'[01]+')"
    r"|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|(?P<truth>TRUE\b|FALSE\b))\s*",
    re.DOTALL | re.IGNORECASE,
)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}


@dataclass
class Contents:
    """One database of a dump."""

    tables: dict[str, Table] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def schema(self, name: str) -> Schema:
        return Schema(name, self.tables)


def statements(text: str, path: Path) -> Iterator[tuple[int, str]]:
    """Where each statement starts in the text, and the statement without its comments."""
    pieces: list[str] = []
    last, start = 0, 0
    for token in TOKEN.finditer(text):
        found = token.group()
        if found in ("'", '"', "`"):
            line = text.count("\n", 0, token.start()) + 1
            raise BadFile(f"The SQL dump {path} has a quote {found} on line {line} that is never closed.")
        if found[0] in "'\"`":
            continue
        piece = text[last : token.start()]
        if not pieces and piece.strip():
            start = last + len(piece) - len(piece.lstrip())
        pieces += [piece, " "] if pieces or piece.strip() else []
        last = token.end()
        if found == ";" and pieces:
            yield start, "".join(pieces).strip()
            pieces = []
    if (rest := "".join([*pieces, text[last:]]).strip()) != "":
        raise BadFile(f"The SQL dump {path} ends inside a statement that starts with {rest[:60]!r}; is it cut off?")


def unquote(name: str) -> str:
    return name.strip().strip("`\"'")


def unescape(quoted: str) -> str:
    inside = quoted[quoted.index("'") + 1 : -1].replace("''", "'")
    return re.sub(r"\\(.)", lambda m: ESCAPES.get(m.group(1), m.group(1)), inside, flags=re.DOTALL)


def value_of(found: re.Match[str]) -> Value:
    kind, text = found.lastgroup, found.group().strip()
    if kind == "text":
        plain = unescape(text)
        return plain.encode("utf-8", "surrogateescape") if text.lower().startswith("_binary") else plain
    if kind == "number":
        return float(text) if re.search(r"[.eE]", text) else int(text)
    if kind == "hex":
        return bytes.fromhex(text[2:].zfill(len(text[2:]) + len(text) % 2))
    if kind == "bits":
        return int(text[2:-1], 2)
    return None if kind == "null" else int(text.upper() == "TRUE")


def read_rows(values: str, columns: int) -> list[Row]:
    """The rows after VALUES; raises ValueError saying what is wrong."""
    rows: list[Row] = []
    position = 0
    while True:
        opening = re.compile(r"\s*\(").match(values, position)
        if opening is None:
            raise ValueError(f"a row should start near {values[position : position + 40]!r}")
        position = opening.end()
        row: list[Value] = []
        while True:
            found = VALUE.match(values, position)
            if found is None:
                raise ValueError(f"no value can be read near {values[position : position + 40]!r}")
            row.append(value_of(found))
            position = found.end() + 1
            mark = values[found.end() : position]
            if mark == ")":
                break
            if mark != ",":
                raise ValueError(f"a comma or ) is missing near {values[found.end() : found.end() + 40]!r}")
        if len(row) != columns:
            raise ValueError(f"a row has {len(row)} values for {columns} columns: {str(row)[:80]}")
        rows.append(tuple(row))
        rest = re.compile(r"\s*(,?)\s*").match(values, position)
        position = rest.end() if rest else position
        if rest is None or not rest.group(1):
            break
    if values[position:].strip():
        raise ValueError(f"something follows the last row: {values[position : position + 40]!r}")
    return rows


def split_commas(body: str) -> list[str]:
    """Split at commas that are outside quotes and brackets."""
    parts, depth, start = [], 0, 0
    for token in re.finditer(rf"{STRING}|`[^`]*`|[(),]", body, re.DOTALL):
        depth += {"(": 1, ")": -1}.get(token.group(), 0)
        if token.group() == "," and depth == 0:
            parts.append(body[start : token.start()])
            start = token.end()
    return [part.strip() for part in (*parts, body[start:]) if part.strip()]


def names_in(brackets: str) -> tuple[str, ...]:
    return tuple(unquote(re.sub(r"\(\d+\)|\s+(ASC|DESC)$", "", name)) for name in split_commas(brackets))


def read_column(line: str) -> Column:
    found = re.match(
        r"(`[^`]+`|\"[^\"]+\"|\w+)\s+(\w+(?:\s*\([^)]*\))?(?:\s+unsigned)?(?:\s+zerofill)?)(.*)",
        line,
        re.DOTALL | re.I,
    )
    if found is None:
        raise ValueError(f"the column definition {line[:60]!r} cannot be read")
    name, kind, rest = found.groups()
    default = re.search(rf"\bDEFAULT\s+({STRING}|[\w.+-]+(?:\(\d*\))?)", rest, re.DOTALL | re.I)
    value = default.group(1) if default else "NULL"
    extra = "auto_increment" if re.search(r"\bAUTO_INCREMENT\b", rest, re.I) else ""
    if value.upper().startswith("CURRENT_TIMESTAMP"):
        extra = "DEFAULT_GENERATED"
    is_key = re.search(r"\bPRIMARY\s+KEY\b", rest, re.I) is not None
    return Column(
        unquote(name),
        re.sub(r"\s*([(,)])\s*", r"\1", kind).strip().lower() if "'" not in kind else kind,
        not (is_key or re.search(r"\bNOT\s+NULL\b", rest, re.I)),
        "PRI" if is_key else "UNI" if re.search(r"\bUNIQUE\b", rest, re.I) else "",
        None if value.upper() == "NULL" else unescape(value) if value.startswith("'") else value,
        extra,
    )


def read_table(statement: str) -> Table:
    """A CREATE TABLE statement; raises ValueError saying what is wrong."""
    found = re.match(
        r"CREATE\s+(?:TEMPORARY\s+)?TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?([^\s(]+)\s*\((.*)\)[^)]*$",
        statement,
        re.DOTALL | re.I,
    )
    if found is None:
        raise ValueError(f"the statement {statement[:60]!r} cannot be read")
    columns: list[Column] = []
    keys: dict[str, str] = {}
    primary: tuple[str, ...] = ()
    foreign: list[ForeignKey] = []
    for part in split_commas(found.group(2)):
        key = re.match(
            r"(?:CONSTRAINT\s+\S+\s+)?(PRIMARY\s+KEY|FOREIGN\s+KEY|UNIQUE(?:\s+(?:KEY|INDEX))?|FULLTEXT\s+KEY|SPATIAL\s+KEY"
            r"|KEY|INDEX|CHECK)\b[^(]*\(((?:[^()]|\([^()]*\))*)\)(.*)",
            part,
            re.DOTALL | re.I,
        )
        if part[0] in '`"' or key is None:
            columns.append(read_column(part))
            continue
        kind, names = key.group(1).upper().split()[0], names_in(key.group(2))
        if kind == "PRIMARY":
            primary = names
            keys |= dict.fromkeys(names, "PRI")
        elif kind == "FOREIGN":
            target = re.match(r"\s*REFERENCES\s+(\S+)\s*\((.*?)\)", key.group(3), re.DOTALL | re.I)
            if target:
                foreign.append(ForeignKey(names, unquote(target.group(1)), names_in(target.group(2))))
        elif kind != "CHECK" and names:
            keys.setdefault(names[0], "UNI" if kind == "UNIQUE" and len(names) == 1 else "MUL")
    if not columns:
        raise ValueError(f"the table {found.group(1)} has no columns")
    primary = primary or tuple(c.name for c in columns if c.key == "PRI")
    marked = tuple(
        Column(c.name, c.type, c.is_nullable, c.key or keys.get(c.name, ""), c.default, c.extra) for c in columns
    )
    return Table(unquote(found.group(1).split(".")[-1]), marked, primary, tuple(foreign))


def read_insert(statement: str, contents: Contents) -> None:
    found = re.match(
        r"(?:INSERT(?:\s+IGNORE)?|REPLACE)\s+INTO\s+([^\s(]+)\s*(\([^()]*\))?\s*VALUES?\s*(.*)",
        statement,
        re.DOTALL | re.I,
    )
    if found is None:
        raise ValueError(f"the statement {statement[:60]!r} cannot be read; write INSERT ... VALUES")
    table = contents.tables.get(unquote(found.group(1).split(".")[-1]).lower())
    if table is None:
        raise ValueError(f"rows for the table {found.group(1)} come before its CREATE TABLE")
    names = names_in(found.group(2)[1:-1]) if found.group(2) else tuple(c.name for c in table.columns)
    rows = read_rows(found.group(3), len(names))
    if names != tuple(c.name for c in table.columns):
        places = {name.lower(): place for place, name in enumerate(names)}
        order = [places.get(c.name.lower()) for c in table.columns]
        rows = [tuple(None if place is None else row[place] for place in order) for row in rows]
    contents.rows[table.name.lower()].extend(rows)


def read_dump(path: Path) -> dict[str, Contents]:
    """Every database of the dump, by name; raises BadFile with the line of what is wrong."""
    databases: dict[str, Contents] = {}
    current: Contents | None = None
    text = read_text(path, LARGEST_DUMP)
    for start, statement in statements(text, path):
        head = statement[:80].upper()
        try:
            if use := re.match(r"USE\s+(\S+)", statement, re.I):
                current = databases.setdefault(unquote(use.group(1)), Contents())
            elif head.startswith(("CREATE DATABASE", "CREATE SCHEMA")):
                continue
            elif re.match(r"CREATE\s+(TEMPORARY\s+)?TABLE\b|INSERT\b|REPLACE\b", head):
                if current is None:
                    current = databases.setdefault(re.sub(r"\.sql(\.gz)?$", "", path.name), Contents())
                if head.startswith("CREATE"):
                    table = read_table(statement)
                    current.tables[table.name.lower()] = table
                    current.rows[table.name.lower()] = []
                else:
                    read_insert(statement, current)
        except ValueError as error:
            line = text.count("\n", 0, start) + 1
            raise BadFile(f"The SQL dump {path} is wrong in the statement on line {line}: {error}.") from error
    filled = {name: contents for name, contents in databases.items() if contents.tables}
    if not filled:
        raise BadFile(f"The SQL dump {path} has no CREATE TABLE statement.")
    return filled
