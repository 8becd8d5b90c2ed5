"""What replays of recorded trials found, turn by turn, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from data.types import Noun

MOST_NOTES = 3
"""Notes that the summary repeats."""


class Divergence(Noun):
    """Where a replay first differs. `field` is `reward`, `observation`, or `end` (the replay ended before)."""

    trial_id: str
    turn: int
    action: str
    field: Literal["reward", "observation", "end"]
    recorded: str
    replayed: str


class ReplayedTrial(Noun):
    """One recorded trial. Counts are turns."""

    id: str
    env: str
    task_id: str | None
    turns: int
    rewards_compared: int = 0
    rewards_agree: int = 0
    observations_compared: int = 0
    observations_agree: int = 0
    first_divergence: Divergence | None = None
    note: str | None = None
    """Why it was not replayed, or only in part."""

    @property
    def compared(self) -> int:
        return max(self.rewards_compared, self.observations_compared)


class ReplayReport(Noun):
    """What a replay of many trials found. Counts are turns, over all trials."""

    compared: int
    """Turns of which a reward or an observation was compared."""
    rewards_compared: int
    rewards_agree: int
    observations_compared: int
    observations_agree: int
    trials_replayed: int
    trials_not_replayed: int
    is_reproducible: bool
    """Something was compared, in every trial, and all of it agreed."""
    summary: str
    """What was found, for people: a sentence or two."""
    first_divergence: Divergence | None
    notes: dict[str, int]
    """Why trials were not, or only partly, replayed -> how many."""
    trials: tuple[ReplayedTrial, ...]


def summarise(trials: Sequence[ReplayedTrial]) -> ReplayReport:
    """Add up the trials."""
    notes: dict[str, int] = {}
    for trial in trials:
        if trial.note:
            notes[trial.note] = notes.get(trial.note, 0) + 1
    replayed = [trial for trial in trials if trial.compared]
    report = ReplayReport(
        compared=sum(trial.compared for trial in trials),
        rewards_compared=sum(trial.rewards_compared for trial in trials),
        rewards_agree=sum(trial.rewards_agree for trial in trials),
        observations_compared=sum(trial.observations_compared for trial in trials),
        observations_agree=sum(trial.observations_agree for trial in trials),
        trials_replayed=len(replayed),
        trials_not_replayed=len(trials) - len(replayed),
        is_reproducible=bool(trials) and all(trial.compared and trial.first_divergence is None for trial in trials),
        summary="",
        first_divergence=next((trial.first_divergence for trial in trials if trial.first_divergence), None),
        notes=notes,
        trials=tuple(trials),
    )
    return report.model_copy(update={"summary": _in_words(report)})


def _in_words(report: ReplayReport) -> str:
    first = report.first_divergence
    said = []
    if not report.compared:
        said.append("Nothing could be played again.")
    elif first is None:
        said.append(f"All {report.compared} actions that were played again gave what was recorded.")
    else:
        said.append(
            f"{report.observations_agree} of {report.observations_compared} observations and {report.rewards_agree} "
            f"of {report.rewards_compared} rewards agree."
        )
        said.append(
            f"First difference: turn {first.turn} of {first.trial_id}, {_quoted(first.action)}: {_differs(first)}"
        )
    return " ".join([*said, *list(report.notes)[:MOST_NOTES]])


def _differs(first: Divergence) -> str:
    if first.field == "end":
        return "the trial had ended before it."
    return f"the {first.field} was {_quoted(first.recorded)} and is now {_quoted(first.replayed)}."


def _quoted(text: str) -> str:
    line = "".join(letter if letter.isprintable() else "\ufffd" for letter in " ".join(text.split()))
    return f"“{line if len(line) <= 120 else line[:119] + '…'}”"
