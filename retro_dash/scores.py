"""Scores of episodes as the papers report them: first, final and average over trials, with bootstrap intervals.

RetroAct, section 4.1: IR, FR and AR are the score of the first trial, of the last one, and the mean over all trials.
A solved task stays solved and is not tried again (their code), so its later trials repeat its last score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import BadInput
from data.types import Episode, Noun

Measure = Literal["reward", "success"]
RESAMPLES = 4000


class Interval(Noun):
    """A mean and its 95 % percentile bootstrap interval over tasks."""

    mean: float
    low: float
    high: float


class Scores(Noun):
    """What one method scored on a set of tasks."""

    measure: Measure
    tasks: int
    trials: int
    initial: Interval
    final: Interval
    average: Interval
    by_trial: tuple[Interval, ...]
    """Score of each trial; a solved task keeps its score."""
    best_by_trial: tuple[Interval, ...]
    """Best score up to each trial."""


class Comparison(Noun):
    """Two methods on the same tasks."""

    difference: Interval
    """Final score of the second minus the first, paired by task."""
    solved: tuple[tuple[str, str, str], ...]
    """(task, first's episode, second's episode): failed before, solved now."""
    broken: tuple[tuple[str, str, str], ...]
    """Solved before, failed now."""


def score_table(episodes: Sequence[Episode], trials: int, measure: Measure) -> NDArray[np.float64]:
    """(tasks, trials): the score of each trial of each episode. Raises BadInput for episodes without a trial."""
    rows = []
    for episode in episodes:
        scores = [float(t.success) if measure == "success" else t.reward for t in episode.trials[:trials]]
        if not scores:
            raise BadInput(f"Episode {episode.id} has no trial, so it has no score.")
        rows.append(scores + [scores[-1]] * (trials - len(scores)))
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), trials)


def score(episodes: Sequence[Episode], trials: int, measure: Measure = "reward", seed: int = 0) -> Scores:
    """IR, FR, AR and the curves by trial. Raises BadInput when there are no episodes."""
    if not episodes:
        raise BadInput("There are no episodes to score.")
    table = score_table(episodes, trials, measure)
    best = np.maximum.accumulate(table, axis=1)
    return Scores(
        measure=measure,
        tasks=len(episodes),
        trials=trials,
        initial=bootstrap(table[:, 0], seed),
        final=bootstrap(table[:, -1], seed),
        average=bootstrap(table.mean(axis=1), seed),
        by_trial=tuple(bootstrap(table[:, k], seed) for k in range(trials)),
        best_by_trial=tuple(bootstrap(best[:, k], seed) for k in range(trials)),
    )


def compare(
    before: Sequence[Episode], after: Sequence[Episode], trials: int, measure: Measure = "reward", seed: int = 0
) -> Comparison:
    """The paired difference and the flips. Raises BadInput when the two did not play the same tasks."""
    first, second = _by_task(before), _by_task(after)
    if first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        raise BadInput(f"The two did not play the same tasks: {', '.join(odd[:5])} differ. Evaluate the same tasks.")
    order = sorted(first)
    gains = score_table([second[t] for t in order], trials, measure)[:, -1]
    gains = gains - score_table([first[t] for t in order], trials, measure)[:, -1]
    flips = [(t, first[t].id, second[t].id, _is_solved(first[t]), _is_solved(second[t])) for t in order]
    return Comparison(
        difference=bootstrap(gains, seed),
        solved=tuple((t, a, b) for t, a, b, was, now in flips if now and not was),
        broken=tuple((t, a, b) for t, a, b, was, now in flips if was and not now),
    )


def bootstrap(values: NDArray[np.float64], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Mean of `values` (one per task) with its 95 % percentile interval; reproducible from the seed."""
    draws = np.random.default_rng(seed).integers(0, len(values), size=(resamples, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), [2.5, 97.5])
    return Interval(mean=float(values.mean()), low=float(low), high=float(high))


def _by_task(episodes: Sequence[Episode]) -> dict[str, Episode]:
    """Keyed by task and seed, so that repeated seeds pair up."""
    return {f"{episode.task.id} seed {episode.seed}": episode for episode in episodes}


def _is_solved(episode: Episode) -> bool:
    return any(trial.success for trial in episode.trials)
