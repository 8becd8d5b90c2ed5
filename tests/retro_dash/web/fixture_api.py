"""A small `/api/v1` over given episodes, so that the pages can be driven with odd data and at a set pace.

Live episodes follow a script: the trials of a finished episode are played again, turn by turn; in that of `ep-broken`
the engine dies instead.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

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


class Problem(Exception):
    def __init__(self, status: int, detail: str, **more: Any) -> None:
        self.status = status
        self.body = {"title": "Refused", "detail": detail, "status": status, **more}


class LiveEpisode:
    """Plays the trials of `script` again, one event at a time."""

    def __init__(self, id_: str, script: Episode, pace: float) -> None:
        self.script = script
        self.pace = pace
        self.events: list[dict[str, Any]] = []
        self.news = asyncio.Condition()
        self.task: asyncio.Task[None] | None = None
        dump = script.model_dump(mode="json")
        self.trials_to_play, self.reflections_to_write = dump["trials"], dump["reflections"]
        self.episode = {**dump, "id": id_, "trials": [], "reflections": [], "state": "running"}
        self.episode["created_at"] = datetime.now(UTC).isoformat()
        self.phase = "ready"
        self.partial: dict[str, str] | None = None
        self.proposal: dict[str, str] | None = None

    def state(self, whole: bool = True) -> dict[str, Any]:
        trials = self.episode["trials"]
        used = len(trials[-1]["turns"]) if trials else 0
        view = self.script.trials[0].view
        if trials and used:
            view = next((t["view"] for t in reversed(trials[-1]["turns"]) if t["view"]), view)
        state = {
            "episode_id": self.episode["id"],
            "state": self.episode["state"],
            "phase": self.phase,
            "partial": self.partial,
            "proposal": self.proposal,
            "allowed": self.allowed(),
            "view": view,
            "cursor": len(self.events),
            "error": None,
            "budget": {
                "turns_used": used,
                "turn_limit": self.script.task.turn_limit or 8,
                "tokens_used": used * 41,
                "token_limit": 2048,
            },
            "pending_reflections": [r["text"] for r in self.episode["reflections"]],
        }
        return {**state, "episode": self.episode} if whole else state

    def between(self) -> bool:
        trials = self.episode["trials"]
        return bool(trials) and trials[-1]["stop_reason"] is not None

    def allowed(self) -> list[str]:
        if self.task is not None:
            return ["stop"]
        if self.phase == "finished":
            return ["fork"]
        if self.between():
            reflected = len(self.episode["reflections"]) == len(self.episode["trials"])
            return ["fork", "next_trial", "run_episode", "stop", "edit_reflection" if reflected else "reflect"]
        return ["step", "run_trial", "run_episode", "stop", "fork"]

    async def emit(self, type_: str, **data: Any) -> None:
        async with self.news:
            self.events.append({"type": type_, **data})
            self.news.notify_all()

    async def show(self) -> None:
        await self.emit("state", **self.state(whole=False))

    def begin(self, verb: str, body: dict[str, Any]) -> None:
        if verb == "stop":
            self.stop()
            return
        if verb not in self.allowed():
            raise Problem(409, f"{verb} is not possible while the episode is {self.phase}.")
        if verb == "edit_reflection":
            old = self.episode["reflections"][-1]
            new = {**old, "text": body["text"], "author": "human", "edited_from": old["text"]}
            self.episode["reflections"][-1] = new
            self.task = asyncio.create_task(self.finish(self.emit("reflection", reflection=new)))
            return
        self.phase = "thinking"
        work = {
            "step": self.step,
            "run_trial": self.run_trial,
            "reflect": self.reflect,
            "next_trial": self.next_trial,
            "run_episode": self.run_episode,
        }[verb]
        self.task = asyncio.create_task(self.finish(work(body)))

    async def finish(self, work: Any) -> None:
        await self.show()
        await work
        self.task = None
        if self.phase in ("thinking", "acting", "reflecting"):
            self.phase = "between_trials" if self.between() else "ready"
        await self.show()

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            self.task = None
        self.partial, self.phase = None, "finished"
        self.episode["state"] = "stopped"
        self.stopping = asyncio.create_task(self.show())

    async def write(self, role: str, text: str) -> None:
        self.partial = {"role": role, "text": ""}
        for piece in text.split(" "):
            self.partial["text"] += piece + " "
            await self.emit("token", role=role, text=piece + " ")
            await asyncio.sleep(self.pace)

    async def step(self, body: dict[str, Any]) -> None:
        if self.script.id == "ep-broken":
            await self.emit(
                "error", message="The engine is gone. Nothing is lost: press Step to try this turn again."
            )
            return
        if not self.episode["trials"]:
            await self.next_trial({})
        trial = self.episode["trials"][-1]
        todo = self.trials_to_play[trial["index"] - 1]
        turn = dict(todo["turns"][len(trial["turns"])])
        if self.proposal is None and "action" not in body:
            await self.write("planner", f"Thought: {turn['thought']}\nAction: {turn['action']}")
        self.partial = None
        if body.get("hold"):
            self.phase = "proposed"
            self.proposal = {"thought": turn["thought"], "action": turn["action"], "raw": ""}
            return
        if "action" in body:
            turn |= {"thought": body.get("thought") or "", "action": body["action"], "author": "human"}
        self.proposal, self.phase = None, "acting"
        trial["turns"].append(turn)
        await self.emit("turn", trial=trial["index"], turn=turn)
        if len(trial["turns"]) == len(todo["turns"]):
            await self.end_trial(trial, todo)

    async def end_trial(self, trial: dict[str, Any], todo: dict[str, Any]) -> None:
        for key in ("reward", "success", "stop_reason", "finished_at"):
            trial[key] = todo[key]
        if trial["index"] > 1 and self.episode["reflections"]:
            self.episode["reflections"][-1]["gain"] = trial["reward"] - self.episode["trials"][-2]["reward"]
            await self.emit("reflection", reflection=self.episode["reflections"][-1])
        ended = {key: trial[key] for key in ("reward", "success", "stop_reason", "error", "finished_at")}
        await self.emit("trial_finished", trial=trial["index"], **ended)
        if trial["success"] or trial["index"] == len(self.trials_to_play):
            self.phase = "finished"
            self.episode["state"] = "solved" if trial["success"] else "failed"
            await self.emit("finished", state=self.episode["state"])

    async def run_trial(self, body: dict[str, Any]) -> None:
        await self.step({})
        while not self.between():
            await self.step({})

    async def reflect(self, body: dict[str, Any]) -> None:
        self.phase = "reflecting"
        index = len(self.episode["trials"])
        reflection = {**self.reflections_to_write[index - 1], "gain": None}
        if "text" in body:
            reflection |= {"text": body["text"], "author": "human"}
        else:
            await self.write("reflector", reflection["text"])
        self.partial = None
        self.episode["reflections"].append(reflection)
        await self.emit("reflection", reflection=reflection)

    async def next_trial(self, body: dict[str, Any]) -> None:
        todo = self.trials_to_play[len(self.episode["trials"])]
        trial = {**todo, "turns": [], "reward": 0.0, "success": False, "stop_reason": None, "finished_at": None}
        self.episode["trials"].append(trial)
        await self.emit("trial_started", trial=dict(trial, turns=[]))

    async def run_episode(self, body: dict[str, Any]) -> None:
        while self.phase != "finished":
            if self.between():
                if len(self.episode["reflections"]) < len(self.episode["trials"]):
                    await self.reflect({})
                await self.next_trial({})
            self.phase = "thinking"
            await self.run_trial({})


def make_api(episodes: Sequence[Episode], scripts: dict[str, Episode], pace: float = 0.0) -> FastAPI:
    """The API over `episodes`; `scripts` maps a task id to the episode that a live one repeats."""
    app = FastAPI()
    by_id = {episode.id: episode for episode in episodes}
    live: dict[str, LiveEpisode] = {}
    tasks: list[Task] = [episode.task for episode in scripts.values()]

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> JSONResponse:
        return JSONResponse(error.body, error.status, media_type="application/problem+json")

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

    @app.get("/api/v1/me")
    async def me() -> dict[str, Any]:
        return {"name": "owner", "role": "admin", "is_owner": True}

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
            t for t in tasks if t.env == env and split in ("", t.split) and query.lower() in t.instruction.lower()
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
        return {"reproducible": True, "detail": "All actions were played again and every observation was the same."}

    return app


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


async def follow(live: LiveEpisode, cursor: int) -> AsyncIterator[str]:
    while True:
        async with live.news:
            if cursor >= len(live.events):
                try:
                    await asyncio.wait_for(live.news.wait(), 10)
                except TimeoutError:
                    yield ": still here\n\n"
            events = live.events[cursor:]
        for event in events:
            cursor += 1
            yield f"id: {cursor}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n"
