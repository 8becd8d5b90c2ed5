"""The hub's API without its pages, on a port, until somebody kills it. The pages take seconds to import."""

from __future__ import annotations

import sys
from pathlib import Path

import uvicorn

from data.store import Store
from retro_dash.hub import build_api
from retro_dash.identity import Identity
from retro_dash.limits import Attempts
from retro_dash.service import Service
from retro_dash.settings import Settings

if __name__ == "__main__":
    home, port = Path(sys.argv[1]), int(sys.argv[2])
    service = Service(Settings(home=home), Store.open(home))
    uvicorn.run(build_api(service, Identity(home, "token"), Attempts()), port=port, log_level="error")
