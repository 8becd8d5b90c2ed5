"""The adapters that ship with Retro Dash, in `data/adapters/NAME` with a `card.json` that says what they are.

They are there without a run or an event of this home: the engine serves them from its start, and the Play page starts
with them in the environments that they were trained for. `python -m retro_dash.bundled ADAPTER CARD.json` puts the
adapter of a run there.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

from data.types import Adapter, Noun
from training.folders import publish

FOLDER = Path(__file__).resolve().parent.parent / "data" / "adapters"


class AdapterCard(Noun):
    """What a bundled adapter is."""

    name: str
    role: Literal["planner", "reflector"]
    envs: tuple[str, ...]
    """Environments that it was trained for."""
    base_model: str
    summary: str
    """One line for people who choose a planner or reflector."""
    made_at: datetime

    @property
    def path(self) -> Path:
        return FOLDER / self.name

    def adapter(self) -> Adapter:
        return Adapter(
            name=self.name,
            role=self.role,
            base_model=self.base_model,
            path=str(self.path),
            created_at=self.made_at,
        )


@lru_cache
def adapter_cards(base_model: str | None) -> tuple[AdapterCard, ...]:
    """The bundled adapters for a base model, by its name."""
    paths = sorted(FOLDER.glob("*/card.json"))
    cards = [AdapterCard.model_validate_json(path.read_text(encoding="utf-8")) for path in paths]
    return tuple(card for card in cards if card.base_model == base_model)


def bundle(source: Path, card: AdapterCard, folder: Path) -> Path:
    """Copy a run's adapter to `folder` with its card, and without the paths of the machine that made it."""

    def write(temporary: Path) -> None:
        shutil.copyfile(source / "adapter_model.safetensors", temporary / "adapter_model.safetensors")
        training = json.loads((source / "training.json").read_text(encoding="utf-8"))
        started = training["config"]["start_adapters"]  # RUNS/RUN/adapters/ROLE
        training["config"]["start_adapters"] = {
            role: f"{Path(path).parent.parent.name}/{Path(path).name}" for role, path in started.items()
        }
        (temporary / "training.json").write_text(json.dumps(training, indent=1) + "\n", encoding="utf-8")
        for name, key, value in (
            ("adapter_config.json", "base_model_name_or_path", card.base_model),
            ("base_model.json", "path", card.base_model),
        ):
            known = json.loads((source / name).read_text(encoding="utf-8"))
            (temporary / name).write_text(json.dumps({**known, key: value}, indent=1) + "\n", encoding="utf-8")
        (temporary / "card.json").write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")

    return publish(folder, write)


if __name__ == "__main__":
    made = AdapterCard.model_validate_json(Path(sys.argv[2]).read_text(encoding="utf-8"))
    print(bundle(Path(sys.argv[1]), made, made.path))
