"""Curate in the terminal: the keys of the page, on a real hub."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from conftest import Driven, Hub, terminal

from retro_dash.client import HubClient
from retro_dash.tui.curate import CuratePlace
from retro_dash.tui.parts import WHOLE, Part


def play_two_trials(hub: Hub, count: int) -> list[str]:
    """So many episodes that failed, were reflected on, and were tried again."""
    assert hub.address is not None
    ids: list[str] = []
    with HubClient.at(hub.address) as client:
        for task in client.tasks("alfworld", "valid", limit=50)["tasks"]:
            id_ = str(client.open_live({"env": "alfworld", "task_id": task["id"], "trial_limit": 2})["episode_id"])
            client.press(id_, "run_episode")
            hub.service.playing.find(id_).wait(30)
            ids += [id_] if len(hub.service.store.episode(id_).reflections) == 1 else []
            if len(ids) == count:
                return ids
    raise AssertionError("too few tasks fail")


@pytest.fixture(scope="module")
def played(hub: Hub) -> list[str]:
    return play_two_trials(hub, 3)


@asynccontextmanager
async def curate(hub: Hub, annotator: str, episode: str, size: tuple[int, int] = (160, 50)) -> AsyncIterator[Driven]:
    os.environ["LOGNAME"] = annotator
    async with terminal(hub, size) as tui:
        await tui.app.switch_mode("Curate")
        place = tui.app.screen
        assert isinstance(place, CuratePlace)
        await tui.until(lambda: place.tags and place.queue.progress, "no answer of the hub")
        place.load(lambda hub: place.queue.visit(hub, episode))
        await tui.until(
            lambda: place.said.episode_id == episode and not place.is_loading("item"), "not the wanted one"
        )
        yield tui


@pytest.fixture(autouse=True)
def name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the user is given back afterwards."""
    monkeypatch.setenv("LOGNAME", "nobody")


def said(hub: Hub, annotator: str) -> dict[tuple[str, str], Any]:
    labels = hub.service.store.current_labels(annotator=annotator)
    return {(Part.of(label.target).key, label.name): label.value for label in labels}


async def stored(tui: Driven) -> None:
    await tui.until(lambda: not tui.app.screen.said.outbox, "never stored")


def test_every_kind_of_label_has_the_key_of_the_page(hub: Hub, played: list[str]) -> None:
    async def drive() -> None:
        async with curate(hub, "kim", played[0]) as tui:
            await tui.press("A", "j", "1", "j", "plus", "o", "exclamation_mark", "j", "minus", "m")
            await tui.press(*"looks twice", "ctrl+s")
            await tui.press("r", "a", "c", "f", "f", "g", "3")
            await stored(tui)
            assert said(hub, "kim") == {
                ("trial 1", "verdict"): "expert",
                ("turn 1 1", "step_reward"): 1,
                ("turn 1 1", "tags"): ["loop"],
                ("trial 1", "first_error"): 1,
                ("turn 1 2", "step_reward"): -1,
                ("turn 1 2", "note"): "looks twice",
                ("reflection 1", "quality"): {"accurate": True, "actionable": True, "followed": False},
                ("episode", "verdict"): "bad",
            }
            await tui.press("r")
            await tui.sees("Reflection after trial 1", "✕ not followed", "# loop", "✎ looks twice")

    asyncio.run(drive())


def test_the_same_key_again_takes_back_and_undo_and_redo_go_over_it(hub: Hub, played: list[str]) -> None:
    async def drive() -> None:
        async with curate(hub, "lee", played[0]) as tui:
            await tui.press("A", "2")
            await stored(tui)
            assert said(hub, "lee") == {("episode", "verdict"): "good"}
            await tui.press("2")
            await stored(tui)
            assert said(hub, "lee") == {}
            await tui.press("u")
            await stored(tui)
            assert said(hub, "lee") == {("episode", "verdict"): "good"}
            await tui.press("u")
            await stored(tui)
            assert said(hub, "lee") == {}
            await tui.press("U", "3", "u")
            await stored(tui)
            assert said(hub, "lee") == {("episode", "verdict"): "good"}
            await tui.sees("✓ good", "✓ all saved")

    asyncio.run(drive())


def test_a_verdict_brings_the_next_one_and_undo_goes_back_to_where_it_was_said(hub: Hub, played: list[str]) -> None:
    async def drive() -> None:
        async with curate(hub, "max", played[1]) as tui:
            place = tui.app.screen
            await tui.press("j", "j", "0", "g", "1")
            await tui.until(lambda: place.said.episode_id not in ("", played[1]), "no next one")
            await tui.press("u")
            await tui.until(lambda: place.said.episode_id == played[1] and place.part == WHOLE, "not back")
            await tui.press("u")
            await tui.until(lambda: place.part == Part("turn", 1, 1), "not at the turn")
            await stored(tui)
            assert said(hub, "max") == {}
            await tui.press("L")
            await tui.until(lambda: place.said.episode_id not in ("", played[1]), "no next one")
            await tui.press("H")
            await tui.until(lambda: place.said.episode_id == played[1], "no way back")

    asyncio.run(drive())


def test_steps_of_an_earlier_session_are_undone_by_the_hub(hub: Hub, played: list[str]) -> None:
    target = {"episode_id": played[2], "part": "turn", "trial": 1, "turn": 1}
    statement = {"id": "earlier", "target": target, "name": "note", "value": "old words", "annotator": "nia"}
    assert hub.address is not None
    with HubClient.at(hub.address) as client:
        client.label([statement])

    async def drive() -> None:
        async with curate(hub, "nia", played[0]) as tui:
            place = tui.app.screen
            await tui.press("u")
            await tui.until(lambda: place.said.episode_id == played[2], "not shown")
            assert place.part == Part("turn", 1, 1)
            assert said(hub, "nia") == {}
            await tui.press("U")
            await tui.until(lambda: said(hub, "nia") == {("turn 1 1", "note"): "old words"}, "not put back")

    asyncio.run(drive())


def test_a_turn_and_a_reflection_are_rewritten_and_the_original_words_take_the_rewrite_back(
    hub: Hub, played: list[str]
) -> None:
    async def drive() -> None:
        async with curate(hub, "ola", played[0]) as tui:
            place = tui.app.screen
            await tui.press("j", "j", "e", "end", *"!!", "escape")
            assert said(hub, "ola") == {}
            await tui.press("e", "f7", *"look", "ctrl+s")
            await stored(tui)
            assert said(hub, "ola") == {("turn 1 1", "rewrite"): {"action": "look"}}
            await tui.sees("look", "✎ rewritten")
            await tui.press("r", "e", "f7", *"Read it all.", "ctrl+s")
            await stored(tui)
            assert said(hub, "ola")["reflection 1", "rewrite"] == {"text": "Read it all."}
            original = place.episode["trials"][0]["turns"][0]["action"]
            await tui.press("g", "j", "j", "e", "f7", *original, "ctrl+s")
            await stored(tui)
            assert set(said(hub, "ola")) == {("reflection 1", "rewrite")}

    asyncio.run(drive())


def test_a_key_that_does_not_fit_the_part_says_where_it_belongs(hub: Hub, played: list[str]) -> None:
    async def drive() -> None:
        async with curate(hub, "pat", played[0]) as tui:
            for key, words in (("plus", "Step rewards"), ("a", "This belongs to ref"), ("e", "can be rewritten")):
                await tui.press(key)
                await tui.until(
                    lambda words=words: any(words in one.message for one in tui.app._notifications), words
                )
            assert said(hub, "pat") == {}

    asyncio.run(drive())


def test_what_the_hub_refuses_is_told_and_the_rest_is_stored(hub: Hub, played: list[str]) -> None:
    async def drive() -> None:
        async with curate(hub, "quin", played[0]) as tui:
            place = tui.app.screen
            await tui.press("A")
            place.said.say(WHOLE, "verdict", "wonderful")
            place.said.say(WHOLE, "note", "fine")
            await tui.sees("Not stored: A verdict is expert, good, bad, discard")
            await stored(tui)
            assert said(hub, "quin") == {("episode", "note"): "fine"}
            await tui.press("u")
            await stored(tui)
            assert said(hub, "quin") == {}

    asyncio.run(drive())


def test_a_label_changed_elsewhere_meanwhile_is_not_overwritten(hub: Hub, played: list[str]) -> None:
    target = {"episode_id": played[0], "part": "episode"}
    elsewhere = {"id": "faster", "target": target, "name": "verdict", "value": "discard", "annotator": "ria"}

    async def drive() -> None:
        async with curate(hub, "ria", played[0]) as tui:
            await tui.press("A")
            assert hub.address is not None
            with HubClient.at(hub.address) as client:
                client.label([elsewhere])
                await tui.press("1")
            await tui.sees("Not stored: This label was changed elsewhere")
            await tui.sees("⌀ discard")
            assert said(hub, "ria") == {("episode", "verdict"): "discard"}

    asyncio.run(drive())


def test_labels_of_a_dead_line_wait_and_are_stored_once(own_hub: Hub) -> None:
    [id_] = play_two_trials(own_hub, 1)

    async def drive() -> None:
        async with curate(own_hub, "sam", id_) as tui:
            await asyncio.to_thread(own_hub.stop)
            await tui.sees("the hub does not answer")
            await tui.press("j", "j", "plus", "minus")
            await tui.sees("✕ 2 unsaved")
            await tui.press("ctrl+q")
            await tui.until(
                lambda: any("2 labels not saved" in one.message for one in tui.app._notifications), "left"
            )
            assert tui.app.is_running
            await asyncio.to_thread(own_hub.start)
            await tui.sees("✓ all saved")
            history = own_hub.service.store.labels(annotator="sam")
            assert [(label.target.turn, label.value) for label in history] == [(1, 1), (2, -1)]

    asyncio.run(drive())


@pytest.mark.parametrize("size", [(80, 24), (200, 50)], ids=["80x24", "200x50"])
def test_the_bar_shows_what_can_be_said_and_numbers_are_verdicts_while_function_keys_are_places(
    hub: Hub, played: list[str], size: tuple[int, int]
) -> None:
    async def drive() -> None:
        async with curate(hub, "tom", played[0], size) as tui:
            await tui.sees("Whole episode", "o loop", "F2 Episodes", "1 expert", "✓ all saved")
            await tui.press("j", "j")
            await tui.sees("Turn 1 of trial 1", "+ good step", "! first error")
            await tui.press("r")
            await tui.sees("a accurate", "c actionable", "f followed")
            await tui.press("question_mark")
            await tui.sees("Tag: loop")
            await tui.press("escape", "f2")
            await tui.sees("episodes, sorted by")

    asyncio.run(drive())
