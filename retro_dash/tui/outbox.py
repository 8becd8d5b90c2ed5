"""Labels that the hub has not acknowledged: sent in order, again under the same ids when it was gone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from data.errors import RetroDashError, StorageError
from data.types import Label
from retro_dash.client import HubClient, HubLost
from retro_dash.tui.ledger import Request

RETRY_SECONDS = 1.0
PAUSE_SECONDS = 0.05
Ask = Callable[[Callable[[HubClient], list[Label]]], Awaitable[list[Label]]]


class Outbox:
    """`on_stored` hears what the hub has, `on_refused` what it never will have, with its sentence."""

    def __init__(
        self,
        ask: Ask,
        on_stored: Callable[[list[Label]], None],
        on_refused: Callable[[Request, RetroDashError], None],
    ) -> None:
        self._ask, self._on_stored, self._on_refused = ask, on_stored, on_refused
        self._waiting: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def requests(self) -> list[Request]:
        return list(self._waiting)

    def add(self, request: Request) -> None:
        self._waiting.append(request)

    async def run(self) -> None:
        """Send for ever."""
        while True:
            if self._waiting:
                await self._send(list(self._waiting))
            else:
                await asyncio.sleep(PAUSE_SECONDS)

    async def empty(self) -> None:
        """Wait until nothing waits."""
        while self._waiting:
            await asyncio.sleep(PAUSE_SECONDS)

    async def _send(self, batch: list[Request]) -> None:
        """All or none are stored; one that the hub refuses must not keep the others from it."""
        try:
            stored = await self._ask(_storing(batch))
        except (HubLost, StorageError):  # It comes back, and so does room on its disk.
            await asyncio.sleep(RETRY_SECONDS)
        except RetroDashError as error:
            if len(batch) > 1:
                for request in batch:
                    await self._send([request])
                return
            self._waiting.popleft()
            self._on_refused(batch[0], error)
        else:
            for _ in batch:
                self._waiting.popleft()
            self._on_stored(stored)


def _storing(batch: Sequence[Request]) -> Callable[[HubClient], list[Label]]:
    return lambda hub: [Label.model_validate(one["label"]) for one in hub.label(batch)]
