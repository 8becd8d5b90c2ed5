"""Review and tags on the Curate page: agreement, the final word, the judge, versions of the tag set."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
from conftest import OpenPage
from fixture_episodes import kitchen_episode
from playwright.sync_api import Page, expect
from web_serving import grave, serving

from data.events import EpisodeStarted, Event
from data.store import Store
from retro_dash.hub import build_app
from retro_dash.service import Service
from retro_dash.settings import Settings

pytestmark = pytest.mark.browser
TOKEN = "a-token-for-tests"
_ids = count(1)


class Site:
    """A hub over six kitchens, three of them judged by kim and lee, who differ on two."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.api = httpx.Client(base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {TOKEN}"})
        said = {"ep-1": ("good", "good"), "ep-2": ("good", "bad"), "ep-3": ("expert", "discard")}
        for episode, verdicts in said.items():
            for who, verdict in zip(("kim", "lee"), verdicts, strict=True):
                self.say(episode, who, verdict)

    def say(self, episode: str, who: str, verdict: str) -> None:
        target = {"episode_id": episode, "part": "episode"}
        label = {"id": f"l{next(_ids)}", "target": target, "name": "verdict", "value": verdict, "annotator": who}
        self.api.post("/labels", json={"labels": [label]}).raise_for_status()

    def final(self) -> dict[str, object]:
        found = self.api.get("/labels", params={"name": "adjudication"}).json()
        return {one["target"]["episode_id"]: one["value"] for one in found}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    store = Store.open(tmp_path)
    for number in range(1, 7):
        episode = kitchen_episode(f"ep-{number}")
        started = EpisodeStarted(episode=episode)
        store.append([Event(run_id=f"run {number}", seq=0, at=episode.created_at, body=started)])
    service = Service(Settings(home=tmp_path), store)
    with serving(build_app(service, TOKEN)) as url:
        yield Site(url)
    service.close()


@pytest.fixture
def page(open_page: OpenPage, site: Site) -> Page:
    page = open_page(f"/?token={TOKEN}", base=site.url, expects="the server responded with a status of")
    page.goto(f"{site.url}/curate")
    page.wait_for_selector(".tag")
    return page


def test_agreement_is_shown_and_a_disagreement_gets_its_final_word_by_keyboard(page: Page, site: Site) -> None:
    page.keyboard.press("Shift+R")
    numbers = page.locator(".agreement")
    expect(numbers).to_contain_text("33 %")
    expect(numbers).to_contain_text("Krippendorff")
    expect(page.locator(".people tbody tr")).to_have_count(2)
    expect(page.get_by_role("button", name="Review 2")).to_be_visible()
    page.keyboard.press("]")
    shown = str(page.locator(".disputes > li").first.get_attribute("data-target")).split()[0]
    expect(page.locator(".item-head a.chip")).to_have_text(shown)
    page.keyboard.press("2")
    expect(page.locator(".disputes .decided")).to_have_count(1)
    # The next one without a decision stands on the stage.
    expect(page.locator(".item-head a.chip")).not_to_have_text(shown)
    assert site.final() == {shown: {"verdict": "good"}}
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    expect(page.locator(".bar-said")).to_contain_text("Undone: adjudication")
    expect(page.locator(".save-state")).to_have_text("✓ all saved")
    assert site.final() == {}


def test_pressing_the_decision_again_takes_it_back(page: Page, site: Site) -> None:
    page.keyboard.press("Shift+R")
    bad = page.locator(".disputes > li").first.get_by_role("button", name="bad")
    bad.click()
    expect(page.locator(".disputes .decided")).to_have_count(1)
    page.locator(".disputes .decided").get_by_role("button", name="bad").click()
    expect(page.locator(".disputes .decided")).to_have_count(0)
    assert site.final() == {}


def test_overlap_is_part_of_the_queue_and_of_its_address(page: Page, site: Site) -> None:
    page.keyboard.press("Shift+R")
    page.get_by_label("Annotators an episode").fill("3")
    page.get_by_label("Annotators an episode").press("Tab")
    expect(page.locator(".progress")).to_contain_text("0 of 6 done")
    page.wait_for_url("**/curate?*overlap=3*")


def test_a_filter_saved_over_the_table_is_a_queue(page: Page) -> None:
    page.evaluate("localStorage.setItem('retro-filters', JSON.stringify(['id:ep-5']))")
    page.keyboard.press("/")
    expect(page.get_by_role("option").first).to_contain_text("id:ep-5★ saved")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator(".item-head a.chip")).to_have_text("ep-5")
    page.wait_for_url("**/curate?filter=id*ep-5*")


def test_a_judge_that_cannot_be_asked_is_explained(page: Page) -> None:
    page.keyboard.press("Shift+R")
    page.locator(".judge").get_by_role("button", name="Judge").click()
    expect(page.locator(".judge .problem")).to_contain_text("No model can judge")


def test_tags_are_edited_as_a_new_version_and_an_old_one_is_brought_back(page: Page, site: Site) -> None:
    page.keyboard.press("Shift+T")
    page.get_by_role("button", name="Add a tag").click()
    page.keyboard.type("wrong table")
    expect(page.locator(".tags-panel")).to_contain_text("Version 1 adds wrong table.")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".label-bar .tag", has_text="wrong table")).to_be_visible()
    page.get_by_role("button", name="Remove wrong table").click()
    expect(page.locator(".tags-panel")).to_contain_text("Version 2 removes wrong table.")
    page.get_by_label("Start from").select_option("0")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".label-bar .tag", has_text="wrong table")).to_have_count(0)
    assert [one["version"] for one in site.api.get("/tagset/versions").json()] == [2, 1, 0]


def test_the_slower_of_two_editors_of_tags_is_told_and_loses_nothing(page: Page, site: Site) -> None:
    page.keyboard.press("Shift+T")
    page.get_by_role("button", name="Add a tag").click()
    page.keyboard.type("mine")
    tags = site.api.get("/tagset").json()["tags"]
    site.api.put("/tagset", json={"version": 0, "tags": [*tags, {"name": "theirs"}]}).raise_for_status()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".tags-panel .problem")).to_contain_text("changed in the meantime")
    expect(page.locator(".tag-rows li").last.get_by_label("Name")).to_have_value("mine")


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (400, "dark")])
@pytest.mark.parametrize("panel", ["Shift+R", "Shift+T"])
def test_axe_finds_nothing_grave_and_nothing_is_cut_off(
    open_page: OpenPage, site: Site, width: int, theme: str, panel: str
) -> None:
    page = open_page(f"/?token={TOKEN}", base=site.url, width=width, theme=theme)
    page.goto(f"{site.url}/curate")
    page.wait_for_selector(".tag", state="attached")
    page.keyboard.press(panel)
    page.wait_for_selector(".people, .tag-rows li")
    assert grave(page) == []
    assert page.evaluate("document.querySelector('.drawer').getBoundingClientRect().left") >= 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
