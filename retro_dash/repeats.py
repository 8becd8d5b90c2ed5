"""A request sent twice with one `Idempotency-Key` is done once; the second gets the first answer.

For what plays: stepping, reflecting and forking would otherwise happen again when a client that heard no answer asks
again. Events, labels and runs have lasting ids of their own and need no memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retro_dash.problems import problem

PREFIX = "/api/v1/live"
KEPT_SECONDS = 3600.0
MOST_KEPT = 2000
LONGEST_KEY = 200


@dataclass
class _Answer:
    body_digest: str
    made: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    messages: list[Message] = field(default_factory=list)


class Repeats:
    """ASGI middleware; stands behind the guard, which says who asks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._answers: OrderedDict[tuple[str, str, str], _Answer] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = Headers(scope=scope).get("idempotency-key", "") if scope["type"] == "http" else ""
        if not key or scope["method"] != "POST" or not str(scope["path"]).startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        body = await _whole(receive)
        digest = hashlib.sha256(body).hexdigest()
        answer = self._answer((_who(scope), str(scope["path"]), key[:LONGEST_KEY]), digest)
        if answer.body_digest != digest:
            detail = f"The idempotency key {key[:LONGEST_KEY]!r} was used for another request. Make a new one."
            await problem(422, detail, "BadInput")(scope, receive, send)
            return
        async with answer.lock:
            if answer.messages:
                await _replay(answer.messages, send)
            else:
                await self._ask(scope, body, answer, send)

    def _answer(self, identity: tuple[str, str, str], digest: str) -> _Answer:
        """What is known under this key, or an empty answer to be filled."""
        now = time.monotonic()
        while self._answers and (
            len(self._answers) > MOST_KEPT or now - next(iter(self._answers.values())).made > KEPT_SECONDS
        ):
            self._answers.popitem(last=False)
        return self._answers.setdefault(identity, _Answer(digest, now))

    async def _ask(self, scope: Scope, body: bytes, answer: _Answer, send: Send) -> None:
        messages: list[Message] = []

        async def receive_again() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def keep(message: Message) -> None:
            messages.append(message)
            await send(message)

        await self._app(scope, receive_again, keep)
        if messages[0]["status"] < 500:  # What broke may be tried again.
            answer.messages = messages


async def _whole(receive: Receive) -> bytes:
    body, has_more = b"", True
    while has_more:
        message = await receive()
        body += message.get("body", b"")
        has_more = message.get("more_body", False)
    return body


async def _replay(messages: list[Message], send: Send) -> None:
    start, *rest = messages
    await send({**start, "headers": [*start["headers"], (b"idempotency-replayed", b"true")]})
    for message in rest:
        await send(message)


def _who(scope: Scope) -> str:
    return str(getattr(scope.get("state", {}).get("person"), "name", ""))
