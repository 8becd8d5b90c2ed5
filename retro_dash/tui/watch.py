"""A live episode as this terminal knows it: the hub's state, kept up to date by its notices."""

from __future__ import annotations

import queue
import threading
from typing import Any

from data.errors import RetroDashError
from retro_dash.client import HubClient, LiveEvents

PHASE_OF = {"planner": "thinking", "reflector": "reflecting"}


class Watch:
    """Follows one episode in a thread; `take` hands over what came since, in the caller's thread."""

    def __init__(self, client: HubClient, state: dict[str, Any]) -> None:
        self.state = state
        self.is_lost = False
        self._notices: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._events: LiveEvents = client.live_events(str(state["episode_id"]), int(state["cursor"]))
        threading.Thread(target=self._listen, daemon=True, name="watch").start()

    def take(self) -> bool:
        """Put what has arrived into the state; True when anything did."""
        changed = False
        while not self._notices.empty():
            notice = self._notices.get()
            changed = True
            if notice is None:
                self.is_lost = True
            else:
                hear(self.state, notice)
        return changed

    def close(self) -> None:
        self._events.close()

    def _listen(self) -> None:
        try:
            for notice in self._events:
                self._notices.put(notice)
        except RetroDashError:
            self._notices.put(None)


def hear(state: dict[str, Any], notice: dict[str, Any]) -> None:
    """Change the state as a notice says; one that the state already holds changes nothing."""
    if notice["cursor"] <= state["cursor"] and notice["type"] != "reset":
        return
    episode, kind = state["episode"], notice["type"]
    trials: list[dict[str, Any]] = episode["trials"]
    match kind:
        case "token":
            partial = state.get("partial") or {}
            before = partial["text"] if partial.get("role") == notice["role"] else ""
            state["partial"] = {"role": notice["role"], "text": before + notice["text"]}
            state["phase"] = PHASE_OF.get(notice["role"], state["phase"])
        case "state" | "reset":
            merge(state, notice)
        case "trial_started":
            _put(trials, notice["trial"], "index")
            state["view"] = notice["trial"].get("view") or state.get("view")
            state["budget"] |= {"turns_used": 0, "tokens_used": 0}
        case "turn":
            for trial in trials:
                if trial["index"] == notice["trial"]:
                    _put(trial["turns"], notice["turn"], "index")
            state["proposal"] = None
            state["view"] = notice["turn"].get("view") or state.get("view")
            state["budget"] |= {"turns_used": notice["turn"]["index"], "tokens_used": notice["tokens_used"]}
        case "trial_finished":
            ended = {key: notice[key] for key in ("reward", "success", "stop_reason", "error", "finished_at")}
            for trial in trials:
                if trial["index"] == notice["trial"]:
                    trial.update(ended)
        case "reflection":
            _put(episode["reflections"], notice["reflection"], "after_trial")
        case "finished":
            episode["state"], state["phase"] = notice["state"], "finished"
        case "error":
            state["error"] = notice["message"]
    if kind in ("trial_started", "turn", "trial_finished", "reflection"):
        state["partial"] = None
    state["cursor"] = notice["cursor"]
    _fill_gains(episode)


def merge(state: dict[str, Any], news: dict[str, Any]) -> None:
    """Take over a state that may come without its episode. The cursor stays: notices may be on their way."""
    for key, value in news.items():
        if key not in ("type", "episode", "cursor"):
            state[key] = value
    if news.get("episode"):
        state["episode"] = news["episode"]
    state["episode"]["state"] = news["state"]


def view_of(state: dict[str, Any]) -> dict[str, Any] | None:
    """What the environment shows now; after the end, what it showed last."""
    if state.get("view"):
        return dict(state["view"])
    for trial in reversed(state["episode"]["trials"]):
        for turn in reversed(trial["turns"]):
            if turn.get("view"):
                return dict(turn["view"])
        return dict(trial["view"]) if trial.get("view") else None
    return None


def _put(items: list[dict[str, Any]], item: dict[str, Any], key: str) -> None:
    for at, known in enumerate(items):
        if known[key] == item[key]:
            items[at] = item
            return
    items.append(item)


def _fill_gains(episode: dict[str, Any]) -> None:
    """A gain is known as soon as the next trial has ended."""
    trials = {trial["index"]: trial for trial in episode["trials"]}
    for reflection in episode["reflections"]:
        last, following = trials.get(reflection["after_trial"]), trials.get(reflection["after_trial"] + 1)
        if reflection.get("gain") is None and last and following and following.get("stop_reason"):
            reflection["gain"] = following["reward"] - last["reward"]
