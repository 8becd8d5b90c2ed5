"""The filter language of every list: `env:hotpotqa outcome:failed trials>2 -planner:smollm2 text:"river bank"`.

    filter = term*                        all terms must hold
    term   = ["-"] (field op value | word)
    op     = ":" | "=" | ">=" | "<=" | ">" | "<"      ":" and "=" mean the same; the others need a number or a date
    value  = part ("," part)*             any of the parts may hold
    part   = word | "quoted text"         inside quotes \\" and \\\\ stand for " and \\

A word with no field searches the text, as `text:` does. `compile_filter` gives an SQL condition over the table
`episodes` and its parameters; no character of the filter ever becomes SQL.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal, NamedTuple

from data.errors import BadInput
from data.types import EpisodeState

Kind = Literal[
    "choice", "name", "exact", "number", "date", "outcome", "label", "tag", "annotator", "labelled", "text"
]
LONGEST_FILTER = 2000
COMPARISONS = {":": "=", "=": "=", ">=": ">=", "<=": "<=", ">": ">", "<": "<"}
TERM = re.compile(r"(?P<field>[A-Za-z_]+)(?P<op>:|>=|<=|=|>|<)")
PART = re.compile(r'"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]+)')
WORD = re.compile(r'"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"]+)')


@dataclass(frozen=True)
class FilterField:
    """One field of the language."""

    name: str
    kind: Kind
    column: str
    """Column of `episodes`; empty where the condition is about other tables."""
    example: str
    meaning: str


class Condition(NamedTuple):
    """An SQL condition and its parameters."""

    sql: str
    parameters: list[Any]


FIELDS = (
    FilterField("env", "exact", "env", "env:hotpotqa,alfworld", "environment"),
    FilterField("task", "name", "task_id", "task:5a8b57f2", "part of the task's id"),
    FilterField("split", "exact", "split", "split:dev", "split of the task"),
    FilterField("outcome", "outcome", "", "outcome:failed", "solved, failed (ended without success) or running"),
    FilterField("state", "choice", "state", "state:stopped", "running, solved, failed, stopped or error"),
    FilterField("planner", "name", "planner", "planner:smollm2", "part of the planner's name"),
    FilterField("reflector", "name", "reflector", "reflector:expert", "part of the reflector's name"),
    FilterField("strategy", "exact", "strategy", "strategy:reflexion", "reflection strategy"),
    FilterField("trials", "number", "trial_count", "trials>2", "number of trials"),
    FilterField("turns", "number", "turn_count", "turns<=40", "number of turns over all trials"),
    FilterField("reward", "number", "last_reward", "reward>=0.5", "reward of the last finished trial"),
    FilterField("first", "number", "first_reward", "first<1", "reward of the first trial"),
    FilterField("gain", "number", "best_gain", "gain>0", "best gain of its reflections"),
    FilterField("temperature", "number", "temperature", "temperature=0", "sampling temperature"),
    FilterField("seed", "number", "seed", "seed:7", "seed"),
    FilterField(
        "text", "text", "", 'text:"river bank"', "in instruction, thoughts, actions, observations, reflections"
    ),
    FilterField("label", "label", "", "label:expert", "verdict that somebody gave; label:none for no verdict"),
    FilterField("tag", "tag", "", "tag:loop", "tag that somebody gave"),
    FilterField("annotator", "annotator", "", "annotator:kim", "who labelled it"),
    FilterField("labelled", "labelled", "", "labelled:2026-11-01", "labels changed on that day or later (UTC)"),
    FilterField("run", "exact", "run_id", "run:collect-7", "id of the run that made it"),
    FilterField("id", "exact", "id", "id:9f2c", "id of the episode"),
    FilterField("parent", "exact", "parent_id", "parent:9f2c", "id of the episode that it was forked from"),
    FilterField("source", "name", "source", "source:retroact", "part of the source's name (file format)"),
    FilterField("since", "date", "created_at", "since:2026-11-01", "made on that day or later (UTC)"),
    FilterField("before", "date", "created_at", "before:2026-12-01", "made before that day (UTC)"),
)
BY_NAME = {field.name: field for field in FIELDS}
SORTS = {
    "created": "created_at",
    "env": "env",
    "task": "task_id",
    "planner": "planner",
    "reflector": "reflector",
    "state": "state",
    "trials": "trial_count",
    "turns": "turn_count",
    "reward": "last_reward",
    "first": "first_reward",
    "gain": "best_gain",
    "run": "run_id",
}
OUTCOMES = {
    "solved": "success",
    "failed": "(NOT success AND state <> 'running')",
    "running": "state = 'running'",
}


class Order(NamedTuple):
    """What comes after ORDER BY, and the columns that it needs."""

    sql: str
    columns: str


@dataclass(frozen=True)
class Term:
    """One parsed condition."""

    field: FilterField
    op: str
    values: tuple[str, ...]
    is_negated: bool
    position: int
    """Offset of its first character, from 0."""


def describe() -> tuple[FilterField, ...]:
    """Every field with its example and meaning, for help and completion."""
    return FIELDS


def compile_filter(text: str) -> Condition:
    """The SQL condition of a filter. Raises BadInput with the position, the word and what would be known."""
    parts: list[str] = []
    parameters: list[Any] = []
    for term in parse(text):
        alternatives = [_condition(term, value) for value in term.values]
        sql = " OR ".join(f"({condition.sql})" for condition in alternatives)
        # A comparison with NULL (no reward yet) does not match, so its negation does.
        parts.append(f"NOT coalesce(({sql}), false)" if term.is_negated else f"({sql})")
        parameters.extend(value for condition in alternatives for value in condition.parameters)
    return Condition(" AND ".join(parts) or "true", parameters)


def compile_sort(sort: str) -> Order:
    """The SQL order of `-created`, `+reward,-turns`, … Raises BadInput for an unknown column."""
    columns: list[str] = []
    parts: list[str] = []
    for part in (piece.strip() for piece in sort.split(",") if piece.strip()):
        name = part[1:] if part[0] in "+-" else part
        if name not in SORTS:
            raise BadInput(f"Cannot sort by {name!r}.{_did_you_mean(name, SORTS)} Known: {', '.join(SORTS)}.")
        if SORTS[name] not in columns:
            columns.append(SORTS[name])
            parts.append(f"{SORTS[name]} {'DESC' if part[0] == '-' else 'ASC'} NULLS LAST")
    return Order(", ".join([*parts, "number DESC"]), ", ".join(columns) or "NULL")


def parse(text: str) -> list[Term]:
    """The terms of a filter, in order. Raises BadInput."""
    if len(text) > LONGEST_FILTER:
        raise BadInput(f"The filter has {len(text)} characters; the longest that is read has {LONGEST_FILTER}.")
    terms: list[Term] = []
    position = 0
    while True:
        while position < len(text) and text[position].isspace():
            position += 1
        if position == len(text):
            return terms
        term, position = _parse_term(text, position)
        terms.append(term)


def _parse_term(text: str, start: int) -> tuple[Term, int]:
    is_negated = text[start] == "-"
    position = start + is_negated
    if match := TERM.match(text, position):
        field = _field(match["field"], position)
        values, end = _parse_values(text, match.end(), match[0])
        return Term(field, match["op"], values, is_negated, start), end
    word = WORD.match(text, position)
    if word is None:
        raise _unreadable(text, position)
    return Term(BY_NAME["text"], ":", (_plain(word),), is_negated, start), _end_of_term(text, word.end())


def _parse_values(text: str, position: int, before: str) -> tuple[tuple[str, ...], int]:
    values = []
    while True:
        part = PART.match(text, position)
        if part is None:
            if text[position : position + 1] == '"':
                raise _unreadable(text, position)
            raise BadInput(f"Position {position + 1}: a value is missing after {text[:position].split()[-1]!r}.")
        values.append(_plain(part))
        position = part.end()
        if text[position : position + 1] != ",":
            return tuple(values), _end_of_term(text, position)
        position += 1


def _end_of_term(text: str, position: int) -> int:
    if position < len(text) and not text[position].isspace():
        raise _unreadable(text, position)
    return position


def _unreadable(text: str, position: int) -> BadInput:
    rest = text[position : position + 30]
    if not rest or rest[0].isspace():
        return BadInput(f'Position {position + 1}: a word is missing after "-".')
    if rest.startswith('"') and not PART.match(text, position):
        return BadInput(f"Position {position + 1}: the quote that starts at {rest!r} is never closed.")
    return BadInput(f"Position {position + 1}: a space is missing before {rest!r}.")


def _plain(match: re.Match[str]) -> str:
    if match["quoted"] is None:
        return match["bare"]
    return re.sub(r"\\(.)", r"\1", match["quoted"], flags=re.DOTALL)


def _field(name: str, position: int) -> FilterField:
    if name not in BY_NAME:
        raise BadInput(
            f"Position {position + 1}: there is no field {name!r}.{_did_you_mean(name, BY_NAME)} "
            f"Known: {', '.join(BY_NAME)}. To search for the text itself, put it in quotes."
        )
    return BY_NAME[name]


def _did_you_mean(name: str, known: Sequence[str] | dict[str, Any]) -> str:
    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _condition(term: Term, value: str) -> Condition:
    """SQL of one alternative of a term."""
    column = term.field.column
    if term.field.kind == "number":
        return Condition(f"{column} {COMPARISONS[term.op]} ?", [_number(term, value)])
    if term.op not in (":", "="):
        raise _bad_value(term, f"{term.op!r} compares numbers, and {term.field.name!r} is not one; write ':'")
    match term.field.kind:
        case "exact":
            return Condition(f"lower({column}) = lower(?)", [value])
        case "name":
            return Condition(f"{column} ILIKE ? ESCAPE '\\'", [like(value)])
        case "date":
            return Condition(f"{column} {'>=' if term.field.name == 'since' else '<'} ?", [_day(term, value)])
        case "outcome":
            return Condition(OUTCOMES[_choice(term, value, list(OUTCOMES))], [])
        case "choice":
            return Condition(f"{column} = ?", [_choice(term, value, [state.value for state in EpisodeState])])
        case "text":
            return _text(value)
        case "labelled":
            changed = "id IN (SELECT episode_id FROM labels WHERE made_at >= ?)"
            return Condition(changed, [_day(term, value)])
        case _:
            return _labelled(term.field.kind, value)


def _text(value: str) -> Condition:
    """Case-insensitive and literal: faster than ILIKE, and no character has a meaning of its own."""
    matches = "regexp_matches({}, ?, 'il')"
    found = "number IN (SELECT episode FROM {} WHERE {})"
    turns = found.format("turns", " OR ".join(matches.format(c) for c in ("thought", "action", "observation")))
    reflections = found.format("reflections", matches.format("text"))
    return Condition(f"{matches.format('instruction')} OR {turns} OR {reflections}", [value] * 5)


def _labelled(kind: Kind, value: str) -> Condition:
    found = "id IN (SELECT episode_id FROM current_labels WHERE {})"
    if kind == "annotator":
        return Condition(found.format("lower(annotator) = lower(?)"), [value])
    if kind == "tag":
        return Condition(found.format("name = 'tags' AND json_contains(value, to_json(?::VARCHAR))"), [value])
    if value == "none":
        return Condition("NOT " + found.format("name = 'verdict' AND part = 'episode'"), [])
    return Condition(found.format("name = 'verdict' AND part = 'episode' AND value ->> '$' = ?"), [value])


def like(value: str) -> str:
    """A LIKE pattern that finds `value` anywhere, its own % and _ taken literally."""
    return "%" + re.sub(r"([%_\\])", r"\\\1", value) + "%"


def _number(term: Term, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise _bad_value(term, f"{value!r} is not a number; write for example {term.field.example!r}") from None


def _day(term: Term, value: str) -> datetime:
    try:
        if len(value) == 10:
            return datetime.combine(date.fromisoformat(value), datetime.min.time())
        time = datetime.fromisoformat(value)
        return time if time.tzinfo is None else time.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise _bad_value(term, f"{value!r} is not a date; write for example {term.field.example!r}") from None


def _choice(term: Term, value: str, known: list[str]) -> str:
    if value not in known:
        hint = _did_you_mean(value, known)
        raise _bad_value(term, f"{term.field.name!r} cannot be {value!r}.{hint} Known: {', '.join(known)}")
    return value


def _bad_value(term: Term, why: str) -> BadInput:
    return BadInput(f"Position {term.position + 1}: {why}.")
