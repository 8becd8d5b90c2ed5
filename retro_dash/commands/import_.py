"""`retro-dash import FILE…`: say what files hold, then store what is not there yet."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.box import MARKDOWN
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data.formats import FORMATS
from retro_dash.commands.curator import Curator, open_curator
from retro_dash.folders import readable
from retro_dash.importing import Imported, ImportPreview, Progress, choose_format, import_file, preview
from retro_dash.settings import Settings

COLUMNS = ("rows", "episodes", "same", "trials", "turns", "reflections", "solved", "dropped")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, help="files, folders of files, zips of files")
    parser.add_argument("--format", choices=sorted(FORMATS), help="instead of looking at the first rows")
    parser.add_argument("--dry-run", action="store_true", help="say what is understood and dropped, store nothing")
    parser.add_argument("--name", default="", help="name of the import run (default: the file's)")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    with open_curator(settings) as store:
        seen: list[ImportPreview] = []
        for path in arguments.files:
            with readable(path) as place:
                seen.append(_import(place, path, arguments, store))
    if arguments.dry_run and not arguments.json and len(seen) > 1:
        Console(width=200).print(preview_table(seen))
    return 0 if any(view.episodes for view in seen) else 2


def _import(place: Path, path: Path, arguments: argparse.Namespace, store: Curator) -> ImportPreview:
    """Import what lies at `place`, which the command line calls `path`."""
    found = choose_format(place, arguments.format)
    with _counting("read") as read:
        view = preview(place, found, store.known_episodes, read).model_copy(update={"file": str(path)})
    if not arguments.json:
        _show(view)
    if not arguments.dry_run:
        with _counting(f"of {view.episodes - view.same - view.known:,} stored") as stored:
            done = import_file(place, found, store, arguments.name or path.name, stored)
        print(_json_line(view, done) if arguments.json else _line(done))
    elif arguments.json:
        print(view.model_dump_json())
    return view


@contextmanager
def _counting(what: str) -> Iterator[Progress]:
    """A line that counts episodes on a terminal, and nothing where nobody watches."""
    with Console(stderr=True).status(f"0 episodes {what}") as line:
        yield lambda count: line.update(f"{count:,} episodes {what}")


def preview_table(views: Sequence[ImportPreview]) -> Table:
    """One row a file, as Markdown."""
    table = Table("file", "format", *COLUMNS, box=MARKDOWN)
    for view in views:
        table.add_row(escape(view.file), view.format, *(str(getattr(view, name)) for name in COLUMNS))
    return table


def _show(view: ImportPreview) -> None:
    print(f"{_safe(view.file)}: {view.title}")
    print("  " + ", ".join(f"{getattr(view, name)} {name}" for name in COLUMNS) + f", {view.known} known already")
    for reason, count in view.reasons.items():
        print(f"  {count} dropped: {_safe(reason)}")
    for note, count in view.notes.items():
        print(f"  {count} episodes: {_safe(note)}")
    for row in view.first_dropped[:5]:
        print(f"  row {row.row}: {_safe(row.reason)}: {_safe(row.excerpt)}")


def _line(done: Imported) -> str:
    refused = "".join(f"\n  {count} not stored: {_safe(reason)}" for reason, count in done.refused.items())
    if done.run_id is None:
        return f"  nothing new: {done.known} episodes are stored already.{refused}"
    return (
        f"  {done.stored} episodes stored as run {done.run_id}, {done.known} were there, {done.dropped} rows dropped."
        f"{refused}"
    )


def _json_line(view: ImportPreview, done: Imported) -> str:
    return f'{{"preview": {view.model_dump_json()}, "imported": {done.model_dump_json()}}}'


def _safe(text: str) -> str:
    """Text of a file without the control codes that a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in text)
