"""A small `/api/v1` over given episodes, so that the pages can be driven with odd data and at a set pace.

Live episodes follow a script (`fixture_live`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fixture_live import LiveEpisode, Problem, follow

from data.types import Episode, EpisodeState, Task
from retro_dash.align import align

FIELDS = [
    {"name": "env", "type": "word", "example": "env:alfworld", "meaning": "environment"},
    {
        "name": "outcome",
        "type": "word",
        "example": "outcome:failed",
        "meaning": "solved, failed, stopped, error, running",
    },
    {"name": "planner", "type": "word", "example": "planner:expert", "meaning": "who acted"},
    {"name": "trials", "type": "number", "example": "trials>2", "meaning": "how many trials"},
    {"name": "gain", "type": "number", "example": "gain>0", "meaning": "best gain of a reflection"},
    {"name": "text", "type": "text", "example": 'text:"river"', "meaning": "words anywhere in the episode"},
]


def make_api(episodes: Sequence[Episode], scripts: dict[str, Episode], pace: float = 0.0) -> FastAPI:
    """The API over `episodes`; `scripts` maps a task id to the episode that a live one repeats."""
    app = FastAPI()
    live: dict[str, LiveEpisode] = {}

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> JSONResponse:
        return JSONResponse(error.body, error.status, media_type="application/problem+json")

    add_hub(app, live)
    add_library(app, [episode.task for episode in scripts.values()])
    add_live(app, live, scripts, pace)
    add_list(app, episodes)
    add_episodes(app, {episode.id: episode for episode in episodes})
    return app


def add_hub(app: FastAPI, live: dict[str, LiveEpisode]) -> None:
    @app.get("/api/v1/status")
    async def status() -> dict[str, Any]:
        engine = {
            "state": "ready",
            "model": "smollm2-135m-instruct",
            "detail": "embedded engine on 2 cores",
            "stats": {},
        }
        return {
            "version": "0.1.0",
            "home": "/home/ada/.retro",
            "engine": engine,
            "live": {"open": len(live), "busy": 0},
            "storage": {"read_only": False},
        }

    @app.get("/api/v1/events")
    async def events() -> StreamingResponse:
        return StreamingResponse(nothing_happens(), media_type="text/event-stream")

    @app.get("/api/v1/me")
    async def me() -> dict[str, Any]:
        return {"name": "owner", "role": "admin", "is_owner": True}


async def nothing_happens() -> AsyncIterator[str]:
    while True:
        yield ": still here\n\n"
        await asyncio.sleep(10)


def add_library(app: FastAPI, tasks: Sequence[Task]) -> None:
    @app.get("/api/v1/environments")
    async def environments() -> list[dict[str, Any]]:
        known = sorted({task.env for task in tasks})
        return [
            {
                "name": name,
                "title": {"alfworld": "ALFWorld", "hotpotqa": "HotpotQA"}.get(name, name),
                "summary": "",
                "turn_limit": 50,
                "splits": sorted({t.split for t in tasks if t.env == name}),
                "works": True,
                "detail": "",
                "options": {},
            }
            for name in known
        ]

    @app.get("/api/v1/tasks")
    async def list_tasks(
        env: str, split: str = "", query: str = "", limit: int = 50, offset: int = 0
    ) -> dict[str, Any]:
        found = [
            t
            for t in tasks
            if t.env == env and split in ("", t.split) and query.lower() in f"{t.id} {t.instruction}".lower()
        ]
        rows = [{**t.model_dump(exclude={"metadata"}), "metadata_public": t.metadata} for t in found]
        return {"total": len(rows), "tasks": rows[offset : offset + limit]}

    @app.get("/api/v1/policies")
    async def policies() -> dict[str, Any]:
        rows = [
            {"name": "expert", "label": "Scripted expert", "detail": "A program, not a model.", "available": True},
            {
                "name": "smollm2-135m-instruct",
                "label": "SmolLM2 135M Instruct",
                "detail": "Embedded",
                "available": True,
            },
        ]
        return {"planners": rows, "reflectors": rows}


def add_live(app: FastAPI, live: dict[str, LiveEpisode], scripts: dict[str, Episode], pace: float) -> None:
    @app.post("/api/v1/live")
    async def start(body: dict[str, Any]) -> dict[str, Any]:
        if body["task_id"] not in scripts:
            raise Problem(404, f"There is no task called {body['task_id']!r}.")
        episode = LiveEpisode(f"live-{len(live) + 1}", scripts[body["task_id"]], pace)
        for key in ("planner", "reflector", "strategy", "seed", "temperature", "trial_limit"):
            episode.episode[key] = body[key]
        live[episode.episode["id"]] = episode
        return episode.state()

    @app.get("/api/v1/live")
    async def list_live() -> list[dict[str, Any]]:
        return [episode.state(whole=False) for episode in live.values()]

    def find(id_: str) -> LiveEpisode:
        if id_ not in live:
            raise Problem(404, f"There is no live episode called {id_!r}. Start a new one.")
        return live[id_]

    @app.get("/api/v1/live/{id_}")
    async def read(id_: str) -> dict[str, Any]:
        return find(id_).state()

    @app.get("/api/v1/live/{id_}/events")
    async def events(id_: str, cursor: int = 0) -> StreamingResponse:
        return StreamingResponse(follow(find(id_), cursor), media_type="text/event-stream")

    @app.post("/api/v1/live/{id_}/{verb}")
    async def act(id_: str, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if verb != "fork":
            find(id_).begin(verb, body or {})
            return find(id_).state(whole=False)
        parent = find(id_)
        fork = LiveEpisode(f"live-{len(live) + 1}", parent.script, pace)
        kept = json.loads(json.dumps(parent.episode["trials"][: body["trial"]]))
        kept[-1] |= {"turns": kept[-1]["turns"][: body["turn"] - 1], "stop_reason": None, "success": False}
        fork.episode |= {"trials": kept, "parent_id": id_, "fork_trial": body["trial"], "fork_turn": body["turn"]}
        live[fork.episode["id"]] = fork
        return fork.state()


def add_list(app: FastAPI, episodes: Sequence[Episode]) -> None:
    @app.get("/api/v1/episodes")
    async def list_episodes(
        text: Annotated[str, Query(alias="filter")] = "", sort: str = "-created", limit: int = 50, offset: int = 0
    ) -> dict[str, Any]:
        rows = [row(episode) for episode in episodes]
        for word in text.split():
            name, _, value = word.partition(":")
            if name == "outcome":
                rows = [item for item in rows if item["state"] == value]
            elif name in ("env", "planner"):
                rows = [item for item in rows if item[name] == value]
            elif ":" in word:
                known = ", ".join(field["name"] for field in FIELDS)
                at = text.index(word)
                raise Problem(422, f"Position {at + 1}: there is no field {name!r}. Known: {known}.")
            else:
                rows = [item for item in rows if word.lower() in item["instruction"].lower()]
        key = {"created": "created_at", "gain": "best_gain", "turns": "turn_count", "task": "task_id"}.get(
            sort.lstrip("-"), sort.lstrip("-")
        )
        rows.sort(key=lambda item: (item[key] is not None, item[key]), reverse=sort.startswith("-"))
        return {"total": len(rows), "rows": rows[offset : offset + limit]}

    @app.get("/api/v1/filters")
    async def filters() -> dict[str, Any]:
        return {
            "fields": FIELDS,
            "facets": {
                "env": ["alfworld", "hotpotqa"],
                "planner": ["expert"],
                "outcome": ["solved", "failed", "running", "stopped", "error"],
            },
        }


def add_episodes(app: FastAPI, by_id: dict[str, Episode]) -> None:
    def stored(id_: str) -> Episode:
        if id_ not in by_id:
            raise Problem(404, f"There is no episode called {id_!r}.")
        return by_id[id_]

    @app.get("/api/v1/episodes/{id_}")
    async def read_episode(id_: str) -> dict[str, Any]:
        dump = stored(id_).model_dump(mode="json")
        total = sum(len(item["turns"]) for item in dump["trials"])
        counts: dict[str, int] = {}
        for item in dump["trials"]:
            counts[str(item["index"])] = len(item["turns"])
            if total > 200:
                item["turns"] = item["turns"][:50]
        return {**dump, "turn_counts": counts}

    @app.get("/api/v1/episodes/{id_}/trials/{number}/turns")
    async def turns(id_: str, number: int, start: int = 1, stop: int = 51) -> list[dict[str, Any]]:
        found = stored(id_).trials[number - 1].turns[start - 1 : stop - 1]
        return [item.model_dump(mode="json") for item in found]

    @app.get("/api/v1/episodes/{id_}/alignment")
    async def alignment(id_: str) -> Any:
        return align(stored(id_))

    @app.get("/api/v1/episodes/{id_}/markdown")
    async def markdown(id_: str) -> PlainTextResponse:
        return PlainTextResponse(f"# {stored(id_).task.instruction}\n", media_type="text/markdown")

    @app.post("/api/v1/episodes/{id_}/replay")
    async def replay(id_: str) -> dict[str, Any]:
        return {"is_reproducible": True, "summary": "All 9 actions that were played again gave what was recorded."}


def row(episode: Episode) -> dict[str, Any]:
    gains = [item.gain for item in episode.reflections if item.gain is not None]
    return {
        "id": episode.id,
        "state": episode.state.value,
        "success": episode.state is EpisodeState.SOLVED,
        "env": episode.task.env,
        "task_id": episode.task.id,
        "instruction": episode.task.instruction,
        "trials": [{"success": t.success, "reward": t.reward, "stop_reason": t.stop_reason} for t in episode.trials],
        "best_gain": max(gains, default=None),
        "planner": episode.planner,
        "reflector": episode.reflector,
        "labels": [],
        "turn_count": sum(len(t.turns) for t in episode.trials),
        "created_at": episode.created_at.isoformat(),
        "run_id": episode.run_id,
        "parent_id": episode.parent_id,
    }
