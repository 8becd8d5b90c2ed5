"""More runs than one answer holds: the Train and Results pages say that there are more, and show them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import OpenPage
from page_runs import SIGNED, RunSite, run_site
from playwright.sync_api import expect

from data.events import Event, RunCreated
from data.types import Run, RunState
from retro_dash.run_folder import RunFolder

pytestmark = pytest.mark.browser
RUNS = 230
EVALUATIONS = 120


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunSite]:
    """The real hub over a home with finished runs only."""
    with run_site(tmp_path_factory.mktemp("crowded"), with_runs=False) as site:
        site.service.store.append([made("train", number) for number in range(RUNS)])
        yield site


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunSite]:
    """The real hub over a home with finished evaluations only."""
    home = tmp_path_factory.mktemp("evaluated")
    with run_site(home, with_runs=False) as site:
        site.service.store.append([made("evaluate", number) for number in range(EVALUATIONS)])
        for number in range(EVALUATIONS):
            folder = RunFolder(home / "runs" / f"evaluate-{number:03}")
            folder.path.mkdir(parents=True)
            folder.report.write_text(json.dumps(report(folder.run_id)), encoding="utf-8")
        yield site


def made(kind: str, number: int) -> Event:
    at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=number)
    run = Run(
        id=f"{kind}-{number:03}", kind=kind, name=f"run {number}", state=RunState.FINISHED, created_at=at,
        started_at=at, finished_at=at, config={"train": {"method": "sft", "preset": "fixed"}},
    )  # fmt: skip
    return Event(run_id=run.id, seq=0, at=at, body=RunCreated(run=run))


def report(run_id: str) -> dict[str, Any]:
    """One method that solved half of four tasks."""
    half = {"mean": 0.5, "low": 0.25, "high": 0.75}
    scores: dict[str, Any] = {
        "measure": "reward",
        "tasks": 4,
        "trials": 1,
        "by_trial": [half],
        "best_by_trial": [half],
    }
    scores |= dict.fromkeys(("initial", "final", "average"), half)
    arm = {"arm": {"name": run_id, "planner": "tiny"}, "reward": scores, "success": scores, "errors": 0}
    about = {"env": "alfworld", "model": "tiny", "tasks": 4, "trials": 1, "seeds": [0], "measure": "reward"}
    return {"run_id": run_id, **about, "arms": [arm], "finished_at": "2026-11-01T00:00:00Z"}


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


def test_older_evaluations_are_shown_on_request_and_one_of_them_can_be_opened(
    open_page: OpenPage, evaluated: RunSite
) -> None:
    page = open_page(f"/results?{SIGNED}", base=evaluated.url)
    rows, older = page.locator(".all-results tbody tr:not(.published)"), page.locator("text=Show older evaluations")
    expect(rows).to_have_count(100)
    older.click()
    expect(rows).to_have_count(EVALUATIONS)
    expect(older).to_be_hidden()
    assert rows.locator("a").all_inner_texts() == [f"evaluate-{number:03}" for number in reversed(range(EVALUATIONS))]
    rows.last.locator("a").click()
    expect(page.locator("h1.sentence")).to_contain_text("evaluate-000 ends at 50.0 points")
    # A link to an old one finds it without a press.
    page = open_page(f"/results?run=evaluate-001&{SIGNED}", base=evaluated.url)
    expect(page.locator("h1.sentence")).to_contain_text("evaluate-001 ends at 50.0 points")
