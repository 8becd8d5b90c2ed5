"""The live parts of the running trial: caches of what is recorded, rebuilt whenever they are missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from data.errors import EnvironmentCrashed
from data.types import Completion, Trial
from envs.base import Environment
from retro_dash.agent.policy import Dialogue
from retro_dash.agent.reply import format_reply


@dataclass(frozen=True)
class Seat:
    """Where the planner sits while a trial runs."""

    environment: Environment
    dialogue: Dialogue


def rebuild(trial: Trial, environment: Environment, begin: Callable[[Trial], Dialogue]) -> Seat:
    """The seat of a recorded trial, its actions replayed; `begin` opens the dialogue of the trial without turns.

    Raises EnvironmentCrashed when the environment now answers differently.
    """
    _compare(trial, 0, trial.opening, environment.start())
    dialogue = begin(trial.model_copy(update={"turns": ()}))
    for turn in trial.turns:
        if not turn.is_malformed:
            _compare(trial, turn.index, turn.observation, environment.step(turn.action).observation)
        dialogue.put(turn.completion or Completion(policy="human", text=format_reply(turn.thought, turn.action)))
        dialogue.tell(turn.observation)
    return Seat(environment, dialogue)


def _compare(trial: Trial, turn: int, recorded: str, replayed: str) -> None:
    if recorded != replayed:
        raise EnvironmentCrashed(
            f"Trial {trial.index} cannot be continued: replaying turn {turn} gave {replayed[:80]!r} where "
            f"{recorded[:80]!r} was recorded. Start the trial anew."
        )
