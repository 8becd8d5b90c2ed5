"""The simulator against transcripts of the official engine's wording, worked out by hand from its rules."""

import gzip
import json
import os
import random
import time
from pathlib import Path

import pytest
from kitchen_problem import HOT_APPLE_IN_FRIDGE, KITCHEN

from data.errors import BadFile
from envs.household import NOTHING_HAPPENS, Dialect, Household
from envs.household_problem import read_problem
from envs.household_text import demangled_names

SHARED = Path(os.environ.get("RETRO_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "alfworld"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason=f"needs the shared ALFWorld games in {SHARED}")


def kitchen(goal: str = HOT_APPLE_IN_FRIDGE, dialect: Dialect = Dialect.MOVE) -> Household:
    return Household(read_problem(KITCHEN.replace("GOAL", goal)), "put a hot apple in fridge.", dialect)


def play(game: Household, *commands: str) -> str:
    """The answer to the last of the commands; none but the last may be refused."""
    answers = [game.step(command) for command in commands]
    assert NOTHING_HAPPENS not in answers[:-1]
    return answers[-1]


def test_the_opening_lists_receptacles_by_id_and_says_the_task() -> None:
    assert kitchen().start() == (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
        "a countertop 1, a fridge 1, a microwave 1, a sinkbasin 1, a stoveburner 2, and a stoveburner 1.\n\n"
        "Your task is to: put a hot apple in fridge."
    )


def test_a_whole_errand_reads_as_in_the_official_engine_and_wins_at_its_last_command() -> None:
    game = kitchen()
    transcript = [
        ("go to fridge 1", "You arrive at fridge 1. The fridge 1 is closed."),
        ("open fridge 1", "You open the fridge 1. The fridge 1 is open. In it, you see a apple 2."),
        ("take apple 2 from fridge 1", "You pick up the apple 2 from the fridge 1."),
        ("inventory", "You are carrying: a apple 2."),
        ("close fridge 1", "You close the fridge 1."),
        ("go to microwave 1", "You arrive at microwave 1. The microwave 1 is closed."),
        ("heat apple 2 with microwave 1", "You heat the apple 2 using the microwave 1."),
        ("examine apple 2", "This is a hot apple 2."),
        ("go to fridge 1", "You arrive at fridge 1. The fridge 1 is closed."),
        ("move apple 2 to fridge 1", NOTHING_HAPPENS),
    ]
    assert [(command, game.step(command)) for command, _ in transcript] == transcript
    assert not game.won
    assert play(game, "open fridge 1", "move apple 2 to fridge 1") == "You move the apple 2 to the fridge 1."
    assert game.won
    assert play(game, "inventory") == "You are not carrying anything."


def test_won_is_taken_back_when_the_goal_is_undone() -> None:
    game = kitchen("(exists (?o - object) (holds agent1 ?o))")
    assert not game.won
    play(game, "go to countertop 1", "take apple 1 from countertop 1")
    assert game.won
    play(game, "move apple 1 to countertop 1")
    assert not game.won


def test_admissible_commands_are_exactly_those_that_do_something() -> None:
    game = kitchen()
    play(game, "go to countertop 1")
    assert game.commands() == [
        "examine countertop 1",
        "go to fridge 1",
        "go to microwave 1",
        "go to sinkbasin 1",
        "go to stoveburner 1",
        "go to stoveburner 2",
        "help",
        "inventory",
        "look",
        "take apple 1 from countertop 1",
        "take knife 1 from countertop 1",
        "use desklamp 1",
    ]


@pytest.mark.parametrize(
    "command", ["Go to fridge 1", "go to  fridge 1", "go to fridge 2", "go to countertop 1", "x" * 9]
)
def test_what_is_not_exactly_an_admissible_command_does_nothing(command: str) -> None:
    game = kitchen()
    play(game, "go to countertop 1")
    before = game.commands()
    assert game.step(command) == NOTHING_HAPPENS
    assert game.commands() == before


def test_blanks_around_a_command_do_not_matter() -> None:
    assert kitchen().step("  go to fridge 1\n") == "You arrive at fridge 1. The fridge 1 is closed."


def test_in_the_middle_of_the_room_look_sees_nothing_although_the_opening_did() -> None:
    assert play(kitchen(), "look") == "You are in the middle of a room. Looking quickly around you, you see nothing."


def test_a_receptacle_at_the_same_place_cannot_be_gone_to_but_examined() -> None:
    game = kitchen()
    assert play(game, "go to stoveburner 1", "go to stoveburner 2") == NOTHING_HAPPENS
    assert play(game, "look") == "You are facing the stoveburner 2, and stoveburner 1. Next to it, you see nothing."
    assert play(game, "examine stoveburner 2") == "On the stoveburner 2, you see a bowl 1."


def test_an_object_in_two_receptacles_stays_in_the_other_and_then_stands_next_to_it() -> None:
    game = kitchen()
    play(game, "go to stoveburner 1", "take bowl 1 from stoveburner 1")
    assert play(game, "examine stoveburner 2") == "On the stoveburner 2, you see a bowl 1."
    assert play(game, "examine stoveburner 1") == "On the stoveburner 1, you see nothing."
    play(game, "move bowl 1 to stoveburner 2")
    assert play(game, "look") == "You are facing the stoveburner 2, and stoveburner 1. Next to it, you see a bowl 1."


def test_only_what_is_held_can_be_examined() -> None:
    game = kitchen()
    assert play(game, "go to stoveburner 1", "examine bowl 1") == NOTHING_HAPPENS
    assert play(game, "take bowl 1 from stoveburner 1", "examine bowl 1") == (
        "This is a normal bowl 1. In it, you see a apple 1."
    )


def test_hot_and_cold_exclude_each_other_and_clean_adds_to_both() -> None:
    game = kitchen()
    play(game, "go to countertop 1", "take apple 1 from countertop 1")
    assert play(game, "examine apple 1") == "There's nothing special about apple 1."
    assert play(game, "go to fridge 1", "cool apple 1 with fridge 1", "examine apple 1") == "This is a cold apple 1."
    assert play(game, "go to sinkbasin 1", "clean apple 1 with sinkbasin 1", "examine apple 1") == (
        "This is a cool and clean apple 1."
    )
    assert play(game, "go to microwave 1", "heat apple 1 with microwave 1", "examine apple 1") == (
        "This is a hot and clean apple 1."
    )


def test_heating_ends_being_cool_and_cooling_ends_being_hot() -> None:
    for state, wins in (("isCool", [True, False, True]), ("isHot", [False, True, False])):
        game = kitchen(f"(exists (?o - object) ({state} ?o))")
        play(game, "go to countertop 1", "take apple 1 from countertop 1", "go to fridge 1")
        seen = []
        for command in ("cool apple 1 with fridge 1", "heat apple 1 with microwave 1", "cool apple 1 with fridge 1"):
            game.step(f"go to {command.partition(' with ')[2]}")
            assert game.step(command) != NOTHING_HAPPENS
            seen.append(game.won)
        assert seen == wins


def test_nothing_is_taken_from_or_put_into_what_is_closed() -> None:
    game = kitchen()
    assert play(game, "go to fridge 1", "take apple 2 from fridge 1") == NOTHING_HAPPENS
    assert play(game, "go to countertop 1", "take apple 1 from countertop 1", "go to fridge 1") == (
        "You arrive at fridge 1. The fridge 1 is closed."
    )
    assert play(game, "move apple 1 to fridge 1") == NOTHING_HAPPENS
    assert play(game, "open fridge 1", "move apple 1 to fridge 1") == "You move the apple 1 to the fridge 1."


def test_slicing_needs_a_held_knife_and_shows_when_the_slice_is_examined() -> None:
    game = kitchen()
    assert play(game, "go to countertop 1", "slice apple 1 with knife 1") == NOTHING_HAPPENS
    play(game, "take knife 1 from countertop 1")
    assert play(game, "slice apple 1 with knife 1") == "You sliced the apple 1 with the knife 1."
    play(game, "move knife 1 to countertop 1", "take apple 1 from countertop 1")
    assert play(game, "examine apple 1") == "This is a sliced apple 1."


def test_a_lamp_is_only_ever_turned_on() -> None:
    game = kitchen()
    assert play(game, "go to countertop 1", "use desklamp 1") == "You turn on the desklamp 1."
    assert play(game, "use desklamp 1") == "You turn on the desklamp 1."


def test_the_older_dialect_has_put_and_places_with_numbers() -> None:
    game = kitchen(dialect=Dialect.PUT)
    assert play(game, "go to countertop 1") == (
        "You arrive at loc 2. On the countertop 1, you see a apple 1, a desklamp 1, and a knife 1."
    )
    assert play(game, "take apple 1 from countertop 1", "move apple 1 to countertop 1") == NOTHING_HAPPENS
    assert play(game, "put apple 1 in/on countertop 1") == "You put the apple 1 in/on the countertop 1."
    assert "put (object) in/on (receptacle)" in play(game, "help")


@pytest.mark.parametrize(
    ("goal", "is_met"),
    [
        ("(exists (?o - object) (inReceptacle ?o fridge_bar_1))", True),
        ("(exists (?o - object) (and (inReceptacle ?o fridge_bar_1) (objectType ?o BowlType)))", False),
        ("(forall (?o - object) (exists (?r - receptacle) (inReceptacle ?o ?r)))", True),
        ("(forall (?o - object) (inReceptacle ?o fridge_bar_1))", False),
        ("(not (opened fridge_bar_1))", True),
        ("(or (opened fridge_bar_1) (toggleable desklamp_bar_1))", True),
        ("(exists (?a - object) (exists (?b - object) (and (not (= ?a ?b)) (objectType ?a AppleType) "
         "(objectType ?b AppleType))))", True),
        ("(exists (?a - object) (exists (?b - object) (and (not (= ?a ?b)) (objectType ?a BowlType) "
         "(objectType ?b BowlType))))", False),
        ("(exists (?o - object ?r - receptacle) (and (not (inReceptacle ?o ?r)) (objectType ?o BowlType) "
         "(receptacleType ?r StoveBurnerType)))", False),
    ],
)  # fmt: skip
def test_any_mix_of_quantifiers_in_a_goal_is_understood(goal: str, is_met: bool) -> None:
    assert kitchen(goal).won is is_met


def test_names_count_down_in_the_order_of_ids_and_basins_are_one_word() -> None:
    ids = ["mug_bar_a", "mug_bar_b", "mug_bar_c", "sink_bar_x_bar_sinkbasin", "agent1"]
    assert demangled_names(ids) == {
        "agent1": "agent1 ",
        "mug_bar_a": "mug 3",
        "mug_bar_b": "mug 2",
        "mug_bar_c": "mug 1",
        "sink_bar_x_bar_sinkbasin": "sinkbasin 1",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not a PDDL problem"),
        ("{}", "not a PDDL problem"),
        ("(define", "1 brackets still open"),
        ("(define))", "never opened"),
        ("(define (:objects) (:init))", "no :goal"),
        ("(" * 70, "more than 60 deep"),
        ("(define (:objects a) (:init) (:goal (and)))", "'a' in the :objects section"),
        ("(define (:objects a -) (:init) (:goal (and)))", "ends after `-`"),
        ("(define (:objects (a)) (:init) (:goal (and)))", "holds a bracket"),
        ("(define (:objects a - agent) (:init x) (:goal (and)))", "not a fact in brackets"),
        ("(define (:objects a - agent) (:init (flies a)) (:goal (and)))", "(flies a) is not a fact"),
        ("(define (:objects a - agent) (:init (isHot b)) (:goal (and)))", "names 'b'"),
        ("(define (:objects a - agent) (:init (isHot (b))) (:goal (and)))", "nested fact"),
        ("(define (:objects a - agent) (:init) (:goal isHot))", "not one formula"),
        ("(define (:objects a - agent) (:init) (:goal (when (and) (and))))", "in a way that is not understood"),
        ("(define (:objects a - agent) (:init) (:goal (isHot ?x)))", "names '?x'"),
        ("(define (:objects a - agent) (:init) (:goal (and)))", "1 agents at 0 places"),
        ("(define (:objects a - agent l - location) (:init (atLocation a l)) (:goal (and)))", "no receptacle"),
        ("(define (:objects a - agent r - receptacle l m - location) (:init (atLocation a l) "
         "(receptacleAtLocation r l) (receptacleAtLocation r m)) (:goal (and)))", "at two places"),
        ("(define (:objects a - agent o - object r s - receptacle l - location) (:init (atLocation a l) "
         "(receptacleAtLocation r l) (inReceptacle o s)) (:goal (and)))", "which has no location"),
    ],
)  # fmt: skip
def test_a_broken_problem_is_refused_with_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(BadFile) as caught:
        Household(read_problem(text), "x.")
    assert complaint in str(caught.value)


def test_ten_thousand_random_and_hostile_commands_leave_a_game_that_still_plays() -> None:
    game, rng = kitchen(), random.Random(1)
    alphabet = "go to take move fridge 1 apple \x00\x1b\ud800🍎()#{}[]\n"
    for _ in range(10_000):
        hostile = "".join(rng.choices(alphabet, k=rng.randrange(30)))
        answer = game.step(rng.choice(game.commands()) if rng.random() < 0.5 else hostile)
        assert answer
    assert game.step("x" * 10_000_000) == NOTHING_HAPPENS
    assert game.step("help").startswith("Available commands:")


def test_the_same_commands_give_the_same_answers() -> None:
    def answers() -> list[str]:
        game, rng = kitchen(), random.Random(2)
        return [game.step(rng.choice(game.commands())) for _ in range(300)]

    assert answers() == answers()


def test_it_does_at_least_5000_steps_a_second() -> None:
    game, rng = kitchen(), random.Random(3)
    started = time.process_time()
    for _ in range(5_000):
        game.step(rng.choice(game.commands()))
    assert time.process_time() - started < 1.0


@needs_shared
@pytest.mark.parametrize("split", ["valid_seen", "valid_unseen"])
def test_every_stored_walkthrough_of_the_official_games_wins(split: str) -> None:
    with gzip.open(SHARED / f"games_{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    assert rows
    for row in rows:
        game = Household(read_problem(row["pddl_problem"]), row["task"])
        wins = [game.won]
        for command in row["walkthrough"]:
            assert game.step(command) != NOTHING_HAPPENS, (row["game_id"], command)
            wins.append(game.won)
        assert wins == [False] * len(row["walkthrough"]) + [True], row["game_id"]
