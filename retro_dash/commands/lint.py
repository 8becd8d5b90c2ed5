"""`retro-dash lint`: what is wrong with training texts: of a file as it is, of stored episodes, or of a dataset.

Exit code 1 when there is an error among the findings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from data.errors import BadFile, BadInput
from data.formats.entry import Entry
from data.lint import LintReport, lint
from data.lint_texts import Measure, Text, count_words, episode_texts, measure_by, row_texts
from retro_dash.commands.curator import open_curator
from retro_dash.datasets import DatasetRequest, Split
from retro_dash.importing import choose_format
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("file", nargs="?", type=Path, help="a file of training rows, or any file that can be imported")
    which.add_argument("--filter", help="the stored episodes of this filter")
    which.add_argument("--dataset", metavar="HASH", help="a frozen dataset")
    parser.add_argument("--tokenizer", type=Path, help="of a file: a tokenizer.json, to count tokens and not words")
    parser.add_argument("--limit", type=int, help="longest sample that training keeps whole, in tokens (or words)")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    report = _report(arguments, settings)
    print(report.model_dump_json() if arguments.json else "\n".join(_lines(report)))
    return 1 if report.has_errors else 0


def _report(arguments: argparse.Namespace, settings: Settings) -> LintReport:
    if arguments.file is not None:
        measure, unit = _measure(arguments.tokenizer)
        return lint(_file_texts(arguments.file), measure, unit, arguments.limit)
    if arguments.tokenizer or (arguments.dataset and arguments.limit):
        raise BadInput(
            "--tokenizer is for files: of stored episodes the recorded tokens count, else one for four characters. "
            "--limit is for files and filters: a dataset was looked at when it was frozen."
        )
    with open_curator(settings) as curator:
        if arguments.dataset:
            return curator.details(arguments.dataset).lint
        given = {} if arguments.limit is None else {"max_length": arguments.limit}
        return curator.check(DatasetRequest(name="lint", filter=arguments.filter, split=Split(share=0), **given))


def _file_texts(path: Path) -> list[Text]:
    """The rows as they are where they are prompts and targets, else those of the episodes in the file."""
    found = choose_format(path)
    rows = row_texts(path) if path.is_file() else None
    if rows is not None:
        return list(rows)
    return [text for item in found.read(path) if isinstance(item, Entry) for text in episode_texts(item)]


def _measure(path: Path | None) -> tuple[Measure, str]:
    if path is None:
        return measure_by(count_words), "words"
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # The library raises plain exceptions.
        raise BadFile(f"{path} is not a tokenizer.json: {error}") from error
    return measure_by(lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)), "tokens"


def _lines(report: LintReport) -> list[str]:
    lines = [
        f"{report.texts} texts ({report.planner} planner, {report.reflector} reflector): "
        f"{report.trained} {report.unit} trained, {report.prompt + report.masked} shown and masked"
    ]
    for finding in report.findings:
        lines.append(f"{finding.severity:8} {finding.count:6}  {finding.kind}: {finding.meaning}")
        lines.append(f"{'':16}  {', '.join(finding.examples[:5])}{', …' if finding.count > 5 else ''}")
    return lines or ["nothing found"]
