"""`/api/v1/events` and `/snapshot`: what happens in the store as it happens, and a copy of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.background import BackgroundTask

from data.store import Store
from retro_dash.responses import Download, EventStream
from retro_dash.tail import Tail

POLL_SECONDS = 0.25
KEEP_ALIVE_SECONDS = 15.0
LONGEST_SECONDS = 600.0
"""A stream ends after this long and its watcher comes back with its cursor, so that a removed user stops watching."""


def store_router(store: Store) -> APIRouter:
    """The routes that follow and copy the store."""
    router = APIRouter(tags=["store"])
    tail = Tail(store)

    @router.get("/events", response_class=EventStream)
    def events(
        request: Request,
        cursor: Annotated[int | None, Query(ge=0, le=2**62)] = None,
        run: str | None = None,
        episode: str | None = None,
    ) -> EventStream:
        """Server-sent events after `cursor` (from now on when it is missing); each one's id is the next cursor."""
        last = request.headers.get("last-event-id", "")
        given = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else cursor
        start = store.last_position() if given is None else given
        return EventStream(_stream(store, tail, start, run, episode))

    @router.get("/snapshot", response_class=Download)
    def snapshot() -> Download:
        """A DuckDB file with everything that is stored at this moment."""
        folder = tempfile.TemporaryDirectory(prefix=".snapshot-", dir=store.home)
        try:
            path = store.snapshot(Path(folder.name) / "retro.duckdb")
        except BaseException:
            folder.cleanup()
            raise
        return Download(path, filename="retro.duckdb", background=BackgroundTask(folder.cleanup))

    return router


async def _stream(store: Store, tail: Tail, cursor: int, run: str | None, episode: str | None) -> AsyncIterator[str]:
    clock = asyncio.get_running_loop().time
    begun, spoke, read = clock(), clock(), -1
    yield f"id: {cursor}\n\n"  # Where the watcher stands, should the line break before anything happens.
    while clock() - begun < LONGEST_SECONDS:
        if store.last_position() != read:
            news = tail.remembered(cursor, run, episode)
            if news is None:
                news = await asyncio.to_thread(tail.after, cursor, run, episode)
            read = news.reached
            if news.messages:
                cursor, spoke = news.messages[-1].event.position, clock()
                # One piece: each costs its way through HTTP.
                yield "".join(message.text for message in news.messages)
        if clock() - spoke >= KEEP_ALIVE_SECONDS:
            spoke = clock()
            yield ": alive\n\n"
        await asyncio.sleep(POLL_SECONDS)
