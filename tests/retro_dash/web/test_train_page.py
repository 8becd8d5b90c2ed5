"""The Train page in a real browser, on the real hub."""

from __future__ import annotations

import json
import re

import pytest
from conftest import OpenPage
from page_runs import SIGNED, RunSite, rl_metrics
from playwright.sync_api import Page, expect
from web_serving import grave

from data.events import MetricsLogged
from retro_dash.datasets import DatasetRequest, Split

pytestmark = pytest.mark.browser
LIVE = f"/train?run=train-live&{SIGNED}"
POINTS = "[...document.querySelectorAll('.plot')].map((plot) => plot.data?.at(-1).x.length)"


def open_live(open_page: OpenPage, hub: RunSite, **more: object) -> Page:
    page = open_page(LIVE, base=hub.url, **more)
    expect(page.locator(".chart .js-plotly-plot")).to_have_count(4)
    return page


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (400, "dark")])
@pytest.mark.parametrize("path", [LIVE, f"/train?new=1&{SIGNED}"])
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(
    open_page: OpenPage, hub: RunSite, path: str, width: int, theme: str
) -> None:
    page = open_page(path, base=hub.url, width=width, theme=theme)
    page.wait_for_selector(".chart .main-svg, .findings li")
    page.wait_for_timeout(400)
    assert grave(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_four_charts_that_matter_for_the_method_come_first_with_terms_by_hue_and_role_by_dash(
    open_page: OpenPage, hub: RunSite
) -> None:
    page = open_live(open_page, hub)
    titles = [
        "Planner · loss terms",
        "Reflector · loss terms",
        "Importance ratio and clipped share",
        "Gradient norms",
    ]
    expect(page.locator(".chart strong")).to_have_text(titles)
    lines = page.evaluate(
        """[...document.querySelectorAll(".plot")].slice(0, 2).map((plot) =>
            plot.data.filter((one) => one.showlegend !== false).map((one) => [one.name, one.line.dash]))"""
    )
    assert lines[0] == [["IL (imitation)", "solid"], ["RL (policy gradient)", "solid"]]
    assert lines[1] == [["IL (imitation)", "dash"], ["RL (policy gradient)", "dash"]]


def test_curves_follow_the_worker_and_zoom_hover_and_nodes_stay(open_page: OpenPage, hub: RunSite) -> None:
    page = open_live(open_page, hub)
    page.evaluate("window.node = document.querySelector('.plot')")
    box = page.locator(".plot .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 40, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 100, steps=4)
    page.mouse.up()
    page.wait_for_function("node.layout.xaxis.autorange !== true")
    zoomed = page.evaluate("[node.layout.xaxis.range, node.layout.yaxis.range]")
    page.mouse.move(box["x"] + 120, box["y"] + 60)
    page.wait_for_selector(".plot .hoverlayer .hovertext, .plot .hoverlayer .axistext")
    before = page.evaluate(POINTS)
    for step in range(121, 131):
        hub.live.append(MetricsLogged(step=step, values=rl_metrics(step)))
    page.wait_for_function(f"{POINTS}[0] === {before[0] + 10}")
    assert page.evaluate("[node.layout.xaxis.range, node.layout.yaxis.range]") == zoomed
    assert page.evaluate("node.isConnected && node === document.querySelector('.plot')")
    assert page.locator(".plot").first.locator(".hoverlayer text").count() > 0
    page.reload()
    expect(page.locator(".chart .js-plotly-plot")).to_have_count(4)
    page.wait_for_function(f"{POINTS}[0] === {before[0] + 10}")


def test_more_metrics_are_found_by_a_search_and_kept(open_page: OpenPage, hub: RunSite) -> None:
    page = open_live(open_page, hub)
    page.fill("#rd-metric", "entro")
    page.click(".more-charts >> text=Entropy")
    expect(page.locator(".chart")).to_have_count(5)
    page.reload()
    expect(page.locator(".chart[data-chart=entropy]")).to_have_count(1)


def test_smoothing_log_and_time_change_every_chart(open_page: OpenPage, hub: RunSite) -> None:
    page = open_live(open_page, hub)
    page.click("text=log axis")
    page.click("text=by time")
    page.wait_for_function(
        "[...document.querySelectorAll('.plot')].map((p) => p.layout)"
        ".every((one) => one.yaxis.type === 'log' && one.xaxis.type === 'date')"
    )
    page.locator("#rd-smoothing").fill("0")
    page.wait_for_function("document.querySelector('.plot').data.length === 2")


def test_another_run_is_drawn_over_the_selected_one(open_page: OpenPage, hub: RunSite) -> None:
    page = open_live(open_page, hub)
    page.check("[aria-label='Draw RetroAct on rooms over the others']")
    page.wait_for_function("document.querySelector('.plot').data.some((t) => t.name.endsWith('RetroAct on rooms'))")
    assert "with=train-done" in page.url


def test_a_point_of_a_run_that_plays_opens_the_episodes_behind_it(open_page: OpenPage, hub: RunSite) -> None:
    page = open_page(f"/train?run=evaluate-done&{SIGNED}", base=hub.url)
    expect(page.locator(".rollouts li")).to_have_count(24)
    expect(page.locator(".by-trial .bar")).to_have_count(2)
    page.click(".rollouts a >> nth=0")
    expect(page.locator(".board .turn").first).to_be_visible()


def test_a_run_that_learns_offline_shows_the_frozen_episodes_that_it_learns_from(
    open_page: OpenPage, hub: RunSite
) -> None:
    page = open_live(open_page, hub)
    expect(page.locator(".run-rollouts h2")).to_have_text("Trained on")
    expect(page.locator(".rollouts li")).to_have_count(1)
    expect(page.locator(".log")).to_contain_text("step 120")
    page.click("text=Config, frozen")
    expect(page.locator(".config")).to_contain_text('"method": "retroact"')


def test_the_list_says_state_pace_and_place_and_a_hostile_name_is_only_text(
    open_page: OpenPage, hub: RunSite
) -> None:
    page = open_live(open_page, hub)
    expect(page.locator("[data-run=train-live]")).to_contain_text("to go (planner)")
    expect(page.locator("[data-run=train-live] .spark polyline")).to_have_count(1)
    expect(page.locator("[data-run=train-broken]")).to_contain_text("failed")
    expect(page.locator(".run-list li").first).to_contain_text("<img src=x onerror=window.pwn=1>")
    page.click("[data-run=train-broken] .run-link")
    expect(page.locator(".run-view .problem")).to_contain_text("It ran out of memory")


def test_the_queue_is_reordered_by_key(open_page: OpenPage, hub: RunSite) -> None:
    page = open_live(open_page, hub)
    first, second = hub.service.jobs.queue()[:2]
    page.click(f"[data-run='{second}'] .run-link")
    expect(page.locator(f"[data-run='{second}']")).to_have_attribute("aria-current", "true")
    page.keyboard.press("Shift+K")
    expect(page.locator(".run-list li").first).to_have_attribute("data-run", second)
    assert hub.service.jobs.queue()[:2] == [second, first]


def test_a_waiting_run_is_dragged_to_another_place(open_page: OpenPage, hub: RunSite) -> None:
    page = open_live(open_page, hub)
    first, second = hub.service.jobs.queue()[:2]
    page.locator(f"[data-run='{second}']").drag_to(page.locator(f"[data-run='{first}']"))
    expect(page.locator(".run-list li").first).to_have_attribute("data-run", second)
    assert hub.service.jobs.queue()[:2] == [second, first]
    assert page.locator("[data-run=train-live]").get_attribute("draggable") == "false"


def test_a_point_of_a_training_curve_leads_to_the_episodes_that_its_step_learned_from(
    open_page: OpenPage, hub: RunSite
) -> None:
    plan = hub.service.jobs.folder("train-done").path / "plan" / "planner.json"
    plan.parent.mkdir(exist_ok=True)
    samples = ["of-train-done/trial/2", "of-train-done/reflection/1"]
    plan.write_text(json.dumps({"samples": samples, "steps": [[0, 1]] * 300}))
    page = open_page(f"/train?run=train-done&{SIGNED}", base=hub.url)
    expect(page.locator(".chart .js-plotly-plot")).to_have_count(4)
    for _ in range(60):  # What is loaded above the chart may still move it, also between pointing and pressing.
        box = page.locator("[data-chart=planner_loss] .nsewdrag").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
        page.mouse.move(box["x"] + box["width"] / 2 + 1, box["y"] + 30)
        if page.locator("[data-chart=planner_loss] .hoverlayer text").count():
            page.mouse.down()
            page.mouse.up()
        page.wait_for_timeout(500)
        if "of planner" in page.locator(".run-rollouts h2").inner_text():
            break
    expect(page.locator(".run-rollouts h2")).to_contain_text("of planner")
    expect(page.locator(".rollouts li")).to_have_count(2)
    expect(page.locator(".rollouts li").first).to_contain_text("trial 2")
    expect(page.locator(".rollouts a").first).to_have_attribute("href", "/episodes?episode=of-train-done&trial=2")
    page.click("text=Back to the newest")
    expect(page.locator(".run-rollouts h2")).to_have_text("Trained on")


def test_stop_at_once_asks_by_a_second_press_and_extend_says_why_it_cannot(open_page: OpenPage, hub: RunSite) -> None:
    page = open_live(open_page, hub, expects="409")
    page.click("text=Stop at once")
    expect(page.locator("text=Press again")).to_be_visible()
    assert str(hub.service.store.run("train-live").state) in ("running", "stalled")
    expect(page.locator("text=Stop at once")).to_be_visible()
    page.goto(f"{hub.url}/train?run=train-done")
    expect(page.locator(".run-title h1")).to_have_text("RetroAct on rooms")
    page.keyboard.press("e")
    page.fill("#rd-extend-epochs", "2")
    page.keyboard.press("Enter")
    expect(page.locator(".train-main > .problem")).to_contain_text("was not kept")


def test_the_machine_is_shown_while_a_run_works(open_page: OpenPage, hub: RunSite) -> None:
    page = open_live(open_page, hub)
    expect(page.locator(".machine-load")).to_contain_text("processor")
    expect(page.locator(".machine-load")).to_contain_text("this run")
    page.goto(f"{hub.url}/train?run=train-done")
    expect(page.locator(".run-title h1")).to_have_text("RetroAct on rooms")
    expect(page.locator(".machine-load")).to_be_hidden()


def test_a_collapsed_entropy_and_a_number_that_is_none_are_alerts_whatever_is_drawn(
    open_page: OpenPage, hub: RunSite
) -> None:
    page = open_live(open_page, hub)
    expect(page.locator(".alerts")).not_to_contain_text("reflector")
    for step in range(1001, 1041):
        values = {"reflector/entropy": 1.0 if step < 1021 else 0.01, "reflector/kl_loss": float("nan")}
        hub.live.append(MetricsLogged(step=step, values=values))
    expect(page.locator(".alerts")).to_contain_text("reflector/entropy has collapsed from 1 to")
    expect(page.locator(".alerts")).to_contain_text("reflector/kl_loss is not a number")


# The form -----------------------------------------------------------------------------------------------------------


def open_form(open_page: OpenPage, hub: RunSite, expects: str = "") -> Page:
    page = open_page(f"/train?new=1&filter=outcome:solved&{SIGNED}", base=hub.url, expects=expects)
    expect(page.locator(".findings li").first).to_be_visible()
    return page


def test_the_form_checks_while_it_is_filled_and_shows_the_same_for_the_command_line(
    open_page: OpenPage, hub: RunSite
) -> None:
    page = open_form(open_page, hub, expects="422")
    expect(page.locator(".step [role=status]").first).to_have_text("12 episodes match.")
    expect(page.locator(".command-line")).to_have_text("retro-dash train train.toml --filter outcome:solved")
    page.click(".section summary >> text=batch")
    page.fill("#rd-train-batch-epochs", "7")
    page.press("#rd-train-batch-epochs", "Tab")
    expect(page.locator(".check-panel pre")).to_contain_text("[batch]\nepochs = 7")
    expect(page.locator(".section summary", has_text="batch")).to_contain_text("1 changed")
    expect(page.locator(".section", has_text="batch").locator(".field", has_text="epochs")).to_contain_text("↺")
    page.fill("#rd-train-batch-epochs", "0")
    page.press("#rd-train-batch-epochs", "Tab")
    expect(page.locator(".check-panel .problem")).to_contain_text("batch.epochs")
    expect(page.locator(".start")).to_have_attribute("aria-disabled", "true")


def test_a_frozen_dataset_is_chosen_by_its_link_or_from_the_list_and_trained_on(
    open_page: OpenPage, hub: RunSite
) -> None:
    freeze = hub.service.curation.datasets.freeze
    split = Split(share=0.5, seed=2)
    frozen = [
        freeze(DatasetRequest(name=name, filter=text, split=split))
        for name, text in (("solved rooms", "outcome:solved"), ("everything", ""))
    ]
    page = open_page(f"/train?dataset={frozen[0].hash[:9]}&{SIGNED}", base=hub.url, expects="404")
    training = frozen[0].counts["training_episodes"]
    expect(page.locator(".step [role=status]").first).to_have_text(
        f"{training} episodes to train on, labels applied."
    )
    expect(page.locator("#rd-dataset option")).to_have_count(2)
    expect(page.locator(".data-step")).to_contain_text("kept for evaluation")
    expect(page.locator(".command-line")).to_have_text(f"retro-dash train train.toml --dataset {frozen[0].hash}")
    page.select_option("#rd-dataset", frozen[1].hash)
    expect(page.locator(".command-line")).to_contain_text(frozen[1].hash)
    expect(page.locator(".start")).to_have_attribute("aria-disabled", "false")
    page.click(".start")
    expect(page.locator(".run-title h1")).to_have_text("Imitation: everything")
    crumb = page.locator(".crumbs a", has_text="dataset everything")
    expect(crumb).to_have_attribute("href", f"/curate?dataset={frozen[1].hash}")
    page.click("text=Take out of the queue")
    page.keyboard.press("c")
    expect(page.locator("#rd-dataset")).to_have_value(frozen[1].hash)
    page.click(".data-step >> text=Stored episodes")
    expect(page.locator(".command-line")).to_contain_text("--filter")
    page.goto(f"{hub.url}/train?dataset=nothing")
    expect(page.locator(".check-panel .problem")).to_contain_text("solved rooms")


def test_the_memory_plan_is_part_of_the_form_and_of_the_file(open_page: OpenPage, hub: RunSite) -> None:
    page = open_form(open_page, hub)
    page.select_option("#rd-memory", "pause")
    expect(page.locator(".check-panel pre")).to_contain_text('memory = "pause"')
    expect(page.locator(".findings")).to_contain_text("with the engine paused")


def test_a_method_is_chosen_by_arrow_and_what_it_lacks_stops_the_start(open_page: OpenPage, hub: RunSite) -> None:
    page = open_form(open_page, hub)
    page.focus("[data-method=sft]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-method=retroact]")).to_be_focused()
    expect(page.locator(".findings .failure").first).to_contain_text("with log-probabilities")
    expect(page.locator(".start")).to_have_attribute("aria-disabled", "true")


def test_a_double_click_starts_one_run_and_it_stands_in_the_queue(open_page: OpenPage, hub: RunSite) -> None:
    page = open_form(open_page, hub)
    before = len(hub.service.jobs.queue())
    page.fill("#rd-run-name", "pressed twice")
    expect(page.locator(".start")).to_have_attribute("aria-disabled", "false")
    page.dblclick(".start")
    expect(page.locator(".run-title h1")).to_have_text("pressed twice")
    assert len(hub.service.jobs.queue()) == before + 1
    page.click("text=Take out of the queue")
    expect(page.locator(".run-state")).to_contain_text("stopped")


def test_stop_is_acknowledged_before_the_hub_has_heard_of_it(open_page: OpenPage, hub: RunSite) -> None:
    page = open_page(f"/train?run={hub.service.jobs.queue()[-1]}&{SIGNED}", base=hub.url)
    expect(page.locator(".run-state")).to_contain_text("queued")
    said = page.evaluate(
        """() => {
            document.querySelector(".run-head .button").click();
            return document.querySelector(".run-state").textContent;
        }"""
    )
    assert "stopping" in said
    expect(page.locator(".run-state")).to_contain_text("stopped")


def test_a_clone_carries_over_only_what_was_changed(open_page: OpenPage, hub: RunSite) -> None:
    page = open_page(f"/train?run=train-done&{SIGNED}", base=hub.url)
    expect(page.locator(".run-title h1")).to_have_text("RetroAct on rooms")
    page.keyboard.press("c")
    expect(page.locator("#rd-run-name")).to_have_value("RetroAct on rooms, changed")
    toml = page.locator(".check-panel pre")
    expect(toml).to_contain_text("seed = 3")
    assert (
        re.sub(r"\s+", " ", toml.inner_text()).strip()
        == 'model = "tiny" method = "retroact" preset = "fixed" seed = 3'
    )


def test_an_empty_page_says_what_to_do(open_page: OpenPage, empty_hub: RunSite) -> None:
    page = open_page(f"/train?{SIGNED}", base=empty_hub.url)
    page.click(".empty-state >> text=Train on your episodes")
    expect(page.locator(".findings")).to_contain_text("finds no episodes")
