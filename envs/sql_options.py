"""The settings of the SQL environment."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from envs.options import CheckedOptions
from envs.sql_reward import Form

ENVIRONMENT = "intercode_sql"


class SqlOptions(CheckedOptions):
    environment: ClassVar[str] = ENVIRONMENT

    database: str | None = Field(
        default=None,
        description="A MySQL dump (.sql, .sql.gz) for the embedded engine, or mysql://user:password@host:port of a "
        "real server that holds the databases; nothing for the one the task came with.",
    )
    reward: Form = Field(
        default="paper",
        description="paper: IoU x (tau + 1) / 2 (RetroAct, equation 15); intercode: IoU x tau rounded to two digits, "
        "as InterCode's code computes it (may be negative).",
    )
    query_seconds: float = Field(default=5.0, gt=0, le=300, description="Seconds a query may run.")
    memory_mebibytes: int = Field(default=512, ge=128, le=16384, description="Memory of the child that runs queries.")
    observation_rows: int = Field(
        default=25, ge=1, le=1000, description="Rows of an answer that an observation shows."
    )
    observation_characters: int = Field(
        default=350, ge=80, le=100_000, description="Characters of an error that an observation shows."
    )
    unsafe_run_model_code_on_host: bool = Field(
        default=False,
        description="Run queries in a plain child process WITHOUT a sandbox where none works: they can then read "
        "what this user can read. Refused for root.",
    )
