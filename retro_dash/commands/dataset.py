"""`retro-dash dataset`: freeze a filter with its labels, list the versions, show one, compare two."""

from __future__ import annotations

import argparse

from data.errors import BadInput
from data.types import DatasetVersion
from retro_dash.commands.curator import Curator, open_curator
from retro_dash.datasets import DatasetDiff, DatasetRequest, Split
from retro_dash.evaluators import EVALUATORS
from retro_dash.settings import Settings

VERBS = {"freeze": 1, "list": 0, "show": 1, "diff": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("verb", choices=list(VERBS), help="freeze NAME, list, show HASH, or diff HASH HASH")
    parser.add_argument("names", nargs="*", help="the name of a new version, or hashes (their beginning is enough)")
    parser.add_argument("--filter", default="", help="the episodes of a new version (default: all)")
    parser.add_argument(
        "--evaluator", action="append", default=[], help=f"keep what passes: {', '.join(EVALUATORS)} (reward>=0.5)"
    )
    parser.add_argument(
        "--share", type=float, default=0.1, help="share of the tasks kept for evaluation (default 0.1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of that draw (default 0)")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    if len(arguments.names) != VERBS[arguments.verb]:
        raise BadInput(f"dataset {arguments.verb} takes {VERBS[arguments.verb]} names, not {len(arguments.names)}.")
    with open_curator(settings) as curator:
        for line in _lines(arguments, curator):
            print(line)
    return 0


def _lines(arguments: argparse.Namespace, curator: Curator) -> list[str]:
    names = arguments.names
    match arguments.verb:
        case "freeze":
            split = Split(share=arguments.share, seed=arguments.seed)
            evaluators = tuple(arguments.evaluator)
            version = curator.freeze(
                DatasetRequest(name=names[0], filter=arguments.filter, evaluators=evaluators, split=split)
            )
            return [version.model_dump_json() if arguments.json else _version(version)]
        case "list":
            versions = curator.datasets()
            return [version.model_dump_json() if arguments.json else _version(version) for version in versions]
        case "show":
            details = curator.details(names[0])
            return [details.model_dump_json() if arguments.json else details.card]
        case _:
            found = curator.diff(*names)
            return [found.model_dump_json()] if arguments.json else _diff(found)


def _version(version: DatasetVersion) -> str:
    counts = version.counts
    return (
        f"{version.hash}  {version.created_at:%Y-%m-%d %H:%M}  {version.name}: {counts.get('episodes', 0)} episodes, "
        f"{counts.get('labels', 0)} labels, {counts.get('training_tasks', 0)} training and "
        f"{counts.get('evaluation_tasks', 0)} evaluation tasks"
    )


def _diff(found: DatasetDiff) -> list[str]:
    lines = [f"filter: {found.filters[0] or '(all)'} -> {found.filters[1] or '(all)'}"]
    lines += [f"{name.replace('_', ' ')}: {old} -> {new}" for name, (old, new) in found.counts.items()]
    for sign, ids in (("+", found.added), ("-", found.removed), ("~", found.changed)):
        lines += [f"{sign} {id_}" for id_ in ids]
    return lines
