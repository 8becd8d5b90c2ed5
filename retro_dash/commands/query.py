"""`retro-dash query`: read-only SQL on a copy of the store, as a table or JSON lines. Works while a hub runs."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from retro_dash.commands.episodes import open_reader
from retro_dash.query import MOST_ROWS, SECONDS, Answer, query
from retro_dash.settings import Settings

WIDEST = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sql", help="one SELECT over the tables of data/schema.sql; - reads standard input")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"stop it after so long (default {SECONDS:g})")
    parser.add_argument("--limit", type=int, default=MOST_ROWS, help=f"rows at most (default {MOST_ROWS})")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    sql = sys.stdin.read() if arguments.sql == "-" else arguments.sql
    with tempfile.TemporaryDirectory(prefix="retro-dash-") as folder:
        copy = _copy(settings, Path(folder) / "retro.duckdb")
        answer = query(copy, sql, arguments.seconds, arguments.limit)
    if arguments.json:
        for row in answer.rows:
            print(json.dumps(dict(zip(answer.columns, row, strict=True))))
    else:
        _print_table(answer)
    if answer.is_cut:
        print(f"Only the first {len(answer.rows)} rows are shown. Raise --limit, or ask for less.", file=sys.stderr)
    return 0


def _copy(settings: Settings, path: Path) -> Path:
    """A snapshot, made by the hub that runs on the home, else by us."""
    with open_reader(settings) as reader:
        return reader.snapshot(path)


def _print_table(answer: Answer) -> None:
    table = Table(*answer.columns, box=None, header_style="bold", pad_edge=False)
    for row in answer.rows:
        table.add_row(*(_cell(value) for value in row))
    width = None if sys.stdout.isatty() else WIDEST  # A pipe has no edge to wrap at.
    Console(markup=False, highlight=False, emoji=False, width=width).print(table)


def _cell(value: object) -> str:
    """A value on one line, without what could move the cursor or colour the terminal."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return "".join(character if character.isprintable() else "·" for character in text)
