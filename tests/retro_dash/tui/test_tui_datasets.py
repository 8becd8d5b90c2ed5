"""Datasets and the tag set in the terminal, on a real hub."""

from __future__ import annotations

import asyncio

import pytest
from conftest import Driven, Hub, terminal
from fixture_episodes import kitchen_episode

from data.errors import BadInput
from data.events import EpisodeStarted, Event
from data.types import DatasetVersion
from retro_dash.client import HubClient
from retro_dash.tui.curate import CuratePlace
from retro_dash.tui.datasets import DatasetsScreen
from retro_dash.tui.datasetwords import SHARE, request_of, suggested
from retro_dash.tui.editor import Area, Editor
from retro_dash.tui.tags import parse_tags, tag_lines


@pytest.fixture
def kitchens(own_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> HubClient:
    """Three kitchens, solved in the second trial."""
    monkeypatch.setenv("LOGNAME", "max")
    for number in range(1, 4):
        add_kitchen(own_hub, number)
    assert own_hub.address is not None
    return HubClient.at(own_hub.address)


def add_kitchen(hub: Hub, number: int) -> None:
    body = EpisodeStarted(episode=kitchen_episode(f"ep-{number}"))
    hub.service.store.append([Event(run_id=f"run {number}", seq=0, at=body.episode.created_at, body=body)])


async def datasets(tui: Driven) -> DatasetsScreen:
    await tui.press("3")
    place = tui.app.screen
    assert isinstance(place, CuratePlace)
    await tui.until(lambda: place.episode is not None and place.tags, "no item")
    await tui.press("D")
    screen = tui.app.screen
    assert isinstance(screen, DatasetsScreen)
    return screen


def write(tui: Driven, field: str, text: str) -> None:
    areas = {str(one.name): one for one in tui.app.screen.query(Area)}
    areas[field].text = text


async def freeze(tui: Driven, hub: HubClient, name: str) -> DatasetVersion:
    """Look, then freeze; the version."""
    before = {one.hash for one in hub.datasets()}
    await tui.press("n")
    await tui.until(lambda: tui.app.screen.query_one(Editor).display, "no editor")
    write(tui, "name", name)
    await tui.press("ctrl+s")
    await tui.sees("Ctrl+S freezes it.", f"Not frozen yet: {name}")
    assert {one.hash for one in hub.datasets()} == before, "frozen before somebody said so"
    await tui.press("ctrl+s")
    await tui.sees("✓ Frozen as")
    (new,) = [one for one in hub.datasets() if one.hash not in before]
    return new


@pytest.mark.parametrize("size", [(80, 24), (200, 50)], ids=["80x24", "200x50"])
def test_what_the_queue_finds_is_looked_at_frozen_compared_and_trained_on(
    own_hub: Hub, kitchens: HubClient, size: tuple[int, int]
) -> None:
    async def drive() -> None:
        async with terminal(own_hub, size) as tui:
            screen = await datasets(tui)
            await tui.sees("No version yet.")
            first = await freeze(tui, kitchens, "three kitchens")
            assert (first.name, len(first.episode_ids)) == ("three kitchens", 3)
            await tui.until(lambda: screen.chosen == first, "the new version is not chosen")
            await tui.sees("3 episodes", "of the tasks kept for evaluation")
            add_kitchen(own_hub, 4)
            second = await freeze(tui, kitchens, "four kitchens")
            await tui.until(lambda: screen.chosen == second, "the newest version is not chosen")
            await tui.press("c", "j", "c")
            await tui.sees("From three kitchens", "to four kitchens", "+ 1 added  ep-4", "episodes 3 → 4")
            await tui.press("t")
            await tui.sees(f'dataset = "{first.hash}"')

    asyncio.run(drive())


def test_an_evaluator_that_does_not_exist_is_said_and_the_fields_stay(own_hub: Hub, kitchens: HubClient) -> None:
    async def drive() -> None:
        async with terminal(own_hub, (120, 40)) as tui:
            await datasets(tui)
            await tui.press("n")
            await tui.sees("success", "no_repeats")
            await tui.until(lambda: tui.app.screen.query_one(Editor).display, "no editor")
            write(tui, "evaluators", "sucess")
            await tui.press("ctrl+s")
            await tui.sees("There is no evaluator 'sucess'", "sucess")
            await tui.until(lambda: tui.app.screen.query_one(Editor).display, "the fields are gone")
            await tui.press("escape")
            await tui.sees("No version yet.")
            assert kitchens.datasets() == []

    asyncio.run(drive())


def test_tags_are_edited_as_text_and_a_set_changed_meanwhile_is_not_overwritten(
    own_hub: Hub, kitchens: HubClient
) -> None:
    async def drive() -> None:
        async with terminal(own_hub, (120, 40)) as tui:
            await datasets(tui)
            await tui.press("escape")
            place = tui.app.screen
            assert isinstance(place, CuratePlace)
            await tui.press("T")
            await tui.sees("| lucky | solved, but not for a good reason", "Ctrl+S saves version 1")
            write(tui, "tags", "d | detour | a longer way than needed\nno bar here")
            await tui.press("ctrl+s")
            await tui.sees("Line 2 is not 'key | name | meaning'")
            write(tui, "tags", "d | detour | a longer way than needed")
            await tui.press("ctrl+s")
            await tui.until(lambda: place.tags == {"d": "detour"}, "the new tag has no key")
            await tui.press("d")
            await tui.until(lambda: [one.value for one in kitchens.labels()] == [["detour"]], "no tag")
            await tui.press("T")
            await tui.sees("Ctrl+S saves version 2")
            kitchens.replace_tagset(1, [{"name": "other", "meaning": "", "key": ""}])
            await tui.press("ctrl+s")
            await tui.sees("The tag set was changed in the meantime")
            assert [tag["name"] for tag in kitchens.tagset()["tags"]] == ["other"]

    asyncio.run(drive())


def test_tags_as_text_and_back() -> None:
    tags = [
        {"key": "o", "name": "loop", "meaning": "again | again"},
        {"key": "", "name": "lucky", "meaning": ""},
    ]
    assert parse_tags(tag_lines(tags)) == tags
    assert tag_lines(tags).splitlines() == ["o | loop | again | again", "  | lucky"]
    assert parse_tags("\n  \n") == []
    for wrong in ("loop", "| ", "oo | loop | two keys"):
        with pytest.raises(BadInput, match="Line 1"):
            parse_tags(wrong)


def test_a_request_takes_a_name_from_its_filter_and_evaluators_from_a_list() -> None:
    fields = {"filter": " gain>0 ", "evaluators": "success, ,reward>=0.5", SHARE: "0.25", "name": ""}
    made = request_of(fields)
    assert (made["filter"], made["evaluators"]) == ("gain>0", ["success", "reward>=0.5"])
    assert (made["name"], made["split"]) == (suggested("gain>0"), {"share": 0.25})
    with pytest.raises(BadInput, match="not 'a tenth'"):
        request_of({**fields, SHARE: "a tenth"})
    assert suggested('env:alfworld text:"a lamp"').startswith("env-alfworld-text-a-lamp-20")
    assert suggested("").startswith("all-20")
