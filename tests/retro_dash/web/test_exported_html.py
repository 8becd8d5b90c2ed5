"""An episode exported as one HTML file opens with no network at all, and does nothing but show text."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixture_episodes import HOSTILE, hostile_episode, kitchen_episode
from playwright.sync_api import Browser, expect

from data.formats.entry import About, Entry
from data.types import Episode
from retro_dash.exporting import export

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("episode", [kitchen_episode(), hostile_episode()], ids=["kitchen", "hostile"])
def test_an_exported_page_opens_offline(browser: Browser, tmp_path: Path, episode: Episode, theme: str) -> None:
    path = export("html", [Entry(episode)], tmp_path / "episode.html", About(dataset_hash="abc")).path
    context = browser.new_context(offline=True, color_scheme=theme, viewport={"width": 400, "height": 800})  # type: ignore[arg-type]
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: asked.append(message.text))
    page.goto(path.as_uri())
    expect(page.locator("h1")).to_contain_text(" ".join(episode.task.instruction.split())[:40])
    expect(page.locator(".turn")).to_have_count(sum(len(trial.turns) for trial in episode.trials))
    expect(page.locator(".reflection")).to_have_count(len(episode.reflections))
    assert asked == [path.as_uri()]
    assert page.evaluate("window.pwn") is None
    assert page.evaluate("document.querySelectorAll('script, img, iframe, link, object').length") == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"
    context.close()


def test_hostile_text_stands_there_as_text(browser: Browser, tmp_path: Path) -> None:
    path = export("html", [Entry(hostile_episode())], tmp_path / "episode.html", About()).path
    page = browser.new_page()
    page.goto(path.as_uri())
    actions = page.locator(".turn .action").all_inner_texts()
    assert [HOSTILE[0] in actions[0], HOSTILE[1] in actions[1], HOSTILE[7] in actions[7]] == [True, True, True]
    page.close()
