"""Play in the terminal, on a real hub with the scripted expert."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from conftest import Hub, terminal
from textual.widgets import Select

from retro_dash.tui.board import Board
from retro_dash.tui.editor import Editor
from retro_dash.tui.play import PlayPlace
from retro_dash.tui.turns import parse_turn_key

SIZES = [(80, 24), (200, 50)]


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "200x50"])
def test_an_episode_fails_reflects_and_is_solved_with_its_gain_between_the_trials(
    hub: Hub, size: tuple[int, int]
) -> None:
    async def drive() -> None:
        async with terminal(hub, size) as tui:
            await tui.sees("put a hot egg in garbagecan")
            await tui.press("R")
            await tui.sees("Solved in trial 2, after 1 reflection", "1 ✕ 0 ◆ +1 2 ✓ 1", f"{hub.port}/?episode=ep-")
            board = tui.app.screen.query_one(Board)
            text = board.text()
            assert text.index("Trial 1 ✕ failed") < text.index("◆ Reflection by the scripted expert  gain +1")
            assert text.index("gain +1") < text.index("Trial 2 ✓ solved")
            assert "★ move egg 1 to garbagecan 1  reward 1" in text

    asyncio.run(drive())


def test_what_people_meet_first_in_another_environment_fails_and_reflects_too(hub: Hub) -> None:
    async def drive() -> None:
        async with terminal(hub, (120, 40)) as tui:
            await tui.sees("put a hot egg in garbagecan")
            tui.app.screen.query_one("#choose-env", Select).value = "hotpotqa"
            await tui.sees("★ planner expert:careless", "★ reflector expert")
            await tui.press("R")
            await tui.sees("Solved in trial 2, after 1 reflection", "★ Finish[Victor Walbrook]")

    asyncio.run(drive())


def test_a_turn_is_stepped_held_edited_and_kept_as_a_persons(hub: Hub) -> None:
    async def drive() -> None:
        async with terminal(hub) as tui:
            await tui.sees("put a hot egg in garbagecan")
            await tui.press("s")
            await tui.sees("▾ Trial 1 ● running", "go to fridge 1")
            await tui.until(lambda: _play(tui).state["phase"] == "ready")
            await tui.press("e")
            await tui.sees("The planner waits")
            await tui.until(lambda: tui.app.focused is not None and tui.app.focused.name == "action")
            await tui.press("ctrl+u", *"look", "enter")
            await tui.sees("✎ look ✎ edited by a person")
            assert not tui.app.screen.query_one(Editor).display
            turns = hub.service.store.episode(_play(tui).state["episode_id"]).trials[0].turns
            assert (turns[1].action, turns[1].author) == ("look", "human")

    asyncio.run(drive())


def test_a_person_writes_the_reflection_and_the_next_trial_starts_with_it(hub: Hub) -> None:
    async def drive() -> None:
        async with terminal(hub, (120, 40)) as tui:
            await tui.sees("put a hot egg in garbagecan")
            await tui.press("r")
            await tui.sees("Trial 1 failed. What should the next one know?")
            await tui.press("E")
            await tui.sees("Reflection after trial 1")
            await tui.until(lambda: tui.app.focused is not None and tui.app.focused.name == "reflection")
            await tui.press(*"look in drawer 4", "ctrl+s")
            await tui.sees("◆ Reflection by a person  gain after the next trial", "look in drawer 4")
            await tui.press("n")
            await tui.sees("▾ Trial 2 ● running")
            episode = hub.service.store.episode(_play(tui).state["episode_id"])
            assert "look in drawer 4" in episode.trials[1].prompt

    asyncio.run(drive())


def test_keys_mark_turns_and_a_fork_leaves_the_old_episode_as_it_was(hub: Hub) -> None:
    async def drive() -> None:
        async with terminal(hub, (120, 40)) as tui:
            await tui.sees("put a hot egg in garbagecan")
            await tui.press("r")
            await tui.sees("What should the next one know?")
            parent = _play(tui).state["episode_id"]
            await tui.press("h", "h")
            assert parse_turn_key(tui.app.screen.query_one(Board).selected) == (1, 8)
            await tui.press("F")
            await tui.until(lambda: _play(tui).state["episode_id"] != parent, "no fork")
            child = hub.service.store.episode(_play(tui).state["episode_id"])
            assert (child.parent_id, child.fork_trial, child.fork_turn) == (parent, 1, 8)
            assert len(hub.service.store.episode(parent).trials[0].turns) == 9
            await tui.until(lambda: f"fork of {parent}" in str(_play(tui).query_one("#lineage").render()))

    asyncio.run(drive())


def test_a_person_does_what_can_be_done_instead_of_the_planner(hub: Hub) -> None:
    async def drive() -> None:
        async with terminal(hub, (160, 40)) as tui:
            await tui.sees("put a hot egg in garbagecan")
            await tui.press("s")
            await tui.until(lambda: tui.app.screen.query_one("#doors").display, "no doors")
            tui.app.screen.query_one("#doors").focus()
            await tui.press("enter")
            await tui.sees("✎ forced by a person")

    asyncio.run(drive())


def test_verbs_that_do_nothing_now_are_dim_and_refused(hub: Hub) -> None:
    async def drive() -> None:
        async with terminal(hub) as tui:
            await tui.sees("put a hot egg in garbagecan")
            screen = _play(tui)
            assert screen.check_action("press", ("step",)) is True
            assert screen.check_action("press", ("reflect",)) is None
            await tui.press("f")
            await tui.pilot.pause(0.3)
            assert screen.state is None

    asyncio.run(drive())


def test_panels_come_and_go_and_the_terminal_may_be_resized_at_any_time(hub: Hub) -> None:
    async def drive() -> None:
        async with terminal(hub) as tui:
            await tui.sees("Filter tasks", "put a hot egg in garbagecan")
            await tui.press("R")
            await tui.sees("Solved in trial 2")
            assert "Filter tasks" not in tui.screen()
            await tui.press("w")
            await tui.sees("Room 3 of 32 visited")
            for width, height in ((200, 50), (40, 12), (132, 43), (80, 24)):
                await tui.pilot.resize_terminal(width, height)
                await tui.pilot.pause(0.1)
            await tui.sees("after 1 reflection")
            await tui.press("p")
            await tui.until(lambda: "1 Play" not in tui.screen(), "still the top bar")
            await tui.press("escape")
            await tui.sees("1 Play")

    asyncio.run(drive())


def test_another_task_is_found_by_typing(hub: Hub) -> None:
    async def drive() -> None:
        async with terminal(hub, (160, 40)) as tui:
            await tui.sees("put a hot egg in garbagecan")
            await tui.press("slash", *"soapbar")
            await tui.until(lambda: "soapbar" in str(_play(tui).query_one("#task").render()), "no other task")
            await tui.press("escape", "s")
            await tui.sees("Trial 1 ● running")
            assert "soapbar" in _play(tui).state["episode"]["task"]["instruction"]

    asyncio.run(drive())


def _play(tui: object) -> PlayPlace:
    screen = tui.app.screen  # type: ignore[attr-defined]
    assert isinstance(screen, PlayPlace)
    return screen


def test_start_up_imports_neither_pages_nor_tensors() -> None:
    heavy = ("gradio", "torch", "fastapi", "duckdb")
    code = f"import sys, retro_dash.tui.app; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
