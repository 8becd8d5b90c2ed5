"""TensorBoard event files beside `events.jsonl`: the same numbers for those who look with TensorBoard.

tensorboard --logdir RUNS        every run of a home side by side
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class EventFiles:
    """Writes metrics under `RUN_FOLDER/tensorboard`; each worker of a run adds a file of its own."""

    def __init__(self, folder: Path) -> None:
        self._writer = SummaryWriter(str(folder / "tensorboard"), flush_secs=10)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()
