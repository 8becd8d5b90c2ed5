"""How a client speaks with a hub: one connection, its errors, its streams, lists that come in pages."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import JsonValue

from data.errors import BadInput, EngineError, Refused, RetroDashError, StorageError, Unavailable, UnknownName

SILENCE_SECONDS = 40.0
"""A stream says that it is alive every 15 seconds; after this long without a word the line is broken."""
KEPT_SECONDS = 2.0
"""An idle connection is used again for so long. The hub ends it after five; as it does, a request on it is lost."""
_ERRORS: dict[str, type[RetroDashError]] = {
    "Refused": Refused,
    "StorageError": StorageError,
    "EngineError": EngineError,
    "Unavailable": Unavailable,
}


class HubLost(Unavailable):
    """No answer from the hub, or it no longer knows our token: find it again."""


class Wire:
    """Requests to one hub. Every refusal becomes the same error that the service would raise."""

    def __init__(self, url: str, token: str, timeout: float, verify: ssl.SSLContext | bool) -> None:
        self.url = url
        self.http = httpx.Client(
            base_url=f"{url}/api/v1",
            headers={"authorization": f"Bearer {token}"},
            timeout=timeout,
            limits=httpx.Limits(keepalive_expiry=KEPT_SECONDS),
            trust_env=False,
            verify=verify if url.startswith("https:") else False,  # Reading certificates takes longer than an answer.
        )

    def object(self, method: str, path: str, **request: Any) -> dict[str, JsonValue]:
        """The object that is the answer."""
        answer: dict[str, JsonValue] = self.json(method, path, **request)
        return answer

    def json(self, method: str, path: str, **request: Any) -> Any:
        return self._ask(method, path, **request).json()

    def text(self, path: str, **request: Any) -> str:
        return self._ask("GET", path, **request).text

    def delete(self, path: str) -> None:
        self._ask("DELETE", path)

    def items(self, path: str, params: dict[str, Any]) -> Iterator[Any]:
        """All of a list that comes in pages, each of which says where the next one begins."""
        query = httpx.QueryParams({key: value for key, value in params.items() if value is not None})
        while True:
            answer = self._ask("GET", path, params=query)
            yield from answer.json()
            following = answer.links.get("next")
            if following is None:
                return
            query = httpx.URL(following["url"]).params

    @contextmanager
    def download(self, path: str, **request: Any) -> Iterator[Iterator[bytes]]:
        """A long answer, piece by piece."""
        with self.http.stream("GET", path, **request) as answer:
            if answer.is_error:
                answer.read()
                raise _error(answer)
            yield answer.iter_bytes(2**20)

    def events(self, path: str, cursor: int | None) -> LiveEvents:
        return LiveEvents(self.http, self.url, path, cursor)

    def close(self) -> None:
        self.http.close()

    def _ask(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            answer = self.http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise _lost(self.url, error) from error
        if answer.is_error:
            raise _error(answer)
        return answer


class LiveEvents:
    """An open stream of notices: iterate over it in one thread, `close` it from any."""

    def __init__(self, http: httpx.Client, url: str, path: str, cursor: int | None) -> None:
        self._http, self._url, self._path, self._cursor = http, url, path, cursor
        self._answer: httpx.Response | None = None
        self._closed = False

    @property
    def cursor(self) -> int | None:
        """Where to go on from."""
        return self._cursor

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Notices with their `type` and `cursor`. Raises HubLost when the line breaks, nothing after `close`."""
        timeout = httpx.Timeout(5.0, read=SILENCE_SECONDS)
        params = {} if self._cursor is None else {"cursor": self._cursor}
        try:
            with self._http.stream("GET", self._path, params=params, timeout=timeout) as answer:
                self._answer = answer
                if answer.is_error:
                    answer.read()
                    raise _error(answer)
                for line in answer.iter_lines():
                    if self._closed:
                        return
                    if line.startswith("id: "):
                        self._cursor = int(line[4:])
                    elif line.startswith("data: "):
                        yield {**json.loads(line[6:]), "cursor": self._cursor}
        except httpx.HTTPError as error:
            if not self._closed:
                raise _lost(self._url, error) from error
            return
        if not self._closed:
            raise HubLost(f"The hub at {self._url} ended the stream. Is it still running?")

    def close(self) -> None:
        """End the iteration at once, also while it waits."""
        self._closed = True
        if self._answer is not None:
            connection = self._answer.extensions["network_stream"].get_extra_info("socket")
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def _lost(url: str, error: httpx.HTTPError) -> HubLost:
    return HubLost(f"The hub at {url} does not answer ({error}). Is it still running?")


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that end with a line feed; `iter_lines` of httpx also ends them at U+2028, which JSON may hold."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _error(answer: httpx.Response) -> RetroDashError:
    try:
        problem = answer.json()
        title, detail = str(problem["title"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return RetroDashError(f"The hub answered {answer.status_code}: {answer.text[:200]}")
    if answer.status_code == 401:
        return HubLost(detail)
    if title == "UnknownName":
        error = UnknownName("thing", "")
        error.args = (detail,)
        return error
    return _ERRORS.get(title, BadInput if answer.status_code == 422 else RetroDashError)(detail)
