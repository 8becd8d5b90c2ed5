"""The Episodes page in a real browser: find an episode, read its trials side by side."""

from __future__ import annotations

import time

import pytest
from conftest import OpenPage
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def test_the_table_shows_50_rows_and_pages_on(open_page: OpenPage) -> None:
    page = open_page("/episodes")
    expect(page.locator("tr[data-id]")).to_have_count(50)
    expect(page.locator(".count")).to_have_text("1–50 of 130 episodes")
    page.click("text=Older")
    expect(page.locator(".count")).to_have_text("51–100 of 130 episodes")
    assert "page=2" in page.url


def test_filter_and_sort_live_in_the_address(open_page: OpenPage, site: str) -> None:
    page = open_page("/episodes")
    page.fill("#rd-filter", "env:hotpotqa")
    expect(page.locator(".col-env", has_text="alfworld")).to_have_count(0)
    page.click("th >> text=Turns")
    page.wait_for_url("**sort=-turns**")
    again = open_page(page.url.removeprefix(site))
    expect(again.locator("#rd-filter")).to_have_value("env:hotpotqa")
    expect(again.locator("th[aria-sort=descending]")).to_contain_text("Turns")


def test_what_the_table_shows_can_be_trained_and_evaluated_on(open_page: OpenPage) -> None:
    page = open_page("/episodes?filter=outcome:failed")
    train, evaluate = (page.locator(".these a", has_text=text) for text in ("Train on these", "Evaluate on their"))
    expect(train).to_have_attribute("href", "/train?new=1&filter=outcome%3Afailed")
    expect(evaluate).to_have_attribute("href", "/results?new=1&filter=outcome%3Afailed")


def test_a_wrong_filter_is_a_sentence_with_its_place_and_rows_stay(open_page: OpenPage) -> None:
    page = open_page("/episodes", expects="422")
    page.wait_for_selector("tr[data-id]")
    page.fill("#rd-filter", "apple colour:red")
    expect(page.locator(".mistake")).to_contain_text("Position 7: there is no field 'colour'")
    assert page.text_content(".mistake-at") == "\u00a0" * 6 + "^"
    expect(page.locator("tr[data-id]")).to_have_count(50)


def test_fields_and_values_complete_by_keyboard(open_page: OpenPage) -> None:
    page = open_page("/episodes")
    page.wait_for_selector("tr[data-id]")
    page.keyboard.press("/")
    page.keyboard.type("outc")
    expect(page.locator("#rd-choices [role=option]")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("fai")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#rd-filter")).to_have_value("outcome:failed ")
    page.wait_for_url("**filter=outcome%3Afailed**")


def test_the_whole_page_works_by_keyboard(open_page: OpenPage) -> None:
    page = open_page("/episodes")
    page.wait_for_selector("tr[data-id=ep-kitchen]")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector(".board .turn")
    assert "episode=ep-kitchen" in page.url
    page.keyboard.press("l")
    page.keyboard.press("l")
    page.wait_for_url("**trial=2&turn=2**")
    page.keyboard.press("h")
    page.wait_for_url("**trial=2&turn=1**")
    page.keyboard.press("Shift+L")
    page.wait_for_url("**episode=ep-question**")
    page.keyboard.press("Shift+H")
    page.wait_for_url("**episode=ep-kitchen**")
    page.wait_for_selector(".board .turn")
    page.keyboard.press("Escape")
    expect(page.locator("tr[aria-selected=true]")).to_have_count(1)
    page.keyboard.press("?")
    expect(page.locator("dialog.help")).to_contain_text("Next episode of the table")


def test_trials_stand_side_by_side_with_difference_repeats_reflection_and_gain(open_page: OpenPage) -> None:
    page = open_page("/episodes?episode=ep-kitchen")
    page.wait_for_selector(".board .turn")
    expect(page.locator(".parting")).to_have_text("≠ first difference from trial 1")
    expect(page.locator("#t1-7 .repeat")).to_have_text("↻ repeats turn 6")
    expect(page.locator(".seam-card .gain")).to_have_text("gain +1")
    places = [page.locator(one).first.bounding_box() or {} for one in ("#t1-1", ".seam-card", "#t2-1")]
    assert places[0]["x"] < places[1]["x"] < places[2]["x"]


def test_where_a_trial_has_no_turn_beside_another_it_says_why(open_page: OpenPage) -> None:
    page = open_page("/episodes?episode=ep-question")
    expect(page.locator(".gap p")).to_have_text(["Trial 3 left these 2 turns out.", "Trial 1 had ended here."])


def test_a_deep_link_opens_its_turn(open_page: OpenPage) -> None:
    page = open_page("/episodes?episode=ep-long&trial=2&turn=777")
    expect(page.locator("#t2-777")).to_be_in_viewport()
    expect(page.locator("#t2-777")).to_have_class("turn by-planner current")


def test_a_trial_of_a_thousand_turns_opens_within_1500_ms_and_the_page_stays_small(open_page: OpenPage) -> None:
    page = open_page("/episodes")
    waits = []
    for _ in range(3):
        page.wait_for_selector("tr[data-id=ep-long]")
        start = time.perf_counter()
        page.click("tr[data-id=ep-long] a")
        page.wait_for_selector("#t1-1")
        waits.append(time.perf_counter() - start)
        page.go_back()
    assert min(waits) < 1.5
    page.go_forward()
    page.wait_for_selector("#t1-1")
    for _ in range(30):
        page.mouse.wheel(0, 3000)
    page.wait_for_timeout(500)
    assert page.evaluate("document.querySelectorAll('*').length") < 8000
    assert page.locator(".turn").count() > 0


def test_long_observations_fold_and_all_unfold_at_once(open_page: OpenPage) -> None:
    page = open_page("/episodes?episode=ep-long&trial=1&turn=50")
    seen = page.locator("#t1-50 .seen")
    expect(seen).to_contain_text("show all")
    page.keyboard.press("z")
    expect(seen).to_contain_text("show less")
    page.keyboard.press("Shift+Z")
    expect(seen).to_contain_text("show all")


def test_replay_says_whether_the_trace_is_reproducible(open_page: OpenPage) -> None:
    page = open_page("/episodes?episode=ep-kitchen")
    page.click("text=Is this trace reproducible?")
    expect(page.locator(".notice")).to_contain_text("✓ Reproducible")


def test_the_world_beside_the_trials_is_the_one_after_the_turn(open_page: OpenPage) -> None:
    page = open_page("/episodes?episode=ep-kitchen&trial=2&turn=2")
    world, head = page.locator(".beside"), page.locator(".beside > summary")
    expect(head).to_contain_text("after turn 2 of trial 2")
    head.click()
    expect(world.locator(".carrying")).to_contain_text("apple 1")
    world.get_by_text("‹ Turn").click()
    expect(world.locator(".carrying")).to_contain_text("nothing")
    expect(world.locator(".place.current .name")).to_have_text("shelf 1")
    expect(head).to_contain_text("after turn 1 of trial 2")
    for _ in range(3):
        page.keyboard.press("l")
    expect(world).to_contain_text("The environment showed nothing beside this turn.")


def test_the_same_task_again_is_chosen_on_the_play_page(open_page: OpenPage) -> None:
    page = open_page("/episodes?episode=ep-question")
    page.click("text=Same task again")
    expect(page.locator(".tasks [aria-selected=true]")).to_contain_text("q-0042")


def test_an_empty_home_says_what_to_do(open_page: OpenPage, empty_site: str) -> None:
    page = open_page("/episodes", base=empty_site)
    expect(page.locator(".empty-state")).to_contain_text("No episodes yet.")
    page.click("text=Play the first one")
    expect(page.locator(".intro")).to_contain_text("The planner acts")


def test_an_unknown_episode_is_a_sentence_with_a_way_out(open_page: OpenPage) -> None:
    page = open_page("/episodes?episode=gone", expects="404")
    expect(page.locator(".problem")).to_contain_text("There is no episode called 'gone'")
