"""Plays trials of any environment with its expert or with given actions, for the tests of environments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from data.types import StopReason, Task, Trial, Turn
from envs.base import Environment, EnvironmentKind, Expert, Options, StepOutcome

START = datetime(2026, 1, 1, tzinfo=UTC)


def play_trial(
    kind: EnvironmentKind,
    task: Task,
    options: Options,
    expert: Expert,
    reflections: Sequence[str] = (),
    index: int = 1,
) -> Trial:
    """One trial of an expert, up to the turn limit."""
    environment = kind.open(task, options)
    try:
        opening = environment.start()
        trial = Trial(index=index, prompt=kind.instructions(task, options), opening=opening, started_at=START)
        for number in range(1, (task.turn_limit or kind.turn_limit) + 1):
            move = expert.move(task, reflections, trial)
            outcome = environment.step(move.action)
            turn = Turn(
                index=number,
                thought=move.thought,
                action=move.action,
                observation=outcome.observation,
                reward=outcome.reward,
                is_valid=outcome.is_valid,
            )
            trial = trial.model_copy(
                update={
                    "turns": (*trial.turns, turn),
                    "reward": outcome.reward,
                    "success": outcome.stop is StopReason.SOLVED,
                    "stop_reason": outcome.stop,
                }
            )
            if outcome.stop is not None:
                return trial
        return trial.model_copy(update={"stop_reason": StopReason.TURN_LIMIT})
    finally:
        environment.close()


def play_episode(
    kind: EnvironmentKind, task: Task, options: Options, expert: Expert, trials: int
) -> tuple[list[Trial], list[str]]:
    """Trials until one succeeds, with the expert's reflections between them."""
    played: list[Trial] = []
    reflections: list[str] = []
    while len(played) < trials:
        memory = reflections if kind.reflection_memory is None else reflections[-kind.reflection_memory :]
        played.append(play_trial(kind, task, options, expert, tuple(memory), len(played) + 1))
        if played[-1].success:
            break
        reflections.append(expert.reflect(task, tuple(memory), played[-1]))
    return played, reflections


def do_actions(environment: Environment, actions: Iterable[str]) -> list[StepOutcome]:
    """Start an environment and do the actions up to its end."""
    environment.start()
    outcomes: list[StepOutcome] = []
    for action in actions:
        outcomes.append(environment.step(action))
        if outcomes[-1].stop is not None:
            break
    return outcomes
