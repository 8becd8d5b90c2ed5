"""The three ways in which the literature lets an agent use a HotpotQA question's pages: verbs, wordings, turn limits.

| dialect | verbs | source |
| --- | --- | --- |
| retroact | Search, Finish | RetroAct (2503.01490): a local searcher gives the best of the question's paragraphs |
| react | search, lookup, finish, think | ReAct's WikiEnv (2210.03629): five sentences of a page, or similar titles |
| reflexion | Search, Lookup, Finish | Reflexion (2303.11366): a page, or similar titles |

The pages of all three are the question's own paragraphs; a sentence is a sentence of the paragraph.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dialect:
    """Verbs, texts and limits of one tool set. Texts with braces are templates."""

    name: str
    verbs: tuple[str, ...]
    """As the planner is told to write them; they are read in any case."""
    turn_limit: int
    invalid: str
    right: str
    wrong: str
    is_nearest: bool = False
    """True when a search returns the nearest paragraph, however far it is."""
    sentence_limit: int | None = None
    """Sentences of a page that a search shows; None means all."""
    not_found: str = ""
    similar_count: int = 0
    result: str = ""
    no_result: str = ""
    no_more_results: str = ""
    no_page: str = ""
    instructions: str = ""


_RETROACT = Dialect(
    name="retroact",
    verbs=("Search", "Finish"),
    turn_limit=5,
    is_nearest=True,
    invalid="Invalid Action. Valid Actions are Search[<entity>] and Finish[<answer>].",
    right="Answer is CORRECT",
    wrong="Answer is INCORRECT",
    instructions=(
        "Answer the question with interleaving Thought, Action, Observation steps. Thought can reason about the "
        "current "
        "situation, and Action can be two types:\n"
        "(1) Search[entity], which returns the paragraph of a local collection whose title is nearest to the "
        "entity.\n"
        "(2) Finish[answer], which returns the answer and finishes the task. Answer with a name, a number, a date, a "
        "short phrase, yes or no, never with a whole sentence."
    ),
)

_REACT = Dialect(
    name="react",
    verbs=("search", "lookup", "finish", "think"),
    turn_limit=7,
    sentence_limit=5,
    not_found="Could not find {query}. Similar: {titles}.",
    similar_count=5,
    result="(Result {number} / {count}) {sentence}",
    no_result="No more results.",
    no_more_results="No more results.",
    no_page="No more results.",
    invalid="Invalid action: {action}",
    right="Episode finished, reward = {reward:g}",
    wrong="Episode finished, reward = {reward:g}",
    instructions=(
        "Answer the question with interleaving Thought, Action, Observation steps. Thought can reason about the "
        "current "
        "situation, and Action can be four types:\n"
        "(1) search[entity], which searches the exact entity and returns the first sentences of its page if it "
        "exists. "
        "If not, it returns some similar titles to search.\n"
        "(2) lookup[keyword], which returns the next sentence containing the keyword in the page found last.\n"
        "(3) finish[answer], which returns the answer and finishes the task. Answer with a name, a number, a date, a "
        "short phrase, yes or no, never with a whole sentence.\n"
        "(4) think[text], which writes down a thought and changes nothing."
    ),
)

_REFLEXION = Dialect(
    name="reflexion",
    verbs=("Search", "Lookup", "Finish"),
    turn_limit=6,
    not_found="Could not find [{query}]. Similar: {titles}",
    similar_count=10,
    result="(Result {number}/{count}) {sentence}",
    no_result="No Results",
    no_more_results="No More Results",
    no_page=(
        "The last page Searched was not found, so you cannot Lookup a keyword in it. Please try one of the "
        "similar pages "
        "given."
    ),
    invalid="Invalid Action. Valid Actions are Lookup[<topic>] Search[<topic>] and Finish[<answer>].",
    right="Answer is CORRECT",
    wrong="Answer is INCORRECT",
    instructions=(
        "Answer the question with interleaving Thought, Action, Observation steps. Thought can reason about the "
        "current "
        "situation, and Action can be three types:\n"
        "(1) Search[entity], which searches the exact entity and returns its paragraph if it exists. If not, it "
        "returns "
        "some similar titles to search.\n"
        "(2) Lookup[keyword], which returns the next sentence containing the keyword in the last paragraph found by "
        "Search.\n"
        "(3) Finish[answer], which returns the answer and finishes the task. Answer with a name, a number, a date, a "
        "short phrase, yes or no, never with a whole sentence."
    ),
)

DIALECTS = {dialect.name: dialect for dialect in (_RETROACT, _REACT, _REFLEXION)}
