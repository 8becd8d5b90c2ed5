"""The room generator: repeatable, solvable, of the promised sizes, with a budget hard at first and fair then."""

import gzip
from collections import Counter

import pytest

from data.errors import BadFile, UnknownName
from envs.alfworld_files import bundled_tasks, problem_text, task_file
from envs.household import Household
from envs.household_layout import TASK_TYPES, Layout, pddl_problem, read_layout, task_sentence, walkthrough
from envs.household_places import count_places, places
from envs.household_problem import read_problem
from envs.rooms import BUNDLED, SIZES, generate_tasks, turn_budget

SMALL = Layout(
    task_type="pick_heat_then_place_in_recep",
    target="mug",
    goal="cabinet",
    receptacles={"cabinet 1": 0, "cabinet 2": 1, "countertop 1": 2, "microwave 1": 3, "drawer 1": 4},
    contents={"mug 1": "cabinet 2", "spoon 1": "drawer 1", "spoon 2": "countertop 1"},
)


def test_the_same_seed_gives_the_same_tasks_and_another_seed_others() -> None:
    assert generate_tasks(3, 12) == generate_tasks(3, 12)
    assert generate_tasks(3, 12) != generate_tasks(4, 12)


def test_the_bundled_files_are_what_the_documented_command_makes() -> None:
    for split, (seed, count) in BUNDLED.items():
        assert bundled_tasks(split) == generate_tasks(seed, count, split=split)
        assert gzip.decompress(task_file(split).read_bytes()).count(b"\n") == count


def test_the_bundled_splits_have_enough_tasks_of_every_type_and_size() -> None:
    assert {split: len(bundled_tasks(split)) for split in BUNDLED} == {"valid": 72, "train": 240}
    types = Counter(str(task.metadata["task_type"]) for task in bundled_tasks("valid"))
    assert types == dict.fromkeys(TASK_TYPES, 12)
    sizes = Counter(task.id.split("-")[2] for task in bundled_tasks("valid"))
    assert sizes == dict.fromkeys(SIZES, 18)
    assert not {task.id for task in bundled_tasks("valid")} & {task.id for task in bundled_tasks("train")}


@pytest.mark.parametrize("size", SIZES)
def test_a_room_has_as_many_receptacles_as_its_size_says(size: str) -> None:
    for task in generate_tasks(1, 12, size=size):
        room = task.metadata["room"]
        assert isinstance(room, dict)
        assert len(room["receptacles"]) <= SIZES[size][1]  # type: ignore[arg-type]
        assert len(room["receptacles"]) >= min(SIZES[size][0], 12)  # type: ignore[arg-type]


def test_an_unknown_size_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="large, medium, mixed, small, tiny"):
        generate_tasks(1, 1, size="huge")


def test_the_game_shows_the_names_of_the_layout() -> None:
    for task in generate_tasks(8, 24):
        layout = read_layout(task.metadata["room"])
        truth = Household(read_problem(problem_text(task)), task.instruction).truth()
        inside = {item: receptacle for receptacle, items in truth.items() for item in items}
        assert set(truth) == set(layout.receptacles)
        assert inside == layout.contents


def test_the_problem_declares_every_name_once_and_all_that_the_domain_needs() -> None:
    """The official engine ends its process at a name that is declared twice; a sink is both a thing and a type."""
    layout = Layout(**{**vars(SMALL), "contents": {**SMALL.contents, "sink 1": "countertop 1"}})
    section = pddl_problem(layout).partition("(:objects")[2].partition(")")[0]
    names = [line.split(" - ")[0].strip().lower() for line in section.strip().splitlines()]
    assert len(names) == len(set(names))
    assert {"sinktype", "sinkbasintype", "microwavetype", "fridgetype", "knifetype", "butterknifetype"} <= set(names)


def test_a_layout_becomes_a_plan_of_one_who_knows_the_room() -> None:
    assert walkthrough(SMALL) == [
        "go to cabinet 2",
        "open cabinet 2",
        "take mug 1 from cabinet 2",
        "go to microwave 1",
        "heat mug 1 with microwave 1",
        "go to cabinet 1",
        "open cabinet 1",
        "move mug 1 to cabinet 1",
    ]
    assert task_sentence(SMALL) == "put a hot mug in cabinet."
    assert task_sentence(SMALL, 1) == "heat some mug and put it in cabinet."


def test_the_plan_does_not_walk_between_receptacles_at_one_place() -> None:
    layout = Layout(
        "pick_and_place_simple",
        "pan",
        "stoveburner",
        {"stoveburner 1": 5, "countertop 1": 5},
        {"pan 1": "countertop 1"},
    )
    assert walkthrough(layout) == [
        "go to countertop 1",
        "take pan 1 from countertop 1",
        "move pan 1 to stoveburner 1",
    ]


def test_the_turn_budget_is_the_plan_one_slip_and_a_fifth_of_a_full_search() -> None:
    # A mug fits in both cabinets (2 turns each), the countertop and the microwave (2): 7 turns, a fifth is 1.4 -> 2.
    assert "mug" not in places().fits["drawer"]
    assert turn_budget(SMALL, walkthrough(SMALL)) == 8 + 1 + 2


def test_two_objects_of_a_kind_are_wanted_in_the_same_receptacle() -> None:
    layout = Layout(
        "pick_two_obj_and_place", "book", "desk", {"desk 1": 0, "desk 2": 1, "bed 1": 2},
        {"book 1": "bed 1", "book 2": "bed 1"},
    )  # fmt: skip
    game = Household(read_problem(pddl_problem(layout)), "put two book in desk.")
    for command in ["go to bed 1", "take book 1 from bed 1", "go to desk 1", "move book 1 to desk 1"]:
        game.step(command)
    for command in ["go to bed 1", "take book 2 from bed 1", "go to desk 2", "move book 2 to desk 2"]:
        game.step(command)
    assert not game.won
    for command in ["take book 2 from desk 2", "go to desk 1", "move book 2 to desk 1"]:
        game.step(command)
    assert game.won


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (3, "no known task_type"),
        ({}, "not one that this program writes"),
        ({"task_type": "fly", "target": "a", "goal": "b", "receptacles": {}, "contents": {}}, "no known task_type"),
        ({**vars(SMALL), "receptacles": {"castle 1": 0}}, "names 'castle 1'"),
        ({**vars(SMALL), "receptacles": {"cabinet x": 0}}, "names 'cabinet x'"),
        ({**vars(SMALL), "contents": {"mug 1": "shelf 9"}}, "'shelf 9', which is not in the room"),
        ({**vars(SMALL), "surprise": 1}, "not one that this program writes"),
    ],
)
def test_a_layout_that_is_not_ours_is_refused(data: object, complaint: str) -> None:
    with pytest.raises(BadFile, match=complaint):
        read_layout(data)


def test_a_layout_without_what_its_task_needs_is_refused() -> None:
    layout = Layout("pick_heat_then_place_in_recep", "mug", "shelf", {"shelf 1": 0}, {"mug 1": "shelf 1"})
    with pytest.raises(BadFile, match="has no microwave"):
        walkthrough(layout)


def test_places_are_counted_from_games() -> None:
    table = count_places([{"scene": 2, "pddl_problem": pddl_problem(SMALL)}] * 2)
    assert table.rooms == {"kitchen": 2}
    assert table.receptacles["kitchen"] == {"cabinet": 4, "countertop": 2, "drawer": 2, "microwave": 2}
    assert table.found["spoon"] == {"countertop": 2, "drawer": 2}
    assert table.offered["mug"]["cabinet"] == 4
    assert table.chance("mug", "cabinet") == 0.5
    assert table.chance("mug", "fridge") == 0.0
    assert table.openable == ["cabinet", "drawer", "microwave"]
    assert "heatable" in table.abilities["mug"]
