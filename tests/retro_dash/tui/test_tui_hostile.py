"""Text that wants to be markup, a link or a terminal command stays text, in every place."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import hostile_home
import pytest
from conftest import Driven, Hub, terminal
from textual.content import Content
from textual.widgets import DataTable

from data.events import (
    EpisodeFinished,
    EpisodeStarted,
    Event,
    ReflectionWritten,
    RunCreated,
    TrialFinished,
    TrialStarted,
    TurnTaken,
)
from data.types import Episode, Reflection, Run, Task, Trial, Turn
from retro_dash.tui.text import clean
from retro_dash.tui.world import hanging
from retro_dash.tui.worlds import world

NOW = datetime(2026, 11, 20, tzinfo=UTC)
CORPUS = [
    "[/nope]",
    "[/]",
    "[@click=app.quit]press me[/]",
    "[bold red]not bold[/bold red]",
    "[link=https://evil.example]x[/link]",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "\x1bP+q544e\x1b\\",
    "\x9b31mC1",
    "\x00\x08\x7f",
    "\u202egnp.exe\u2066",
    "a\u2028b\u2029c",
    "\ud800 alone",
    "$planner {}%s",
    "tab\there\rback",
    "wide 漢字 👩‍👩‍👧 e\u0301",
]
ALL = " ".join(CORPUS).replace("\ud800", "")


@pytest.mark.parametrize("text", CORPUS)
def test_nothing_is_left_that_steers_a_terminal(text: str) -> None:
    shown = clean(text)
    assert all(mark == "\n" or (mark >= " " and not "\x7f" <= mark <= "\x9f") for mark in shown)
    assert not set(shown) & set("\u202e\u2066\u2028\u2029\ud800")
    shown.encode()


def test_brackets_stay_as_they_are() -> None:
    assert clean("[/nope] [@click=app.quit]") == "[/nope] [@click=app.quit]"


def _episode() -> Episode:
    task = Task(id=ALL, env="alfworld", split=ALL, instruction=ALL)
    turn = Turn(index=1, thought=ALL, action=ALL, observation=ALL, reward=0.0, author="human", edited_from=ALL)
    trial = Trial(
        index=1,
        prompt=ALL,
        opening=ALL,
        turns=(turn,),
        stop_reason="failed",
        error=ALL,
        started_at=NOW,
        finished_at=NOW,
    )
    reflection = Reflection(after_trial=1, text=ALL, author="reflector", edited_from=ALL, created_at=NOW)
    return Episode(
        id="ep-hostile",
        task=task,
        planner=ALL,
        reflector=ALL,
        trials=(trial, trial.model_copy(update={"index": 2})),
        reflections=(reflection,),
        state="failed",
        run_id="play-hostile",
        created_at=NOW,
    )


@pytest.fixture(scope="module")
def hostile(hub: Hub) -> Hub:
    """An episode of nothing but hostile text."""
    episode = _episode()
    bare = episode.model_copy(update={"trials": (), "reflections": (), "state": "running"})
    bodies = [RunCreated(run=Run(id="play-hostile", kind="play", name=ALL, state="finished", created_at=NOW))]
    bodies += [EpisodeStarted(episode=bare)]
    for trial in episode.trials:
        bodies += [TrialStarted(episode_id=episode.id, trial=trial.model_copy(update={"turns": ()}))]
        bodies += [TurnTaken(episode_id=episode.id, trial=trial.index, turn=trial.turns[0])]
        ended = {"reward": 0.0, "success": False, "stop_reason": "failed", "error": ALL, "finished_at": NOW}
        bodies += [TrialFinished(episode_id=episode.id, trial=trial.index, **ended)]
    bodies += [ReflectionWritten(episode_id=episode.id, reflection=episode.reflections[0])]
    bodies += [EpisodeFinished(episode_id=episode.id, state="failed")]
    hub.service.store.append(
        [Event(run_id="play-hostile", seq=n, at=NOW, body=body) for n, body in enumerate(bodies)]
    )
    return hub


def _is_clean(tui: Driven) -> None:
    text = tui.screen()
    assert all(mark == "\n" or (mark >= " " and not "\x7f" <= mark <= "\x9f") for mark in text)
    assert not set(text) & set("\u202e\u2066\u2028\u2029")


@pytest.mark.parametrize("size", [(80, 24), (200, 50)], ids=["80x24", "200x50"])
def test_every_place_shows_the_corpus_as_text(hostile: Hub, size: tuple[int, int]) -> None:
    async def drive() -> None:
        async with terminal(hostile, size) as tui:
            await tui.press("2")
            await tui.sees("[/nope]")
            _is_clean(tui)
            tui.app.screen.query_one(DataTable).focus()
            await tui.press("enter")
            await tui.sees("[/nope]", "press me")
            await tui.press("z", "l")
            await tui.sees("trial=2&turn=1")
            _is_clean(tui)
            await tui.press("3")
            await tui.sees("[/nope]")
            _is_clean(tui)
            await tui.press("m")
            await tui.press(*"[x", "ctrl+s")
            await tui.sees("✎ [x")
            await tui.press("j", "j", "e", "ctrl+s", "r", "m", *"[/nope]", "ctrl+s")
            await tui.sees("✎ [/nope]")
            _is_clean(tui)
            for key in ("f4", "f5", "f6"):
                await tui.press(key)
                await tui.pilot.pause(0.2)
                _is_clean(tui)
            await tui.app.play("ep-hostile")
            await tui.sees("[/nope]")
            _is_clean(tui)
            tui.app.say(ALL)
            tui.app.screen.tell(ALL)
            await tui.pilot.pause(0.2)
            _is_clean(tui)
            assert tui.app.is_running

    asyncio.run(drive())


@pytest.mark.parametrize("size", [(80, 24), (200, 50)], ids=["80x24", "200x50"])
def test_every_column_of_a_home_is_text_in_every_place(tmp_path: Path, size: tuple[int, int]) -> None:
    hostile_home.fill(tmp_path, [one for one in CORPUS if "\ud800" not in one])
    hub = Hub(tmp_path)
    hub.start()

    async def drive() -> None:
        async with terminal(hub, size) as tui:
            for key, seen in (
                ("f2", "[/nope]"),
                ("f3", "[/nope]"),
                ("f4", "[/nope]"),
                ("f5", "[/nope]"),
                ("f6", "[/nope]"),
            ):
                await tui.press(key)
                await tui.sees(seen)
                await tui.pilot.pause(0.3)
                _is_clean(tui)
            await tui.press("f4", "b")
            await tui.pilot.pause(0.5)
            _is_clean(tui)
            for key in ("D", "T"):
                await tui.press("f3", key)
                await tui.sees("[/nope]")
                await tui.pilot.pause(0.3)
                _is_clean(tui)
                await tui.press("escape")
            assert tui.app.is_running

    asyncio.run(drive())
    hub.stop()


@pytest.mark.parametrize("env", ["alfworld", "hotpotqa", "intercode_sql", "intercode_bash", "another"])
def test_a_view_that_no_panel_knows_is_drawn_as_names_and_values(env: str) -> None:
    shown = world(env, {ALL: ALL, "tables": {ALL: [ALL]}, "deep": {"er": {"and": {"deeper": {"still": 1}}}}}).plain
    assert "[/nope]" in shown
    assert "\x1b" not in shown


def test_signs_and_indents_hang_out_of_a_line_and_no_word_is_lost() -> None:
    first, second, third = hanging(Content("◎ desk 1\n    missed: book\nplain a b"))
    assert (first.sign.plain, first.body.plain, first.indent) == ("◎", "desk 1", 0)
    assert (second.sign.plain, second.body.plain, second.indent) == ("", "missed: book", 4)
    assert (third.sign.plain, third.body.plain, third.indent) == ("", "plain a b", 0)
