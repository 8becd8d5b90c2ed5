"""The HotpotQA environment: tools and wordings of its dialects, what scores, what is shown and when."""

from __future__ import annotations

import json
from typing import Any

import pytest

from data.errors import BadConfig, BadFile, Refused
from data.types import StopReason, Task
from envs.hotpotqa import KIND, bundled, open_question
from envs.hotpotqa_search import Paragraph, find_title, rank_paragraphs

PAGES = [
    [
        "Harbour Light (film)",
        ["Harbour Light is a 1950 film by Ada Holm.", " It was shot in Westport.", " It runs long."],
    ],
    ["Ada Holm", ["Ada Holm was born in Greyfield.", " She directed Harbour Light.", " Greyfield honoured her."]],
    ["Ada Holmes", ["Ada Holmes was a singer."]],
    ["Émile Øst", [f"Sentence {number}." for number in range(1, 8)]],
]
METADATA: dict[str, Any] = {
    "answer": "Greyfield",
    "type": "bridge",
    "level": "medium",
    "supporting_facts": [["Harbour Light (film)", 0], ["Ada Holm", 0]],
    "context": PAGES,
}
TASK = Task(id="q-1", env="hotpotqa", split="test", instruction="Where was the director born?", metadata=METADATA)


def started(dialect: str = "retroact", task: Task = TASK, **options: str) -> Any:
    environment = open_question(task, {"dialect": dialect, **options})
    assert environment.start() == "Question: Where was the director born?"
    return environment


def test_retroact_finds_the_nearest_of_the_questions_own_paragraphs() -> None:
    environment = started()
    assert environment.step("Search[harbour light]").observation == (
        "Harbour Light (film): Harbour Light is a 1950 film by Ada Holm. It was shot in Westport. It runs long."
    )
    assert environment.step("Search[Ada Holm]").observation.startswith("Ada Holm: ")
    assert environment.step("Search[emile ost]").observation.startswith("Émile Øst: ")
    assert environment.step("Search[the director of Harbour Light]").observation.startswith("Harbour Light (film): ")
    assert environment.step("Search[zzz]").is_valid


def test_retroact_has_no_lookup() -> None:
    outcome = started().step("Lookup[film]")
    assert outcome.observation == "Invalid Action. Valid Actions are Search[<entity>] and Finish[<answer>]."
    assert not outcome.is_valid


def test_react_shows_five_sentences_looks_up_in_turn_and_says_nice_thought() -> None:
    environment = started("react")
    assert environment.step("search[Émile Øst]").observation == (
        "Sentence 1. Sentence 2. Sentence 3. Sentence 4. Sentence 5."
    )
    environment.step("search[Ada Holm]")
    said = [environment.step("lookup[greyfield]").observation for _ in range(3)]
    assert said == [
        "(Result 1 / 2) Ada Holm was born in Greyfield.",
        "(Result 2 / 2) Greyfield honoured her.",
        "No more results.",
    ]
    assert environment.step("think[so it is Greyfield]").observation == "Nice thought."
    assert environment.step("walk[away]").observation == "Invalid action: walk[away]"


def test_react_names_similar_titles_for_a_page_that_is_not_there() -> None:
    environment = started("react")
    assert environment.step("search[Ada Holmen]").observation == (
        "Could not find Ada Holmen. Similar: ['Ada Holmes', 'Ada Holm', 'Harbour Light (film)', 'Émile Øst']."
    )
    assert environment.step("lookup[x]").observation == "No more results."


def test_react_tells_the_reward_at_the_end() -> None:
    assert started("react").step("finish[Greyfield]").observation == "Episode finished, reward = 1"
    assert started("react").step("finish[Westport]").observation == "Episode finished, reward = 0"


def test_reflexion_looks_up_restarts_for_another_word_and_needs_a_page() -> None:
    environment = started("reflexion")
    outcome = environment.step("Lookup[x]")
    assert outcome.observation == (
        "The last page Searched was not found, so you cannot Lookup a keyword in it. "
        "Please try one of the similar pages given."
    )
    assert not outcome.is_valid
    assert environment.step("Search[Nobody]").observation.startswith("Could not find [Nobody]. Similar: ['")
    environment.step("Search[Ada Holm]")
    words = ["greyfield", "Directed", "greyfield", "GREYFIELD", "greyfield", "absent"]
    said = [environment.step(f"Lookup[{word}]").observation for word in words]
    assert said == [
        "(Result 1/2) Ada Holm was born in Greyfield.",
        "(Result 1/1) She directed Harbour Light.",
        "(Result 1/2) Ada Holm was born in Greyfield.",
        "(Result 2/2) Greyfield honoured her.",
        "No More Results",
        "No Results",
    ]
    assert environment.step("jump").observation == (
        "Invalid Action. Valid Actions are Lookup[<topic>] Search[<topic>] and Finish[<answer>]."
    )


def test_an_exact_answer_solves_and_a_part_of_it_is_a_graded_failure() -> None:
    right = started().step("Finish[ the greyfield. ]")
    assert (right.observation, right.reward, right.stop) == ("Answer is CORRECT", 1.0, StopReason.SOLVED)
    # 1 of 2 words right, 1 of 1 found: 2 * 1/2 / (3/2) = 2/3
    partly = started().step("Finish[Greyfield town]")
    assert (partly.observation, partly.stop) == ("Answer is INCORRECT", StopReason.FAILED)
    assert partly.reward == pytest.approx(2 / 3)
    assert started(reward="em").step("Finish[Greyfield town]").reward == 0.0


def test_without_finish_a_trial_scores_nothing_even_after_a_solved_one() -> None:
    assert started().step("Finish[Greyfield]").reward == 1.0
    second = started()
    outcomes = [second.step("Search[Ada Holm]") for _ in range(7)]
    assert {outcome.reward for outcome in outcomes} == {0.0}
    assert second.view()["result"] == {"answer": None, "gold": "Greyfield", "exact_match": 0.0, "f1": 0.0}


def test_the_gold_is_not_shown_before_the_end() -> None:
    environment = started()
    for action in ("Search[Harbour Light]", "nonsense"):
        environment.step(action)
        view = environment.view()
        assert view["result"] is None
        assert "Greyfield" not in json.dumps(view)
        assert all(paragraph["supporting"] == [] for paragraph in view["paragraphs"])


def test_the_view_tells_what_was_read_and_marks_the_supporting_sentences_at_the_end() -> None:
    environment = started()
    environment.step("Search[Harbour Light]")
    view = environment.view()
    assert view["turns_left"] == 4
    assert view["last_search"] == {"query": "Harbour Light", "found": "Harbour Light (film)", "similar": []}
    assert [(p["title"], p["is_read"], p["is_current"]) for p in view["paragraphs"]] == [
        ("Harbour Light (film)", True, True),
        ("Ada Holm", False, False),
        ("Ada Holmes", False, False),
        ("Émile Øst", False, False),
    ]
    assert view["paragraphs"][1]["sentences"] is None
    environment.step("Finish[Westport]")
    view = environment.view()
    assert view["result"] == {"answer": "Westport", "gold": "Greyfield", "exact_match": 0.0, "f1": 0.0}
    assert [p["supporting"] for p in view["paragraphs"]] == [[0], [0], [], []]
    assert view["paragraphs"][1]["sentences"] == PAGES[1][1]
    assert view["paragraphs"][1]["is_read"] is False
    assert view["paragraphs"][2]["sentences"] is None


def test_a_tasks_own_turn_limit_counts_the_turns_left() -> None:
    assert started().view()["turns_left"] == 5
    assert started("react").view()["turns_left"] == 7
    assert started("reflexion").view()["turns_left"] == 6
    assert started(task=TASK.model_copy(update={"turn_limit": 2})).view()["turns_left"] == 2


def test_misuse_and_wrong_options_are_refused_with_a_sentence() -> None:
    with pytest.raises(Refused, match="q-1 has not started"):
        open_question(TASK, {}).step("Search[x]")
    environment = started()
    with pytest.raises(Refused, match="already started"):
        environment.start()
    environment.step("Finish[x]")
    with pytest.raises(Refused, match="has ended"):
        environment.step("Search[x]")
    with pytest.raises(BadConfig, match="dialect is 'latin'; it can be retroact, react, reflexion"):
        open_question(TASK, {"dialect": "latin"})
    with pytest.raises(BadConfig, match="reward is 3"):
        open_question(TASK, {"reward": 3})
    with pytest.raises(BadFile, match="'q-1' lacks HotpotQA's answer"):
        open_question(TASK.model_copy(update={"metadata": {"answer": "x"}}), {})


def test_long_actions_are_cut_where_they_are_repeated() -> None:
    environment = started("react")
    assert len(environment.step("search[" + "x" * 100_000 + "]").observation) < 400
    assert len(environment.step("y" * 100_000).observation) < 400
    environment.step("finish[" + "z" * 100_000 + "]")
    assert len(json.dumps(environment.view())) < 5_000


def test_the_instructions_name_the_verbs_of_the_dialect_and_never_the_answer() -> None:
    task = bundled("valid")[0]
    for dialect, verbs in {
        "retroact": ("Search[", "Finish["),
        "react": ("search[", "lookup[", "finish[", "think["),
        "reflexion": ("Search[", "Lookup[", "Finish["),
    }.items():
        text = KIND.instructions(task, {"dialect": dialect})
        assert all(verb in text for verb in verbs)
        assert str(task.metadata["answer"]) not in text
    assert "Lookup[" not in KIND.instructions(task, {})


def test_titles_decide_a_search_before_the_text_does() -> None:
    pages = [
        Paragraph("River Arn", ("It flows past Arnhold.",)),
        Paragraph("Arnhold", ("A town on the River Arn.",)),
        Paragraph("Lake Moor", ("A lake near Arnhold, known for its pike.",)),
        Paragraph("Moor (river)", ("A river.",)),
    ]
    assert [
        rank_paragraphs(query, pages)[0] for query in ("Arnhold", "arn river", "moor", "which lake has pike")
    ] == [
        1,
        0,
        3,
        2,
    ]
    assert find_title("MOOR", pages) == 3
    assert find_title("Lake", pages) is None
    assert find_title("", pages) is None
    assert sorted(rank_paragraphs("", pages)) == [0, 1, 2, 3]
