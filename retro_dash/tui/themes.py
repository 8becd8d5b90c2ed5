"""The colours of the pages for a terminal: who or what, in light, dark and 16 colours."""

from __future__ import annotations

import os
from collections.abc import Container

from textual.theme import Theme

DARK = {
    "planner": "#74b5ff",
    "reflector": "#cba6ff",
    "reflector-soft": "#231a33",
    "environment": "#96a1b0",
    "human": "#f0b94b",
    "expert": "#52cfc0",
    "failure": "#ff8f84",
    "dim": "#96a1b0",
}
LIGHT = {
    "planner": "#0a5cad",
    "reflector": "#7038ae",
    "reflector-soft": "#f4eefb",
    "environment": "#5a6472",
    "human": "#855400",
    "expert": "#006d64",
    "failure": "#b3261e",
    "dim": "#5a6472",
}
ANSI = {
    "planner": "ansi_blue",
    "reflector": "ansi_magenta",
    "reflector-soft": "ansi_default",
    "environment": "ansi_default",
    "human": "ansi_yellow",
    "expert": "ansi_cyan",
    "failure": "ansi_red",
    "dim": "ansi_default",
}
RETRO_DARK = Theme(
    name="retro-dark",
    primary="#74b5ff",
    secondary="#cba6ff",
    accent="#74b5ff",
    warning="#f0b94b",
    error="#ff8f84",
    success="#62cf82",
    foreground="#e8ebf0",
    background="#0f1318",
    surface="#171c23",
    panel="#222932",
    dark=True,
    variables=DARK,
)
RETRO_LIGHT = Theme(
    name="retro-light",
    primary="#0a5cad",
    secondary="#7038ae",
    accent="#0a5cad",
    warning="#855400",
    error="#b3261e",
    success="#17732f",
    foreground="#151a21",
    background="#f5f6f8",
    surface="#ffffff",
    panel="#e4e8ee",
    dark=False,
    variables=LIGHT,
)


def hues(theme: Theme) -> dict[str, str]:
    """Our colours for a theme that does not bring them."""
    if theme.name.startswith("ansi"):
        return ANSI
    return DARK if theme.dark else LIGHT


def first_theme(color_system: str | None, known: Container[str], chosen: str = "") -> str:
    """The theme of `TEXTUAL_THEME`, as everywhere in Textual; else the one that was chosen before; else ours, or with
    16 colours those of the terminal."""
    for wanted in (os.environ.get("TEXTUAL_THEME", ""), chosen):
        if wanted in known:
            return wanted
    return RETRO_DARK.name if color_system in ("256", "truecolor") else "ansi-dark"
