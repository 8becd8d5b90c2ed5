"""What a person chose in the terminal, in a small file: the theme."""

from __future__ import annotations

import json
import os
from pathlib import Path

FILE = "tui.json"
MOST_BYTES = 4096


def choices_file(home: Path | None) -> Path:
    """In the home; for a hub elsewhere in the user's folder of settings."""
    if home is not None:
        return home / FILE
    config = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(config) if config.startswith("/") else Path.home() / ".config") / "retro-dash" / FILE


def read_theme(file: Path) -> str:
    """The theme that was chosen; empty where none was. Raises ValueError for a file that says something else."""
    try:
        with file.open("rb") as opened:
            known = json.loads(opened.read(MOST_BYTES))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise ValueError(f"{file} is ignored: {why}. Choose a theme, or delete it.") from error
    theme = known.get("theme") if isinstance(known, dict) else None
    if not isinstance(theme, str):
        raise ValueError(f"{file} is ignored: it names no theme. Choose one, or delete it.")
    return theme


def write_theme(file: Path, theme: str) -> None:
    """Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    written = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        written.write_text(json.dumps({"theme": theme}) + "\n", encoding="utf-8")
        written.replace(file)
    finally:
        written.unlink(missing_ok=True)
