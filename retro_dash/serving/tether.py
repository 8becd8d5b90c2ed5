"""Runs a server that must not outlive its hub: `python -m retro_dash.serving.tether HUB_PID COMMAND...`.

For servers that are not ours and cannot watch their parent themselves. It ends with the server's own exit code.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from retro_dash.serving.process import end_tree


def main(arguments: Sequence[str]) -> int:
    hub, command = int(arguments[0]), arguments[1:]
    with subprocess.Popen(command) as server:

        def end(number: int, frame: FrameType | None) -> None:
            end_tree(server.pid)

        signal.signal(signal.SIGTERM, end)
        while server.poll() is None:
            if os.getppid() != hub:
                end_tree(server.pid)
            time.sleep(0.5)
        return server.returncode if server.returncode >= 0 else 128 - server.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
