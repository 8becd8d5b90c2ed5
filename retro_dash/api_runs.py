"""`/api/v1/runs`: background runs over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from data.rows import MetricSeries
from data.types import Adapter, Run, RunState
from retro_dash.adapters import AdapterRow, adapter_rows, import_adapter
from retro_dash.preflight import Check, check_training
from retro_dash.run_config import TrainRunConfig
from retro_dash.run_list import Lineage, RunList, RunRow, dataset_items
from retro_dash.service import Service
from training.config import METHOD_SETTINGS, METHODS, PRESETS, STAGES


class RunRequest(BaseModel):
    """A new run. `config` is that of `retro_dash.run_config`; what it works on comes from the store or the tasks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class CheckRequest(BaseModel):
    """A train config to look at, with the filter of its episodes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: dict[str, JsonValue]
    filter: str = ""


class Curve(BaseModel):
    """One curve by columns: a quarter of the bytes of `MetricSeries`."""

    name: str
    total: int
    """Points before thinning."""
    steps: list[int]
    values: list[float]
    times: list[float]
    """Seconds since 1970."""


class ImportBody(BaseModel):
    """An adapter's folder on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str = Field(min_length=1, max_length=4096)
    name: str = Field(min_length=1, max_length=100)
    role: Literal["planner", "reflector", "both"]


class EvaluationResult(BaseModel):
    """A finished evaluation with its report."""

    run: Run
    source: dict[str, JsonValue]
    report: dict[str, JsonValue]


class MoveBody(BaseModel):
    position: int = Field(ge=0)


def runs_router(service: Service) -> APIRouter:
    """All routes of background runs, their curves, logs and adapters."""
    router = APIRouter(tags=["runs"])
    jobs = service.jobs
    run_list = RunList(service.store, jobs)

    @router.get("/runs")
    def runs(
        kind: Annotated[list[str] | None, Query()] = None, state: Annotated[list[RunState] | None, Query()] = None
    ) -> list[Run]:
        kinds = kind or ["collect", "train", "evaluate"]
        return list(service.store.runs(kinds=kinds, states=tuple(state or ())))

    @router.post("/runs", status_code=201)
    def submit(request: RunRequest, idempotency_key: Annotated[str | None, Header()] = None) -> Run:
        dataset = service.run_dataset(
            request.kind,
            request.config,
            request.filter,
            request.split,
            request.count,
            request.seed,
            request.dataset,
        )
        source = request.model_dump(include={"filter", "split", "count", "seed"})
        if request.dataset is not None:
            source["dataset"] = service.curation.datasets.details(request.dataset).version.hash
        config = service.with_adapters(request.config)
        return jobs.submit(request.kind, request.name, config, dataset, idempotency_key, source)

    @router.get("/runs/rows")
    def rows() -> list[RunRow]:
        return run_list.rows()

    @router.get("/runs/queue")
    def queue() -> list[str]:
        return jobs.queue()

    @router.get("/runs/{run_id}")
    def run(run_id: str) -> Run:
        return service.store.run(run_id)

    @router.get("/runs/{run_id}/metrics")
    def metrics(
        run_id: str,
        name: Annotated[list[str] | None, Query()] = None,
        max_points: Annotated[int, Query(ge=2, le=20_000)] = 1000,
    ) -> list[MetricSeries]:
        service.store.run(run_id)
        return list(service.store.metrics(run_id, name or (), max_points))

    @router.get("/runs/{run_id}/curves")
    def curves(
        run_id: str,
        name: Annotated[list[str] | None, Query()] = None,
        max_points: Annotated[int, Query(ge=2, le=20_000)] = 1000,
    ) -> list[Curve]:
        service.store.run(run_id)
        return [_curve(series) for series in service.store.metrics(run_id, name or (), max_points)]

    @router.get("/runs/{run_id}/lineage")
    def lineage(run_id: str) -> Lineage:
        return run_list.lineage(run_id)

    @router.get("/runs/{run_id}/dataset")
    def dataset(run_id: str, limit: Annotated[int, Query(ge=1, le=500)] = 50) -> list[dict[str, JsonValue]]:
        return dataset_items(jobs.folder(run_id), limit)

    @router.get("/runs/{run_id}/log", response_class=PlainTextResponse)
    def log(run_id: str, lines: Annotated[int, Query(ge=1, le=5000)] = 100) -> str:
        return jobs.log_tail(run_id, lines)

    @router.get("/runs/{run_id}/report")
    def report(run_id: str) -> dict[str, JsonValue] | None:
        return service.report(run_id)

    @router.post("/runs/{run_id}/cancel")
    def cancel(run_id: str) -> Run:
        jobs.cancel(run_id)
        return service.store.run(run_id)

    @router.post("/runs/{run_id}/resume")
    def resume(run_id: str) -> Run:
        jobs.resume(run_id)
        return service.store.run(run_id)

    @router.post("/runs/{run_id}/move")
    def move(run_id: str, body: MoveBody) -> list[str]:
        return jobs.move(run_id, body.position)

    @router.get("/train/schema")
    def train_schema() -> dict[str, Any]:
        """What a form needs: the config's JSON schema with hints, and what each method and preset fixes."""
        stages = {f"{preset}/{method}": values for (preset, method), values in STAGES.items()}
        return {
            "schema": TrainRunConfig.model_json_schema(),
            "model": service.settings.model,
            "methods": list(METHODS),
            "method_settings": METHOD_SETTINGS,
            "presets": PRESETS,
            "stages": stages,
        }

    @router.post("/train/check")
    def train_check(request: CheckRequest) -> Check:
        return check_training(service.store, service.settings.home, request.config, request.filter)

    @router.get("/adapters")
    def adapters() -> list[Adapter]:
        return list(service.store.adapters())

    @router.get("/adapters/rows")
    def adapters_rows() -> list[AdapterRow]:
        return adapter_rows(service.store, jobs, Path(service.settings.model).name)

    @router.post("/adapters/import", status_code=201)
    def adapters_import(body: ImportBody) -> Adapter:
        base = Path(service.settings.model).name
        return import_adapter(service.store, service.settings.home, Path(body.folder), body.name, body.role, base)

    @router.get("/results")
    def results() -> list[EvaluationResult]:
        """Finished evaluations, newest first."""
        runs = service.store.runs(kinds=("evaluate",), states=(RunState.FINISHED,), limit=200)
        found = ((run, service.report(run.id)) for run in runs)
        return [
            EvaluationResult(run=run, source=jobs.folder(run.id).source(), report=report)
            for run, report in found
            if report is not None
        ]

    @router.post("/adapters/{name}/load")
    def load(name: str) -> dict[str, JsonValue]:
        return service.load_adapter(name)

    @router.post("/adapters/{name}/unload")
    def unload(name: str) -> dict[str, JsonValue]:
        return service.unload_adapter(name)

    return router


def _curve(series: MetricSeries) -> Curve:
    points = series.points
    return Curve(
        name=series.name,
        total=series.total,
        steps=[point.step for point in points],
        values=[point.value for point in points],
        times=[point.at.timestamp() for point in points],
    )
