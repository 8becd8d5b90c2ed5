"""The Results page in a real browser, on the real hub."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import OpenPage
from page_runs import SIGNED, RunSite
from playwright.sync_api import expect
from web_serving import grave

pytestmark = pytest.mark.browser
RESULTS = f"/results?{SIGNED}"
PAIR = f"/results?run=evaluate-done&a=evaluate-done-0-4&b=evaluate-done-1-4&{SIGNED}"


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (400, "dark")])
@pytest.mark.parametrize("path", [RESULTS, f"/results?new=1&{SIGNED}", PAIR])
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(
    open_page: OpenPage, hub: RunSite, path: str, width: int, theme: str
) -> None:
    page = open_page(path, base=hub.url, width=width, theme=theme)
    page.wait_for_selector(".report .main-svg, .arm, .pair-board")
    assert grave(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_first_thing_is_the_sentence_then_the_curve_the_table_and_the_flips(
    open_page: OpenPage, hub: RunSite
) -> None:
    page = open_page(RESULTS, base=hub.url)
    said = page.locator("h1.sentence")
    # base solves 4 of 12, RetroAct 8 of 12; five flipped and one broke: (5 - 1) / 12.
    expect(said).to_contain_text("33.3 points, 95 % interval")
    expect(said).to_contain_text("on 12 alfworld tasks.")
    rows = page.locator(".report-top tbody tr")
    expect(rows.nth(0)).to_contain_text("33.3")
    expect(rows.nth(1)).to_contain_text("66.7")
    expect(page.locator(".flips h2")).to_have_text("RetroAct: 5 tasks flipped to solved, 1 broke")
    expect(page.locator(".flip-list li")).to_have_count(6)
    expect(page.locator(".crumbs")).to_contain_text("run base against RetroAct")


def test_a_flip_opens_both_episodes_side_by_side(open_page: OpenPage, hub: RunSite) -> None:
    page = open_page(RESULTS, base=hub.url)
    page.click(".flip-list .both >> nth=0")
    expect(page.locator(".pair-board .column-head h2")).to_have_text(["Before: ✕ failed", "After: ✓ solved"])
    expect(page.locator(".pair-board .turn").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("h1.sentence")).to_be_visible()


def test_published_numbers_stand_beside_ours_and_say_so(open_page: OpenPage, hub: RunSite) -> None:
    page = open_page(RESULTS, base=hub.url)
    expect(page.locator(".all-results tbody tr:not(.published)")).to_have_count(2)
    expect(page.locator("tr.published").first).to_be_hidden()
    page.click(".published-box summary")
    row = page.locator("tr.published", has_text="RetroAct Llama-7b").filter(has_text="ALFWorld")
    for text in ("82.8", "97.0", "93.3", "published"):
        expect(row).to_contain_text(text)


def contender(name: str, planner: str | None, reflector: str | None, final: float, **training: Any) -> dict[str, Any]:
    """One arm as `/results/sets` tells it; a player that is given was trained, by the run `training["run_id"]`."""
    made = {"run_id": "r1", "terms": "IL", "method": "sft", "preset": "fixed", "il_coefficient": None}
    made |= {"is_shared": False, **training}
    interval = {"mean": final, "low": final - 0.1, "high": final + 0.1}
    return {
        "run_id": "evaluate-done",
        "arm": {
            "name": name,
            "planner": planner or "tiny",
            "reflector": reflector or "tiny",
            "strategy": "reflexion",
        },
        "model": "tiny",
        "planner": made if planner else None,
        "reflector": made if reflector else None,
        **dict.fromkeys(("initial", "final", "average"), interval),
        "by_trial": [interval, interval],
    }


CONTENDERS = [
    contender("base", None, None, 0.2),
    contender("planner only", "p@r1", None, 0.6),
    contender("reflector only", None, "f@r1", 0.3),
    contender("both", "p@r1", "f@r1", 0.8),
    contender("one for both", "b@r2", "b@r2", 0.5, run_id="r2", is_shared=True),
    contender("joint", "p@r3", None, 0.7, run_id="r3", terms="IL + RL", method="retroact", il_coefficient=1.0),
    contender("pure", "p@r4", None, 0.65, run_id="r4", terms="RL", method="rl_planner", il_coefficient=0.0),
]
SET = {"key": "k", "env": "alfworld", "tasks": 12, "trials": 2, "seeds": [0], "measure": "reward"}
DRAW = """async (sets) => {
    const { figureBoard } = await import("/ui/figures.js");
    const published = await (await fetch("/ui/published.json")).json();
    document.querySelector(".figure-board").remove();
    const board = figureBoard();
    document.querySelector(".results-page").append(board.element);
    board.show(sets, published, null);
}"""


def test_the_papers_figures_are_drawn_from_methods_on_the_same_tasks_with_what_was_published(
    open_page: OpenPage, hub: RunSite
) -> None:
    page = open_page(RESULTS, base=hub.url)
    expect(page.locator(".figure-board figure")).to_have_count(1)
    expect(page.locator(".figure-missing li")).to_have_count(4)
    page.evaluate(DRAW, [{**SET, "contenders": CONTENDERS}])
    figures = [one.get_attribute("data-figure") for one in page.locator(".figures figure").all()]
    assert figures == ["trials", "roles", "terms", "agents", "lambda"]
    assert [cell.inner_text() for cell in page.locator(".grid2 .heat strong").all()] == [
        "20.0",
        "60.0",
        "30.0",
        "80.0",
    ]
    groups = page.locator("[data-figure=terms] .intervals strong").all_inner_texts()
    assert groups == ["untrained", "IL", "IL", "IL", "RL", "IL + RL"]
    assert page.locator("[data-figure=agents] .intervals strong").all_inner_texts() == ["two agents", "one agent"]
    expect(page.locator("[data-figure=lambda] .main-svg").first).to_be_attached()
    lines = page.evaluate("document.querySelector('[data-figure=lambda] .plot').data.map((t) => [t.name, t.x, t.y])")
    assert lines[1] == ["FR", [0, 1], [65, 70]]
    assert lines[4] == ["FR (published)", [0, 1, 2], [67.71, 68.6, 63.19]]
    assert page.locator(".claim .chip").all_inner_texts() == ["published"] * 5
    page.click(".figure-board .toggle")
    expect(page.locator(".claim")).to_have_count(0)
    assert grave(page) == []


def test_the_same_tasks_again_offers_base_each_adapter_and_both_and_starts_one_run(
    open_page: OpenPage, hub: RunSite
) -> None:
    page = open_page(f"/results?new=1&filter=outcome:failed&{SIGNED}", base=hub.url)
    expect(page.locator(".arm")).to_have_count(4)
    names = [page.input_value(f"#rd-arm-{number}-name") for number in range(4)]
    assert names == ["base", "planner only", "reflector only", "both"]
    assert page.input_value("#rd-arm-3-planner") == "planner@train-done"
    expect(page.locator(".eval-form [role=status]")).to_contain_text("12 episodes")
    page.fill("#rd-eval-name", "again")
    page.dblclick(".eval-form .start")
    expect(page.locator(".going")).to_contain_text("again queued")
    queued = [hub.service.store.run(run_id) for run_id in hub.service.jobs.queue()]
    (mine,) = [run for run in queued if run.name == "again"]
    assert set(mine.config["adapters"]) == {"planner@train-done", "reflector@train-done"}  # type: ignore[arg-type]


def test_an_empty_page_says_what_to_do(open_page: OpenPage, empty_hub: RunSite) -> None:
    page = open_page(RESULTS, base=empty_hub.url)
    expect(page.locator(".empty-state")).to_contain_text("Nothing was evaluated yet.")
    page.click(".empty-state button")
    expect(page.locator(".arm")).to_have_count(2)
