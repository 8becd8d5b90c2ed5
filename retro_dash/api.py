"""`/api/v1`: the service over HTTP. Errors are problem documents with the same sentences as everywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from data.events import Event
from data.rows import EpisodePage
from data.types import Turn
from envs.replay_report import ReplayReport
from retro_dash.align import align
from retro_dash.api_adapters import adapters_router
from retro_dash.api_answers import (
    Alignment,
    EnvironmentRow,
    Filters,
    LiveState,
    Policies,
    PublicTask,
    Status,
    TaskPage,
    WholeEpisode,
    answers,
)
from retro_dash.api_curation import curation_router
from retro_dash.api_judge import judge_router
from retro_dash.api_runs import runs_router
from retro_dash.api_store import store_router
from retro_dash.api_training import training_router
from retro_dash.live import LiveEpisode, Notice
from retro_dash.playing import LiveRequest
from retro_dash.problems import add_problems
from retro_dash.responses import EventStream, JsonLines
from retro_dash.service import Service

POLL_SECONDS = 0.04
KEEP_ALIVE_SECONDS = 15.0
State = dict[str, JsonValue]


class Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StepBody(Body):
    hold: bool = False
    thought: str | None = Field(default=None, max_length=20_000)
    action: str | None = Field(default=None, max_length=20_000)


class ReflectBody(Body):
    text: str | None = Field(default=None, max_length=20_000)


class EditBody(Body):
    text: str = Field(max_length=20_000)


class ForkBody(Body):
    trial: int = Field(ge=1)
    turn: int = Field(ge=1)
    planner: str | None = None
    thought: str | None = Field(default=None, max_length=20_000)
    action: str | None = Field(default=None, max_length=20_000)


Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0)]


def add_api(app: FastAPI, service: Service) -> None:
    """Put all routes of `/api/v1` and the error documents on the application."""
    app.include_router(_library(service), prefix="/api/v1")
    app.include_router(_live(service), prefix="/api/v1")
    app.include_router(_episodes(service), prefix="/api/v1")
    for make in (runs_router, training_router, adapters_router):
        app.include_router(make(service), prefix="/api/v1")
    app.include_router(store_router(service.store), prefix="/api/v1")
    app.include_router(curation_router(service.curation), prefix="/api/v1")
    app.include_router(judge_router(service.judging), prefix="/api/v1")
    add_problems(app)


def _library(service: Service) -> APIRouter:
    router = APIRouter(tags=["library"])

    @router.get("/status", **answers(Status))
    def status() -> State:
        return service.status()

    @router.get("/environments", **answers(list[EnvironmentRow]))
    def environments() -> list[State]:
        return service.environments()

    @router.get("/tasks", **answers(TaskPage))
    def tasks(env: str, split: str | None = None, query: str = "", limit: Limit = 50, offset: Offset = 0) -> State:
        return service.tasks(env, split, query, limit, offset)

    @router.get("/tasks/random", **answers(PublicTask))
    def random_task(env: str, split: str | None = None, seed: int | None = None) -> State:
        return service.random_task(env, split, seed)

    @router.get("/policies", **answers(Policies))
    def policies() -> State:
        return service.policies()

    return router


def _live(service: Service) -> APIRouter:
    router = APIRouter(tags=["live"], prefix="/live")
    playing = service.playing

    def pressed(live: LiveEpisode) -> State:
        return live.state(with_episode=False)

    @router.get("", **answers(list[LiveState]))
    def live_list() -> list[State]:
        return playing.states()

    @router.post("", status_code=201, **answers(LiveState, 201))
    def open_live(request: LiveRequest) -> State:
        return playing.open(request)

    @router.get("/{episode_id}", **answers(LiveState))
    def live_state(episode_id: str) -> State:
        return playing.find(episode_id).state()

    @router.get("/{episode_id}/events", response_class=EventStream)
    def events(episode_id: str, request: Request, cursor: Annotated[int, Query(ge=0)] = 0) -> EventStream:
        live = playing.find(episode_id)
        last = request.headers.get("last-event-id", "")
        start = int(last) if last.isdigit() else cursor
        return EventStream(_stream(live, start))

    @router.post("/{episode_id}/step", **answers(LiveState))
    def step(episode_id: str, body: StepBody | None = None) -> State:
        body = body or StepBody()
        live = playing.find(episode_id)
        live.step(body.hold, body.thought, body.action)
        return pressed(live)

    @router.post("/{episode_id}/reflect", **answers(LiveState))
    def reflect(episode_id: str, body: ReflectBody | None = None) -> State:
        live = playing.find(episode_id)
        live.reflect((body or ReflectBody()).text)
        return pressed(live)

    @router.post("/{episode_id}/edit_reflection", **answers(LiveState))
    def edit_reflection(episode_id: str, body: EditBody) -> State:
        live = playing.find(episode_id)
        live.edit_reflection(body.text)
        return pressed(live)

    @router.post("/{episode_id}/fork", status_code=201, **answers(LiveState, 201))
    def fork(episode_id: str, body: ForkBody) -> State:
        return playing.fork(
            episode_id, body.trial, body.turn, planner=body.planner, thought=body.thought, action=body.action
        )

    @router.post("/{episode_id}/{verb}", **answers(LiveState))
    def press(episode_id: str, verb: Literal["run_trial", "run_episode", "next_trial", "stop"]) -> State:
        live = playing.find(episode_id)
        match verb:
            case "run_trial":
                live.run_trial()
            case "run_episode":
                live.run_episode()
            case "next_trial":
                live.next_trial()
            case "stop":
                live.stop()
        return pressed(live)

    return router


async def _stream(live: LiveEpisode, cursor: int) -> AsyncIterator[str]:
    """Server-sent events from a cursor; a watcher that fell too far behind gets one `reset` with the whole state."""
    quiet = 0.0
    while True:
        notices = live.notices(cursor)
        if notices is None:
            state = live.state()
            notices = [Notice(int(str(state["cursor"])), "reset", state)]
        for notice in notices:
            cursor = notice.cursor
            body = json.dumps({"type": notice.type, **notice.data})
            yield f"id: {notice.cursor}\nevent: {notice.type}\ndata: {body}\n\n"
        quiet = 0.0 if notices else quiet + POLL_SECONDS
        if quiet >= KEEP_ALIVE_SECONDS:
            quiet = 0.0
            yield ": alive\n\n"
        await asyncio.sleep(POLL_SECONDS)


def _episodes(service: Service) -> APIRouter:
    router = APIRouter(tags=["episodes"])

    @router.get("/episodes")
    def episodes(
        filter: str = "",  # noqa: A002 - the word of the filter language in every address
        sort: str = "-created",
        limit: Limit = 50,
        offset: Offset = 0,
        cursor: Annotated[str | None, Query(max_length=200)] = None,
    ) -> EpisodePage:
        """A page from row `offset` on, or from `cursor` on: the `next_cursor` of the page before."""
        return service.episodes(filter, sort, limit, offset, cursor)

    @router.post("/events")
    def append(events: list[Event]) -> dict[str, int]:
        return {"applied": service.store.append(events)}

    @router.get("/export/episodes", response_class=JsonLines)
    def export(filter: str = "") -> JsonLines:  # noqa: A002
        ids = service.store.episode_ids(filter)
        lines = (service.store.episode(id_, with_tokens=True).model_dump_json() + "\n" for id_ in ids)
        return JsonLines(lines)

    @router.get("/filters", **answers(Filters))
    def filters() -> State:
        return service.filters()

    @router.get("/episodes/{episode_id}", **answers(WholeEpisode))
    def episode(episode_id: str) -> State:
        return service.episode(episode_id)

    @router.get("/episodes/{episode_id}/trials/{trial}/turns")
    def turns(episode_id: str, trial: int, start: int = 1, stop: int = 51) -> list[Turn]:
        return service.turns(episode_id, trial, start, stop)

    @router.get("/episodes/{episode_id}/alignment", **answers(Alignment))
    def alignment(episode_id: str) -> JsonValue:
        return align(service.store.episode(episode_id))

    @router.get("/episodes/{episode_id}/markdown", response_class=PlainTextResponse)
    def markdown(episode_id: str) -> str:
        return service.markdown(episode_id)

    @router.post("/episodes/{episode_id}/replay")
    def replay(episode_id: str) -> ReplayReport:
        return service.replay(episode_id)

    return router
