"""The engine is killed while the planner writes: a sentence, nothing lost, and two ways on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import OpenPage
from playwright.sync_api import expect
from web_serving import serving

from data.store import Store
from retro_dash.hub import build_app
from retro_dash.service import Service
from retro_dash.serving.engine import Engine, start_engine
from retro_dash.serving.model import EMBEDDED_MODEL, is_complete
from retro_dash.settings import Settings

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(400)]
TOKEN = "a-token-for-tests"
MODEL = Path(os.environ.get("RETRO_TEST_HOME", "/tmp/retro-test-home")) / "models" / EMBEDDED_MODEL
SLOW = 120_000


class Hub(NamedTuple):
    url: str
    service: Service


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    if not is_complete(MODEL):
        pytest.skip(f"no prepared model at {MODEL}: python -m retro_dash.serving.model --home {MODEL.parent.parent}")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / EMBEDDED_MODEL).symlink_to(MODEL)
    settings = Settings(home=tmp_path, expert_words_per_second=0)
    service = Service(settings, Store.open(tmp_path))
    service.engine = start_engine(settings)
    with serving(build_app(service, TOKEN)) as url:
        yield Hub(url, service)
    service.close()
    assert service.engine is not None
    service.engine.stop()


def kill_engine(service: Service) -> None:
    assert isinstance(service.engine, Engine)
    assert service.engine.process is not None
    assert service.engine.process.record is not None
    os.kill(service.engine.process.record.pid, signal.SIGKILL)


def test_an_engine_killed_in_the_middle_of_a_turn_costs_that_turn_only_and_the_episode_goes_on(
    hub: Hub, open_page: OpenPage
) -> None:
    url, service = hub
    page = open_page(f"/?token={TOKEN}&env=alfworld&task=rooms-7-small-0007", base=url)
    expect(page.locator("a.engine")).to_contain_text("ready", timeout=SLOW)
    page.reload()
    page.wait_for_selector(".tasks [aria-selected=true]")
    page.get_by_label("Planner", exact=True).select_option(EMBEDDED_MODEL)
    page.keyboard.press("s")
    expect(page.locator(".phase")).to_have_text("Ready", timeout=SLOW)
    expect(page.locator("#trial-1 .turn")).to_have_count(1)
    first = page.locator("#t1-1").inner_text()

    page.keyboard.press("s")
    expect(page.locator(".turn.pending .said")).to_contain_text(" ", timeout=SLOW)
    page.wait_for_function("document.querySelector('.turn.pending .said').textContent.length > 8", timeout=SLOW)
    kill_engine(service)
    problem = page.locator(".controls ~ .problem").first
    expect(problem).to_contain_text("The connection to http://127.0.0.1", timeout=SLOW)
    expect(problem).to_contain_text("Nothing is lost: press Step to try this turn again")
    expect(page.locator("#trial-1 .turn")).to_have_count(1)
    (episode_id,) = service.store.episode_ids()
    stored = service.store.episode(episode_id, with_tokens=True)
    assert len(stored.trials[0].turns) == 1
    assert stored.trials[0].stop_reason is None

    expect(page.locator("a.engine")).not_to_contain_text("ready", timeout=SLOW)
    expect(page.locator("a.engine")).to_contain_text("ready", timeout=SLOW)
    page.reload()
    expect(page.locator("#t1-1")).to_be_visible()
    assert page.locator("#t1-1").inner_text() == first
    page.keyboard.press("s")
    expect(page.locator("#t1-2")).to_be_visible(timeout=SLOW)
    expect(page.locator(".phase")).to_have_text("Ready", timeout=SLOW)
    expect(problem).to_be_hidden()
    after = service.store.episode(episode_id, with_tokens=True)
    assert after.trials[0].turns[:1] == stored.trials[0].turns
    kinds = [event.kind for event in service.store.events_since(0, episode_id=episode_id)]
    assert kinds == ["episode_started", "trial_started", "turn_taken", "turn_taken"]

    kill_engine(service)
    page.get_by_label("Planner", exact=True).select_option("expert")
    page.get_by_role("button", name="Go on with Scripted expert").click()
    expect(page.locator(".crumbs")).to_contain_text(f"fork of {episode_id} before turn 3 of trial 1")
    page.keyboard.press("s")
    expect(page.locator("#t1-3.by-expert")).to_be_visible(timeout=SLOW)
    assert service.store.episode(episode_id, with_tokens=True) == after
