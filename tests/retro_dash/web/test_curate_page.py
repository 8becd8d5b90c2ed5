"""The Curate page on real hubs, with the keyboard alone."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
from conftest import OpenPage
from fixture_episodes import HOSTILE, hostile_episode, kitchen_episode, long_episode, question_episode
from hub_process import Hub
from page_runs import SIGNED, TOKEN, RunSite
from playwright.sync_api import Page, expect
from web_serving import grave, serving

from data.events import EpisodeStarted, Event
from data.store import Store
from data.types import Episode
from envs import environment_kind
from envs.isolated import EnvironmentPool
from retro_dash.agent.batch import BatchPlan, play_many
from retro_dash.agent.policies import EXPERT, make_policy
from retro_dash.hub import build_app
from retro_dash.service import Service, bundled_tasks
from retro_dash.settings import Settings

pytestmark = pytest.mark.browser
SIGNED_IN = {"authorization": f"Bearer {TOKEN}"}
Api = httpx.Client


def keep(store: Store, *episodes: Episode) -> None:
    """Store finished episodes, each as a run of its own."""
    for episode in episodes:
        started = EpisodeStarted(episode=episode)
        store.append([Event(run_id=f"run {episode.id}", seq=0, at=episode.created_at, body=started)])


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home: Path = tmp_path_factory.mktemp("home")
    store = Store.open(home)
    kitchens = [kitchen_episode(f"ep-k{n}") for n in range(12)]
    advice = kitchens[0].reflections[0].model_copy(update={"text": "Try every cabinet twice.", "gain": -1.0})
    kitchens.append(kitchen_episode("ep-other", reflections=(advice,)))
    keep(store, *kitchens, question_episode("ep-q"), hostile_episode(), long_episode("ep-long", turns=130))
    service = Service(Settings(home=home), store)
    with serving(build_app(service, TOKEN)) as url:
        yield url
    service.close()


@pytest.fixture
def api(hub: str) -> Iterator[Api]:
    with Api(base_url=f"{hub}/api/v1", headers=SIGNED_IN) as client:
        yield client


_names = count(1)


@pytest.fixture
def curate(open_page: OpenPage, hub: str, api: Api) -> Iterator[Callable[..., Page]]:
    """`curate("ep-q")`: the page with that episode, signed in, under an annotator's name of its own."""
    annotators: list[str] = []

    def open_(episode: str = "", filter_text: str = "", **options: object) -> Page:
        page = open_page(f"/?token={TOKEN}", base=hub, **options)
        annotators.append(f"kim {next(_names)}")
        page.evaluate("(name) => localStorage.setItem('retro-annotator', JSON.stringify(name))", annotators[-1])
        # A queue of its own, so that no test leases what another one needs.
        query = f"episode={episode}&filter=id:{episode}" if episode else f"filter={filter_text}"
        page.goto(f"{hub}/curate?{query}")
        page.wait_for_selector(".item-head, .curate-empty .empty-state")
        page.wait_for_selector(".tag")
        return page

    yield open_
    everything = [row["id"] for row in api.get("/episodes", params={"limit": 100}).raise_for_status().json()["rows"]]
    for annotator in annotators:
        api.post("/queue/release", json={"annotator": annotator, "episode_ids": everything}).raise_for_status()


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def annotator_of(page: Page) -> str:
    return str(page.evaluate("JSON.parse(localStorage.getItem('retro-annotator'))"))


def saved(page: Page) -> None:
    expect(page.locator(".save-state")).to_have_text("✓ all saved")


def standing(api: Api, annotator: str) -> list[tuple[str, object]]:
    labels = api.get("/labels", params={"annotator": annotator}).raise_for_status().json()
    return [(label["name"], label["value"]) for label in labels]


def test_every_kind_of_label_has_its_key(curate: Callable[..., Page], api: Api) -> None:
    page = curate("ep-k0")
    press(page, "Shift+A", "j", "1", "j", "+", "o", "!", "j", "-", "j", "0", "m")
    page.keyboard.type("looks twice")
    press(page, "Enter", "r", "a", "c", "f", "f", "g", "3")
    saved(page)
    said = api.get("/labels", params={"annotator": annotator_of(page)}).json()
    found = {(one["target"]["part"], one["target"]["turn"], one["name"]): one["value"] for one in said}
    assert found == {
        ("trial", None, "verdict"): "expert",
        ("turn", 1, "step_reward"): 1,
        ("turn", 1, "tags"): ["loop"],
        ("trial", None, "first_error"): 1,
        ("turn", 2, "step_reward"): -1,
        ("turn", 3, "step_reward"): 0,
        ("turn", 3, "note"): "looks twice",
        ("reflection", None, "quality"): {"accurate": True, "actionable": True, "followed": False},
        ("episode", None, "verdict"): "bad",
    }
    expect(page.locator("#t1-1 .marks")).to_contain_text("! first error")
    expect(page.locator(".reflection .marks")).to_contain_text("not followed")


def test_the_same_key_again_takes_a_label_back_and_undo_brings_it_back(curate: Callable[..., Page], api: Api) -> None:
    page = curate("ep-k1")
    who = annotator_of(page)
    press(page, "Shift+A", "2")
    saved(page)
    assert standing(api, who) == [("verdict", "good")]
    press(page, "2")
    expect(page.locator(".item-head .mark")).to_have_count(0)
    saved(page)
    assert standing(api, who) == []
    press(page, "u")
    expect(page.locator(".item-head .mark")).to_contain_text("good")
    press(page, "u")
    expect(page.locator(".item-head .mark")).to_have_count(0)
    press(page, "Shift+U", "3")
    expect(page.locator(".item-head .mark")).to_contain_text("bad")
    press(page, "u")
    expect(page.locator(".item-head .mark")).to_contain_text("good")
    saved(page)
    assert standing(api, who) == [("verdict", "good")]


def test_undo_after_a_newer_statement_says_again_what_the_hub_no_longer_redoes(
    curate: Callable[..., Page], api: Api
) -> None:
    page = curate("ep-k1")
    press(page, "Shift+A", "2", "2", "m")
    page.keyboard.type("unsure")
    press(page, "Enter", "u", "u")
    saved(page)
    assert standing(api, annotator_of(page)) == [("verdict", "good")]


def test_a_turn_and_a_reflection_are_rewritten_in_place(curate: Callable[..., Page], api: Api) -> None:
    page = curate("ep-k2")
    press(page, "j", "j", "e", "Control+a")
    page.keyboard.type("go to fridge 1")
    press(page, "Escape")
    expect(page.locator(".rewrite-form, .rewrite")).to_have_count(0)
    press(page, "e", "Control+a")
    page.keyboard.type("go to fridge 1")
    press(page, "Control+Enter")
    expect(page.locator("#t1-1 .rewrite code")).to_have_text("go to fridge 1")
    press(page, "r", "e", "Control+a")
    page.keyboard.type("Look into the fridge first.")
    press(page, "Control+Enter")
    saved(page)
    assert standing(api, annotator_of(page)) == [
        ("rewrite", {"action": "go to fridge 1"}),
        ("rewrite", {"text": "Look into the fridge first."}),
    ]


def test_the_slower_of_two_tabs_sees_the_value_of_the_faster(curate: Callable[..., Page], api: Api) -> None:
    page = curate("ep-k3", expects="409")
    who = annotator_of(page)
    press(page, "Shift+A")
    target = {"episode_id": "ep-k3", "part": "episode"}
    other = {"id": "other-tab", "target": target, "name": "verdict", "value": "discard", "annotator": who}
    api.post("/labels", json={"labels": [other]}).raise_for_status()
    press(page, "1")
    expect(page.locator(".bar-said")).to_contain_text(f'It now says "discard", by {who}')
    expect(page.locator(".item-head .mark")).to_contain_text("discard")
    assert standing(api, who) == [("verdict", "discard")]
    press(page, "1")
    saved(page)
    assert standing(api, who) == [("verdict", "expert")]


def test_labels_of_a_dead_line_survive_a_reload_and_are_sent_once(curate: Callable[..., Page], api: Api) -> None:
    page = curate("ep-k4", expects="ERR_FAILED")
    page.route("**/api/v1/labels", lambda route: route.abort())
    press(page, "j", "j", "+", "-")
    expect(page.locator("#t1-1 .mark")).to_have_text("step +1…")
    expect(page.locator(".top .unsaved")).to_have_text("✎ 2 unsaved labels")
    page.reload()
    expect(page.locator("#t1-2 .mark")).to_have_text("step −1…")
    expect(page.locator(".save-state")).to_contain_text("2 unsaved, kept in this browser")
    page.unroute("**/api/v1/labels")
    saved(page)
    expect(page.locator("#t1-2 .mark")).to_have_text("step −1✓")
    expect(page.locator(".top .unsaved")).to_be_hidden()
    who: dict[str, str | bool] = {"annotator": annotator_of(page), "history": True}
    assert len(api.get("/labels", params=who).json()) == 2


def test_a_signed_out_browser_keeps_its_labels_until_somebody_signs_in(
    curate: Callable[..., Page], api: Api, hub: str
) -> None:
    page = curate("ep-k5", expects="401")
    page.context.clear_cookies()
    press(page, "Shift+A", "4")
    expect(page.locator(".save-state")).to_contain_text("1 unsaved: sign in again")
    page.context.new_page().goto(f"{hub}/?token={TOKEN}")
    saved(page)
    assert standing(api, annotator_of(page)) == [("verdict", "discard")]


def test_a_lost_answer_stores_the_label_once(curate: Callable[..., Page], api: Api) -> None:
    page = curate("ep-k5", expects="ERR_FAILED")
    answered = []

    def lose_the_first_answer(route: object) -> None:
        route.fetch()  # type: ignore[attr-defined]
        answered.append(1)
        route.abort() if len(answered) == 1 else route.continue_()  # type: ignore[attr-defined]

    page.route("**/api/v1/labels", lose_the_first_answer)
    press(page, "Shift+A", "2")
    saved(page)
    assert len(answered) == 2
    assert len(api.get("/labels", params={"annotator": annotator_of(page), "history": True}).json()) == 1


def test_blind_hides_the_gain_and_later_outcomes_until_the_reflection_is_judged(curate: Callable[..., Page]) -> None:
    page = curate("ep-k6")
    expect(page.locator(".gain")).to_have_text("gain +1")
    press(page, "Shift+B")
    expect(page.locator(".gain")).to_have_text("gain hidden until judged")
    expect(page.locator(".trial-column .outcome").last).to_be_hidden()
    press(page, "r", "a")
    expect(page.locator(".gain")).to_have_text("gain +1")
    expect(page.locator(".trial-column .outcome").last).to_be_visible()


def test_two_reflections_are_compared_without_their_gains(curate: Callable[..., Page], api: Api) -> None:
    pair = api.get("/agreement/pair", params={"annotator": "somebody else"}).json()
    both = ",".join(sorted({pair[side]["episode_id"] for side in ("this", "other")}))
    page = curate(filter_text=f"id:{both}")
    press(page, "Shift+V")
    expect(page.locator(".pair-vote .reflection")).to_have_count(2)
    assert "gain" not in page.inner_text(".pair-texts")
    better = page.locator(".pair-vote .reflection").nth(0).locator("blockquote").inner_text()
    press(page, "1")
    saved(page)
    expect(page.locator(".pair-vote")).to_contain_text("1 vote so far. Where the gains differed")
    (label,) = api.get("/labels", params={"annotator": annotator_of(page)}).json()
    assert (label["name"], label["value"]["winner"]) == ("preference", "this")
    voted = api.get(f"/episodes/{label['target']['episode_id']}").json()
    texts = {reflection["after_trial"]: reflection["text"] for reflection in voted["reflections"]}
    assert texts[label["target"]["trial"]] == better
    press(page, "u")
    expect(page.locator(".where")).to_have_text(f"Reflection after trial {label['target']['trial']}")
    saved(page)
    assert standing(api, annotator_of(page)) == []


def test_a_key_can_be_changed_and_a_taken_one_is_refused(curate: Callable[..., Page]) -> None:
    page = curate("ep-k7")
    press(page, "Shift+K")
    page.get_by_role("button", name="Verdict: discard: 4").focus()
    press(page, "Enter", "1")
    expect(page.locator(".key-panel")).to_contain_text("1 is already “Verdict: expert”")
    press(page, "9", "Escape", "Shift+A", "9")
    expect(page.locator(".item-head .mark")).to_contain_text("discard")
    page.reload()
    expect(page.locator(".label-bar .key", has_text="discard").locator("kbd")).to_have_text("9")


def test_the_history_of_an_item_says_who_changed_what_and_grows_with_every_label(curate: Callable[..., Page]) -> None:
    page = curate("ep-k7")
    press(page, "Shift+A", "2")
    saved(page)
    press(page, "Shift+Y")
    newest = page.locator(".history li").first
    expect(newest).to_contain_text(f"{annotator_of(page)} verdict Whole episode")
    expect(newest).to_contain_text("nothing → ✓ good")
    press(page, "Control+z")
    expect(newest).to_contain_text("undone")
    expect(newest).to_contain_text("✓ good → nothing")
    press(page, "Control+Shift+z")
    expect(newest).to_contain_text("done again")
    expect(page.locator(".history li", has_text=f"{annotator_of(page)} verdict")).to_have_count(3)


def test_what_was_passed_over_comes_back_and_the_end_says_what_to_do(curate: Callable[..., Page]) -> None:
    page = curate(filter_text="env:hotpotqa")
    expect(page.locator(".item-head")).to_contain_text("ep-q")
    press(page, "Enter")
    expect(page.locator(".curate-empty")).to_contain_text("Freeze a dataset")
    press(page, "Shift+H")
    page.get_by_role("button", name="Back to the last item").press("Enter")
    expect(page.locator(".item-head")).to_contain_text("ep-q")


def test_a_late_turn_of_a_long_trial_can_be_reached(curate: Callable[..., Page]) -> None:
    page = curate("ep-long")
    expect(page.locator("#t1-50")).to_have_count(1)
    expect(page.locator("#t1-51")).to_have_count(0)
    press(page, "l", "l", "k", "k")
    expect(page.locator(".where")).to_have_text("Turn 130 of trial 1")
    expect(page.locator("#t1-130.focused")).to_be_in_viewport()


def test_hostile_text_is_shown_as_it_is_and_does_nothing(curate: Callable[..., Page]) -> None:
    page = curate("ep-hostile")
    assert HOSTILE[0] in page.inner_text("main")
    press(page, "m")
    page.keyboard.type(HOSTILE[0])
    press(page, "Enter")
    expect(page.locator(".item-head .marks")).to_contain_text(HOSTILE[0])
    made = page.locator("iframe, #rd-main :is(svg, img, math, script, style, a[href^=javascript])")
    assert made.count() == 0


def test_a_filter_is_frozen_compared_and_trained_on(curate: Callable[..., Page]) -> None:
    page = curate(filter_text="id:ep-k8")
    for name, verdict in (("before", None), ("after", "1")):
        if verdict:
            press(page, "Shift+A", verdict)
            saved(page)
        press(page, "Shift+D")
        page.keyboard.press("Control+a")
        page.keyboard.type(name)
        page.get_by_label("Tasks kept for evaluation").fill("0")
        page.get_by_role("button", name="Freeze").press("Enter")
        expect(page.locator(".dataset-result")).to_contain_text("✓ Frozen as")
        expect(page.locator(".lint")).to_contain_text("tokens trained")
        if not verdict:
            unfrozen = page.locator(".datasets-panel > details .chip", has_text="csv")
            expect(unfrozen).to_have_attribute("href", re.compile("exports/csv\\?filter=id"))
            page.locator(".versions summary").first.press("Enter")
            expect(page.locator(".versions .chip", has_text="preference")).to_have_attribute(
                "href", re.compile("dataset=")
            )
            press(page, "Escape")
    expect(page.locator(".versions [data-hash]")).to_have_count(2)
    for tick in page.get_by_role("checkbox").all():
        tick.press("Space")
    expect(page.locator(".dataset-diff")).to_contain_text("1 changed")
    hash_ = page.locator(".versions [data-hash]").first.get_attribute("data-hash")
    expect(page.locator(".versions a", has_text="Train on it").first).to_have_attribute(
        "href", f"/train?dataset={hash_}"
    )


def test_a_file_is_previewed_before_it_is_imported(curate: Callable[..., Page], api: Api, tmp_path: Path) -> None:
    line = json.loads(api.get("/export/episodes", params={"filter": "id:ep-k9"}).content)
    file = tmp_path / "some.jsonl"
    file.write_text("\n".join([json.dumps({**line, "id": "ep-new"}), json.dumps(line), "{broken"]) + "\n")
    page = curate("ep-k9")
    press(page, "Shift+I")
    page.set_input_files("#rd-import-file", file)
    expect(page.locator(".preview")).to_contain_text("here already1")
    expect(page.locator(".preview .failure").first).to_contain_text("1")
    assert api.post("/episodes/known", json={"ids": ["ep-new"]}).json() == []
    press(page, "Enter")
    expect(page.locator(".import-result")).to_contain_text("✓ 1 episode imported, 1 were here already, 1 dropped")
    assert api.post("/episodes/known", json={"ids": ["ep-new"]}).json() == ["ep-new"]


def test_a_folder_is_previewed_and_imported_as_one(curate: Callable[..., Page], api: Api, tmp_path: Path) -> None:
    line = json.loads(api.get("/export/episodes", params={"filter": "id:ep-k9"}).content)
    for name, ids in (("one", ["ep-new-1"]), ("two", ["ep-new-2", "ep-k9"])):
        file = tmp_path / "runs" / f"{name}.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(json.dumps({**line, "id": one}) + "\n" for one in ids))
    (tmp_path / "runs" / "broken.json").write_text("{broken")
    page = curate("ep-k9")
    press(page, "Shift+I")
    page.set_input_files("#rd-import-folder", tmp_path / "runs")
    expect(page.locator(".preview")).to_contain_text("3 files")
    expect(page.locator(".preview")).to_contain_text("here already1")
    expect(page.locator(".preview .dropped")).to_contain_text("broken.json")
    press(page, "Enter")
    expect(page.locator(".import-result")).to_contain_text("✓ 2 episodes imported, 1 were here already, 1 dropped")
    assert api.post("/episodes/known", json={"ids": ["ep-new-1", "ep-new-2"]}).json() == ["ep-new-1", "ep-new-2"]


@pytest.mark.parametrize(("width", "theme", "panel"), [(1440, "light", "Shift+D"), (400, "dark", "Shift+K")])
def test_axe_finds_nothing_grave_and_nothing_scrolls_sideways(
    curate: Callable[..., Page], width: int, theme: str, panel: str
) -> None:
    page = curate("ep-k10", width=width, theme=theme)
    press(page, "j", "j", "+")
    for keys in (("e",), ("Escape", panel)):
        press(page, *keys)
        assert grave(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_empty_home_says_where_episodes_come_from(empty_hub: RunSite, open_page: OpenPage) -> None:
    page = open_page(f"/curate?{SIGNED}", base=empty_hub.url)
    expect(page.locator(".curate-empty")).to_contain_text("Nothing to label yet")
    page.get_by_role("button", name="Import files").press("Enter")
    expect(page.locator("#rd-import-file")).to_be_focused()


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Hub]:
    """A hub over 52 episodes that the scripted expert has played."""
    pool, store = EnvironmentPool(), Store.open(tmp_path)
    ids = count()
    for env, split, wanted in (("alfworld", "valid", 10), ("hotpotqa", None, 42)):
        kind = environment_kind(env)
        tasks = bundled_tasks(env, split or kind.splits[0])
        tasks = [task for task in tasks if env != "alfworld" or "small" in task.id][:wanted]
        policies = (make_policy(EXPERT, "planner", kind, None), make_policy(EXPERT, "reflector", kind, None))
        plan = BatchPlan(f"play-{env}", kind, *policies, trial_limit=2)
        assert len(list(play_many(plan, tasks, pool.open, store.append, lambda: f"ep-{next(ids)}"))) == wanted
    pool.close()
    store.close()
    hub = Hub(tmp_path)
    yield hub
    hub.clear()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_fifty_items_are_labelled_ten_undone_and_a_killed_hub_loses_and_doubles_nothing(
    open_page: OpenPage, played: Hub
) -> None:
    address = played.start()
    base = address.partition("/?")[0]
    page = open_page(address.removeprefix(base), base=base, expects="ERR_")
    loaded: Counter[str] = Counter()
    page.on(
        "requestfinished",
        lambda request: loaded.update(re.findall(r"(?:/episodes/|[?&]episode=)(ep-\d+)", request.url)),
    )
    page.goto(f"{base}/curate")
    given: dict[str, str] = {}
    done: list[tuple[str, str]] = []
    """(episode, name) of every label, in the order in which they were given."""
    for number in range(50):
        expect(page.locator(".crumbs")).to_contain_text(f"item {number + 1} of this sitting")
        episode = page.locator(".item-head a.chip").inner_text()
        assert episode not in given
        if number % 5 == 0:
            press(page, "j", "j", "+", "g")
            done.append((episode, "step_reward"))
        if number == 24:
            saved(page)
            with played.api() as api:
                assert len(api.get("/labels", params={"history": True}).json()) == len(done)
            # The page reads ahead; two more items can be labelled without the hub once they are here.
            while sum(answers >= 2 for answers in loaded.values()) < number + 3:
                page.wait_for_timeout(50)
            played.kill()
        press(page, str(number % 4 + 1))
        given[episode] = ("expert", "good", "bad", "discard")[number % 4]
        done.append((episode, "verdict"))
        if number == 26:
            expect(page.locator(".top .unsaved")).to_have_text("✎ 4 unsaved labels")
            page.goto(played.start())
            page.goto(f"{base}/curate?episode={episode}")
            saved(page)
            press(page, "Enter")
    saved(page)
    for episode, name in reversed(done[-10:]):
        press(page, "u")
        expect(page.locator(".item-head a.chip")).to_have_text(episode)
        expect(page.locator(".bar-said")).to_contain_text(f"Undone: {name.replace('_', ' ')}")
    saved(page)
    with played.api() as api:
        events = api.get("/labels/audit", params={"limit": 500}).json()
        now = api.get("/labels").json()
    said = Counter(name for _, name in done)
    taken_back = Counter(name for _, name in done[-10:])
    assert Counter(one["label"]["name"] for one in events if one["label"]["undoes"] is None) == said
    assert Counter(one["label"]["name"] for one in events if one["label"]["undoes"]) == taken_back
    assert len({one["label"]["id"] for one in events}) == len(events) == 70
    assert Counter((one["target"]["episode_id"], one["name"]) for one in now) == Counter(done[:-10])
    assert all(one["value"] == given[one["target"]["episode_id"]] for one in now if one["name"] == "verdict")
