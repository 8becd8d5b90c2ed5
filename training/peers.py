"""Processes that share a run: each computes its part of a step, and all of them take the same step.

`accelerate` finds each process its device and the way in which they talk: NCCL between GPUs, gloo between processors.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from data.errors import TrainingError

T = TypeVar("T")


@dataclass(frozen=True)
class Peers:
    """The place of this process among those of the run. Every process must make the same calls in the same order."""

    index: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that logs, saves, publishes and says when to stop."""
        return self.index == 0

    def share(self, lengths: Sequence[int]) -> list[int]:
        """Which of the rows with these lengths are this process's: every one has about as many tokens."""
        tokens = [0] * self.count
        mine: list[int] = []
        for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
            least = tokens.index(min(tokens))
            tokens[least] += lengths[row]
            if least == self.index:
                mine.append(row)
        return sorted(mine)

    def gather(self, value: T) -> list[T]:
        """What every process gave, in their order."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        gathered: list[T] = gather_object([value])
        return gathered

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum of every process's tensor."""
        if self.count == 1:
            return tensor
        from accelerate.utils import reduce

        total: Tensor = reduce(tensor, reduction="sum")
        return total

    def agree(self, value: object) -> None:
        """Raise TrainingError when the processes do not see the same."""
        if len({repr(one) for one in self.gather(value)}) > 1:
            raise TrainingError(
                "The processes of the run do not see the same data or checkpoint. Give the run a folder that all of "
                "them read, and resume it."
            )


ALONE = Peers()


def join_peers(index: int, count: int, meeting: Path) -> Peers:
    """Make this process number `index` of `count` on this machine; `meeting` is a file that all of them name."""
    from accelerate import PartialState

    place = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    threads = max(torch.get_num_threads() // count, 1)
    os.environ |= {name: str(value) for name, value in place.items()} | {"OMP_NUM_THREADS": str(threads)}
    if sys.platform == "linux":
        # Otherwise gloo looks for the machine's name in the network, where it need not be known.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(threads)
    has_gpu = torch.cuda.is_available()
    PartialState(cpu=not has_gpu, init_method=f"file://{meeting}", rank=index, world_size=count)
    return Peers(index, count)
