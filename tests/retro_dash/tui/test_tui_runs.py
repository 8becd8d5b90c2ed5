"""Train, Results and Serving in the terminal over runs of every kind."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from conftest import Driven, Site, terminal
from page_runs import rl_metrics
from textual.widgets import TextArea

from data.events import MetricsLogged
from data.rows import MetricSeries
from data.types import MetricPoint
from retro_dash.tui.editor import Editor
from retro_dash.tui.metrics import charts_of, curves_of
from retro_dash.tui.pair import PairScreen
from retro_dash.tui.place import Table
from retro_dash.tui.runwords import run_head
from retro_dash.tui.train import TrainPlace

WIDE = (200, 50)


async def choose(tui: Driven, run_id: str) -> TrainPlace:
    """Put the cursor on a run of Train."""
    await tui.press("4")
    place = tui.app.screen
    assert isinstance(place, TrainPlace)
    table = place.query_one(Table)
    await tui.until(lambda: run_id in table.rows, f"no {run_id}")
    table.move_cursor(row=table.get_row_index(run_id))
    await tui.until(lambda: place.run_id == run_id and place._seen.series, "no curves")
    return place


def settings(tui: Driven) -> TextArea:
    return next(area for area in tui.app.screen.query(TextArea) if area.name == "settings")


def test_what_cannot_be_done_with_a_run_is_not_offered_and_extending_says_why_it_cannot(runs: Site) -> None:
    async def drive() -> None:
        async with terminal(runs, WIDE) as tui:
            place = await choose(tui, "train-done")
            assert place.check_action("extend", ())
            assert not place.check_action("stop", ())
            assert not place.check_action("resume", ())
            await tui.press("e", "backspace", *"two", "enter")
            await tui.sees("Epochs are a whole number from 1 up, not 'two'")
            await tui.press("e", "enter")
            await tui.sees("was not kept")
            await choose(tui, "train-broken")
            assert place.check_action("resume", ())
            assert not place.check_action("extend", ())

    asyncio.run(drive())


def test_stop_at_once_asks_by_a_second_press(runs: Site) -> None:
    async def drive() -> None:
        async with terminal(runs, WIDE) as tui:
            place = await choose(tui, "train-live")
            await tui.press("X")
            await tui.until(
                lambda: any("Press X again" in one.message for one in tui.app._notifications), "not asked"
            )
            assert runs.service.store.run("train-live").state == "running"
            place._sure = ("train-live", 0.0)  # Later is another first press.
            await tui.press("X")
            await tui.pilot.pause(0.3)
            assert runs.service.store.run("train-live").state == "running"
            await tui.press("X")
            # A worker that is quick to end is seen as stopped at once.
            await tui.until(
                lambda: any(state in tui.screen() for state in ("◍ stopping", "■ stopped")), "did not stop"
            )

    asyncio.run(drive())


def test_a_clone_is_text_that_is_checked_and_then_started_once(runs: Site) -> None:
    async def drive() -> None:
        async with terminal(runs, WIDE) as tui:
            await choose(tui, "train-done")
            before = len(runs.service.jobs.queue())
            await tui.press("c")
            await tui.until(lambda: tui.app.screen.query_one(Editor).display, "no draft")
            text = settings(tui).text
            assert 'method = "retroact"' in text
            assert 'filter = "outcome:solved"' in text
            settings(tui).text = text.replace('method = "retroact"', "method = ")
            await tui.press("ctrl+s")
            await tui.sees("The settings are not TOML")
            settings(tui).text = text.replace("[data]", "[data]\nfiltre = 1")
            await tui.press("ctrl+s")
            await tui.sees("[data] has no 'filtre'")
            settings(tui).text = text.replace('method = "retroact"', 'method = "sft"').replace(
                "seed = 3", "seed = 11"
            )
            await tui.press("ctrl+s")
            await tui.sees("Ctrl+S starts it.", "of them trained")
            assert len(runs.service.jobs.queue()) == before
            await tui.press("ctrl+s")
            await tui.until(lambda: len(runs.service.jobs.queue()) == before + 1, "not queued")
            made = runs.service.store.run(runs.service.jobs.queue()[-1])
            assert made.name == "RetroAct on rooms, changed"
            assert made.config["train"]["seed"] == 11  # type: ignore[index, call-overload]

    asyncio.run(drive())


def test_a_draft_that_cannot_start_says_what_stops_it_and_stays_open(runs: Site) -> None:
    async def drive() -> None:
        async with terminal(runs) as tui:
            await tui.press("4", "n")
            await tui.until(lambda: tui.app.screen.query_one(Editor).display, "no draft")
            settings(tui).text = settings(tui).text.replace("outcome:solved", "id:nothing")
            await tui.press("ctrl+s")
            await tui.sees("✕", "Change it, then Ctrl+S again.")
            assert tui.app.screen.query_one(Editor).display
            await tui.press("escape")
            await tui.until(lambda: not tui.app.screen.query_one(Editor).display, "still open")

    asyncio.run(drive())


def test_alerts_stand_under_the_head_of_a_run(runs: Site) -> None:
    for step in range(121, 160):
        runs.live.append(MetricsLogged(step=step, values={**rl_metrics(step), "planner/entropy": 0.0001}))

    async def drive() -> None:
        async with terminal(runs, WIDE) as tui:
            await choose(tui, "train-live")
            await tui.sees("! planner/entropy has collapsed", seconds=30)
            await tui.sees("processor ", " cores")

    asyncio.run(drive())


def test_a_paused_engine_is_said_of_the_run_that_paused_it() -> None:
    run = {"id": "t", "kind": "train", "state": "running", "config": {"memory": "pause"}, "name": "mine"}
    row = {"run": run, "about": "sft fixed", "position": None, "done": None, "total": None, "eta_seconds": None}
    assert "◫ The engine is paused while this run trains" in run_head(row, {"state": "paused"}, None).plain
    assert "◍ The engine finishes its requests" in run_head(row, {"state": "pausing"}, None).plain
    assert "engine" not in run_head(row, {"state": "ready"}, None).plain
    shared = {**row, "run": {**run, "config": {"memory": "share"}}}
    assert "paused" not in run_head(shared, {"state": "paused"}, None).plain


def test_a_run_is_drawn_over_another_one(runs: Site) -> None:
    async def drive() -> None:
        async with terminal(runs, WIDE) as tui:
            await choose(tui, "train-done")
            await tui.press("o")
            await choose(tui, "train-live")
            await tui.sees("RetroAct on rooms: ", "+ train RetroAct on")
            await choose(tui, "train-done")
            await tui.press("o")
            await choose(tui, "train-live")
            await tui.until(lambda: "RetroAct on rooms: " not in tui.screen(), "still drawn")

    asyncio.run(drive())


def test_a_loss_term_that_is_zero_all_along_is_not_drawn() -> None:
    now = datetime.now(UTC)
    terms = {"planner/il_loss": 1.5, "planner/rl_loss": 0.0}
    series = [
        MetricSeries(name=name, total=1, points=(MetricPoint(run_id="t", name=name, step=1, value=value, at=now),))
        for name, value in terms.items()
    ]
    [chart] = charts_of("train", {}, list(terms))
    assert [curve.label for curve in curves_of(chart, series)] == ["IL (imitation)"]
    assert [curve.label for curve in curves_of(chart, series, "other")] == ["other: IL (imitation)"]


def test_a_flip_opens_both_episodes_side_by_side(runs: Site) -> None:
    async def drive() -> None:
        async with terminal(runs, WIDE) as tui:
            await tui.press("6")
            await tui.sees("RetroAct and base", "cannot be told apart: +", "5 tasks flipped to solved, 1 broke")
            await tui.press("f", "enter")
            await tui.until(lambda: isinstance(tui.app.screen, PairScreen), "no pair")
            await tui.sees("Before: ✕ failed", "After: ✓ solved", "/results?run=evaluate-done&a=evaluate-done-0-4&b=")
            await tui.press("a")
            await tui.sees("evaluate-done-1-4", "/episodes?episode=evaluate-done-1-4")
            await tui.press("escape", "6")
            await tui.until(lambda: isinstance(tui.app.screen, PairScreen), "gone")
            await tui.press("escape")
            await tui.sees("5 tasks flipped to solved")

    asyncio.run(drive())


def test_the_same_tasks_are_evaluated_again_from_the_report(runs: Site) -> None:
    async def drive() -> None:
        async with terminal(runs, WIDE) as tui:
            await tui.press("6")
            await tui.sees("cannot be told apart")
            await tui.press("n")
            await tui.until(lambda: tui.app.screen.query_one(Editor).display, "no draft")
            text = settings(tui).text
            assert '[[arms]]\nname = "base"' in text
            before = len(runs.service.jobs.queue())
            settings(tui).text = text.replace('filter = "outcome:solved"', 'filter = "run:evaluate-done"')
            await tui.press("ctrl+s")
            await tui.until(lambda: len(runs.service.jobs.queue()) == before + 1, "not queued")
            made = runs.service.store.run(runs.service.jobs.queue()[-1])
            assert [arm["name"] for arm in made.config["arms"]] == ["base", "RetroAct"]  # type: ignore

    asyncio.run(drive())


async def choose_adapter(tui: Driven, name: str) -> None:
    """Put the cursor on an adapter of Serving."""
    await tui.press("5")
    table = tui.app.screen.query_one(Table)
    await tui.until(lambda: name in table.rows, f"no {name}")
    table.move_cursor(row=table.get_row_index(name))
    await tui.sees(f"Serving › adapter {name}")


def test_an_adapter_has_a_card_with_its_lineage_and_scores_and_becomes_the_default(runs: Site) -> None:
    async def drive() -> None:
        async with terminal(runs, WIDE) as tui:
            await choose_adapter(tui, "planner@train-done")
            await tui.sees("✎ outcome:solved", "run RetroAct on rooms (retroact fixed)", "LoRA on tiny")
            await tui.sees("alfworld RetroAct: ", "Memory  Shared: ")
            await tui.press("d")
            await tui.sees("✓ default planner on Play")

    asyncio.run(drive())


def test_a_folder_that_is_no_adapter_is_refused_with_a_sentence(runs: Site) -> None:
    async def drive() -> None:
        async with terminal(runs, WIDE) as tui:
            await choose_adapter(tui, "planner@train-done")
            await tui.press("i")
            await tui.until(lambda: tui.app.screen.query_one(Editor).display, "no form")
            name = next(area for area in tui.app.screen.query(TextArea) if area.name == "name")
            name.text = "theirs"
            await tui.press(*"/nowhere", "ctrl+s")
            await tui.sees("/nowhere is no PEFT adapter")

    asyncio.run(drive())


def test_an_adapter_is_tested_on_the_tasks_it_came_from(runs: Site) -> None:
    async def drive() -> None:
        async with terminal(runs, WIDE) as tui:
            await choose_adapter(tui, "planner@train-done")
            await tui.press("n")
            await tui.until(lambda: tui.app.screen.query_one(Editor).display, "no draft")
            assert 'planner = "planner@train-done"' in settings(tui).text
            assert 'filter = "outcome:solved"' in settings(tui).text
            before = len(runs.service.jobs.queue())
            await tui.press("ctrl+s")
            await tui.until(lambda: len(runs.service.jobs.queue()) == before + 1, "not queued")
            made = runs.service.store.run(runs.service.jobs.queue()[-1])
            assert made.name == "base against planner@train-done"

    asyncio.run(drive())
