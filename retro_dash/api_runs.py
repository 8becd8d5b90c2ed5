"""`/api/v1/runs`: background runs over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from data.rows import MetricSeries
from data.types import Adapter, Run, RunState
from retro_dash.service import Service


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


class MoveBody(BaseModel):
    position: int = Field(ge=0)


def runs_router(service: Service) -> APIRouter:
    """All routes of background runs, their curves, logs and adapters."""
    router = APIRouter(tags=["runs"])
    jobs = service.jobs

    @router.get("/runs")
    def runs(
        kind: Annotated[list[str] | None, Query()] = None, state: Annotated[list[RunState] | None, Query()] = None
    ) -> list[Run]:
        kinds = kind or ["collect", "train", "evaluate"]
        return list(service.store.runs(kinds=kinds, states=tuple(state or ())))

    @router.post("/runs", status_code=201)
    def submit(request: RunRequest, idempotency_key: Annotated[str | None, Header()] = None) -> Run:
        dataset = service.run_dataset(
            request.kind, request.config, request.filter, request.split, request.count, request.seed
        )
        return jobs.submit(request.kind, request.name, request.config, dataset, idempotency_key)

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

    @router.get("/adapters")
    def adapters() -> list[Adapter]:
        return list(service.store.adapters())

    @router.post("/adapters/{name}/load")
    def load(name: str) -> dict[str, JsonValue]:
        return service.load_adapter(name)

    @router.post("/adapters/{name}/unload")
    def unload(name: str) -> dict[str, JsonValue]:
        return service.unload_adapter(name)

    return router
