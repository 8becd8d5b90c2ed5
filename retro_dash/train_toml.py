"""A training run's config as the file that `retro-dash train` reads."""

from __future__ import annotations

import json
import math

from pydantic import JsonValue

from retro_dash.run_config import TrainRunConfig
from training.config import TrainConfig


def as_toml(config: TrainRunConfig) -> str:
    """The file for `retro-dash train`: method, preset, and every key that differs from what these two give."""
    usual = TrainConfig.model_validate({"method": config.train.method, "preset": config.train.preset})
    default, chosen = usual.model_dump(mode="json"), config.train.model_dump(mode="json")
    lines = [f"model = {_value(config.model)}", f"method = {_value(config.train.method)}"]
    lines.append(f"preset = {_value(config.train.preset)}")
    if config.memory != "share":
        lines.append(f"memory = {_value(config.memory)}")
    sections: list[str] = []
    for key, value in chosen.items():
        if key in ("method", "preset") or value == default[key]:
            continue
        if isinstance(value, dict):
            sections += _section(key, value, default[key])
        else:
            lines.append(f"{key} = {_value(value)}")
    if config.exploration is not None:
        sections += _section("exploration", config.exploration.model_dump(mode="json"), {})
    return "\n".join([*lines, *sections]) + "\n"


def _section(name: str, values: dict[str, JsonValue], default: dict[str, JsonValue]) -> list[str]:
    changed = {k: v for k, v in values.items() if v is not None and (k not in default or default[k] != v)}
    return ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in changed.items())] if changed else []


def _value(value: JsonValue) -> str:
    """A TOML value: JSON's are the same, except for infinities."""
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return json.dumps(value, ensure_ascii=False)
