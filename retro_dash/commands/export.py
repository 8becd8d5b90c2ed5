"""`retro-dash export FORMAT --to FILE`: stored episodes, or a dataset, in the shape that another program reads."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from retro_dash.commands.curator import open_curator
from retro_dash.exporting import EXPORTS
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    titles = "; ".join(f"{name}: {found.title}" for name, found in EXPORTS.items())
    parser.add_argument("format", choices=list(EXPORTS), metavar="FORMAT", help=titles.replace("%", "%%"))
    parser.add_argument("--to", type=Path, required=True, metavar="PATH", help="the new file (hf: folder)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--filter", default="", help="stored episodes, in the filter language (default: all)")
    which.add_argument("--dataset", metavar="HASH", help="a frozen dataset instead")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    with open_curator(settings) as curator:
        rows = curator.export(arguments.format, arguments.filter, arguments.dataset, arguments.to)
    if arguments.json:
        print(json.dumps({"path": str(arguments.to), "format": arguments.format, "rows": rows}))
    else:
        print(f"{arguments.to}: {'' if rows is None else f'{rows} rows of '}{EXPORTS[arguments.format].title}")
    return 0
