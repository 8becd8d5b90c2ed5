"""What a sandboxed command may use, what it may see, whom it runs as, and what it did."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one command may use. Sizes in bytes."""

    seconds: float = 10.0
    """Wall clock of `run`, and CPU seconds of each of its processes. `spawn` leaves the clock to its caller."""
    memory_bytes: int = 512 * MEBIBYTE
    """Of the whole sandbox, and of the address space of each process."""
    processes: int = 64
    file_bytes: int = 16 * MEBIBYTE
    """Size of any one file."""
    output_bytes: int = MEBIBYTE
    """stdout and stderr together; a command that writes more is ended."""
    scratch_bytes: int = 64 * MEBIBYTE
    """All files of /tmp, and of each writable mount."""


@dataclass(frozen=True)
class Mount:
    """A file or folder of the host, shown in the sandbox. Target "/" makes a folder the root itself; the system's
    own folders are laid over it."""

    source: Path
    target: str
    is_writable: bool = False


@dataclass(frozen=True)
class SandboxResult:
    """What a command did."""

    output: bytes
    """stdout and stderr, merged as they came."""
    returncode: int
    """As in a shell: 128 + n when signal n ended it."""
    timed_out: bool
    is_truncated: bool
    """It wrote more than `output_bytes` and was ended."""
    seconds: float
    is_over_limit: bool = False
    """It was ended for the disk or memory that it took."""


@dataclass(frozen=True)
class Slot:
    """The user that sandboxed code runs as. Keep one for a whole trial, so that its files stay its own."""

    uid: int
    gid: int
    claim: socket.socket | None = field(default=None, repr=False)
    """Held while the user is taken; None when we run as our own user."""

    def own(self, folder: Path) -> None:
        """Give `folder` and all in it to this user; links are not followed. Only root can and must."""
        if self.claim is None:
            return
        os.chown(folder, self.uid, self.gid, follow_symlinks=False)
        for root, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.chown(os.path.join(root, name), self.uid, self.gid, follow_symlinks=False)

    def close(self) -> None:
        """Free the user for others; safe to call twice."""
        if self.claim is not None:
            self.claim.close()

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
