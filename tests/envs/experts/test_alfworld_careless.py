"""The careless expert goes to furniture that is not there or to where it stands, notices, and does its errand."""

from __future__ import annotations

from trial_player import play_trial

from envs.alfworld import KIND
from envs.household_memory import RoomMemory

TASKS = KIND.bundled("train")[:12]


def test_it_slips_to_furniture_that_the_room_lacks_then_says_so_and_goes_on() -> None:
    assert KIND.careless is not None
    slips = 0
    for task in TASKS:
        trial = play_trial(KIND, task.model_copy(update={"turn_limit": 90}), {}, KIND.careless)
        assert trial.success, task.id
        memory = RoomMemory.of(trial)
        for turn, following in zip(trial.turns, trial.turns[1:], strict=False):
            place = turn.action.removeprefix("go to ")
            if place == turn.action or place in memory.spots:
                continue
            slips += 1
            assert not turn.is_valid
            assert place in turn.thought
            assert following.thought.startswith(f"There is no {place} here. ")
    assert slips >= len(TASKS)


def test_it_slips_to_where_it_stands_then_says_so_and_acts_there() -> None:
    assert KIND.careless is not None
    slips = 0
    for task in TASKS:
        trial = play_trial(KIND, task.model_copy(update={"turn_limit": 90}), {}, KIND.careless)
        memory = RoomMemory.of(trial.model_copy(update={"turns": []}))
        for turn, following in zip(trial.turns, trial.turns[1:], strict=False):
            here = memory.location
            memory.read_turn(turn.action, turn.observation)
            if here and turn.action == f"go to {here}":
                slips += 1
                assert not turn.is_valid
                assert following.thought.startswith(f"I am already standing at {here}")
    assert slips >= len(TASKS) / 2


def test_the_same_trial_has_the_same_slips() -> None:
    assert KIND.careless is not None
    first, second = (play_trial(KIND, TASKS[0], {}, KIND.careless) for _ in range(2))
    assert [turn.action for turn in first.turns] == [turn.action for turn in second.turns]


def test_the_careful_expert_never_goes_where_nothing_is() -> None:
    for task in TASKS:
        trial = play_trial(KIND, task, {}, KIND.expert)
        assert not any("There is no" in turn.thought for turn in trial.turns)
