"""A typed client of a running hub, for commands, scripts and notebooks.

from retro_dash.client import HubClient
hub = HubClient.find()
hub.episodes("env:alfworld outcome:failed").total
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from data.errors import Unavailable
from data.events import Event
from data.rows import EpisodePage, EpisodeRow, MetricSeries
from data.types import Adapter, Episode, Run, Turn
from retro_dash.address import HubAddress, find_hub
from retro_dash.client_curation import CurationCalls
from retro_dash.frames import curves_to_pandas, to_arrow, to_pandas
from retro_dash.wire import HubLost, LiveEvents, Wire, lines, part

if TYPE_CHECKING:
    import pandas
    import pyarrow

__all__ = ["HubClient", "HubLost", "LiveEvents"]

MOST_AT_ONCE = 500
"""Items of a page."""


class HubClient(CurationCalls):
    """Talks to one hub. Every refusal becomes the same error that the service would raise."""

    def __init__(self, url: str, token: str, timeout: float = 60.0, verify: ssl.SSLContext | bool = True) -> None:
        self.url = url
        self.wire = Wire(url, token, timeout, verify)

    @classmethod
    def find(cls, home: Path = Path(".retro")) -> HubClient:
        """The hub that runs on `home`. Raises Unavailable when none does."""
        address = find_hub(home.expanduser().resolve())
        if address is None:
            raise Unavailable(f"No Retro Dash runs on {home}. Start it with: retro-dash web --home {home}")
        return cls.at(address)

    @classmethod
    def at(cls, address: HubAddress, timeout: float = 60.0) -> HubClient:
        return cls(address.url, address.token, timeout, address.trust())

    def status(self, timeout: float | None = None) -> dict[str, JsonValue]:
        """What the top bar shows; `timeout` in seconds, where this answer is wanted sooner than others."""
        return self.wire.object("GET", "/status", **({} if timeout is None else {"timeout": timeout}))

    def me(self) -> dict[str, JsonValue]:
        """Who we are: `name`, `role`, and `is_owner` for the one user of a hub without accounts."""
        return self.wire.object("GET", "/me")

    def append(self, events: Sequence[Event]) -> int:
        """Store events; sending the same ones twice is harmless. Returns how many were new."""
        body = [event.model_dump(mode="json") for event in events]
        return int(str(self.wire.object("POST", "/events", json=body)["applied"]))

    def episodes(
        self,
        filter_text: str = "",
        sort: str = "-created",
        limit: int = 50,
        offset: int = 0,
        cursor: str | None = None,
    ) -> EpisodePage:
        """A page of the filtered list, from `offset` or from the `next_cursor` of the page before."""
        query = {"filter": filter_text, "sort": sort, "limit": limit, "offset": offset}
        return EpisodePage.model_validate(
            self.wire.object("GET", "/episodes", params=query if cursor is None else {**query, "cursor": cursor})
        )

    def episode_list(self, filter_text: str = "", sort: str = "-created") -> Iterator[EpisodeRow]:
        """Every episode of a filter, page after page; what comes in front meanwhile neither doubles nor hides one."""
        cursor: str | None = None
        while True:
            page = self.episodes(filter_text, sort, limit=MOST_AT_ONCE, cursor=cursor)
            yield from page.rows
            cursor = page.next_cursor
            if cursor is None:
                return

    def frame(self, filter_text: str = "", sort: str = "-created") -> pandas.DataFrame:
        """All episodes of a filter as a pandas table: one row an episode, `rewards` and `labels` in lists."""
        return to_pandas(self.episode_list(filter_text, sort))

    def arrow(self, filter_text: str = "", sort: str = "-created") -> pyarrow.Table:
        """The same as an Arrow table; the values of labels are JSON texts."""
        return to_arrow(self.episode_list(filter_text, sort))

    def events(self, cursor: int | None = None) -> Iterator[dict[str, Any]]:
        """What is stored after `cursor` (from now on when None), as it happens: see `data.rows.StoredEvent`.

        Goes on when the hub ends a long stream; raises HubLost when the hub is gone.
        """
        while True:
            stream = self.wire.events("/events", cursor)
            try:
                yield from stream
            except HubLost:
                self.status()
            cursor = stream.cursor

    def snapshot(self, path: Path) -> Path:
        """Write a copy of the whole store to `path`. Needs an admin."""
        with self.wire.download("/snapshot") as pieces, path.open("wb") as file:
            file.writelines(pieces)
        return path

    def episode(self, episode_id: str) -> dict[str, JsonValue]:
        return self.wire.object("GET", f"/episodes/{part(episode_id)}")

    def whole_episodes(self, filter_text: str = "") -> Iterator[Episode]:
        """Every episode of a filter with its token ids, one after the other."""
        with self.wire.download("/export/episodes", params={"filter": filter_text}) as pieces:
            for line in lines(pieces):
                yield Episode.model_validate_json(line)

    def markdown(self, episode_id: str) -> str:
        return self.wire.text(f"/episodes/{part(episode_id)}/markdown")

    def turns(self, episode_id: str, trial: int, start: int, stop: int) -> list[Turn]:
        """Turns `start` to `stop` (from 1, `stop` not included) of a trial, without token ids."""
        path = f"/episodes/{part(episode_id)}/trials/{trial}/turns"
        return [
            Turn.model_validate(turn) for turn in self.wire.json("GET", path, params={"start": start, "stop": stop})
        ]

    def alignment(self, episode_id: str) -> dict[str, JsonValue]:
        """The episode's trials side by side, as `retro_dash.align.align` gives them."""
        return self.wire.object("GET", f"/episodes/{part(episode_id)}/alignment")

    def replay(self, episode_id: str) -> dict[str, JsonValue]:
        """Play the recorded actions again; says whether the environment answers the same."""
        return self.wire.object("POST", f"/episodes/{part(episode_id)}/replay")

    def filters(self) -> dict[str, JsonValue]:
        """The fields of the filter language and their known values."""
        return self.wire.object("GET", "/filters")

    # What can be played, and playing it

    def environments(self) -> list[dict[str, Any]]:
        return list(self.wire.json("GET", "/environments"))

    def tasks(
        self, env: str, split: str | None = None, query: str = "", limit: int = 50, offset: int = 0
    ) -> dict[str, Any]:
        """A page of bundled tasks: `total` and `tasks`, without their gold answers."""
        params = {"env": env, "split": split, "query": query, "limit": limit, "offset": offset}
        return self.wire.object(
            "GET", "/tasks", params={key: value for key, value in params.items() if value is not None}
        )

    def random_task(self, env: str, split: str | None = None) -> dict[str, JsonValue]:
        return self.wire.object("GET", "/tasks/random", params={"env": env, **({"split": split} if split else {})})

    def policies(self) -> dict[str, Any]:
        """`planners` and `reflectors` that can be chosen now."""
        return self.wire.object("GET", "/policies")

    def open_live(self, request: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Begin a live episode; `request` as in `retro_dash.playing.LiveRequest`. Returns its whole state."""
        return self.wire.object("POST", "/live", json=request)

    def live_state(self, episode_id: str) -> dict[str, JsonValue]:
        return self.wire.object("GET", f"/live/{part(episode_id)}")

    def live_list(self) -> list[dict[str, Any]]:
        return list(self.wire.json("GET", "/live"))

    def press(self, episode_id: str, verb: str, body: dict[str, JsonValue] | None = None) -> dict[str, JsonValue]:
        """One verb of a live episode (step, reflect, fork, …). Returns its state, for a fork that of the child."""
        return self.wire.object("POST", f"/live/{part(episode_id)}/{verb}", json=body or {})

    def live_events(self, episode_id: str, cursor: int = 0) -> LiveEvents:
        """What happens in a live episode after `cursor`, as it happens."""
        return self.wire.events(f"/live/{part(episode_id)}/events", cursor)

    # Background runs, adapters

    def runs(self, kinds: Sequence[str] = (), states: Sequence[str] = (), limit: int | None = None) -> list[Run]:
        """The newest `limit` runs of these kinds and states, or all, newest first."""
        wanted = {"kind": list(kinds), "state": list(states), "limit": min(limit or MOST_AT_ONCE, MOST_AT_ONCE)}
        return [Run.model_validate(run) for run in islice(self.wire.items("/runs", wanted), limit)]

    def run_rows(self, limit: int | None = None) -> list[dict[str, Any]]:
        """The newest `limit` runs, or all, as the list shows them: `retro_dash.run_list.RunRow`."""
        wanted = {"limit": min(limit or MOST_AT_ONCE, MOST_AT_ONCE)}
        return list(islice(self.wire.items("/runs/rows", wanted), limit))

    def run(self, run_id: str) -> Run:
        return Run.model_validate(self.wire.object("GET", f"/runs/{part(run_id)}"))

    def submit_run(self, request: dict[str, JsonValue], key: str | None = None) -> Run:
        """Queue a run; `request` as in `retro_dash.api_runs.RunRequest`. The same `key` again gives the same run."""
        headers = {"idempotency-key": key} if key else {}
        return Run.model_validate(self.wire.object("POST", "/runs", json=request, headers=headers))

    def run_queue(self) -> list[str]:
        return [str(run_id) for run_id in self.wire.json("GET", "/runs/queue")]

    def metrics(self, run_id: str, names: Sequence[str] = (), max_points: int = 1000) -> list[MetricSeries]:
        params = {"name": list(names), "max_points": max_points}
        path = f"/runs/{part(run_id)}/metrics"
        return [MetricSeries.model_validate(series) for series in self.wire.json("GET", path, params=params)]

    def curves(self, run_id: str, names: Sequence[str] = (), max_points: int = 20_000) -> pandas.DataFrame:
        """The curves of a run as a pandas table: one row a point, with `name`, `step`, `value` and `at`."""
        return curves_to_pandas(self.metrics(run_id, names, max_points))

    def run_log(self, run_id: str, lines: int = 100) -> str:
        return self.wire.text(f"/runs/{part(run_id)}/log", params={"lines": lines})

    def report(self, run_id: str) -> dict[str, Any] | None:
        """The report of an evaluation; None before it is finished."""
        report: dict[str, Any] | None = self.wire.json("GET", f"/runs/{part(run_id)}/report")
        return report

    def lineage(self, run_id: str) -> dict[str, Any]:
        """What a run came from and led to, as in `retro_dash.run_list.Lineage`."""
        return self.wire.object("GET", f"/runs/{part(run_id)}/lineage")

    def train_schema(self) -> dict[str, Any]:
        """What a form of a training run needs: schema, methods, presets, and the model of the engine."""
        return self.wire.object("GET", "/train/schema")

    def check_training(
        self, config: dict[str, JsonValue], filter_text: str = "", dataset: str | None = None
    ) -> dict[str, Any]:
        """A train config looked at before it becomes a run, as in `retro_dash.preflight.Check`."""
        body = {"config": config, "filter": filter_text, "dataset": dataset}
        return self.wire.object("POST", "/train/check", json=body)

    def machine(self) -> dict[str, Any]:
        """`machine`: its load. `room`: the memory that training and serving share."""
        return self.wire.object("GET", "/machine")

    def cancel_run(self, run_id: str, at_once: bool = False) -> Run:
        """Save and stop; `at_once` kills it without saving."""
        body = {"at_once": at_once}
        return Run.model_validate(self.wire.object("POST", f"/runs/{part(run_id)}/cancel", json=body))

    def extend_run(self, run_id: str, epochs: int) -> Run:
        """Queue a run that goes on from the end of a finished one."""
        return Run.model_validate(self.wire.object("POST", f"/runs/{part(run_id)}/extend", json={"epochs": epochs}))

    def run_alerts(self, run_id: str) -> list[str]:
        """What in a run's curves should worry a person."""
        return [str(one) for one in self.wire.json("GET", f"/runs/{part(run_id)}/alerts")]

    def resume_run(self, run_id: str) -> Run:
        return Run.model_validate(self.wire.object("POST", f"/runs/{part(run_id)}/resume"))

    def move_run(self, run_id: str, position: int) -> list[str]:
        """Put a queued run at `position` (from 0) of the queue; returns the queue."""
        return [str(one) for one in self.wire.json("POST", f"/runs/{part(run_id)}/move", json={"position": position})]

    def adapters(self) -> list[Adapter]:
        return [Adapter.model_validate(adapter) for adapter in self.wire.json("GET", "/adapters")]

    def adapter_rows(self) -> list[dict[str, Any]]:
        """Adapters with where they came from and what they scored, as in `retro_dash.adapters.AdapterRow`."""
        return list(self.wire.json("GET", "/adapters/rows"))

    def import_adapter(self, folder: str, name: str, role: str) -> Adapter:
        """Copy a PEFT folder of the hub's machine into its home; `role` is planner, reflector or both."""
        body = {"folder": folder, "name": name, "role": role}
        return Adapter.model_validate(self.wire.object("POST", "/adapters/import", json=body))

    def load_adapter(self, name: str) -> dict[str, JsonValue]:
        return self.wire.object("POST", f"/adapters/{part(name)}/load")

    def unload_adapter(self, name: str) -> dict[str, JsonValue]:
        return self.wire.object("POST", f"/adapters/{part(name)}/unload")

    def close(self) -> None:
        self.wire.close()

    def __enter__(self) -> HubClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
