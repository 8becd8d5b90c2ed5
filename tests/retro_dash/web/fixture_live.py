"""Live episodes that follow a script: the trials of a finished episode are played again, turn by turn.

In that of `ep-broken` the engine dies instead.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from data.types import Episode


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
        await self.emit("turn", trial=trial["index"], turn=turn, tokens_used=41 * len(trial["turns"]))
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
