"""The line to the hub: a restart under the terminal, a hub that is gone, a stream that breaks."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from conftest import Hub, terminal

from retro_dash.tui.play import PlayPlace
from retro_dash.tui.watch import hear


def test_after_a_restart_at_another_address_with_another_token_it_goes_on_within_five_seconds(own_hub: Hub) -> None:
    async def drive() -> None:
        async with terminal(own_hub) as tui:
            await tui.sees("put a hot egg in garbagecan")
            await tui.press("s")
            await tui.sees("go to fridge 1")
            await asyncio.to_thread(own_hub.stop)
            await tui.sees("✕ no hub; trying again")
            await tui.press("s")
            await tui.sees("No hub runs here any more")
            await asyncio.to_thread(own_hub.start)
            began = time.monotonic()
            await tui.until(lambda: not tui.app.is_lost, "still lost", 5)
            await tui.sees(f"127.0.0.1:{own_hub.port}/?episode=ep-")
            place = tui.app.screen
            assert isinstance(place, PlayPlace)
            await tui.until(lambda: place.live is not None and not place.live.is_lost, "stream lost", 5)
            assert time.monotonic() - began < 5
            await tui.press("r")
            await tui.sees("What should the next one know?")

    asyncio.run(drive())


def test_without_a_hub_it_waits_and_begins_as_soon_as_one_runs(tmp_path: Path) -> None:
    hub = Hub(tmp_path)

    async def drive() -> None:
        async with terminal(hub) as tui:
            await tui.sees("✕ no hub; trying again")
            await asyncio.to_thread(hub.start)
            await tui.sees("put a hot egg in garbagecan", seconds=8)

    asyncio.run(drive())
    hub.stop()


def _state() -> dict:
    trial = {"index": 1, "turns": [], "reward": 0.0, "success": False, "stop_reason": None, "view": None}
    episode = {"id": "e", "state": "running", "trials": [trial], "reflections": []}
    return {
        "episode_id": "e",
        "cursor": 4,
        "phase": "thinking",
        "partial": None,
        "view": {},
        "budget": {},
        "episode": episode,
    }


def test_notices_that_the_state_already_holds_change_nothing() -> None:
    state = _state()
    hear(state, {"type": "turn", "cursor": 4, "trial": 1, "turn": {"index": 1, "view": None}, "tokens_used": 9})
    assert state["episode"]["trials"][0]["turns"] == []
    hear(state, {"type": "turn", "cursor": 5, "trial": 1, "turn": {"index": 1, "view": None}, "tokens_used": 9})
    assert len(state["episode"]["trials"][0]["turns"]) == 1
    assert state["budget"] == {"turns_used": 1, "tokens_used": 9}
    assert state["cursor"] == 5


def test_words_gather_until_the_turn_is_taken_and_a_gain_is_known_when_the_next_trial_ends() -> None:
    state = _state()
    for at, word in enumerate(("I ", "look"), 5):
        hear(state, {"type": "token", "cursor": at, "role": "planner", "text": word})
    assert state["partial"] == {"role": "planner", "text": "I look"}
    ended = {"reward": 0.25, "success": False, "stop_reason": "failed", "error": None, "finished_at": None}
    hear(state, {"type": "trial_finished", "cursor": 7, "trial": 1, **ended})
    hear(state, {"type": "reflection", "cursor": 8, "reflection": {"after_trial": 1, "text": "t", "gain": None}})
    second = {**_state()["episode"]["trials"][0], "index": 2}
    hear(state, {"type": "trial_started", "cursor": 9, "trial": second})
    assert state["episode"]["reflections"][0]["gain"] is None
    hear(state, {"type": "trial_finished", "cursor": 10, "trial": 2, **ended, "reward": 1.0})
    assert state["episode"]["reflections"][0]["gain"] == 0.75
    assert state["partial"] is None
