"""`/api/v1/adapters`: published adapters, imports, and what the engine serves."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from data.types import Adapter
from retro_dash.adapters import AdapterRow, adapter_rows, import_adapter
from retro_dash.api_answers import Status, answers
from retro_dash.service import Service


class ImportBody(BaseModel):
    """An adapter's folder on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str = Field(min_length=1, max_length=4096)
    name: str = Field(min_length=1, max_length=100)
    role: Literal["planner", "reflector", "both"]


def adapters_router(service: Service) -> APIRouter:
    """All routes of adapters."""
    router = APIRouter(tags=["adapters"], prefix="/adapters")

    @router.get("")
    def adapters() -> list[Adapter]:
        return service.adapters()

    @router.get("/rows")
    def rows() -> list[AdapterRow]:
        return adapter_rows(service.store, service.jobs, Path(service.settings.model).name)

    @router.post("/import", status_code=201)
    def import_(body: ImportBody) -> Adapter:
        base = Path(service.settings.model).name
        return import_adapter(service.store, service.settings.home, Path(body.folder), body.name, body.role, base)

    @router.post("/{name}/load", **answers(Status))
    def load(name: str) -> dict[str, JsonValue]:
        return service.load_adapter(name)

    @router.post("/{name}/unload", **answers(Status))
    def unload(name: str) -> dict[str, JsonValue]:
        return service.unload_adapter(name)

    return router
