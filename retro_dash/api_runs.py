"""`/api/v1/runs` and `/results`: background runs over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from data.rows import MetricSeries
from data.types import Run, RunState
from retro_dash.alerts import WATCHED, alerts
from retro_dash.api_answers import answers
from retro_dash.evaluating import EvaluationReport
from retro_dash.paging import say_next
from retro_dash.results import EvaluationResult, TaskSet, evaluation_results, task_sets
from retro_dash.run_list import BACKGROUND, Lineage, RunList, RunRow, dataset_items
from retro_dash.service import Service
from retro_dash.step_samples import StepSample, samples_of_step

ALERT_POINTS = 300
Points = Annotated[int, Query(ge=2, le=20_000)]
Names = Annotated[list[str] | None, Query()]
StepNumber = Annotated[int | None, Query(ge=-(2**31), lt=2**31)]
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=200)]
Key = Annotated[str | None, Header(alias="idempotency-key")]


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunRequest(Body):
    """A new run. `config` is that of `retro_dash.run_config`; what it works on comes from the store or the tasks."""

    kind: Literal["collect", "train", "evaluate"]
    name: str = Field(default="", max_length=200)
    config: dict[str, JsonValue]
    filter: str = ""
    """Train: the stored episodes. Collect and evaluate: the tasks of these episodes, when no split is given."""
    split: str | None = None
    """Collect and evaluate: a bundled split."""
    count: int | None = Field(default=None, ge=1)
    """So many tasks of it, drawn with the seed."""
    seed: int = 0
    dataset: str | None = None
    """Train: the hash of a frozen dataset, instead of the filter."""


class CancelBody(Body):
    at_once: bool = False
    """Kill it without saving: what came after the newest checkpoint is lost."""


class ExtendBody(Body):
    epochs: int = Field(ge=1, le=10_000)
    """So many more."""


class MoveBody(Body):
    position: int = Field(ge=0)


class Curve(BaseModel):
    """One curve by columns: a quarter of the bytes of `MetricSeries`."""

    name: str
    total: int
    """Points before thinning."""
    steps: list[int]
    values: list[float]
    """Not a number and infinity are null."""
    times: list[float]
    """Seconds since 1970."""


def runs_router(service: Service) -> APIRouter:
    """All routes of background runs, their curves, logs and results."""
    router = APIRouter(tags=["runs"])
    _add_lists(router, service)
    _add_verbs(router, service)
    _add_curves(router, service)
    _add_facts(router, service)
    _add_results(router, service)
    return router


def _add_lists(router: APIRouter, service: Service) -> None:
    run_list = RunList(service.store, service.jobs)

    @router.get("/runs")
    def runs(
        request: Request,
        response: Response,
        kind: Names = None,
        state: Annotated[list[RunState] | None, Query()] = None,
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> list[Run]:
        """Newest first; the `Link` header says where they go on."""
        found = service.store.runs(kind or BACKGROUND, tuple(state or ()), after=cursor, limit=limit + 1)
        if len(found) > limit:
            say_next(request, response, found[limit - 1].id)
        return list(found[:limit])

    @router.get("/runs/rows")
    def rows(
        request: Request, response: Response, kind: Names = None, cursor: Cursor = None, limit: Limit = 100
    ) -> list[RunRow]:
        """All that have not ended and the newest `limit` that have; the `Link` header says where these go on."""
        page = run_list.page(kind or BACKGROUND, cursor, limit)
        if page.next_cursor is not None:
            say_next(request, response, page.next_cursor)
        return page.rows

    @router.get("/runs/queue")
    def queue() -> list[str]:
        return service.jobs.queue()

    @router.get("/runs/{run_id}")
    def run(run_id: str) -> Run:
        return service.store.run(run_id)

    @router.get("/runs/{run_id}/lineage")
    def lineage(run_id: str) -> Lineage:
        return run_list.lineage(run_id)


def _add_verbs(router: APIRouter, service: Service) -> None:
    jobs = service.jobs

    @router.post("/runs", status_code=201)
    def submit(request: RunRequest, key: Key = None) -> Run:
        asked = request.model_dump(include={"filter", "split", "count", "seed", "dataset"})
        dataset = service.run_dataset(
            request.kind,
            request.config,
            request.filter,
            request.split,
            request.count,
            request.seed,
            request.dataset,
        )
        if request.dataset is not None:
            asked["dataset"] = service.curation.datasets.details(request.dataset).version.hash
        source = {name: value for name, value in asked.items() if name != "dataset" or value is not None}
        return jobs.submit(request.kind, request.name, service.with_adapters(request.config), dataset, key, source)

    @router.post("/runs/{run_id}/cancel")
    def cancel(run_id: str, body: CancelBody | None = None) -> Run:
        jobs.cancel(run_id, at_once=bool(body and body.at_once))
        return service.store.run(run_id)

    @router.post("/runs/{run_id}/resume")
    def resume(run_id: str) -> Run:
        jobs.resume(run_id)
        return service.store.run(run_id)

    @router.post("/runs/{run_id}/extend", status_code=201)
    def extend(run_id: str, body: ExtendBody, key: Key = None) -> Run:
        return jobs.extend(run_id, body.epochs, key)

    @router.post("/runs/{run_id}/move")
    def move(run_id: str, body: MoveBody) -> list[str]:
        return jobs.move(run_id, body.position)


def _add_curves(router: APIRouter, service: Service) -> None:
    store = service.store

    @router.get("/runs/{run_id}/metrics")
    def metrics(run_id: str, name: Names = None, max_points: Points = 1000) -> list[MetricSeries]:
        store.run(run_id)
        return list(store.metrics(run_id, name or (), max_points))

    @router.get("/runs/{run_id}/curves")
    def curves(
        run_id: str,
        name: Names = None,
        max_points: Points = 1000,
        start: StepNumber = None,
        stop: StepNumber = None,
    ) -> list[Curve]:
        """Whole, or from step `start` to step `stop`, both included."""
        store.run(run_id)
        steps = None if start is None or stop is None else (start, stop)
        return [_curve(series) for series in store.metrics(run_id, name or (), max_points, steps)]

    @router.get("/runs/{run_id}/alerts")
    def run_alerts(run_id: str) -> list[str]:
        """What in its curves should worry a person."""
        run = store.run(run_id)
        names = [series.name for series in store.metrics(run_id, max_points=2) if WATCHED.search(series.name)]
        return alerts(run, store.metrics(run_id, names, ALERT_POINTS) if names else ())

    @router.get("/runs/{run_id}/steps/{step}")
    def step_samples(run_id: str, step: int, metric: str) -> list[StepSample]:
        """The trials and reflections that a training step learned from; `metric` tells the job and iteration."""
        return samples_of_step(service.jobs.folder(run_id), store, metric, step)


def _add_facts(router: APIRouter, service: Service) -> None:
    jobs = service.jobs

    @router.get("/runs/{run_id}/dataset")
    def dataset(
        request: Request,
        response: Response,
        run_id: str,
        cursor: Annotated[int, Query(ge=0, lt=2**31)] = 0,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> list[dict[str, JsonValue]]:
        """What the run works on, from item `cursor` on; the `Link` header says where it goes on."""
        found = dataset_items(jobs.folder(run_id), cursor, limit + 1)
        if len(found) > limit:
            say_next(request, response, cursor + limit)
        return found[:limit]

    @router.get("/runs/{run_id}/log", response_class=PlainTextResponse)
    def log(run_id: str, lines: Annotated[int, Query(ge=1, le=5000)] = 100) -> str:
        return jobs.log_tail(run_id, lines)

    @router.get("/runs/{run_id}/report", **answers(EvaluationReport | None))
    def report(run_id: str) -> dict[str, JsonValue] | None:
        return service.report(run_id)


def _add_results(router: APIRouter, service: Service) -> None:
    @router.get("/results")
    def results(
        request: Request, response: Response, cursor: Cursor = None, limit: Limit = 100
    ) -> list[EvaluationResult]:
        """Finished evaluations, newest first; the `Link` header says where they go on."""
        page = evaluation_results(service, cursor, limit)
        if page.next_cursor is not None:
            say_next(request, response, page.next_cursor)
        return page.results

    @router.get("/results/sets")
    def sets() -> list[TaskSet]:
        """Evaluations of the same tasks, with how each player was trained: what figures are drawn from."""
        return task_sets(service.store, service.jobs)


def _curve(series: MetricSeries) -> Curve:
    points = series.points
    return Curve(
        name=series.name,
        total=series.total,
        steps=[point.step for point in points],
        values=[point.value for point in points],
        times=[point.at.timestamp() for point in points],
    )
