"""Hostile text in every column of a real home, on every page: shown, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import hostile_home
import pytest
from fixture_episodes import HOSTILE
from playwright.sync_api import Page
from web_serving import serving

from data.store import Store
from retro_dash.hub import build_app
from retro_dash.service import Service
from retro_dash.settings import Settings

pytestmark = [pytest.mark.browser, pytest.mark.slow]
OpenPage = Callable[..., Page]
TOKEN = "a-token-for-tests"
PLACES = {
    "/episodes": "tr[data-id]",
    f"/episodes?episode={hostile_home.EPISODE}&trial=1&turn=1": ".column-head",
    f"/curate?episode={hostile_home.EPISODE}": ".item-head",
    f"/train?run={hostile_home.TRAINED}": "main",
    f"/results?run={hostile_home.EVALUATED}": "main",
    "/serving": "main",
    "/": "main",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    hostile_home.fill(home, HOSTILE)
    service = Service(Settings(home=home, engine="none"), Store.open(home))
    with serving(build_app(service, TOKEN)) as url:
        yield url
    service.close()


def test_no_page_runs_loads_or_becomes_what_the_home_holds(open_page: OpenPage, url: str) -> None:
    # What no panel knows is drawn as it is, and said on the console.
    page = open_page(f"/?token={TOKEN}", base=url, expects="World panel")
    for path, drawn in PLACES.items():
        page.goto(url + path)
        page.wait_for_selector("html.rd-ready", state="attached")
        page.wait_for_selector(drawn)
        page.wait_for_timeout(700)
        if path != "/":
            assert HOSTILE[0] in page.inner_text("main"), path
        made = page.locator("iframe, #rd-main :is(img, math, script, a[href^=javascript], form[action*='127.0.0.2'])")
        assert made.count() == 0, path
        assert page.evaluate("window.pwn") is None, path
