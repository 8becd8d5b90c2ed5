"""`/api/v1/train`, `/machine`: what the form of a training run needs before there is a run."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, JsonValue

from data.types import Noun
from retro_dash.machine import Machine
from retro_dash.memory import Room
from retro_dash.preflight import Check
from retro_dash.run_config import TrainRunConfig
from retro_dash.service import Service
from training.config import METHOD_SETTINGS, METHODS, PRESETS, STAGES


class CheckRequest(BaseModel):
    """A train config to look at, with the filter of its episodes or the hash of a frozen dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: dict[str, JsonValue]
    filter: str = ""
    dataset: str | None = None


class MachineState(Noun):
    """The machine, and the device that training and serving share."""

    machine: Machine
    room: Room


def training_router(service: Service) -> APIRouter:
    """The schema of the form, the check, the machine."""
    router = APIRouter(tags=["runs"])

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
        return service.check_training(request.config, request.filter, request.dataset)

    @router.get("/machine")
    def machine() -> MachineState:
        return MachineState(machine=service.meter.read(), room=service.room())

    return router
