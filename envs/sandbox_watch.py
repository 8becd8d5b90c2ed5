"""Reading what a sandboxed process says, and ending it when it passes a limit."""

from __future__ import annotations

import errno
import os
import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from envs.sandbox_process import SandboxProcess
from envs.sandbox_types import Limits, SandboxResult

_WATCH_SECONDS = 0.05
_CHUNK = 65536
_MOST_FILES = 20_000


def attend(
    child: SandboxProcess, stdin: bytes, limits: Limits, is_over: Callable[[], bool], started: float
) -> SandboxResult:
    """Feed and read `child` until it ends or passes a limit, then end all of it.

    `is_over` is asked every 50 ms whether it took too much memory or disk. `started` is monotonic seconds.
    """
    output = bytearray()
    ended_for = ""
    deadline, next_look = started + limits.seconds, started + _WATCH_SECONDS
    with _selector(child, stdin) as selector:
        while not ended_for:
            now = time.monotonic()
            if now >= next_look:
                next_look = now + _WATCH_SECONDS
                if is_over():
                    ended_for = "limit"
            if now >= deadline:
                ended_for = "time"
            for key, _ in selector.select(max(0.0, min(deadline, next_look) - now)):
                if key.data == "end":
                    ended_for = ended_for or "end"
                elif key.data == "read" and not _read(child, output):
                    selector.unregister(child.stdout)
                elif key.data == "write":
                    stdin = _feed(child, stdin, selector)
            if len(output) > limits.output_bytes:
                ended_for = "output"
    child.end()
    while len(output) <= limits.output_bytes and _read(child, output):
        pass
    is_over_limit = ended_for == "limit" or (child.group is not None and child.group.was_out_of_memory())
    status = child.process.returncode
    return SandboxResult(
        output=bytes(output[: limits.output_bytes]),
        returncode=status if status >= 0 else 128 - status,
        timed_out=ended_for == "time",
        is_truncated=len(output) > limits.output_bytes,
        seconds=time.monotonic() - started,
        is_over_limit=is_over_limit,
    )


@contextmanager
def _selector(child: SandboxProcess, stdin: bytes) -> Iterator[selectors.BaseSelector]:
    """Waits for output ("read"), room for input ("write") and the end of the process ("end")."""
    pidfd = os.pidfd_open(child.process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pidfd, selectors.EVENT_READ, "end")
            os.set_blocking(child.stdout.fileno(), False)
            selector.register(child.stdout, selectors.EVENT_READ, "read")
            if stdin:
                os.set_blocking(child.stdin.fileno(), False)
                selector.register(child.stdin, selectors.EVENT_WRITE, "write")
            yield selector
    finally:
        os.close(pidfd)


def _read(child: SandboxProcess, output: bytearray) -> bool:
    """Take what is there; False at the end or when there is nothing now."""
    try:
        chunk = os.read(child.stdout.fileno(), _CHUNK)
    except BlockingIOError:
        return False
    output += chunk
    return bool(chunk)


def _feed(child: SandboxProcess, rest: bytes, selector: selectors.BaseSelector) -> bytes:
    """Write what fits and return what is left; closes stdin after the last byte or when nobody reads it."""
    try:
        rest = rest[os.write(child.stdin.fileno(), rest[:_CHUNK]) :]
    except BlockingIOError:
        return rest
    except BrokenPipeError:
        rest = b""
    if not rest:
        selector.unregister(child.stdin)
        child.stdin.close()
    return rest


def is_over(child: SandboxProcess, limits: Limits, watched: Sequence[Path]) -> bool:
    """Whether a folder of `watched` holds too much, or the processes do where no control group counts for us."""
    if any(_is_larger(folder, limits.scratch_bytes) for folder in watched):
        return True
    return child.group is None and child.inner_pid is not None and _resident(child.inner_pid) > limits.memory_bytes


def _is_larger(folder: Path, size: int) -> bool:
    """Whether the files under `folder` hold more than `size` bytes, are too many, or lie too deep to be looked at."""
    total = count = 0
    is_hidden = False

    def note(error: OSError) -> None:
        nonlocal is_hidden
        is_hidden = is_hidden or error.errno == errno.ENAMETOOLONG

    for root, folders, files in os.walk(folder, onerror=note):
        count += len(folders) + len(files)
        for name in files:
            with suppress(OSError):
                found = os.lstat(os.path.join(root, name))
                total += max(found.st_size, found.st_blocks * 512)
        if total > size or count > _MOST_FILES or is_hidden:
            return True
    return is_hidden


def _resident(pid: int) -> int:
    """Bytes of memory that `pid` and all its descendants hold; every process of a sandbox descends from its first."""
    total, waiting = 0, [pid]
    while waiting:
        process = Path("/proc") / str(waiting.pop())
        with suppress(OSError, ValueError, IndexError):
            total += int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in (process / "task").iterdir():
                waiting += [int(word) for word in (task / "children").read_text().split()]
    return total
