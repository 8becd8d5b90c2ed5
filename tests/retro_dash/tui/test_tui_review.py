"""Blind votes, review and blind labelling in the terminal."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest
from conftest import Driven, Hub, terminal
from fixture_episodes import kitchen_episode

from data.events import EpisodeStarted, Event
from retro_dash.client import HubClient
from retro_dash.tui.agreement import choices_of, coefficient, decision
from retro_dash.tui.blind import blinded
from retro_dash.tui.curate import CuratePlace
from retro_dash.tui.filter import FilterLine
from retro_dash.tui.ledger import Ledger
from retro_dash.tui.review import ReviewScreen
from retro_dash.tui.votes import VoteScreen, votes_words

NUMBER = count(1)
SIZES = [(80, 24), (200, 50)]


@pytest.fixture
def judged(own_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> HubClient:
    """Six kitchens, three of them judged by kim and lee, who differ on two."""
    monkeypatch.setenv("LOGNAME", "max")
    for number in range(1, 7):
        episode = kitchen_episode(f"ep-{number}")
        reflections = [
            one.model_copy(update={"text": f"Advice {number} of {one.text}"}) for one in episode.reflections
        ]
        episode = episode.model_copy(update={"reflections": tuple(reflections)})
        body = EpisodeStarted(episode=episode)
        own_hub.service.store.append([Event(run_id=f"run {number}", seq=0, at=episode.created_at, body=body)])
    assert own_hub.address is not None
    client = HubClient.at(own_hub.address)
    said = {"ep-1": ("good", "good"), "ep-2": ("good", "bad"), "ep-3": ("expert", "discard")}
    for id_, verdicts in said.items():
        for who, verdict in zip(("kim", "lee"), verdicts, strict=True):
            target: Any = {"episode_id": id_, "part": "episode"}
            client.label(
                [{"id": f"l{next(NUMBER)}", "target": target, "name": "verdict", "value": verdict, "annotator": who}]
            )
    return client


def final(client: HubClient, name: str) -> dict[str, Any]:
    return {one.target.episode_id: one.value for one in client.labels() if one.name == name}


async def curate(tui: Driven) -> CuratePlace:
    await tui.press("3")
    place = tui.app.screen
    assert isinstance(place, CuratePlace)
    await tui.until(lambda: place.episode is not None, "no item")
    return place


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "200x50"])
def test_a_disagreement_gets_its_final_word_and_the_same_key_takes_it_back(
    own_hub: Hub, judged: HubClient, size: tuple[int, int]
) -> None:
    async def drive() -> None:
        async with terminal(own_hub, size) as tui:
            await curate(tui)
            await tui.press("R")
            await tui.sees("33 % agreeing pairs", "Krippendorff", "2 disagreements, 2 without a decision")
            review = tui.app.screen
            assert isinstance(review, ReviewScreen)
            await tui.until(lambda: review.dispute is not None and review.item is not None)
            first = review.dispute["target"]["episode_id"]  # type: ignore[index]
            await tui.press("2")
            await tui.until(lambda: final(judged, "adjudication") == {first: {"verdict": "good"}}, "not decided")
            await tui.sees("1 without a decision", "✓ good")
            await tui.until(lambda: review.dispute["target"]["episode_id"] != first, "not the next")  # type: ignore[index]
            await tui.press("right_square_bracket")
            await tui.until(lambda: review.said.episode_id == first, "not back at the first")
            await tui.press("2")
            await tui.until(lambda: final(judged, "adjudication") == {}, "not taken back")
            await tui.press("n")
            await tui.sees("Step reward", "Where two people judge the same item")
            await tui.press("N")
            await tui.sees("2 disagreements")
            await tui.until(lambda: tui.app.focused is review.query_one("#disputes"), "keys do not go to the list")

    asyncio.run(drive())


def test_enter_goes_to_the_disputed_part_and_undo_takes_a_decision_back(own_hub: Hub, judged: HubClient) -> None:
    async def drive() -> None:
        async with terminal(own_hub, (160, 40)) as tui:
            place = await curate(tui)
            await tui.press("R")
            await tui.sees("2 without a decision")
            review = tui.app.screen
            assert isinstance(review, ReviewScreen)
            await tui.until(lambda: review.item is not None and review.said.episode_id == review.item.episode["id"])
            episode_id = review.said.episode_id
            await tui.press("3")
            await tui.until(lambda: final(judged, "adjudication") == {episode_id: {"verdict": "bad"}}, "not decided")
            await tui.press("escape")
            await tui.until(lambda: tui.app.screen is place and not place.is_loading("item"), "not back")
            await tui.press("u")
            await tui.until(lambda: final(judged, "adjudication") == {}, "not undone")
            await tui.press("R")
            await tui.sees("2 without a decision")
            other = tui.app.screen
            assert isinstance(other, ReviewScreen)
            await tui.until(lambda: other.item is not None)
            wanted = other.dispute["target"]["episode_id"]  # type: ignore[index]
            await tui.press("enter")
            await tui.until(lambda: place.episode and place.episode["id"] == wanted, "not opened")

    asyncio.run(drive())


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "200x50"])
def test_two_reflections_are_compared_without_their_gains_and_a_vote_is_undone(
    own_hub: Hub, judged: HubClient, size: tuple[int, int]
) -> None:
    async def drive() -> None:
        async with terminal(own_hub, size) as tui:
            place = await curate(tui)
            shown = place.episode["id"]  # type: ignore[index]
            await tui.press("V")
            votes = tui.app.screen
            assert isinstance(votes, VoteScreen)
            await tui.until(lambda: votes.asked is not None and votes.asked.pair, "no pair")
            await tui.sees("◆ A", "◆ B", "Which advice is better?", "0 votes so far", "Advice")
            assert "gain" not in tui.screen()
            one = votes.asked.pair["this"]["episode_id"]  # type: ignore[union-attr, index]
            await tui.press("2")
            await tui.until(lambda: one in final(judged, "preference"), "no vote")
            assert final(judged, "preference")[one]["winner"] == "other"
            await tui.sees("1 vote so far")
            await tui.press("u")
            await tui.until(lambda: final(judged, "preference") == {}, "not undone")
            await tui.press("escape")
            await tui.until(lambda: place.said.episode_id == shown, "the item is not back")

    asyncio.run(drive())


def test_only_reflections_of_the_filtered_episodes_are_compared(own_hub: Hub, judged: HubClient) -> None:
    async def drive() -> None:
        async with terminal(own_hub, (160, 40)) as tui:
            place = await curate(tui)
            for filter_text, ids in (("label:good", {"ep-1", "ep-2"}), ("label:expert", None)):
                place.post_message(FilterLine.Sent(filter_text))
                await tui.until(lambda: place.queue.filter_text == filter_text and not place.is_loading("item"))  # noqa: B023
                await tui.press("V")
                votes = tui.app.screen
                assert isinstance(votes, VoteScreen)
                await tui.until(lambda: votes.asked is not None)  # noqa: B023
                pair = votes.asked.pair  # type: ignore[union-attr]
                if ids is None:
                    assert pair is None
                    await tui.sees("No two reflections.", "Looked for among label:expert")
                else:
                    assert {pair["this"]["episode_id"], pair["other"]["episode_id"]} == ids
                await tui.press("escape")

    asyncio.run(drive())


def test_blind_hides_the_gain_and_later_outcomes_until_the_reflection_is_judged(
    own_hub: Hub, judged: HubClient
) -> None:
    async def drive() -> None:
        async with terminal(own_hub, (200, 50)) as tui:
            place = await curate(tui)
            await tui.sees("gain +1")
            await tui.press("B")
            await tui.sees("gain hidden until judged", "· hidden", "outcome hidden")
            assert "gain +1" not in tui.screen()
            assert "✓ solved" not in tui.screen()
            await tui.press("r", "a")
            await tui.sees("gain +1", "✓ solved")
            await tui.press("B")
            await tui.until(lambda: not place.is_blind)

    asyncio.run(drive())


def test_the_queue_takes_the_orders_of_the_page(own_hub: Hub, judged: HubClient) -> None:
    async def drive() -> None:
        async with terminal(own_hub, (200, 50)) as tui:
            await curate(tui)
            await tui.sees("shuffled")
            await tui.press("O")
            await tui.sees("worst first: low reward", "order=low_reward")

    asyncio.run(drive())


def test_without_an_unjudged_reflection_nothing_is_hidden() -> None:
    episode = {"reflections": [], "trials": [{"index": 1, "turns": [], "success": True}], "state": "solved"}
    assert blinded(episode, Ledger([], "kim")) is episode


def test_agreement_in_words() -> None:
    assert coefficient(None) == "–"
    assert coefficient(0.61) == "0.61 substantial"
    assert coefficient(-0.2) == "−0.20 worse than chance"
    assert choices_of("accurate", {}) == [True, False]
    assert choices_of("first_error", {"kim": 3, "lee": 1, "max": 3}) == [1, 3]
    assert decision("accurate", False) == "✕ not accurate"
    assert decision("step_reward", -1) == "step −1"
    assert votes_words({"votes": 3, "comparable": 2, "for_higher_gain": 1}) == (
        "3 votes so far. Where the gains differed, 1 of 2 were for the reflection that gained more."
    )
