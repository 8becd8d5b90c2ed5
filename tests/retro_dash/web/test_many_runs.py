"""More runs than one answer holds: the Train page says that there are more, and shows them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from conftest import OpenPage
from page_runs import SIGNED, RunSite, run_site
from playwright.sync_api import expect

from data.events import Event, RunCreated
from data.types import Run, RunState

pytestmark = pytest.mark.browser
RUNS = 230


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunSite]:
    """The real hub over a home with finished runs only."""
    with run_site(tmp_path_factory.mktemp("crowded"), with_runs=False) as site:
        site.service.store.append([made(number) for number in range(RUNS)])
        yield site


def made(number: int) -> Event:
    at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=number)
    run = Run(
        id=f"train-{number:03}", kind="train", name=f"run {number}", state=RunState.FINISHED, created_at=at,
        started_at=at, finished_at=at, config={"train": {"method": "sft", "preset": "fixed"}},
    )  # fmt: skip
    return Event(run_id=run.id, seq=0, at=at, body=RunCreated(run=run))


def test_the_list_goes_on_until_every_run_is_there_once(open_page: OpenPage, crowded: RunSite) -> None:
    page = open_page(f"/train?{SIGNED}", base=crowded.url)
    runs, older = page.locator(".run-list > li"), page.get_by_role("button", name="Show older runs")
    expect(runs).to_have_count(100)
    older.click()
    expect(runs).to_have_count(200)
    older.click()
    expect(runs).to_have_count(RUNS)
    expect(older).to_be_hidden()
    names = page.locator(".run-list .run-name strong").all_inner_texts()
    assert names == [f"run {number}" for number in reversed(range(RUNS))]
    # The page asks again and again for the newest; the older ones stay.
    with page.expect_response(lambda answer: answer.url.endswith("/runs/rows")):
        pass
    expect(runs).to_have_count(RUNS)
