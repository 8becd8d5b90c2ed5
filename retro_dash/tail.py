"""What was stored lately, read from the store once and put into words once for all who follow it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from itertools import takewhile
from typing import NamedTuple

from data.rows import StoredEvent
from data.store import Store

KEPT = 5000
"""Events in memory; who stands further back is served from the store."""
AT_ONCE = 500


class Message(NamedTuple):
    """One event, and the same as a server-sent event."""

    event: StoredEvent
    text: str


class News(NamedTuple):
    """What happened after a cursor, and the position up to which that is all of it."""

    messages: list[Message]
    reached: int


class Tail:
    """The end of one store's events. All methods may be called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._recent: deque[Message] = deque()
        self._start = self._end = store.last_position()
        """Every event behind the one position, up to the other, is in memory."""

    def after(self, cursor: int, run: str | None = None, episode: str | None = None) -> News:
        """At most `AT_ONCE` events after `cursor`, of one run or episode if it is named."""
        with self._lock:
            self._catch_up()
            if cursor >= self._start:
                return self._fresh(cursor, run, episode)
        newest = self._store.last_position()
        found = self._store.events_since(cursor, run, episode, AT_ONCE)
        return _page(map(_message, found), newest)

    def remembered(self, cursor: int, run: str | None = None, episode: str | None = None) -> News | None:
        """The same out of memory, without waiting for anything; None when the store has to be asked."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            is_all = cursor >= self._start and self._end == self._store.last_position()
            return self._fresh(cursor, run, episode) if is_all else None
        finally:
            self._lock.release()

    def _fresh(self, cursor: int, run: str | None, episode: str | None) -> News:
        newest_first = takewhile(lambda one: one.event.position > cursor, reversed(self._recent))
        fresh = [one for one in newest_first if _is_about(one.event, run, episode)]
        return _page(reversed(fresh), self._end)

    def _catch_up(self) -> None:
        newest = self._store.last_position()
        if newest - self._end > KEPT:  # Nobody followed while this was stored.
            self._recent.clear()
            self._start = self._end = newest - KEPT
        while self._end < newest:
            found = self._store.events_since(self._end, limit=AT_ONCE)
            self._recent.extend(map(_message, found))
            last = found[-1].position if found else newest
            # More may have been stored since `newest` was asked: that is here already, and must not come again.
            self._end = last if len(found) == AT_ONCE else max(newest, last)
        while len(self._recent) > KEPT:
            self._start = self._recent.popleft().event.position


def _page(messages: Iterable[Message], end: int) -> News:
    found = list(messages)[:AT_ONCE]
    return News(found, found[-1].event.position if len(found) == AT_ONCE else end)


def _message(event: StoredEvent) -> Message:
    return Message(event, f"id: {event.position}\ndata: {event.model_dump_json()}\n\n")


def _is_about(event: StoredEvent, run: str | None, episode: str | None) -> bool:
    return run in (None, event.run_id) and episode in (None, event.episode_id)
