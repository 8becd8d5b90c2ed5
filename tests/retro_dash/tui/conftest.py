"""A real hub on a home of its own, and the terminal interface on it."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
import uvicorn
from textual.pilot import Pilot

from data.store import Store
from retro_dash.address import HubAddress
from retro_dash.hub import build_app
from retro_dash.run_folder import EventLog
from retro_dash.service import Service
from retro_dash.settings import Settings
from retro_dash.tui.app import RetroDash

TOKEN = "a-token-for-tests"
sys.path.append(str(Path(__file__).parent.parent / "web"))  # Homes with runs of every kind, and made-up episodes.


class Addressed(Protocol):
    """A hub that a terminal can be put on."""

    @property
    def address(self) -> HubAddress | None: ...


class Site(NamedTuple):
    """A hub over a home of the pages' tests."""

    address: HubAddress
    service: Service
    live: EventLog
    """What the run that trains now writes."""


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Site]:
    """Runs of every kind: trained, training now, failed, queued, evaluated; and adapters. No worker of ours runs."""
    from page_runs import TOKEN as token
    from page_runs import run_site

    with run_site(tmp_path) as site:
        yield Site(HubAddress(site.url, token, 1, 0.0), site.service, site.live)


class Hub:
    """Guard, API, service and store of one home; it can be stopped and started again."""

    def __init__(self, home: Path) -> None:
        self.home, self.port, self.starts = home, 0, 0
        self.address: HubAddress | None = None
        self.service: Service

    def start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        settings = Settings(home=self.home, engine="none", expert_words_per_second=0)
        self.service = Service(settings, Store.open(self.home))
        self.starts += 1
        token = f"{TOKEN}-{self.starts}"
        config = uvicorn.Config(build_app(self.service, token), port=self.port, log_level="error")
        config.timeout_graceful_shutdown = 1
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            assert self.thread.is_alive()
            time.sleep(0.02)
        self.address = HubAddress(f"http://127.0.0.1:{self.port}", token, self.starts, 0.0)

    def stop(self) -> None:
        self.address = None
        self.server.should_exit = True
        self.thread.join(10)
        self.service.close()


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Hub]:
    """A hub that a test may stop and start."""
    hub = Hub(tmp_path)
    hub.start()
    yield hub
    if hub.address is not None:
        hub.stop()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    hub = Hub(tmp_path_factory.mktemp("home"))
    hub.start()
    yield hub
    hub.stop()


@asynccontextmanager
async def terminal(hub: Addressed, size: tuple[int, int] = (80, 24)) -> AsyncIterator[Driven]:
    app = RetroDash(lambda: hub.address)
    async with app.run_test(size=size) as pilot:
        yield Driven(app, pilot)


class Driven:
    """The application under a pilot."""

    def __init__(self, app: RetroDash, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def until(self, holds: Callable[[], Any], what: str = "", seconds: float = 15.0) -> None:
        """Wait until something holds; what is on the screen is in the failure."""
        end = time.monotonic() + seconds
        while True:
            if self.app._exception is not None:
                raise self.app._exception
            try:
                if holds():
                    return
            except Exception as error:  # A widget that is not there yet.
                what = f"{what} ({type(error).__name__}: {error})"[:300]
            assert time.monotonic() < end, f"{what}\n{self.screen()}"
            await self.pilot.pause(0.05)

    async def sees(self, *texts: str, seconds: float = 15.0) -> None:
        for text in texts:
            await self.until(lambda text=text: text in self.screen(), f"never saw {text!r}", seconds)

    def screen(self) -> str:
        """What is on the screen, as text."""
        lines = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in lines)
