"""Serves the hub's API of a home, without its pages, in a process that may be killed and started again quickly.

A line on stdin starts it, as a fork of this process, which has imported everything; its id comes on stdout, and once
it is gone an empty line.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import uvicorn

from data.store import Store
from retro_dash.hub import build_api
from retro_dash.identity import Identity
from retro_dash.limits import Attempts
from retro_dash.service import Service
from retro_dash.settings import Settings


def serve(home: Path, port: int) -> None:
    service = Service(Settings(home=home), Store.open(home))
    uvicorn.run(build_api(service, Identity(home, "token"), Attempts()), port=port, log_level="error")


if __name__ == "__main__":
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            serve(Path(sys.argv[1]), int(sys.argv[2]))
            os._exit(1)
        print(child, flush=True)
        os.waitpid(child, 0)
        print(flush=True)
