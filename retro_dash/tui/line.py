"""The line to the hub: finds it, keeps a client, notices when it is gone and when it is back."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pydantic import JsonValue

from retro_dash.address import HubAddress
from retro_dash.client import HubClient, HubLost

TIMEOUT_SECONDS = 15.0
STATUS_SECONDS = 2.5
"""A hub that takes longer to say how it is counts as gone. With the pause between two looks: within 5 s."""


class Line:
    """One client at a time; all methods may be called from any thread, and may block."""

    def __init__(self, find: Callable[[], HubAddress | None]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self.address: HubAddress | None = None
        self.client: HubClient | None = None

    @property
    def url(self) -> str:
        return self.address.url if self.address else ""

    def reach(self) -> HubClient:
        """A client of the hub that runs now. Raises HubLost when none does."""
        with self._lock:
            if self.client is None:
                address = self._find()
                if address is None:
                    raise HubLost("No hub runs here any more. Start it again with: retro-dash web")
                self.address = address
                self.client = HubClient.at(address, TIMEOUT_SECONDS)
            return self.client

    def status(self) -> dict[str, JsonValue]:
        """What the top bar shows; looks for a hub at another address too. Raises HubLost."""
        address = self._find()
        if address is not None and address != self.address:
            self.drop()
        try:
            return self.reach().status(STATUS_SECONDS)
        except HubLost:
            self.drop()
            raise

    def drop(self) -> None:
        """Forget the client, so that the next call finds the hub anew."""
        # Not closed: other threads may still be using it, and its connections end with the hub.
        self.client = None
