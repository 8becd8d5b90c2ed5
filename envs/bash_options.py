"""The settings of the Bash environment."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from envs.bash_reward import RewardForm
from envs.bash_tasks import ENVIRONMENT
from envs.options import CheckedOptions


class BashOptions(CheckedOptions):
    environment: ClassVar[str] = ENVIRONMENT

    trees: str | None = Field(
        default=None, description="Folder of file trees as NAME.json; default: the bundled ones."
    )
    reward: RewardForm | None = Field(
        default=None,
        description="published (as InterCode's code) or strict (modes, changed contents and order of lines count "
        "too); default: what the task says, else published.",
    )
    seconds: float = Field(default=10.0, ge=0.1, le=600, description="Time limit of one command; default 10.")
    observation_limit: int = Field(
        default=1000,
        ge=1,
        le=1_000_000,
        description="Characters of a command's output that the planner sees; default 1000.",
    )
    backend: Literal["bubblewrap", "docker"] = Field(
        default="bubblewrap",
        description="Where commands run: bubblewrap (default) or docker, a container of the daemon that answers.",
    )
    image: str = Field(
        default="debian:12-slim",
        pattern=r"^[A-Za-z0-9][\w./:@-]*$",
        max_length=300,
        description="With backend=docker: an image that the daemon has, with bash and coreutils; default "
        "debian:12-slim.",
    )
    unsafe_run_model_code_on_host: bool = Field(
        default=False,
        description="true runs commands without any sandbox, with your rights, on your files. Refused for root, "
        "recorded in every turn's view.",
    )

    @field_validator("trees")
    @classmethod
    def _is_a_folder(cls, trees: str | None) -> str | None:
        if trees is not None and not Path(trees).is_dir():
            raise ValueError("it must be a folder with NAME.json file trees")
        return trees

    @model_validator(mode="after")
    def _has_one_place(self) -> BashOptions:
        if self.unsafe_run_model_code_on_host and self.backend == "docker":
            raise ValueError("commands run in a container or, unsafely, on the host; choose one")
        return self

    @property
    def place(self) -> Literal["bubblewrap", "docker", "host"]:
        """Where commands run."""
        return "host" if self.unsafe_run_model_code_on_host else self.backend
