"""Forks: a new episode that shares the beginning of another."""

from __future__ import annotations

from datetime import UTC, datetime

from data.errors import BadInput
from data.types import Episode, EpisodeState, Turn


def fork_episode(
    parent: Episode, trial_index: int, turn_index: int, *, episode_id: str, run_id: str, planner: str | None = None
) -> Episode:
    """A new running episode that shares everything before turn `turn_index` of trial `trial_index` with its parent.

    Turns sampled by another planner than the fork's lose their token ids: they are context, not this policy's choice.
    Raises BadInput when the parent has no such turn.
    """
    trial = next((t for t in parent.trials if t.index == trial_index), None)
    if trial is None or not 1 <= turn_index <= len(trial.turns) + 1:
        raise BadInput(f"Episode {parent.id} has no turn {turn_index} in trial {trial_index} to fork from.")
    name = planner or parent.planner

    def adopt(turn: Turn) -> Turn:
        if turn.completion is None or turn.completion.policy in (name, "human"):
            return turn
        bare = turn.completion.model_copy(update={"context_ids": None, "token_ids": None, "logprobs": None})
        return turn.model_copy(update={"completion": bare})

    shared = trial.model_copy(
        update={
            "turns": tuple(adopt(turn) for turn in trial.turns[: turn_index - 1]),
            "reward": 0.0,
            "success": False,
            "stop_reason": None,
            "error": None,
            "finished_at": None,
        }
    )
    return parent.model_copy(
        update={
            "id": episode_id,
            "run_id": run_id,
            "planner": name,
            "parent_id": parent.id,
            "fork_trial": trial_index,
            "fork_turn": turn_index,
            "trials": (*[t for t in parent.trials if t.index < trial_index], shared),
            "reflections": tuple(r for r in parent.reflections if r.after_trial < trial_index),
            "state": EpisodeState.RUNNING,
            "trial_limit": max(parent.trial_limit, trial_index),
            "created_at": datetime.now(UTC),
        }
    )
