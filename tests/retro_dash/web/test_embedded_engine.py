"""The embedded model as planner and reflector, seen in a browser, in every environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import OpenPage
from playwright.sync_api import expect
from web_serving import serving

from data.store import Store
from envs import ENVIRONMENTS, environment_kind
from retro_dash.client import HubClient
from retro_dash.hub import build_app
from retro_dash.service import Service
from retro_dash.serving.engine import start_engine
from retro_dash.serving.model import EMBEDDED_MODEL, is_complete
from retro_dash.settings import Settings
from retro_dash.tui.adapterwords import served_adapters

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TOKEN = "a-token-for-tests"
MODEL = Path(os.environ.get("RETRO_TEST_HOME", "/tmp/retro-test-home")) / "models" / EMBEDDED_MODEL


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not is_complete(MODEL):
        pytest.skip(f"no prepared model at {MODEL}: python -m retro_dash.serving.model --home {MODEL.parent.parent}")
    home: Path = tmp_path_factory.mktemp("home")
    (home / "models").mkdir()
    (home / "models" / EMBEDDED_MODEL).symlink_to(MODEL)
    settings = Settings(home=home, expert_words_per_second=0)
    service = Service(settings, Store.open(home))
    service.engine = start_engine(settings)
    assert service.engine is not None
    with serving(build_app(service, TOKEN)) as url:
        yield url
    service.close()
    service.engine.stop()


@pytest.mark.timeout(600)
def test_play_starts_with_the_bundled_agents_which_fail_reflect_and_try_again(open_page: OpenPage, hub: str) -> None:
    page = open_page(f"/?token={TOKEN}", base=hub)
    expect(page.locator("a.engine")).to_contain_text("ready", timeout=120_000)
    planner, reflector = (page.get_by_label(role, exact=True) for role in ("Planner", "Reflector"))
    expect(planner).to_have_value("planner-alfworld")
    expect(reflector).to_have_value("reflector-alfworld")
    page.get_by_label("Environment", exact=True).select_option("hotpotqa")
    expect(planner).to_have_value("expert:careless")
    page.get_by_label("Environment", exact=True).select_option("alfworld")
    expect(planner).to_have_value("planner-alfworld")
    page.goto(f"{hub}/?env=alfworld&split=valid&task=rooms-7-small-0007")
    page.wait_for_selector(".tasks [aria-selected=true]")
    page.keyboard.press("Shift+R")
    expect(page.locator("#trial-1 .turn").first).to_be_visible(timeout=120_000)
    expect(page.locator(".the-end")).to_be_visible(timeout=400_000)
    expect(page.locator("#trial-1 .turn .action").first).to_contain_text("go to ")
    if page.locator("#trial-2").count():
        expect(page.locator(".reflection").first).to_contain_text("by the reflector")


@pytest.mark.timeout(600)
def test_who_lets_an_adapter_go_sees_at_once_that_it_is_gone(open_page: OpenPage, hub: str) -> None:
    page = open_page(f"/serving?token={TOKEN}", base=hub)
    expect(page.locator("a.engine")).to_contain_text("ready", timeout=120_000)

    def served(client: HubClient) -> set[str]:
        engine: Any = client.status()["engine"]
        return served_adapters(engine, [])

    with HubClient(hub, TOKEN) as client:
        assert "reflector-alfworld" in served(client)
        client.unload_adapter("reflector-alfworld")
        assert "reflector-alfworld" not in served(client)
        client.load_adapter("reflector-alfworld")
        assert "reflector-alfworld" in served(client)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("env", list(ENVIRONMENTS))
def test_the_embedded_model_plays_an_episode_to_its_end_and_a_reload_on_the_way_loses_nothing(
    open_page: OpenPage, hub: str, env: str
) -> None:
    availability = environment_kind(env).check()
    if not availability.works:
        pytest.skip(availability.detail)
    page = open_page(f"/?token={TOKEN}&env={env}", base=hub)
    page.wait_for_selector(".tasks [aria-selected=true]")
    expect(page.locator("a.engine")).to_contain_text("ready", timeout=120_000)
    page.reload()
    page.wait_for_selector(".tasks [aria-selected=true]")
    page.get_by_label("Planner", exact=True).select_option(EMBEDDED_MODEL)
    page.get_by_label("Reflector", exact=True).select_option(EMBEDDED_MODEL)
    page.get_by_label("Trials", exact=True).fill("2")
    page.get_by_label("Trials", exact=True).blur()
    page.keyboard.press("Shift+R")
    expect(page.locator("#trial-1 .turn").first).to_be_visible(timeout=120_000)
    page.reload()
    expect(page.locator("#trial-1 .turn").first).to_be_visible(timeout=60_000)
    expect(page.locator(".the-end")).to_be_visible(timeout=400_000)
    assert page.locator("#trial-1 .turn").count() >= 1
