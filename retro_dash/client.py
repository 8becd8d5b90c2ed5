"""A typed client of a running hub, for commands, scripts and notebooks.

from retro_dash.client import HubClient
hub = HubClient.find()
hub.episodes("env:alfworld outcome:failed").total
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import httpx
from pydantic import JsonValue

from data.errors import BadInput, EngineError, Refused, RetroDashError, StorageError, Unavailable, UnknownName
from data.events import Event
from data.rows import EpisodePage
from data.types import Episode
from retro_dash.address import HubAddress, find_hub

_ERRORS: dict[str, type[RetroDashError]] = {
    "Refused": Refused,
    "StorageError": StorageError,
    "EngineError": EngineError,
    "Unavailable": Unavailable,
}


class HubClient:
    """Talks to one hub. Every refusal becomes the same error that the service would raise."""

    def __init__(self, url: str, token: str, timeout: float = 60.0) -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {token}"}, timeout=timeout, trust_env=False
        )

    @classmethod
    def find(cls, home: Path = Path(".retro")) -> HubClient:
        """The hub that runs on `home`. Raises Unavailable when none does."""
        address = find_hub(home.expanduser().resolve())
        if address is None:
            raise Unavailable(f"No Retro Dash runs on {home}. Start it with: retro-dash web --home {home}")
        return cls.at(address)

    @classmethod
    def at(cls, address: HubAddress) -> HubClient:
        return cls(address.url, address.token)

    def status(self) -> dict[str, JsonValue]:
        return self._json("GET", "/status")

    def append(self, events: Sequence[Event]) -> int:
        """Store events; sending the same ones twice is harmless. Returns how many were new."""
        body = [event.model_dump(mode="json") for event in events]
        return int(str(self._json("POST", "/events", json=body)["applied"]))

    def episodes(
        self, filter_text: str = "", sort: str = "-created", limit: int = 50, offset: int = 0
    ) -> EpisodePage:
        """A page of episodes in the filter language of the pages."""
        query = {"filter": filter_text, "sort": sort, "limit": limit, "offset": offset}
        return EpisodePage.model_validate(self._json("GET", "/episodes", params=query))

    def episode(self, episode_id: str) -> dict[str, JsonValue]:
        return self._json("GET", f"/episodes/{episode_id}")

    def whole_episodes(self, filter_text: str = "") -> Iterator[Episode]:
        """Every episode of a filter with its token ids, one after the other."""
        with self._http.stream("GET", "/export/episodes", params={"filter": filter_text}) as answer:
            if answer.is_error:
                answer.read()
                raise _error(answer)
            for line in answer.iter_lines():
                yield Episode.model_validate_json(line)

    def markdown(self, episode_id: str) -> str:
        return self._ask("GET", f"/episodes/{episode_id}/markdown").text

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> HubClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _json(self, method: str, path: str, **request: object) -> dict[str, JsonValue]:
        answer: dict[str, JsonValue] = self._ask(method, path, **request).json()
        return answer

    def _ask(self, method: str, path: str, **request: object) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **request)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            raise Unavailable(f"The hub at {self.url} does not answer ({error}). Is it still running?") from error
        if answer.is_error:
            raise _error(answer)
        return answer


def _error(answer: httpx.Response) -> RetroDashError:
    try:
        problem = answer.json()
        title, detail = str(problem["title"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return RetroDashError(f"The hub answered {answer.status_code}: {answer.text[:200]}")
    if title == "UnknownName":
        error = UnknownName("thing", "")
        error.args = (detail,)
        return error
    return _ERRORS.get(title, BadInput if answer.status_code == 422 else RetroDashError)(detail)
