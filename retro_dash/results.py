"""Finished evaluations, and what may be compared: the arms that played the same tasks, with how each was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import JsonValue

from data.errors import UnknownName
from data.store import Store
from data.types import Adapter, Noun, Run, RunState
from retro_dash.adapters import known_adapters
from retro_dash.evaluating import ArmReport, EvaluationReport, finished_report
from retro_dash.jobs import Jobs
from retro_dash.run_config import Arm
from retro_dash.scores import Interval
from retro_dash.service import Service

Terms = Literal["IL", "RL", "IL + RL", "imported"]


class EvaluationResult(Noun):
    """A finished evaluation with its report."""

    run: Run
    source: dict[str, JsonValue]
    report: dict[str, JsonValue]


class ResultPage(NamedTuple):
    """Some of the list."""

    results: list[EvaluationResult]
    next_cursor: str | None
    """The run behind which the next page begins; None on the last one."""


class Training(Noun):
    """What made a policy."""

    run_id: str | None
    terms: Terms
    """The terms of its loss: imitation, policy gradient, or both."""
    method: str
    preset: str
    il_coefficient: float | None
    """λ, where a policy gradient stands beside it."""
    is_shared: bool
    """One set of weights for both roles."""


class Contender(Noun):
    """One arm of one evaluation."""

    run_id: str
    arm: Arm
    model: str
    planner: Training | None
    """None for a policy that was not trained here."""
    reflector: Training | None
    initial: Interval
    final: Interval
    average: Interval
    by_trial: tuple[Interval, ...]


class TaskSet(Noun):
    """Evaluations of the very same tasks, trials and seeds: only these may stand in one figure."""

    key: str
    env: str
    tasks: int
    trials: int
    seeds: tuple[int, ...]
    measure: str
    contenders: tuple[Contender, ...]
    """The newest of each pair of players, the newest evaluation first."""


def evaluation_results(service: Service, after: str | None, limit: int) -> ResultPage:
    """Finished evaluations, newest first, of at most `limit` runs behind the run `after`. Raises BadInput."""
    runs = service.store.runs(("evaluate",), (RunState.FINISHED,), after=after, limit=limit + 1)
    found = ((run, service.report(run.id)) for run in runs[:limit])
    results = [
        EvaluationResult(run=run, source=service.jobs.folder(run.id).source(), report=report)
        for run, report in found
        if report is not None
    ]
    return ResultPage(results, runs[limit - 1].id if len(runs) > limit else None)


def task_sets(store: Store, jobs: Jobs) -> list[TaskSet]:
    """What may be compared, the set with the newest evaluation first."""
    sets: dict[str, tuple[EvaluationReport, dict[tuple[object, ...], Contender]]] = {}
    for run in store.runs(kinds=("evaluate",), states=(RunState.FINISHED,)):
        report = finished_report(jobs.folder(run.id))
        if report is None:
            continue
        parts = (run.dataset_hash, report.env, report.trials, report.measure, *sorted(report.seeds))
        adapters = {adapter.name: adapter for adapter in known_adapters(store, Path(report.model).name)}
        _, contenders = sets.setdefault(" ".join(str(part) for part in parts), (report, {}))
        for arm in report.arms:
            players = (report.model, arm.arm.planner, arm.arm.reflector, arm.arm.strategy, arm.arm.temperature)
            contenders.setdefault(players, _contender(report, arm, adapters, store))
    return [
        TaskSet(
            key=key,
            env=report.env,
            tasks=report.tasks,
            trials=report.trials,
            seeds=report.seeds,
            measure=report.measure,
            contenders=tuple(contenders.values()),
        )
        for key, (report, contenders) in sets.items()
    ]


def _contender(report: EvaluationReport, arm: ArmReport, adapters: dict[str, Adapter], store: Store) -> Contender:
    scores = arm.reward if report.measure == "reward" else arm.success
    return Contender(
        run_id=report.run_id,
        arm=arm.arm,
        model=report.model,
        planner=_training(adapters.get(arm.arm.planner), store),
        reflector=_training(adapters.get(arm.arm.reflector), store),
        initial=scores.initial,
        final=scores.final,
        average=scores.average,
        by_trial=scores.by_trial,
    )


def _training(adapter: Adapter | None, store: Store) -> Training | None:
    if adapter is None:
        return None
    is_shared = adapter.role == "both"
    train = _train_config(adapter, store)
    if train is None:
        return Training(run_id=None, terms="imported", method="", preset="", il_coefficient=None, is_shared=is_shared)
    method, loss = str(train.get("method")), train.get("loss")
    weight = loss.get("il_coefficient") if isinstance(loss, dict) else None
    is_imitation = method in ("sft", "expert_iteration")
    coefficient = float(weight) if isinstance(weight, int | float) and not is_imitation else None
    terms: Terms = "IL" if is_imitation else "IL + RL" if coefficient else "RL"
    return Training(
        run_id=adapter.run_id,
        terms=terms,
        method=method,
        preset=str(train.get("preset")),
        il_coefficient=coefficient,
        is_shared=is_shared,
    )


def _train_config(adapter: Adapter, store: Store) -> dict[str, JsonValue] | None:
    try:
        train = store.run(adapter.run_id).config.get("train") if adapter.run_id else None
    except UnknownName:
        return None
    return train if isinstance(train, dict) else None
