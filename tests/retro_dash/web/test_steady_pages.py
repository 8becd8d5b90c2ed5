"""Nothing jumps while a page loads: what is on the screen stays where it is."""

from __future__ import annotations

import pytest
from conftest import OpenPage
from page_runs import SIGNED, RunSite

pytestmark = pytest.mark.browser
MOST = 0.1
"""Cumulative layout shift that counts as good (web.dev, Core Web Vitals)."""
PAGES = {
    "/train": ".chart .main-svg",
    "/train?new=1": ".findings li",
    "/curate": ".label-bar .tag",
    "/serving": ".adapter",
    "/results": ".report .main-svg",
    "/results?new=1": ".arm",
}
SHIFTS = """() => new Promise((tell) => {
    let sum = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((one) => (sum += one.value)))
        .observe({ type: "layout-shift", buffered: true });
    setTimeout(() => tell(sum), 300);
})"""


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("path", PAGES)
def test_what_is_drawn_stays_in_its_place_while_the_rest_arrives(
    open_page: OpenPage, hub: RunSite, path: str, width: int
) -> None:
    page = open_page(f"{path}{'&' if '?' in path else '?'}{SIGNED}", base=hub.url, width=width)
    page.wait_for_selector(PAGES[path], state="attached")
    page.wait_for_timeout(1500)
    assert page.evaluate(SHIFTS) < MOST
