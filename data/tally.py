"""What the store remembers of an episode while events arrive: its list columns and gains follow from it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from data.cells import as_json
from data.errors import BadInput
from data.types import EpisodeState, StopReason


@dataclass
class TrialTally:
    """One trial, as far as the list shows it."""

    turns: int = 0
    last_turn: int = 0
    reward: float = 0.0
    success: bool = False
    stop_reason: StopReason | None = None


@dataclass
class Tally:
    """What the store remembers of an episode while events arrive."""

    number: int
    state: EpisodeState
    trials: dict[int, TrialTally] = field(default_factory=dict)
    gains: dict[int, float | None] = field(default_factory=dict)
    """Gain of the reflection after each trial that has one."""

    @classmethod
    def load(cls, number: int, state: str, text: str) -> Tally:
        stored = json.loads(text)
        trials = {
            index: TrialTally(turns, last, reward, success, StopReason(stop) if stop else None)
            for index, turns, last, reward, success, stop in stored["trials"]
        }
        return cls(number, EpisodeState(state), trials, dict(stored["gains"]))

    def trial(self, episode_id: str, index: int) -> TrialTally:
        if index not in self.trials:
            raise BadInput(f"Episode {episode_id} has no trial {index}; it has {len(self.trials)}.")
        return self.trials[index]

    def gain(self, after_trial: int) -> float | None:
        """Reward of the next trial minus reward of this one, once both have ended."""
        before, after = self.trials.get(after_trial), self.trials.get(after_trial + 1)
        if before is None or after is None or before.stop_reason is None or after.stop_reason is None:
            return None
        return after.reward - before.reward

    def columns(self) -> dict[str, Any]:
        """The columns of `episodes` that follow from trials and reflections."""
        ended = [self.trials[index] for index in sorted(self.trials) if self.trials[index].stop_reason is not None]
        gains = [gain for gain in self.gains.values() if gain is not None]
        return {
            "state": self.state.value,
            "success": any(trial.success for trial in ended),
            "trial_count": len(self.trials),
            "turn_count": sum(trial.turns for trial in self.trials.values()),
            "first_reward": ended[0].reward if ended else None,
            "last_reward": ended[-1].reward if ended else None,
            "best_gain": max(gains, default=None),
            "tally": as_json({
                "trials": [
                    (index, t.turns, t.last_turn, t.reward, t.success, t.stop_reason and t.stop_reason.value)
                    for index, t in sorted(self.trials.items())
                ],
                "gains": sorted(self.gains.items()),
            }),
        }  # fmt: skip
