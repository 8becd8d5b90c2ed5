# ruff: noqa: S608 (names come from our own schema)
"""More questions over the bundled databases, from templates: training material in any number, made from a seed.

A question is filled in from the schema and from values that are really there. Its gold query is run, and a question
with an empty answer is thrown away.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from data.types import Task
from envs import sql_functions
from envs.sql_catalog import Catalog, open_dump
from envs.sql_dialect import parse, translate
from envs.sql_schema import Column, Schema, Table
from envs.sql_tasks import BUNDLED, bundled_dump, task_of

LABELS = ("name", "title")
PLURALS = {"copy": "copies", "branch": "branches"}
_MOST_MISSES = 400
"""Draws in a row without a new question, after which the templates have run dry."""
FEWEST, MOST = 2, 8
"""Different values of a column that questions may group by."""


@dataclass(frozen=True)
class Draft:
    """A question before its answer is looked at."""

    question: str
    gold: str
    hardness: str


@dataclass
class World:
    """One database, its rows at hand, and the dice."""

    schema: Schema
    connection: sqlite3.Connection
    dice: Random

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(translate(parse(query), self.schema).sql).fetchall()

    def table(self, has: Callable[[Table], bool]) -> Table:
        """A table at random of those that have what is asked for."""
        return self.dice.choice([table for table in self.schema.tables.values() if has(table)])

    def link(self) -> tuple[Table, Table, str, str]:
        """A table, the named one that its key points to, and the columns that join them."""
        links = [
            (child, parent, key.columns[0], key.table_columns[0])
            for child in self.schema.tables.values()
            for key in child.foreign_keys
            if (parent := self.schema.tables[key.table]) and label(parent)
        ]
        return self.dice.choice(links)

    def value(self, table: Table, column: Column) -> Any:
        """A value that the column really has."""
        found = self.rows(f"SELECT DISTINCT {column.name} FROM {table.name} WHERE {column.name} IS NOT NULL")
        return self.dice.choice(found)[0]


def label(table: Table) -> str | None:
    return next((column.name for column in table.columns if column.name in LABELS), None)


def plural(table: Table) -> str:
    return PLURALS.get(table.name, f"{table.name}s")


def words(column: Column) -> str:
    return column.name.replace("_", " ")


def numbers(table: Table) -> list[Column]:
    """Columns that measure something."""
    return [c for c in table.columns if c.kind in ("integer", "decimal") and not c.key and c.type != "tinyint"]


def by(here: str, parent: Table) -> str:
    """Which key is meant, where its name does not say so."""
    return "" if here == f"{parent.name}_id" else f" by {here.replace('_', ' ')}"


def categories(world: World, table: Table) -> list[Column]:
    """Text columns with a few different values."""
    found = []
    for column in table.columns:
        if column.kind == "text" and column.name not in LABELS:
            count = world.rows(f"SELECT COUNT(DISTINCT {column.name}) FROM {table.name}")[0][0]
            if FEWEST <= count <= MOST:
                found.append(column)
    return found


def count_where(world: World) -> Draft:
    table = world.table(lambda t: bool(categories(world, t)))
    column = world.dice.choice(categories(world, table))
    value = world.value(table, column)
    return Draft(
        f"How many {plural(table)} have the {words(column)} {value}?",
        f"SELECT COUNT(*) FROM {table.name} WHERE {column.name} = '{value}'",
        "easy",
    )


def extreme(world: World) -> Draft:
    table = world.table(lambda t: bool(numbers(t)))
    column = world.dice.choice(numbers(table))
    name, function = world.dice.choice([("highest", "MAX"), ("lowest", "MIN"), ("average", "AVG")])
    return Draft(
        f"What is the {name} {words(column)} of all {plural(table)}?",
        f"SELECT {function}({column.name}) FROM {table.name}",
        "easy",
    )


def list_above(world: World) -> Draft:
    table = world.table(lambda t: label(t) is not None and bool(numbers(t)))
    column = world.dice.choice(numbers(table))
    value = world.value(table, column)
    return Draft(
        f"Which {plural(table)} have a {words(column)} above {value}? Show their {label(table)}.",
        f"SELECT {label(table)} FROM {table.name} WHERE {column.name} > {value}",
        "easy",
    )


def count_each(world: World) -> Draft:
    table = world.table(lambda t: bool(categories(world, t)))
    column = world.dice.choice(categories(world, table))
    return Draft(
        f"How many {plural(table)} are there for each {words(column)}? Show the {words(column)} and the number, in "
        f"order of the {words(column)}.",
        f"SELECT {column.name}, COUNT(*) FROM {table.name} GROUP BY {column.name} ORDER BY {column.name}",
        "medium",
    )


def top(world: World) -> Draft:
    table = world.table(lambda t: label(t) is not None and bool(numbers(t)))
    column, count = world.dice.choice(numbers(table)), world.dice.randrange(2, 6)
    name, order = world.dice.choice([("highest", "DESC"), ("lowest", "ASC")])
    return Draft(
        f"Show the {label(table)} of the {count} {plural(table)} with the {name} {words(column)}, the {name} "
        f"first and equal ones by {label(table)}.",
        f"SELECT {label(table)} FROM {table.name} ORDER BY {column.name} {order}, {label(table)} LIMIT {count}",
        "medium",
    )


def joined_count(world: World) -> Draft:
    child, parent, here, there = world.link()
    value = str(world.rows(f"SELECT {label(parent)} FROM {parent.name} ORDER BY 1")[world.dice.randrange(5)][0])
    return Draft(
        f"How many {plural(child)} belong to the {parent.name} {value}{by(here, parent)}?",
        f"SELECT COUNT(*) FROM {child.name} AS T1 JOIN {parent.name} AS T2 ON T1.{here} = T2.{there} "
        f"WHERE T2.{label(parent)} = '{value}'",
        "medium",
    )


def most(world: World) -> Draft:
    child, parent, here, there = world.link()
    name = label(parent)
    return Draft(
        f"Which {parent.name} has the most {plural(child)}{by(here, parent)}? Show its {name} and the number; of "
        f"equal ones the first by {name}.",
        f"SELECT T1.{name}, COUNT(*) FROM {parent.name} AS T1 JOIN {child.name} AS T2 ON T1.{there} = T2.{here} "
        f"GROUP BY T1.{there}, T1.{name} ORDER BY COUNT(*) DESC, T1.{name} LIMIT 1",
        "hard",
    )


def above_average(world: World) -> Draft:
    table = world.table(lambda t: label(t) is not None and bool(numbers(t)))
    column = world.dice.choice(numbers(table))
    return Draft(
        f"Show the {label(table)} of all {plural(table)} whose {words(column)} is above the average, by "
        f"{label(table)}.",
        f"SELECT {label(table)} FROM {table.name} WHERE {column.name} > (SELECT AVG({column.name}) "
        f"FROM {table.name}) "
        f"ORDER BY {label(table)}",
        "hard",
    )


def without(world: World) -> Draft:
    child, parent, here, there = world.link()
    name = label(parent)
    return Draft(
        f"Which {plural(parent)} have no {child.name}{by(here, parent)}? Show their {name}, in order.",
        f"SELECT {name} FROM {parent.name} WHERE {there} NOT IN (SELECT {here} FROM {child.name}) ORDER BY {name}",
        "hard",
    )


def at_least(world: World) -> Draft:
    child, parent, here, there = world.link()
    name, count = label(parent), world.dice.randrange(3, 9)
    return Draft(
        f"Which {plural(parent)} have at least {count} {plural(child)}{by(here, parent)}? Show {name} and number, "
        f"most first and equal ones by {name}.",
        f"SELECT T1.{name}, COUNT(*) FROM {parent.name} AS T1 JOIN {child.name} AS T2 ON T1.{there} = T2.{here} "
        f"GROUP BY T1.{there}, T1.{name} HAVING COUNT(*) >= {count} ORDER BY COUNT(*) DESC, T1.{name}",
        "extra",
    )


def average_of_some(world: World) -> Draft | None:
    child, parent, here, there = world.link()
    kinds, name = categories(world, parent), label(parent)
    if not kinds or not numbers(child):
        return None
    kind, column = world.dice.choice(kinds), world.dice.choice(numbers(child))
    value = world.value(parent, kind)
    return Draft(
        f"For each {parent.name} with the {words(kind)} {value}, what is the average {words(column)} of its "
        f"{plural(child)}{by(here, parent)}? Show {name} and average, in order of {name}.",
        f"SELECT T1.{name}, AVG(T2.{column.name}) FROM {parent.name} AS T1 JOIN {child.name} AS T2 "
        f"ON T1.{there} = T2.{here} WHERE T1.{kind.name} = '{value}' GROUP BY T1.{there}, T1.{name} "
        f"ORDER BY T1.{name}",
        "extra",
    )


TEMPLATES: tuple[Callable[[World], Draft | None], ...] = (
    count_where, extreme, list_above, count_each, top, joined_count, most, above_average, without, at_least,
    average_of_some,
)  # fmt: skip


def generate_questions(seed: int, count: int) -> list[Task]:
    """`count` different questions over the bundled databases (fewer when the templates run dry); the same for the
    same seed. Their ids are `generated-SEED-NUMBER`, their split is `generated`."""
    catalog = open_dump(bundled_dump())
    dice = Random(seed)  # noqa: S311 - reproducible, not secret
    worlds = [open_world(catalog, name, dice) for name in catalog.names]
    tasks: dict[str, Task] = {}
    misses = 0
    while len(tasks) < count and misses < _MOST_MISSES:
        misses += 1
        world = dice.choice(worlds)
        draft = dice.choice(TEMPLATES)(world)
        if (
            draft is None
            or draft.gold in tasks
            or not any(any(v is not None for v in r) for r in world.rows(draft.gold))
        ):
            continue
        row = {
            "id": f"generated-{seed}-{len(tasks):04d}",
            "query": draft.question,
            "gold": draft.gold,
            "db": world.schema.name,
            "hardness": draft.hardness,
        }
        task = task_of(row, bundled_dump().with_name("generated.json"), len(tasks), BUNDLED, is_gold_empty=False)
        tasks[draft.gold] = task
        misses = 0
    for world in worlds:
        world.connection.close()
    return list(tasks.values())


def open_world(catalog: Catalog, name: str, dice: Random) -> World:
    """Our own queries over our own rows need no sandbox."""
    connection = sqlite3.connect(f"file:{catalog.file(name)}?mode=ro", uri=True)
    sql_functions.register(connection)
    return World(catalog.schema(name), connection, dice)
