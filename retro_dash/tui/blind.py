"""Blind labelling: what came of a reflection stays hidden until the annotator has judged it, as on the page."""

from __future__ import annotations

from typing import Any

from retro_dash.tui.ledger import Ledger
from retro_dash.tui.parts import Part

JUDGEMENTS = ("quality", "verdict", "preference")


def blinded(episode: dict[str, Any], mine: Ledger) -> dict[str, Any]:
    """The episode without the gains of unjudged reflections, and without the outcomes after the first of them."""
    unjudged = {
        one["after_trial"]
        for one in episode["reflections"]
        if not any(mine.label(Part("reflection", one["after_trial"]), name) for name in JUDGEMENTS)
    }
    if not unjudged:
        return episode
    first = min(unjudged)
    reflections = [
        {**one, "gain": None, "is_hidden": True} if one["after_trial"] in unjudged else one
        for one in episode["reflections"]
    ]
    trials = [_hidden(trial) if trial["index"] > first else trial for trial in episode["trials"]]
    return {**episode, "state": "outcome hidden", "trials": trials, "reflections": reflections}


def _hidden(trial: dict[str, Any]) -> dict[str, Any]:
    return {**trial, "is_hidden": True, "error": None, "turns": [{**turn, "reward": 0.0} for turn in trial["turns"]]}
