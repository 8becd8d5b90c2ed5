"""What stands of an annotator's statements, and undo and redo over them, checked by the hub's own rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.events import EpisodeStarted, Event
from data.store import Store
from data.types import Episode, Label, Task, Trial, Turn
from retro_dash.curation import Curation
from retro_dash.labels import LabelRequest
from retro_dash.tui.curatekeys import CURATE_KEYS, tag_keys, with_tags
from retro_dash.tui.ledger import Ledger, Steps
from retro_dash.tui.parts import WHOLE, Part, beside, next_of, parts_of, written

TURN = Part("turn", 1, 1)


class Desk:
    """One annotator at a real store: every step is sent, and must be taken."""

    def __init__(self, curation: Curation, annotator: str) -> None:
        self.curation, self.annotator, self.steps = curation, annotator, Steps()
        self.sent = 0

    def id(self) -> str:
        self.sent += 1
        return f"{self.annotator}-{self.sent}"

    def send(self, request: dict | None) -> None:
        if request is not None:
            self.curation.label([LabelRequest.model_validate({"annotator": self.annotator, **request})])

    def ledger(self) -> Ledger:
        return Ledger(self.curation.labels("e1", is_standing=False), self.annotator)

    def say(self, part: Part, name: str, value: object) -> None:
        target, id_ = part.target("e1"), self.id()
        self.steps.say(id_, target, name, value)
        self.send({"id": id_, "target": target, "name": name, "value": value})

    def take_back(self, part: Part, name: str) -> None:
        label = self.ledger().label(part, name)
        if label is not None:
            self.send(self.steps.take_back(label, self.id()))

    def undo(self) -> None:
        self.send(self.steps.undo(self.id()))

    def redo(self) -> None:
        self.send(self.steps.redo(self.id()))

    def values(self) -> dict[tuple[str, str], object]:
        mine = [one for one in self.ledger().standing() if one.annotator == self.annotator]
        return {(Part.of(one.target).key, one.name): one.value for one in mine}


@pytest.fixture(scope="module")
def curation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Curation]:
    home = tmp_path_factory.mktemp("home")
    turn = Turn(index=1, thought="t", action="a", observation="o", reward=0.0)
    trial = Trial(index=1, prompt="p", opening="o", turns=(turn,), started_at="2026-11-20T00:00:00Z")
    task = Task(id="t", env="hotpotqa", split="dev", instruction="i")
    episode = Episode(
        id="e1", task=task, planner="p", reflector="r", trials=(trial,), run_id="r", created_at="2026-11-20T00:00:00Z"
    )
    with Store.open(home) as store:
        store.append([Event(run_id="r", seq=0, at=episode.created_at, body=EpisodeStarted(episode=episode))])
        yield Curation(home, store)


def test_what_was_taken_back_by_its_own_key_comes_back_with_undo(curation: Curation) -> None:
    desk = Desk(curation, "ann")
    desk.say(WHOLE, "verdict", "good")
    desk.say(WHOLE, "note", "hm")
    desk.take_back(WHOLE, "verdict")
    assert desk.values() == {("episode", "note"): "hm"}
    desk.undo()
    assert desk.values() == {("episode", "note"): "hm", ("episode", "verdict"): "good"}
    desk.undo()
    assert desk.values() == {("episode", "verdict"): "good"}
    desk.redo()
    desk.redo()
    assert desk.values() == {("episode", "note"): "hm"}


def test_undo_after_a_newer_statement_says_again_what_the_hub_no_longer_redoes(curation: Curation) -> None:
    desk = Desk(curation, "ben")
    desk.say(WHOLE, "verdict", "good")
    desk.take_back(WHOLE, "verdict")
    desk.say(WHOLE, "note", "unsure")
    desk.undo()
    desk.undo()
    assert desk.values() == {("episode", "verdict"): "good"}


def test_an_older_value_stands_again_when_the_newer_is_taken_back(curation: Curation) -> None:
    desk = Desk(curation, "cat")
    desk.say(TURN, "step_reward", 1)
    desk.say(TURN, "step_reward", -1)
    desk.undo()
    assert desk.values() == {("turn 1 1", "step_reward"): 1}
    assert desk.ledger().newest(TURN, "step_reward") == "cat-3"


ACTS = st.one_of(
    st.tuples(st.just("say"), st.sampled_from([WHOLE, TURN]), st.sampled_from(["good", "bad"])),
    st.tuples(st.just("take_back"), st.sampled_from([WHOLE, TURN]), st.none()),
    st.tuples(st.sampled_from(["undo", "redo"]), st.none(), st.none()),
)
_runs = iter(range(10**6))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTS, max_size=14))
def test_any_steps_are_taken_by_the_hub_mean_there_what_they_mean_here_and_can_all_be_undone(
    curation: Curation, acts: list
) -> None:
    desk = Desk(curation, f"anyone-{next(_runs)}")
    for verb, part, value in acts:
        if verb == "say":
            desk.say(part, "verdict", value)
        elif verb == "take_back":
            desk.take_back(part, "verdict")
        else:
            getattr(desk, verb)()
        hub = curation.labels("e1", desk.annotator)
        assert {(Part.of(one.target).key, one.name): one.value for one in hub} == desk.values()
    for _ in acts:
        desk.undo()
    assert desk.values() == {}


def test_parts_are_read_in_order_and_reflections_come_round_again() -> None:
    turns = [{"index": 1, "thought": "t", "action": "a"}, {"index": 2, "thought": "u", "action": "b"}]
    episode = {
        "trials": [{"index": 1, "turns": turns}, {"index": 2, "turns": []}],
        "reflections": [{"after_trial": 1, "text": "look"}],
    }
    parts = parts_of(episode)
    assert [part.key for part in parts] == ["episode", "trial 1", "turn 1 1", "turn 1 2", "reflection 1", "trial 2"]
    assert beside(parts, parts[-1], 1) == parts[-1]
    assert beside(parts, parts[0], -1) == WHOLE
    assert next_of(parts, Part("trial", 2), "reflection", 1) == Part("reflection", 1)
    assert next_of(parts, Part("turn", 1, 2), "trial", -1) == Part("trial", 1)
    assert next_of(parts, Part("trial", 2), "trial", 1) == Part("trial", 2)
    assert written(episode, Part("turn", 1, 2)) == {"thought": "u", "action": "b"}
    assert written(episode, Part("reflection", 1)) == {"text": "look"}
    assert written(episode, Part("trial", 1)) == {}


def test_every_tag_of_the_first_set_has_the_letter_that_the_page_gives_it() -> None:
    names = ["loop", "wrong object", "bad format", "invented fact", "ignored reflection", "gave up early", "lucky"]
    keys = tag_keys([{"name": name, "key": ""} for name in names])
    assert keys == dict(zip("owbinvy", names, strict=True))
    assert tag_keys([{"name": "zzz", "key": "1"}, {"name": "own", "key": "q"}]) == {"b": "zzz", "q": "own"}
    shown = with_tags(CURATE_KEYS, {"o": "loop"})
    assert [key.description for key in shown if key.description.startswith("Tag")] == ["Tag: loop"]


def test_no_letter_has_two_meanings() -> None:
    keys = [key for binding in CURATE_KEYS for key in binding.key.split(",")]
    assert sorted(keys) == sorted(set(keys))


def test_a_label_of_another_stands_beside_ones_own() -> None:
    target = WHOLE.target("e1")
    labels = [
        Label(id=who, target=target, name="verdict", value=value, annotator=who, at="2026-11-20T00:00:00Z")
        for who, value in (("ann", "good"), ("ben", "bad"))
    ]
    ledger = Ledger(labels, "ann")
    assert (ledger.value(WHOLE, "verdict"), len(ledger.standing())) == ("good", 2)
