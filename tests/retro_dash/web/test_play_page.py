"""The Play page in a real browser: an agent acts, fails, reflects and tries again."""

from __future__ import annotations

import re

import pytest
from conftest import OpenPage
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
KITCHEN = "/?env=alfworld&split=valid_unseen&task=kitchen-017"


def play_to_the_end(page: Page) -> None:
    page.wait_for_selector(".tasks li[aria-selected=true]")
    page.keyboard.press("Shift+R")
    page.wait_for_selector(".the-end:not([hidden])")


def test_one_key_plays_a_chosen_task_to_its_end_with_the_reflection_and_its_gain(open_page: OpenPage) -> None:
    page = open_page(KITCHEN)
    play_to_the_end(page)
    assert "Solved in trial 2, after 1 reflection." in page.inner_text(".the-end")
    assert "gain +1" in page.inner_text(".reflection")
    assert page.locator("#trial-1.folded").count() == 1
    assert page.locator("#trial-2 .turn").count() == 7


def test_the_same_without_a_mouse_verb_by_verb(open_page: OpenPage) -> None:
    page = open_page(KITCHEN)
    page.wait_for_selector(".tasks li[aria-selected=true]")
    page.keyboard.press("s")
    expect(page.locator("#t1-1")).to_contain_text("go to cabinet 1")
    expect(page.locator(".verb-run_trial")).to_have_attribute("aria-disabled", "false")
    page.keyboard.press("r")
    expect(page.locator(".ask")).to_contain_text("Trial 1 failed")
    page.keyboard.press("f")
    expect(page.locator(".reflection.hero .tools")).to_be_visible()
    page.keyboard.press("n")
    expect(page.locator("#trial-2")).to_contain_text("running")
    page.keyboard.press("x")
    expect(page.locator(".the-end")).to_contain_text("stopped")


def test_a_held_turn_can_be_changed_before_it_is_done_and_is_marked_as_human(open_page: OpenPage) -> None:
    page = open_page(KITCHEN)
    page.wait_for_selector(".tasks li[aria-selected=true]")
    page.keyboard.press("e")
    expect(page.locator("#rd-action")).to_have_value("go to cabinet 1")
    page.fill("#rd-action", "look")
    page.keyboard.press("Enter")
    expect(page.locator("#t1-1")).to_contain_text("look")
    expect(page.locator("#t1-1")).to_have_class(re.compile("by-human"))


def test_a_reflection_can_be_rewritten_before_the_next_trial_reads_it(open_page: OpenPage) -> None:
    page = open_page(KITCHEN)
    page.wait_for_selector(".tasks li[aria-selected=true]")
    page.keyboard.press("r")
    page.click(".ask >> text=Reflect")
    page.click(".reflection.hero >> text=Edit")
    page.fill(".reflection textarea", "Go to shelf 1 first.")
    page.click("text=Use this")
    expect(page.locator(".reflection blockquote")).to_have_text("Go to shelf 1 first.")
    expect(page.locator(".reflection .author")).to_contain_text("by a person")


def test_a_command_of_the_world_panel_is_done_instead_of_asking_the_planner(open_page: OpenPage) -> None:
    page = open_page(KITCHEN)
    page.wait_for_selector(".tasks li[aria-selected=true]")
    page.keyboard.press("s")
    page.wait_for_selector("#t1-1")
    page.click(".commands:not(.frozen) >> text=look")
    expect(page.locator("#t1-2")).to_have_class(re.compile("by-human"))


def test_a_reload_and_a_second_browser_find_the_episode_at_the_same_turn(open_page: OpenPage, site: str) -> None:
    page = open_page(KITCHEN)
    page.wait_for_selector(".tasks li[aria-selected=true]")
    for number in (1, 2, 3):
        page.keyboard.press("s")
        page.wait_for_selector(f"#t1-{number}")
        expect(page.locator(".verb-step")).to_have_attribute("aria-disabled", "false")
    page.reload()
    expect(page.locator("#trial-1 .turn")).to_have_count(3)
    other = open_page(page.url.removeprefix(site))
    expect(other.locator("#trial-1 .turn")).to_have_count(3)
    page.keyboard.press("s")
    expect(other.locator("#trial-1 .turn")).to_have_count(4)


def test_a_fork_keeps_the_turns_before_it_and_leaves_the_original(open_page: OpenPage) -> None:
    page = open_page(KITCHEN)
    page.wait_for_selector(".tasks li[aria-selected=true]")
    page.keyboard.press("r")
    page.wait_for_selector(".ask")
    original = page.url
    page.hover("#t1-3")
    page.click("#t1-3 >> text=fork")
    expect(page.locator("#trial-1 .turn")).to_have_count(2)
    assert page.url != original
    expect(page.locator(".crumbs")).to_contain_text("before turn 3 of trial 1")
    page.go_back()
    expect(page.locator("#trial-1 .turn")).to_have_count(7)


def test_a_click_is_acknowledged_before_the_hub_has_heard_of_it(open_page: OpenPage) -> None:
    page = open_page(KITCHEN)
    page.wait_for_selector(".tasks li[aria-selected=true]")
    assert page.evaluate(
        """() => {
            const button = document.querySelector(".verb-run_trial");
            button.click();
            return button.classList.contains("pressed");
        }"""
    )


def test_the_presenter_view_shows_only_task_turns_reflection_and_reward(open_page: OpenPage) -> None:
    page = open_page(KITCHEN)
    play_to_the_end(page)
    page.keyboard.press("p")
    for hidden in (".setup", ".world", ".pages", ".crumbs"):
        expect(page.locator(hidden)).to_be_hidden()
    for shown in ("h1.task", "#t2-1", ".reflection", ".strip"):
        expect(page.locator(shown).first).to_be_visible()


def test_an_episode_that_is_not_there_is_one_sentence_on_the_page(open_page: OpenPage) -> None:
    page = open_page("/?episode=nothing", expects="404")
    expect(page.locator(".problem[role=alert]")).to_contain_text("There is no live episode called 'nothing'")


def test_an_engine_that_dies_in_a_turn_is_one_sentence_and_the_turn_can_be_tried_again(open_page: OpenPage) -> None:
    page = open_page("/?env=alfworld&split=zz broken&task=broken-1")
    page.wait_for_selector(".tasks li[aria-selected=true]")
    page.keyboard.press("s")
    expect(page.locator(".problem[role=alert]")).to_contain_text("The engine is gone. Nothing is lost")
    expect(page.locator(".verb-step")).to_have_attribute("aria-disabled", "false")


def test_focus_and_open_parts_stay_while_tokens_stream(open_page: OpenPage) -> None:
    page = open_page(KITCHEN)
    page.wait_for_selector(".tasks li[aria-selected=true]")
    page.keyboard.press("s")
    page.wait_for_selector("#t1-1")
    expect(page.locator(".verb-run_trial")).to_have_attribute("aria-disabled", "false")
    page.click("#trial-1 .opening summary")
    page.evaluate("window.first = document.querySelector('#t1-1')")
    page.keyboard.press("r")
    page.wait_for_selector(".ask")
    assert page.evaluate("first.isConnected && document.querySelector('#trial-1 .opening').open")
