"""A training run that is watched for a minute, and through the kill of its hub: nothing on the page is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import OpenPage
from fixture_episodes import kitchen_episode
from hub_process import Hub
from playwright.sync_api import Page, expect
from tiny_folder import write_tiny_folder

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]
WATCHED_SECONDS = 60
SLOW = 90_000
PLOT = "[data-chart=planner_loss] .plot"
POINTS = f"document.querySelector('{PLOT}').data?.at(-1).x.length"
CONFIG = {
    "kind": "train",
    "model": "tiny",
    "train": {
        "method": "sft",
        "roles": ["planner"],
        "batch": {"epochs": 100_000, "rows_per_step": 1, "max_length": 512, "tokens_per_pack": 512},
        "budget": {"checkpoint_every": 20, "max_seconds": 1000},
    },
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    write_tiny_folder(tmp_path / "models" / "tiny")
    made = Hub(tmp_path, "--model", "tiny")
    yield made
    worker = next(tmp_path.glob("runs/train-*/worker.json"), None)
    if worker is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(json.loads(worker.read_text())["pid"], signal.SIGKILL)
    made.clear()


def start_training(hub: Hub) -> str:
    with hub.api() as api:
        events = [
            {
                "run_id": "import-1",
                "seq": 0,
                "at": "2026-11-20T08:00:00Z",
                "body": {"kind": "run_created", "run": RUN},
            },
            *(
                {"run_id": "import-1", "seq": n, "at": "2026-11-20T08:00:00Z"}
                | {"body": {"kind": "episode_started", "episode": own_episode(n)}}
                for n in (1, 2, 3)
            ),
        ]
        api.post("/events", json=events).raise_for_status()
        run = api.post("/runs", json={"kind": "train", "name": "watched", "config": CONFIG}).raise_for_status()
        return str(run.json()["id"])


RUN = {"id": "import-1", "kind": "import", "state": "finished", "created_at": "2026-11-20T08:00:00Z"}


def own_episode(number: int) -> dict[str, object]:
    episode = kitchen_episode(f"ep-{number}").model_copy(update={"run_id": "import-1"})
    dump: dict[str, object] = episode.model_dump(mode="json")
    return dump


def drag(page: Page) -> None:
    box = page.locator(f"{PLOT} .nsewdrag").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 40, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 220, box["y"] + 120, steps=6)
    page.mouse.up()
    page.wait_for_function("node.layout.xaxis.autorange !== true")


def test_zoom_hover_and_selection_stay_for_a_minute_and_a_killed_hub_leaves_no_gap(
    open_page: OpenPage, hub: Hub
) -> None:
    address = hub.start()
    run_id = start_training(hub)
    base = address.partition("/?")[0]
    page = open_page(address.removeprefix(base), base=base, expects="ERR_")
    page.goto(f"{base}/train?run={run_id}")
    expect(page.locator(f"{PLOT} .main-svg").first).to_be_attached(timeout=SLOW)
    page.wait_for_function(f"{POINTS} > 10", timeout=SLOW)
    page.evaluate(f"window.node = document.querySelector('{PLOT}')")
    drag(page)
    zoomed = page.evaluate("[node.layout.xaxis.range, node.layout.yaxis.range]")
    page.evaluate(
        """() => {
            const log = document.querySelector(".log");
            getSelection().setBaseAndExtent(log.firstChild, 0, log.firstChild, 40);
        }"""
    )
    copied = page.evaluate("getSelection().toString()")
    box = page.locator(f"{PLOT} .nsewdrag").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 120, box["y"] + 60)
    page.wait_for_selector(f"{PLOT} .hoverlayer text")

    seen = [page.evaluate(POINTS)]
    until = time.monotonic() + WATCHED_SECONDS
    while time.monotonic() < until:
        page.wait_for_timeout(5000)
        seen.append(page.evaluate("node.data.at(-1).customdata.at(-1)[1]"))
        assert page.evaluate("[node.layout.xaxis.range, node.layout.yaxis.range]") == zoomed
        assert page.evaluate(f"node.isConnected && node === document.querySelector('{PLOT}')")
        assert page.locator(f"{PLOT} .hoverlayer text").count() > 0
        assert page.evaluate("getSelection().toString()") == copied != ""
    assert sorted(set(seen)) == seen, "A curve that is watched moves."

    hub.kill()
    expect(page.locator(".engine")).to_have_text("✕ the hub does not answer", timeout=SLOW)
    pid = json.loads((hub.home / "runs" / run_id / "worker.json").read_text())["pid"]
    last = page.evaluate("node.data.at(-1).customdata.at(-1)[1]")
    page.wait_for_timeout(4000)
    assert hub.start() == address, "The page that is open still knows the way."
    page.wait_for_function(f"node.data.at(-1).customdata.at(-1)[1] > {last + 20}", timeout=SLOW)
    assert page.evaluate("node.isConnected && node === document.querySelector('.plot')")
    assert page.evaluate("[node.layout.xaxis.range, node.layout.yaxis.range]") == zoomed
    assert json.loads((hub.home / "runs" / run_id / "worker.json").read_text())["pid"] == pid

    page.click("text=Save and stop")
    expect(page.locator(".run-state")).to_contain_text("stopped", timeout=SLOW)
    with hub.api() as api:
        (curve,) = api.get(f"/runs/{run_id}/curves", params={"name": "planner/il_loss", "max_points": 20_000}).json()
    assert curve["steps"] == list(range(1, curve["total"] + 1))
