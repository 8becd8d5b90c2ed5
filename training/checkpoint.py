"""Checkpoints of one training job: the optimiser's float32 state and where the run was."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from safetensors.torch import load_file, save_file

from data.errors import Refused
from training.folders import keep_newest, newest_whole, publish
from training.optimiser import MasterAdamW

KEPT = 2


@dataclass(frozen=True)
class Progress:
    """Where a job was after a step."""

    step: int = 0
    """Optimiser steps done."""
    tokens: int = 0
    seconds: float = 0.0
    """Wall-clock seconds of training before the checkpoint, earlier sittings included."""
    plan: str = ""
    """Hash of config and samples: a checkpoint of another plan is refused."""
    course: str = ""
    """The same without the length of the run: a longer run of the same course goes on from here."""


def save_checkpoint(folder: Path, optimiser: MasterAdamW, progress: Progress) -> Path:
    """Publish `folder/step-N`; older ones than the last two are removed. Raises TrainingError on a full disk."""

    def write(temporary: Path) -> None:
        save_file(optimiser.state(), temporary / "state.safetensors")
        (temporary / "progress.json").write_text(json.dumps(asdict(progress)))

    folder.mkdir(parents=True, exist_ok=True)
    saved = publish(folder / f"step-{progress.step}", write)
    keep_newest(folder, "step", KEPT)
    return saved


def resume(folder: Path, optimiser: MasterAdamW, plan: str, course: str = "") -> Progress:
    """Load the newest whole checkpoint into the optimiser and its model; a fresh Progress where there is none.

    A longer run of the same course goes on. Raises Refused when the checkpoint is of another config or dataset.
    """
    newest = newest_whole(folder, "step")
    if newest is None:
        return Progress(plan=plan, course=course)
    progress = Progress(**json.loads((newest / "progress.json").read_text()))
    if progress.plan != plan and (not course or progress.course != course):
        raise Refused(
            f"The checkpoint {newest} was made with another config or dataset. Give the run its own folder, or put "
            "the config and the dataset back as they were."
        )
    optimiser.load_state(load_file(newest / "state.safetensors"))
    return replace(progress, plan=plan, course=course)
