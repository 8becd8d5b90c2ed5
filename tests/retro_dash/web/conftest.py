"""A real browser, pages over the fixture API, and a watch that fails a test for anything a page should not do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from fixture_api import make_api
from fixture_episodes import hostile_episode, kitchen_episode, many_episodes, question_episode
from page_runs import RunSite, run_site
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright
from web_serving import serving

from retro_dash.web import mount

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PATIENCE_MS = 60_000
"""How long a page is waited for. A busy machine takes seconds for what a quiet one does at once."""

expect.set_options(timeout=PATIENCE_MS)

REPORT_VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => {
  violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """Pages over 130 episodes, odd ones among them."""
    broken = kitchen_episode("ep-broken")
    broken = broken.model_copy(
        update={"task": broken.task.model_copy(update={"id": "broken-1", "split": "zz broken"})}
    )
    scripts = (kitchen_episode(), question_episode(), hostile_episode(), broken)
    with serving(mount(make_api(many_episodes(), {one.task.id: one for one in scripts}, pace=0.004))) as url:
        yield url


@pytest.fixture(scope="session")
def empty_site() -> Iterator[str]:
    """Pages over a home where nothing was played."""
    one = kitchen_episode()
    with serving(mount(make_api([], {one.task.id: one}))) as url:
        yield url


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunSite]:
    """The real hub over a home with runs of every kind."""
    with run_site(tmp_path_factory.mktemp("home")) as site:
        yield site


@pytest.fixture(scope="module")
def empty_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunSite]:
    """The real hub over a home where nothing was done."""
    with run_site(tmp_path_factory.mktemp("empty"), with_runs=False) as site:
        yield site


class Watch:
    """What a page did that it should not have done."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.expected: tuple[str, ...] = ()
        """Parts of console messages that the test provokes."""
        self.wrongs: list[str] = []
        page.on("console", self.on_console)
        page.on("pageerror", lambda error: self.add(f"error: {error}"))
        page.on("requestfailed", self.on_failed)
        page.on("request", self.on_request)

    def add(self, wrong: str) -> None:
        self.wrongs.append(wrong)

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" or message.text.startswith("World panel"):
            self.add(f"console: {message.text}")

    def on_failed(self, request: Request) -> None:
        # A stream or a poll is cut off when the page is left.
        if "ERR_ABORTED" not in (request.failure or ""):
            self.add(f"failed: {request.url} {request.failure}")

    def on_request(self, request: Request) -> None:
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self.add(f"off origin: {request.url}")

    def check(self) -> None:
        violations = self.page.evaluate("window.violations")
        wrongs = [wrong for wrong in self.wrongs if not any(part in wrong for part in self.expected)]
        assert (wrongs, violations) == ([], [])
        assert self.page.evaluate("window.pwn") is None


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, site: str) -> Iterator[OpenPage]:
    """`open_page(path, width=…, theme=…, base=…)`: a page whose view is drawn; checked when the test ends."""
    watches: list[Watch] = []
    contexts = []

    def open_(
        path: str, width: int = 1440, height: int = 900, theme: str = "light", base: str = site, expects: str = ""
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,  # type: ignore[arg-type]
            reduced_motion="reduce",
        )
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(REPORT_VIOLATIONS)
        contexts.append(context)
        page = context.new_page()
        watch = Watch(page, base)
        watch.expected = (expects,) if expects else ()
        watches.append(watch)
        page.goto(base + path)
        page.wait_for_selector("html.rd-ready", state="attached")
        return page

    yield open_
    for watch in watches:
        watch.check()
    for context in contexts:
        context.close()
