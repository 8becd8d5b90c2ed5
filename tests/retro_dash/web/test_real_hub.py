"""The pages on the real hub: guard, API, store, environments and the scripted expert, nothing in between."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import OpenPage
from playwright.sync_api import Browser, expect
from web_serving import serving

from data.store import Store
from envs import environment_kind
from retro_dash.hub import build_app
from retro_dash.service import Service
from retro_dash.settings import Settings

pytestmark = pytest.mark.browser
TOKEN = "a-token-for-tests"
ROOM = "/?token=a-token-for-tests&env=alfworld&split=valid&task=rooms-7-small-0007"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home: Path = tmp_path_factory.mktemp("home")
    service = Service(Settings(home=home, expert_words_per_second=0), Store.open(home))
    with serving(build_app(service, TOKEN)) as url:
        yield url
    service.close()


def test_the_expert_fails_reflects_and_solves_a_room_and_the_reflection_shows_its_gain(
    open_page: OpenPage, hub: str
) -> None:
    page = open_page(ROOM, base=hub)
    expect(page.locator(".tasks [aria-selected=true]")).to_contain_text("rooms-7-small-0007")
    page.keyboard.press("Shift+R")
    expect(page.locator(".the-end")).to_contain_text("Solved in trial 2, after 1 reflection")
    expect(page.locator(".reflection .gain")).to_have_text("gain +1")
    expect(page.locator(".room .place.current")).to_have_count(1)
    page.reload()
    expect(page.locator("#trial-2 .turn")).to_have_count(6)
    page.click("text=Compare its trials side by side")
    expect(page.locator(".seam-card .gain")).to_have_text("gain +1")
    page.click("text=Is this trace reproducible?")
    expect(page.locator(".notice")).to_contain_text("✓ Reproducible")


def test_a_question_is_stepped_edited_and_found_in_the_table(open_page: OpenPage, hub: str) -> None:
    page = open_page("/?token=a-token-for-tests&env=hotpotqa", base=hub)
    page.wait_for_selector(".tasks [aria-selected=true]")
    page.keyboard.press("s")
    expect(page.locator(".paragraph.current")).to_have_count(1)
    expect(page.locator(".verb-hold")).to_have_attribute("aria-disabled", "false")
    page.keyboard.press("e")
    page.fill("#rd-action", "Finish[nothing]")
    page.keyboard.press("Enter")
    expect(page.locator("#t1-2")).to_contain_text("edited by a person")
    expect(page.locator(".answer")).to_contain_text("Right answer")
    page.wait_for_url("**episode=**")
    played = parse_qs(urlsplit(page.url).query)["episode"][0]
    page.goto(f"{hub}/episodes?filter=env:hotpotqa")
    expect(page.locator(f"tr[data-id='{played}']")).to_have_count(1)


@pytest.mark.parametrize("env", ["alfworld", "hotpotqa", "intercode_sql", "intercode_bash"])
def test_what_people_meet_first_in_an_environment_fails_reflects_and_solves_beside_a_drawing_of_its_world(
    open_page: OpenPage, hub: str, env: str
) -> None:
    availability = environment_kind(env).check()
    if not availability.works:
        pytest.skip(availability.detail)
    page = open_page(f"/?token=a-token-for-tests&env={env}", base=hub)
    page.wait_for_selector(".tasks [aria-selected=true]")
    page.keyboard.press("Shift+R")
    expect(page.locator(".the-end")).to_contain_text("Solved in trial 2, after 1 reflection")
    expect(page.locator(".reflection .gain")).to_contain_text("gain +")
    expect(page.locator("#trial-2 .turn .sign.planner")).to_have_count(0)
    expect(page.locator(".world-view .tree")).to_have_count(0)
    expect(page.locator(".world-view :is(.place, .paragraph, .tables, .file-tree)").first).to_be_visible()


def test_a_planner_that_starts_elsewhere_can_be_picked_and_waits_in_other_environments(
    open_page: OpenPage, hub: str
) -> None:
    page = open_page("/?token=a-token-for-tests&env=alfworld", base=hub)
    planner = page.get_by_label("Planner", exact=True)
    expect(planner).to_have_value("expert")
    planner.select_option("expert:careless")
    expect(planner).to_have_value("expert:careless")
    expect(page.locator(".stage .chip", has_text="Careless expert").locator(".sign.expert")).to_have_count(1)
    page.reload()
    expect(planner).to_have_value("expert:careless")
    page.get_by_label("Environment").select_option("hotpotqa")
    planner.select_option("expert")
    page.get_by_label("Environment").select_option("alfworld")
    expect(planner).to_have_value("expert")


def test_a_shell_shows_what_was_made_changed_and_deleted_before_the_rest(open_page: OpenPage, hub: str) -> None:
    availability = environment_kind("intercode_bash").check()
    if not availability.works:
        pytest.skip(availability.detail)
    page = open_page("/?token=a-token-for-tests&env=intercode_bash&task=bash_website_06", base=hub)
    page.wait_for_selector(".tasks [aria-selected=true]")
    for action, turn in (
        ("execute[echo x > /new.txt; rm /site/css/print.css; echo y >> /site/index.html]", 1),
        ("submit", 2),
    ):
        page.keyboard.press("e")
        page.fill("#rd-action", action)
        expect(page.locator(".phase")).not_to_have_class("phase busy")
        page.keyboard.press("Enter")
        expect(page.locator(f"#t1-{turn}")).to_be_visible(timeout=60_000)
        expect(page.locator(".phase")).not_to_have_class("phase busy")
    shown = [
        (li.locator(".sign").inner_text(), li.locator("code").inner_text())
        for li in page.locator(".file-tree li").all()[:3]
    ]
    assert shown == [("+", "/new.txt"), ("−", "/site/css/print.css"), ("~", "/site/index.html")]
    assert page.locator(".file-tree .changed").count() == 3
    expect(page.locator(".answer")).to_contain_text("Too much")
    expect(page.locator(".answer .sign.failure")).to_have_text("−")


def test_a_page_without_the_token_asks_to_sign_in(hub: str, browser: Browser) -> None:
    page = browser.new_page()
    answer = page.goto(f"{hub}/episodes")
    assert answer is not None
    assert answer.status == 401
    assert "signs this browser in" in page.inner_text("body")
    page.close()
