"""The lock that makes one process the owner of a home.

DuckDB locks its own file too, but with a POSIX lock, which the kernel drops as soon as the owner closes any other
handle of that file (a copy for a backup is enough). This one is an flock on a file of its own, held until closed.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from data.errors import Refused


def own(path: Path) -> IO[str]:
    """Take the lock file and write this process's id into it; close the handle to let go.

    Raises Refused with the owner's pid when somebody has it, OSError when the file cannot be made.
    """
    handle = path.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        owner = handle.read().strip() or "unknown"
        handle.close()
        raise Refused(
            f"The store in {path.parent} is in use by another process (PID {owner}): use that one, stop it, "
            "or choose another home."
        ) from None
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle
