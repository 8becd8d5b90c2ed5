"""The Serving page in a real browser, on the real hub with no engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import OpenPage
from page_runs import SIGNED, RunSite
from playwright.sync_api import expect
from web_serving import grave

pytestmark = pytest.mark.browser
SERVING = f"/serving?{SIGNED}"


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (400, "dark")])
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(
    open_page: OpenPage, hub: RunSite, width: int, theme: str
) -> None:
    page = open_page(SERVING, base=hub.url, width=width, theme=theme)
    expect(page.locator(".adapter")).to_have_count(2)
    assert grave(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_adapter_shows_where_it_came_from_and_what_it_scored(open_page: OpenPage, hub: RunSite) -> None:
    page = open_page(f"/serving?adapter=planner@train-done&{SIGNED}", base=hub.url)
    card = page.locator("[data-name='planner@train-done']")
    expect(card.locator("h2 a")).to_be_focused()
    expect(card.locator(".lineage")).to_contain_text("outcome:solved")
    expect(card.locator(".lineage a", has_text="run RetroAct on rooms (retroact fixed)")).to_have_attribute(
        "href", "/train?run=train-done"
    )
    expect(card.locator(".scores a")).to_have_attribute("href", "/results?run=evaluate-done")
    expect(card.locator(".scores")).to_contain_text("alfworld RetroAct: 66.7 +33.3")


def test_with_no_engine_the_page_says_what_still_works_and_offers_no_load(open_page: OpenPage, hub: RunSite) -> None:
    page = open_page(SERVING, base=hub.url)
    expect(page.locator(".engine-card .notice")).to_contain_text("retro-dash web --engine embedded")
    expect(page.locator(".load").first).to_have_attribute("aria-disabled", "true")


def test_the_memory_plan_says_who_has_the_memory_and_what_comes_next(open_page: OpenPage, hub: RunSite) -> None:
    page = open_page(SERVING, base=hub.url)
    card = page.locator(".plan-card")
    expect(card).to_contain_text("Shared: training and serving use it at the same time. RetroAct, longer")
    expect(card.locator(".machine-load")).to_contain_text("this run")
    page.evaluate(
        """async () => {
            const { planCard } = await import("/ui/plancard.js");
            const card = planCard();
            document.querySelector(".plan-card").replaceWith(card.element);
            const run = { id: "r", kind: "train", name: "alone", state: "running", config: { memory: "pause" } };
            const machine = await (await fetch("/api/v1/machine")).json();
            card.show({ engine: { state: "paused" } }, machine, [{ run, position: null }]);
        }"""
    )
    expect(page.locator(".plan-card")).to_contain_text("Taken in turns")
    expect(page.locator(".plan-steps [aria-current]")).to_have_text("the run trains")


def test_a_default_player_is_what_the_play_page_starts_with(open_page: OpenPage, hub: RunSite) -> None:
    page = open_page(SERVING, base=hub.url)
    page.click("text=Make default planner")
    expect(page.locator("text=✓ Default planner")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.locator("text=✓ Default planner")).to_be_visible()
    assert page.evaluate("JSON.parse(localStorage.getItem('retro-play')).planner") == "planner@train-done"


def test_an_import_that_does_not_fit_is_one_sentence_and_one_that_fits_appears(
    open_page: OpenPage, hub: RunSite, tmp_path: Path
) -> None:
    page = open_page(SERVING, base=hub.url, expects="409")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"\0" * 8)
    for base in ("meta/other-7b", "models/tiny"):
        (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        if base.startswith("meta"):
            expect(page.locator(".adapter").first).to_be_visible()
            page.keyboard.press("i")
            page.fill("#rd-import-folder", str(tmp_path))
            page.fill("#rd-import-name", "theirs")
        page.click(".importer button")
        if base.startswith("meta"):
            expect(page.locator(".importer .problem")).to_contain_text("made for 'other-7b'")
    expect(page.locator("[data-name=theirs]")).to_contain_text("imported")
