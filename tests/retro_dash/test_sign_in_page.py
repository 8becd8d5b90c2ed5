"""Signing in with a real browser, whose own rules on origins and cookies decide whether it works."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from accounts_examples import PASSWORD, hub
from playwright.sync_api import Page, sync_playwright

from retro_dash.accounts import Accounts
from retro_dash.roles import Role

pytestmark = pytest.mark.browser


@contextmanager
def serving(app: object) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(5)


@pytest.fixture
def page() -> Iterator[Page]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_page()
        browser.close()


def test_a_person_signs_in_reads_who_they_are_and_signs_out(page: Page, tmp_path: Path):
    Accounts(tmp_path).add("ann", Role.ANNOTATOR, PASSWORD)
    with hub(tmp_path) as app, serving(app) as url:
        page.goto(f"{url}/account")
        assert page.url == f"{url}/sign-in?next=/account"
        page.fill("#name", "ann")
        page.fill("#password", "not the password")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=alert]")
        page.fill("#password", PASSWORD)
        page.click("button")
        page.wait_for_url(f"{url}/account")
        assert "signed in as ann, with the role annotator" in page.inner_text("main")
        status = "fetch('/api/v1/live', {method: 'POST'}).then((answer) => answer.status)"
        assert page.evaluate(status) == 403
        page.click("button")
        page.wait_for_url(f"{url}/sign-in")
        page.goto(f"{url}/account")
        assert page.url == f"{url}/sign-in?next=/account"


def test_a_page_of_another_port_changes_nothing(page: Page, tmp_path: Path):
    async def elsewhere(scope, receive, send):
        headers = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"<h1>Free episodes</h1>"})

    Accounts(tmp_path).add("ann", Role.ADMIN, PASSWORD)
    with hub(tmp_path) as app, serving(app) as url, serving(elsewhere) as evil:
        page.goto(f"{url}/sign-in?next=/account")
        page.fill("#name", "ann")
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{url}/account")
        page.goto(evil)
        read = "url => fetch(url, {credentials: 'include'}).then((answer) => answer.text(), () => 'blocked')"
        assert page.evaluate(read, f"{url}/api/v1/me") == "blocked"
        with page.expect_response(f"{url}/sign-out") as answer:
            page.evaluate(
                "url => { const form = document.createElement('form'); form.method = 'post'; form.action = url;"
                " document.body.append(form); form.submit(); }",
                f"{url}/sign-out",
            )
        assert answer.value.status == 403
        page.wait_for_url(f"{url}/sign-out")
        page.goto(f"{url}/account")
        assert "signed in as ann" in page.inner_text("main")


def test_the_top_bar_says_who_is_signed_in(page: Page, tmp_path: Path):
    Accounts(tmp_path).add("ann", Role.VIEWER, PASSWORD)
    with hub(tmp_path, has_pages=True) as app, serving(app) as url:
        page.goto(f"{url}/episodes")
        page.fill("#name", "ann")
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector(".account:not([hidden])", timeout=60_000)
        assert page.inner_text(".account") == "ann"
        page.click(".account")
        page.wait_for_url(f"{url}/account")
