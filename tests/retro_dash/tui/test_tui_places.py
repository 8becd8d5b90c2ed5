"""Episodes, Curate, Train, Serving and Results in the terminal, on a real hub."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from conftest import Hub, terminal
from textual.widgets import DataTable

from data.events import AdapterPublished, Event
from data.types import Adapter
from retro_dash.client import HubClient
from retro_dash.tui.curate import CuratePlace
from retro_dash.tui.episode import EpisodeScreen
from retro_dash.tui.runwords import sparkline
from retro_dash.tui.themes import first_theme

SIZES = [(80, 24), (200, 50)]
IDS = ["80x24", "200x50"]
ROOM = {"env": "alfworld", "task_id": "rooms-7-small-0007"}
QUESTION = {"env": "hotpotqa", "task_id": "hotpotqa-valid-7-0001"}


def play(hub: Hub, request: dict[str, str]) -> str:
    """Play one episode to its end; returns its id."""
    assert hub.address is not None
    with HubClient.at(hub.address) as client:
        episode_id = str(client.open_live(dict(request))["episode_id"])
        client.press(episode_id, "run_episode")
    hub.service.playing.find(episode_id).wait(30)
    return episode_id


@pytest.fixture(scope="module")
def played(hub: Hub) -> dict[str, str]:
    return {"room": play(hub, ROOM), "question": play(hub, QUESTION)}


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_the_table_is_filtered_by_the_same_language_and_a_mistake_is_pointed_at(
    hub: Hub, played: dict[str, str], size: tuple[int, int]
) -> None:
    async def drive() -> None:
        async with terminal(hub, size) as tui:
            await tui.press("2")
            await tui.sees("look at tissuebox", "In which town", "✕ ✓", "+1")
            await tui.press("slash", *"env:alf", "right", "enter")
            await tui.until(lambda: tui.app.screen.query_one(DataTable).row_count == 1)
            await tui.sees("1–1 of 1 episode", f"/episodes?filter={quote('env:alfworld', safe='')}")
            await tui.press("slash", *" outcome:nonsense", "enter")
            await tui.sees("^", "solved, failed")
            await tui.press("escape")
            assert tui.app.screen.query_one(DataTable).row_count == 1

    asyncio.run(drive())


def test_trials_stand_side_by_side_with_the_reflection_and_the_first_difference(
    hub: Hub, played: dict[str, str]
) -> None:
    async def drive() -> None:
        async with terminal(hub, (160, 50)) as tui:
            await tui.press("2")
            await tui.sees("look at tissuebox")
            await tui.app.show_episodes(f"id:{played['room']}")
            await tui.until(lambda: tui.app.screen.query_one(DataTable).row_count == 1)
            tui.app.screen.query_one(DataTable).focus()
            await tui.press("enter")
            await tui.sees("Trial 1 ✕ failed", "Trial 2 ✓ solved", "gain +1", "≠ first difference from trial 1")
            both = next(line for line in tui.screen().splitlines() if "open drawer 4" in line)
            assert "│" in both
            await tui.press("D")
            await tui.sees("&trial=2&turn=2")
            await tui.press("l", "h", "h", "tab")
            await tui.sees("&trial=1&turn=1")
            await tui.press("v")
            await tui.sees("✓ Reproducible")
            await tui.press("w")
            await tui.sees("World after turn 1 of trial 1", "Carrying nothing")
            await tui.press("l")
            await tui.sees("World after turn 2 of trial 1")
            await tui.press("w")
            await tui.until(lambda: "World after" not in tui.screen(), "the world is still there")
            await tui.press("escape")
            await tui.until(lambda: not isinstance(tui.app.screen, EpisodeScreen))

    asyncio.run(drive())


def test_an_episode_is_copied_as_markdown_and_written_to_a_file(
    hub: Hub, played: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def drive() -> None:
        async with terminal(hub) as tui:
            await tui.press("2")
            await tui.sees("In which town")
            await tui.press("enter")
            await tui.sees("Trial 1")
            await tui.press("y")
            await tui.until(lambda: tui.app.clipboard.startswith("# "), "nothing copied")
            await tui.press("W")
            await tui.until(lambda: list(tmp_path.glob("ep-*.md")), "no file")
            assert next(tmp_path.glob("ep-*.md")).read_text() == tui.app.clipboard
            first = tui.app.screen.episode_id
            await tui.press("L")
            await tui.until(lambda: tui.app.screen.episode_id != first, "same episode")
            await tui.press("H")
            await tui.until(lambda: tui.app.screen.episode_id == first, "not back")

    asyncio.run(drive())


def test_a_label_made_elsewhere_is_on_both_screens_within_two_seconds(hub: Hub, played: dict[str, str]) -> None:
    target = {"episode_id": played["question"], "part": "episode"}
    statement = {"target": target, "name": "verdict", "annotator": "lee"}
    assert hub.address is not None

    async def drive() -> None:
        async with terminal(hub, (200, 50)) as tui:
            await tui.press("2")
            await tui.sees("In which town")
            await asyncio.to_thread(client.label, [{**statement, "id": "from-elsewhere-1", "value": "discard"}])
            await tui.sees("✎ discard", seconds=2)
            await tui.app.switch_mode("Curate")
            place = tui.app.screen
            assert isinstance(place, CuratePlace)
            place.said.annotator = "lee"
            place.load(lambda hub: place.queue.visit(hub, played["question"]))
            await tui.sees("Whole episode  ⌀ discard")
            await asyncio.to_thread(client.label, [{**statement, "id": "from-elsewhere-2", "value": "expert"}])
            await tui.sees("Whole episode  ★ expert", seconds=2)

    with HubClient.at(hub.address) as client:
        asyncio.run(drive())


@pytest.fixture(scope="module")
def evaluation(hub: Hub) -> Iterator[str]:
    """An evaluation of two arms, run to its end by a worker."""
    config = {
        "kind": "evaluate",
        "env": "alfworld",
        "trials": 2,
        "arms": [
            {"name": "no words", "planner": "expert", "strategy": "none"},
            {"name": "reflexion", "planner": "expert"},
        ],
    }
    assert hub.address is not None
    with HubClient.at(hub.address) as client:
        run = client.submit_run(
            {"kind": "evaluate", "name": "rooms", "config": config, "split": "valid", "count": 12}
        )
        yield run.id
        client.cancel_run(run.id)


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_a_run_shows_its_state_curves_and_log(hub: Hub, evaluation: str, size: tuple[int, int]) -> None:
    async def drive() -> None:
        async with terminal(hub, size) as tui:
            await tui.press("4")
            await tui.sees("evaluate rooms", f"/train?run={evaluation}")
            await tui.sees("✓ finished", "Solved so far", "reflexion solved", seconds=60)
            assert any("⠀" < mark <= "⣿" or mark == "•" for mark in tui.screen()), tui.screen()
            await tui.press("b")
            await tui.sees("| method | IR (first trial)")

    asyncio.run(drive())


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_results_say_the_sentence_first_then_curve_and_table(
    hub: Hub, evaluation: str, size: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def drive() -> None:
        async with terminal(hub, size) as tui:
            await tui.until(lambda: hub.service.report(evaluation) is not None, "no report", 60)
            await tui.press("6")
            await tui.sees("reflexion", "no words", "95 % interval", "IR (first)", "Best reward up to each trial")
            await tui.press("m")
            await tui.sees("Best success up to each trial")
            await tui.press("W")
            await tui.until(lambda: (tmp_path / f"{evaluation}.txt").is_file(), "no file")
            assert "95 % interval" in (tmp_path / f"{evaluation}.txt").read_text()

    asyncio.run(drive())


def test_queued_runs_change_places_and_leave_the_queue(hub: Hub, evaluation: str) -> None:
    assert hub.address is not None
    config = {"kind": "collect", "env": "alfworld", "planner": "expert", "trials": 1}
    request = {"kind": "collect", "config": config, "split": "valid", "count": 2}
    with HubClient.at(hub.address) as client:
        # The first plays for minutes, so that the others wait.
        arms = [{"name": "expert", "planner": "expert"}]
        long = {"kind": "evaluate", "env": "alfworld", "seeds": list(range(200)), "arms": arms}
        first = client.submit_run({"kind": "evaluate", "name": "one", "config": long, "split": "valid"}).id
        second, third = (client.submit_run({**request, "name": name}).id for name in ("two", "three"))

        async def drive() -> None:
            async with terminal(hub, (160, 40)) as tui:
                await tui.press("4")
                await tui.until(lambda: client.run_queue() == [second, third], "queue", 30)
                table = tui.app.screen.query_one(DataTable)
                await tui.until(lambda: third in table.rows)
                table.move_cursor(row=table.get_row_index(third))
                # Not before the place knows that the first run has left the queue.
                await tui.until(lambda: tui.app.screen.row["position"] == 1, "its place", 30)  # type: ignore[attr-defined]
                await tui.press("K")
                await tui.until(lambda: client.run_queue() == [third, second], "not moved")
                await tui.press("x")
                await tui.until(lambda: client.run_queue() == [second], "still queued")

        try:
            asyncio.run(drive())
        finally:
            for run_id in (first, second, third):
                client.cancel_run(run_id)


def test_serving_says_that_no_engine_runs_and_why_an_adapter_cannot_be_loaded(hub: Hub, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    adapter = Adapter(name="planner@mine", role="planner", base_model="m", path=str(tmp_path), created_at=now)
    published = AdapterPublished(adapter=adapter)
    hub.service.store.append([Event(run_id="train-mine", seq=0, at=now, body=published)])

    async def drive() -> None:
        async with terminal(hub) as tui:
            await tui.press("5")
            await tui.sees("○ stopped", "No engine.", "planner@mine")
            await tui.press("l")
            await tui.sees("No engine runs here")

    asyncio.run(drive())


def test_a_curve_as_small_as_a_word() -> None:
    assert sparkline([0, 1], 2) == "▁█"
    assert sparkline([3, 3, 3], 3) == "▁▁▁"
    assert sparkline([1]) == ""


def test_a_terminal_of_16_colours_keeps_its_own_and_a_chosen_theme_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"retro-dark", "ansi-dark", "nord"}
    monkeypatch.delenv("TEXTUAL_THEME", raising=False)
    assert first_theme("truecolor", known) == first_theme("256", known) == "retro-dark"
    assert first_theme("standard", known) == first_theme(None, known) == "ansi-dark"
    monkeypatch.setenv("TEXTUAL_THEME", "nord")
    assert first_theme("standard", known) == "nord"
    monkeypatch.setenv("TEXTUAL_THEME", "no-such-theme")
    assert first_theme("truecolor", known) == "retro-dark"
