"""Settings: one frozen model, filled from defaults, `retro.toml`, RETRO_* variables and flags, in that order.

An unknown key is an error wherever it comes from.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from data.errors import BadConfig

_PREFIX = "RETRO_"
_NOT_SETTINGS = frozenset(
    {
        "RETRO_RUN",  # marks the processes of a background run
        "RETRO_ENGINE_KEY",
        "RETRO_VLLM_PYTHON",
        "RETRO_ALFWORLD_PYTHON",
        "RETRO_MYSQL",
        "RETRO_TRL_PYTHON",
        "RETRO_SHARED_DATA",
        "RETRO_TEST_HOME",
        "RETRO_TOKEN",
    }
)


class Settings(BaseModel):
    """Everything that a person may set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Path(".retro")
    """Folder of the store, runs, models and logs."""
    host: str = "127.0.0.1"
    """Address to listen on; anything but this machine needs accounts."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which browsers reach the dashboard, beside this machine's own (in a variable: a,b)."""
    certificate: Path | None = None
    """PEM file of the TLS certificate (with its chain) to serve HTTPS with."""
    certificate_key: Path | None = None
    """PEM file of its private key."""
    port: int = Field(default=7860, ge=0, le=65535)
    """0 takes any free port."""
    open_browser: bool = True
    engine: str = "embedded"
    """`embedded`, `vllm`, `none`, or the URL of an OpenAI-compatible server."""
    model: str = "smollm2-135m-instruct"
    """What the engine serves: the bundled model, a local folder or a hub id."""
    judge: str = ""
    """URL of an OpenAI-compatible server whose model judges episodes; empty for the engine itself."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key for an engine URL."""
    engine_threads: int | None = Field(default=None, ge=1)
    """CPU threads of the embedded engine; None means all cores."""
    expert_words_per_second: float = Field(default=40.0, ge=0)
    """Pace at which the scripted expert writes on a page, so that people can follow; 0 writes at once."""
    mcp: Literal["off", "read", "write"] = "off"
    """Tools for agents at /mcp: none, those that read, or those that label too."""
    live_limit: int = Field(default=32, ge=1)
    """Episodes that may be live at once."""
    unsafe_run_model_code_on_host: bool = False
    """Run model-written shell and SQL without a sandbox. Dangerous."""

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def load_settings(flags: Mapping[str, object], environ: Mapping[str, str] | None = None) -> Settings:
    """Merge all sources; `flags` holds only what was given on the command line. Raises BadConfig."""
    environ = os.environ if environ is None else environ
    from_environ = {
        name.removeprefix(_PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(_PREFIX) and name not in _NOT_SETTINGS
    }
    given = {name: value for name, value in flags.items() if value is not None}
    home = Path(str(given.get("home") or from_environ.get("home") or ".retro"))
    values: dict[str, object] = {**_from_file(home), **from_environ, **given}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(Settings.model_fields)
        raise BadConfig(
            f"Setting {key!r} is wrong: {first['msg']} (got {first['input']!r}). Known: {known}."
        ) from error
    return settings.model_copy(update={"home": settings.home.expanduser().resolve()})


def _from_file(home: Path) -> dict[str, object]:
    for path in (Path("retro.toml"), home / "retro.toml"):
        if path.is_file():
            try:
                return tomllib.loads(path.read_text(encoding="utf-8"))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise BadConfig(f"{path} is not TOML: {error}. Correct or remove it.") from error
    return {}
