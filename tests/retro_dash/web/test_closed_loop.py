"""The whole loop in one browser, nothing in between: collect, train, watch, serve, play the same tasks again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import OpenPage
from playwright.sync_api import Page, expect
from tiny_folder import write_tiny_folder
from web_serving import serving

from data.store import Store
from retro_dash.hub import build_app
from retro_dash.service import Service
from retro_dash.serving.engine import start_engine
from retro_dash.settings import Settings

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]
TOKEN = "a-token-for-tests"
SLOW = 150_000


class Loop(NamedTuple):
    url: str
    service: Service


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    home: Path = tmp_path_factory.mktemp("home")
    model = write_tiny_folder(home / "models" / "tiny")
    settings = Settings(home=home, expert_words_per_second=0, model=str(model), engine_threads=1)
    service = Service(settings, Store.open(home))
    service.engine = start_engine(settings)
    with serving(build_app(service, TOKEN)) as url:
        yield Loop(url, service)
    service.close()
    assert service.engine is not None
    service.engine.stop()


def post(page: Page, path: str, body: dict[str, object]) -> dict[str, object]:
    headers = {"content-type": "application/json"}
    answer = page.request.post(f"{page.url.split('/train')[0]}/api/v1{path}", data=json.dumps(body), headers=headers)
    assert answer.ok, answer.text()
    found: dict[str, object] = answer.json()
    return found


def test_collect_train_watch_serve_and_the_same_tasks_again(open_page: OpenPage, hub: Loop) -> None:
    page = open_page(f"/train?token={TOKEN}", base=hub.url)
    collect = {"kind": "collect", "env": "alfworld", "trials": 2}
    post(page, "/runs", {"kind": "collect", "name": "by the expert", "config": collect, "split": "train", "count": 6})
    row = page.locator(".run-list li", has_text="by the expert")
    expect(row).to_contain_text("finished", timeout=SLOW)

    # Train on what it solved, in small steps, so that the curve can be watched.
    page.goto(f"{hub.url}/train?new=1&filter=outcome:solved")
    expect(page.locator(".findings .success").first).to_contain_text("episodes", timeout=SLOW)
    page.click(".section summary >> text=batch")
    for name, value in (("rows_per_step", 1), ("max_length", 512), ("epochs", 40)):
        page.fill(f"#rd-train-batch-{name}", str(value))
        page.press(f"#rd-train-batch-{name}", "Tab")
    page.click(".section summary >> text=budget")
    page.fill("#rd-train-budget-max_seconds", "15")
    page.press("#rd-train-budget-max_seconds", "Tab")
    expect(page.locator(".check-panel pre")).to_contain_text("max_seconds = 15")
    page.fill("#rd-run-name", "imitation")
    page.click(".start")
    plot = page.locator(".chart[data-chart=planner_loss] .plot")
    expect(plot).to_be_visible(timeout=SLOW)
    points = "document.querySelector('[data-chart=planner_loss] .plot').data?.at(-1).x.length"
    page.wait_for_function(f"{points} >= 2", timeout=SLOW)
    page.evaluate("Plotly.relayout(document.querySelector('.plot'), {'xaxis.range': [1, 2]})")
    seen = page.evaluate(points)
    page.wait_for_function(f"{points} > {seen}", timeout=SLOW)
    assert page.evaluate("document.querySelector('.plot').layout.xaxis.range") == [1, 2]
    page.reload()
    expect(page.locator(".made")).to_contain_text("planner@", timeout=SLOW)
    (loss,) = hub.service.store.metrics(page.url.split("run=")[1].split("&")[0], ("planner/il_loss",), 10_000)
    steps = [point.step for point in loss.points]
    assert steps == list(range(steps[0], steps[0] + len(steps)))

    # Serve it.
    page.click("text=Serve it")
    card = page.locator(".adapter", has_text="planner@")
    expect(page.locator(".engine-card")).to_contain_text("● ready", timeout=SLOW)
    card.locator(".load").click()
    expect(card).to_contain_text("● served", timeout=SLOW)

    # The same tasks again: the base model that babbles against the expert, so that tasks flip for certain.
    name = card.get_attribute("data-name")
    page.goto(f"{hub.url}/results?new=1&filter=outcome:solved")
    expect(page.locator(".arm")).to_have_count(4)
    for number, player in ((1, name), (2, "expert")):
        page.select_option(f"#rd-arm-{number}-planner", player)
        page.select_option(f"#rd-arm-{number}-reflector", "expert")
    page.click("[aria-label='Remove both']")
    page.click(".arm >> nth=0 >> css=select[id$=reflector]")
    page.select_option("#rd-arm-0-reflector", "expert")
    page.fill("#rd-eval-trials", "2")
    page.fill("#rd-eval-count", "2")
    page.fill("#rd-eval-name", "again")
    page.click(".eval-form .start")
    expect(page.locator(".sentence")).to_contain_text("on 2 alfworld tasks", timeout=SLOW)
    expect(page.locator(".flips h2").last).to_contain_text("2 tasks flipped to solved")
    page.click(".flip-list .both >> nth=0")
    expect(page.locator(".pair-board .column-head h2")).to_have_text(["Before: ✕ failed", "After: ✓ solved"])
