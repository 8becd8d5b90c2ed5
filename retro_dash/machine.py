"""What this machine is doing: processors, memory, accelerators, and how much of it our own processes hold."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping

import psutil

from data.types import Noun

FRESH_SECONDS = 1.0
"""A reading this young is given again: many pages may ask."""
QUERY = "nvidia-smi"
MAIN_MEMORY = "main memory"


class Gpu(Noun):
    """One accelerator. Memory in bytes."""

    name: str
    busy_share: float | None
    """Share of the last moment in which it computed, 0 to 1."""
    memory_used: int
    memory_total: int


class Machine(Noun):
    """The load of this machine. Memory in bytes."""

    cpu_share: float
    """Of all cores together since the last reading, 0 to 1."""
    cores: int
    memory_used: int
    memory_total: int
    gpus: tuple[Gpu, ...] = ()

    @property
    def device(self) -> str:
        """Where models lie: the first accelerator, else the main memory."""
        return self.gpus[0].name if self.gpus else MAIN_MEMORY

    @property
    def free(self) -> int:
        """Bytes that are free on the device."""
        if self.gpus:
            return self.gpus[0].memory_total - self.gpus[0].memory_used
        return self.memory_total - self.memory_used

    def shares(self) -> dict[str, float]:
        """As metrics of a run, each from 0 to 1."""
        found = {"cpu_share": self.cpu_share, "memory_share": self.memory_used / self.memory_total}
        for gpu in self.gpus[:1]:
            found["gpu_memory_share"] = gpu.memory_used / gpu.memory_total
            if gpu.busy_share is not None:
                found["gpu_share"] = gpu.busy_share
        return found


class MachineMeter:
    """Reads the machine, at most once a second. Safe to use from many threads."""

    def __init__(self, query: Callable[[str], str] | None = None) -> None:
        """`query` answers as `nvidia-smi --query-X` would; None asks the program itself, where there is one."""
        self._query = query or ask_nvidia
        self._lock = threading.Lock()
        self._machine: Machine | None = None
        self._at = 0.0
        psutil.cpu_percent()  # The first reading says nothing; the next is since now.

    def read(self) -> Machine:
        with self._lock:
            if self._machine is None or time.monotonic() - self._at >= FRESH_SECONDS:
                memory = psutil.virtual_memory()
                self._machine = Machine(
                    cpu_share=psutil.cpu_percent() / 100,
                    cores=psutil.cpu_count() or 1,
                    memory_used=memory.total - memory.available,
                    memory_total=memory.total,
                    gpus=self._gpus(),
                )
                self._at = time.monotonic()
            return self._machine

    def held(self, pids: Mapping[str, int]) -> dict[str, int]:
        """Bytes of the device that the trees of these processes hold, by the names that they are given."""
        trees = {name: _tree(pid) for name, pid in pids.items()}
        if not self.read().gpus:
            return {name: sum(_resident(process) for process in tree) for name, tree in trees.items()}
        by_pid: dict[int, int] = {}
        for pid, used in _rows(self._query("compute-apps=pid,used_memory"), 2):
            by_pid[int(pid)] = by_pid.get(int(pid), 0) + _mebibytes(used)
        return {name: sum(by_pid.get(process.pid, 0) for process in tree) for name, tree in trees.items()}

    def _gpus(self) -> tuple[Gpu, ...]:
        rows = _rows(self._query("gpu=name,utilization.gpu,memory.used,memory.total"), 4)
        return tuple(
            Gpu(
                name=name,
                busy_share=float(busy) / 100 if busy.replace(".", "").isdigit() else None,
                memory_used=_mebibytes(used),
                memory_total=_mebibytes(total),
            )
            for name, busy, used, total in rows
            if _mebibytes(total)
        )


def ask_nvidia(what: str) -> str:
    """What `nvidia-smi --query-WHAT` prints; empty where there is no such program or it fails."""
    program = shutil.which(QUERY)
    if program is None:
        return ""
    command = [program, f"--query-{what}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _rows(text: str, columns: int) -> Iterable[list[str]]:
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == columns:
            yield cells


def _mebibytes(text: str) -> int:
    return int(text) * 2**20 if text.isdigit() else 0


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
