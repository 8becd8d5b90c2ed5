"""CSV for spreadsheets: one row an episode. No cell can become a formula, and none holds a control character."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from data.formats.entry import About, Entry
from data.types import Label

FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""A cell that starts so is run by spreadsheets (OWASP, CSV injection); the full-width forms too."""
COLUMNS = (
    "episode_id",
    "env",
    "split",
    "task_id",
    "instruction",
    "planner",
    "reflector",
    "state",
    "trials",
    "turns",
    "first_reward",
    "last_reward",
    "best_gain",
    "verdicts",
    "tags",
    "notes",
    "annotators",
    "reflections",
    "run_id",
    "source",
    "created_at",
    "dataset_hash",
    "tagset_version",
)


def write(entries: Iterable[Entry], path: Path, about: About) -> int:
    """One row an episode; returns how many."""
    count = 0
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for entry in entries:
            writer.writerow([safe_cell(value) for value in _cells(entry, about)])
            count += 1
    return count


def safe_cell(value: str | float | None) -> str | float:
    """Numbers as they are; text without control characters, quoted with an apostrophe where it would be a formula."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    text = "".join(c if c == "\n" or unicodedata.category(c) not in ("Cc", "Cs") else " " for c in value)
    return f"'{text}" if text.lstrip().startswith(FORMULA) or value.startswith(FORMULA) else text


def _cells(entry: Entry, about: About) -> list[str | float | None]:
    episode = entry.episode
    rewards = [trial.reward for trial in episode.trials if trial.stop_reason is not None]
    gains = [reflection.gain for reflection in episode.reflections if reflection.gain is not None]
    return [
        episode.id,
        episode.task.env,
        episode.task.split,
        episode.task.id,
        episode.task.instruction,
        episode.planner,
        episode.reflector,
        episode.state.value,
        len(episode.trials),
        sum(len(trial.turns) for trial in episode.trials),
        rewards[0] if rewards else None,
        rewards[-1] if rewards else None,
        max(gains, default=None),
        _said(entry.labels, "verdict"),
        _said(entry.labels, "tags"),
        _said(entry.labels, "note"),
        "; ".join(sorted({label.annotator for label in entry.labels})),
        "\n".join(reflection.text for reflection in episode.reflections),
        episode.run_id,
        episode.source,
        episode.created_at.isoformat(),
        about.dataset_hash,
        about.tagset_version,
    ]


def _said(labels: Iterable[Label], name: str) -> str:
    """`kim: good` of every annotator, for the episode as a whole."""
    said = [label for label in labels if label.name == name and label.target.part == "episode"]
    return "; ".join(f"{label.annotator}: {_plain(label.value)}" for label in said)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
