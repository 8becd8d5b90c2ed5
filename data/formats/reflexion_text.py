"""Reflexion's text logs as rows: what its programs print of HotpotQA trials (`log_trial`) and ALFWorld trials.

https://github.com/noahshinn/reflexion, hotpotqa_runs/util.py and alfworld_runs/alfworld_trial.py. A HotpotQA log has
a section a trial and outcome, and a block a question that ends with `Correct answer: …`; an ALFWorld log has a block
an environment between `#####` lines, the whole prompt included.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from pydantic import JsonValue

from data.errors import BadFile
from data.formats.entry import Dropped, excerpt
from data.formats.source import MOST_UNPACKED, Row, open_bytes

HOTPOTQA = re.compile(r"^(BEGIN TRIAL \d+|-+ BEGIN (CORRECT|INCORRECT|HALTED) AGENTS -*)$", re.MULTILINE)
ALFWORLD = re.compile(r"^Environment #\d+:", re.MULTILINE)
_TRIAL = re.compile(r"BEGIN TRIAL (\d+)")
_SECTION = re.compile(r"-+ BEGIN (CORRECT|INCORRECT|HALTED) AGENTS -*")
_ANSWER = re.compile(r"Correct answer: ?(.*)")
_FRAME = re.compile(r"#{20,}|Trial summary:.*")
_QUESTION = re.compile(r"Question: *(.*?) *(?=You have attempted to answer|Previous trial:|\n|\Z)")
_FIRST = re.compile(r"^(?:Thought|Action)(?: \d+)?:", re.MULTILINE)
_TOLD = re.compile(r"^Reflections:\n- (.*)", re.MULTILINE | re.DOTALL)
_WROTE = re.compile(r"^Reflections:", re.MULTILINE)
_ENVIRONMENT = re.compile(r"\A\s*Environment #(\d+):[ \n]?(.*)\Z", re.DOTALL)
_TASK = "Here is the task:\n"
LONGEST_BLOCK = 4 * 2**20


@dataclass
class _Section:
    """Where in a HotpotQA log the reader is."""

    trial: int = 1
    """A log of a single trial may leave its number out."""
    status: str = ""
    lines: list[str] = field(default_factory=list)
    size: int = 0


def hotpotqa_rows(path: Path) -> Iterator[Row]:
    """Rows as the JSON lines of such a log have them: trial, status, question, correct_answer, reflections, text."""
    at = _Section()
    number = 0
    for line in _lines(path):
        if found := _TRIAL.fullmatch(line):
            at = _Section(trial=int(found[1]))
        elif found := _SECTION.fullmatch(line):
            at = _Section(at.trial, found[1].lower())
        elif found := _ANSWER.fullmatch(line):
            number += 1
            yield number, _hotpotqa_row(number, at, found[1])
            at = _Section(at.trial, at.status)
        elif not _FRAME.fullmatch(line):
            at.size += len(line)
            if at.size <= LONGEST_BLOCK:
                at.lines.append(line)
    if "".join(at.lines).strip():
        yield number + 1, Dropped(number + 1, "the log is cut in this block", excerpt("\n".join(at.lines).strip()))


def _hotpotqa_row(number: int, at: _Section, answer: str) -> JsonValue | Dropped:
    block = "\n".join(at.lines).strip()
    question = _QUESTION.search(block)
    if not at.status:
        return Dropped(number, "the block stands before the first BEGIN … AGENTS", excerpt(block))
    if at.size > LONGEST_BLOCK:
        return Dropped(number, f"the block is longer than {LONGEST_BLOCK // 2**20} MiB", excerpt(block))
    if question is None or not question[1]:
        return Dropped(number, "the block has no question", excerpt(block))
    told_until = block.rfind("(END PREVIOUS TRIAL)")
    first = _FIRST.search(block, max(told_until, 0))
    head, body = (block[: first.start()], block[first.start() :]) if first else (block, "")
    text, wrote = _own_attempt(body.strip())
    told = _TOLD.search(head)
    row: dict[str, JsonValue] = {
        "trial": at.trial,
        "status": at.status,
        "question": question[1],
        "correct_answer": answer,
        "reflections": [one.strip() for one in _bullets(told[1])] if told else [],
        "text": text,
    }
    context = head[: head.find("Question:")].removeprefix("Context:").strip() if head.startswith("Context:") else ""
    return row | ({"reflection": wrote} if wrote else {}) | ({"context": context} if context else {})


def _bullets(text: str) -> list[str]:
    """The items of a list that the question may follow."""
    items = text.split("\n\nQuestion:")[0].split("\nQuestion:")[0]
    return re.split(r"\n- ", items)


def _own_attempt(body: str) -> tuple[str, str]:
    """(this trial's text, what was reflected after it). Chain-of-thought logs print the attempt before, then
    `Reflections:`, then this one; or this one and then its reflection."""
    pieces = [piece.strip() for piece in _WROTE.split(body)]
    if len(pieces) == 1 or _FIRST.search(pieces[-1]):
        return pieces[-1], ""
    return pieces[-2], pieces[-1]


@dataclass(frozen=True)
class AlfworldBlock:
    """One environment of an ALFWorld `trial_N.log`."""

    number: int
    opening: str
    """The room and the task; empty where the log only repeats an earlier success."""
    history: str
    success: bool


def alfworld_blocks(path: Path) -> Iterator[AlfworldBlock | Dropped]:
    """Every environment of a log. Raises BadFile for a damaged gzip file."""
    block: list[str] = []
    size = 0
    for line in chain(_lines(path), ("#####",)):
        if line != "#####":
            size += len(line)
            block.append(line if size <= LONGEST_BLOCK else "")
            continue
        found = _ENVIRONMENT.match("\n".join(block))
        if found:
            yield _alfworld_block(int(found[1]), found[2].strip())
        block, size = [], 0


def _alfworld_block(number: int, text: str) -> AlfworldBlock | Dropped:
    if text == "Success":
        return AlfworldBlock(number, "", "", True)
    played, mark, status = text.rpartition("\nSTATUS: ")
    if not mark or status not in ("OK", "FAIL"):
        return Dropped(number + 1, "the environment's block has no STATUS line", excerpt(text[-200:]))
    opening, _, history = played.rpartition(_TASK)[2].strip().partition("\n>")
    return AlfworldBlock(number, opening.strip(), f">{history}" if history else "", status == "OK")


def _lines(path: Path) -> Iterator[str]:
    unpacked = 0
    with open_bytes(path) as file:
        while line := file.readline(LONGEST_BLOCK):
            unpacked += len(line)
            if unpacked > MOST_UNPACKED:
                raise BadFile(f"{path.name} unpacks to more than {MOST_UNPACKED // 2**30} GiB: refused.")
            yield line.decode("utf-8", "replace").rstrip("\r\n")
