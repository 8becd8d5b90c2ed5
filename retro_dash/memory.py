"""Memory of a training run beside the engine on one device: what it needs, what is there, who makes room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from data.types import Noun
from retro_dash.run_config import TrainRunConfig

ACTIVATION_VALUES = 34
"""Stored values per token, layer and hidden unit of a decoder in training (Korthikanti et al. 2022, equation 1)."""
GIB = 2**30


class Room(Noun):
    """The device that training and serving share. Bytes."""

    device: str
    total: int
    free: int
    engine: int = 0
    """Held by the engine, where it is a process of ours that can be paused."""
    workers: dict[str, int] = Field(default_factory=dict)
    """Held by the runs that work now; they end before the next one starts."""


def judge_memory(needed: int, room: Room, pauses_engine: bool) -> tuple[Literal["ok", "stop"], str]:
    """Whether a run that needs so many bytes can start, with the numbers and what to change when it cannot."""
    free = min(room.total, room.free + sum(room.workers.values()))
    numbers = f"about {_gib(needed)} of {room.device}; {_gib(free)} of {_gib(room.total)} are free"
    if room.workers:
        numbers += " once the runs before it have ended"
    if pauses_engine:
        free += room.engine
        numbers += f", {_gib(free)} with the engine paused"
    if needed <= free:
        return "ok", f"Needs {numbers}."
    advice = "Lower batch.tokens_per_pack, turn gradient checkpointing on, or free some."
    if not pauses_engine and needed <= free + room.engine:
        advice = f"The engine holds {_gib(room.engine)}: choose to pause it while the run trains (memory = pause)."
    return "stop", f"Needs {numbers}. {advice}"


def training_bytes(config: TrainRunConfig, home: Path) -> int | None:
    """Peak bytes: weights, LoRA and optimiser state, the activations of one pack, the scores of one block of rows.

    None while the model is not on this machine.
    """
    folder = model_folder_here(config.model, home)
    if folder is None:
        return None
    shape = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    layers, hidden = int(shape.get("num_hidden_layers", 0)), int(shape.get("hidden_size", 0))
    vocabulary = int(shape.get("vocab_size", 0))
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    parameters = stored / (4 if shape.get("torch_dtype", shape.get("dtype")) == "float32" else 2)
    width = 4 if config.train.batch.precision == "fp32" else 2
    lora = config.train.lora
    trained = 2 * 7 * layers * hidden * lora.rank if lora.enabled else parameters
    kept = 4 if config.train.batch.gradient_checkpointing else ACTIVATION_VALUES
    activations = config.train.batch.tokens_per_pack * layers * hidden * kept
    return round(parameters * width + trained * 16 + activations + 128 * vocabulary * 8)


def model_folder_here(model: str, home: Path) -> Path | None:
    """The folder of a model's weights, named by itself or below the home; None while it is not on this machine."""
    folders = (Path(model), home / "models" / model)
    return next((folder for folder in folders if (folder / "config.json").is_file()), None)


def _gib(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else f"{count / 2**20:.0f} MiB"
