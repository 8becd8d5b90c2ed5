"""What a database says to one statement, as InterCode's environment shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from envs.sql_schema import Schema

ERROR = "Error executing query: "
ROW_LIMIT = 100_000
"""Rows of an answer; more are an error, not a cut list: a cut list would be scored as if whole."""
GRACE_SECONDS = 0.5
"""An engine that has not answered this long after its own time limit is given up."""


@dataclass(frozen=True)
class Answer:
    """Rows, an error, or nothing at all (`USE`, `SET`)."""

    rows: list[tuple[Any, ...]] | None = None
    columns: tuple[str, ...] = ()
    error: str | None = None

    def observation(self) -> str:
        """The whole answer as text: a Python list of tuples, `None`, or the error sentence."""
        return f"{ERROR}{self.error}" if self.error is not None else str(self.rows)


class Session(Protocol):
    """One open database."""

    schema: Schema

    def run(self, statement: str) -> Answer:
        """Run one statement; whatever is wrong with it is in the answer. Raises EnvironmentCrashed."""
        ...

    def close(self) -> None:
        """Safe to call twice."""
        ...
