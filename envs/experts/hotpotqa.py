"""The supporting-fact follower: search the needed pages in order, then finish with the answer.

It knows the task's gold (supporting facts and answer), so it shows how a question is solved, not that a model could.
With a mistake rate some first trials fail as agents really fail; a reflection that names the fix prevents the
mistake.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from data.types import Task, Trial
from envs.base import Move
from envs.experts.chance import chance
from envs.hotpotqa_metric import score_answer
from envs.hotpotqa_search import Paragraph, plain, rank_paragraphs, unbracketed

MISTAKES = ("skips_the_bridge", "searches_a_distractor", "finishes_with_a_distractor")
QUOTE_LIMIT = 260
"""Characters of a sentence that a thought repeats."""

_YEAR = re.compile(r"\b(?:1[0-9]|20)\d\d\b")
_NAME = re.compile(r"(?<=[a-z] )[A-Z][\w'’-]+(?: (?:(?:of|and|the) )?[A-Z][\w'’-]+)*")
"""A run of capitalised words inside a sentence."""
_CLAUSES = tuple(
    re.compile(rf"\b{start} ([^,?]+?)(?= (?:was|were|born|is|lies|as emblem|based)\b|[,?])")
    for start in ("about", "emblem is the", "with the", "starring", "that")
)
_MONTH = re.compile(r"\b(January|February|March|April|May|June|July|August|September|October|November|December)\b")


@dataclass(frozen=True)
class Plan:
    """What a trial will do: the pages to search, the answer to finish with, and the mistake in it."""

    searches: tuple[str, ...]
    answer: str
    mistake: str | None = None


class HotpotqaExpert:
    """Follows the supporting facts in every dialect. `mistake_rate` is the share of trials that go wrong on purpose;
    which ones and how depends only on the seed, the task's id and the trial's index."""

    def __init__(self, mistake_rate: float = 0.0, seed: int = 0) -> None:
        self.mistake_rate = mistake_rate
        self.seed = seed

    def move(self, task: Task, reflections: Sequence[str], trial: Trial) -> Move:
        """Search the first page of the plan that was not read and can still be searched, else finish."""
        plan = self.plan(task, reflections, trial.index)
        read, tried = pages_read(task, trial), _searched(trial)
        for number, title in enumerate(plan.searches):
            query = next((query for query in self.queries(task, title) if plain(query) not in tried), None)
            if title not in read and query is not None:
                return Move(_search_thought(task, plan, number, query, reflections), _write(trial, "Search", query))
        return Move(_finish_thought(task, plan), _write(trial, "Finish", plan.answer))

    def queries(self, task: Task, title: str) -> tuple[str, ...]:
        """What to search for a page, best first. One that the question only describes is searched by the words that
        describe it, as an agent that has read nothing must do, and then by its title."""
        context = [Paragraph(name, tuple(sentences)) for name, sentences in _context(task)]
        if title != page_order(task)[0] or f" {_bare(title)} " in f" {plain(task.instruction)} ":
            return (title,)
        for words in descriptions(task.instruction):
            if context[rank_paragraphs(words, context)[0]].title == title:
                return (words, title)
        return (title,)

    def plan(self, task: Task, reflections: Sequence[str], trial_index: int) -> Plan:
        """The right plan, or one with a mistake when the dice say so and no reflection names the fix."""
        titles = page_order(task)
        right = Plan(titles, _answer(task))
        dice = chance(f"{self.seed}:{task.id}:{trial_index}")
        if dice.random() >= self.mistake_rate:
            return right
        plan = _spoil(task, right, dice)
        return right if _names_fix(task, plan, reflections) else plan

    def reflect(self, task: Task, reflections: Sequence[str], trial: Trial) -> str:
        """Say which needed page was not read or what kind of answer was asked for, and plan the next trial.

        It names pages and kinds, never the gold answer.
        """
        titles, read = page_order(task), pages_read(task, trial)
        missing = [title for title in titles if title not in read]
        said = _finished_with(trial)
        diagnosis = _diagnosis(task, said, read, missing)
        if said is None and any(not turn.is_valid for turn in trial.turns):
            diagnosis += " Some actions could not be done: I must write each exactly as Search[...] or Finish[...]."
        steps = ", then ".join(_quoted(title) for title in titles)
        return f"{diagnosis} Next time I will search {steps}, and finish with {answer_kind(task)} and nothing else."


def page_order(task: Task) -> tuple[str, ...]:
    """The supporting pages in the order in which a reader meets them: those that the question names first (by
    position), then a page whose supporting sentences lead to another one, then the rest as given."""
    titles = list(dict.fromkeys(title for title, _ in _facts(task)))
    question = f" {plain(task.instruction)} "

    def key(title: str) -> tuple[int, int, int]:
        position = question.find(f" {_bare(title)} ")
        leads = any(f" {_bare(other)} " in f" {plain(_evidence(task, title))} " for other in titles if other != title)
        return (0 if position >= 0 else 1, position, 0 if leads else 1)

    return tuple(sorted(titles, key=key))


def descriptions(question: str) -> list[str]:
    """Parts of a question that may describe a page: what is quoted, names, and clauses, in this order."""
    quoted = [match[1] for match in re.finditer(r'"([^"]+)"', question)]
    unquoted = re.sub(r'"[^"]*"', "", question)
    clauses = [match for clause in _CLAUSES for match in clause.findall(question)]
    return list(dict.fromkeys([*quoted, *_NAME.findall(unquoted), *clauses]))


def pages_read(task: Task, trial: Trial) -> list[str]:
    """Titles of the question's paragraphs that the observations of a trial show, in reading order."""
    read: list[str] = []
    for turn in trial.turns:
        for title, sentences in _context(task):
            opening = sentences[0].strip()[:60]
            if opening and opening in turn.observation and title not in read:
                read.append(title)
    return read


def answer_kind(task: Task) -> str:
    """What the question asks for, in words, without giving the answer away."""
    answer, question = _answer(task), f" {plain(task.instruction)} "
    if plain(answer) in ("yes", "no"):
        return "yes or no"
    if re.fullmatch(_YEAR, answer):
        return "a year"
    if _MONTH.search(answer):
        return "a date"
    if answer.replace(",", "").isdigit():
        return "a number"
    if any(plain(answer) in (plain(title), _bare(title)) for title in page_order(task)):
        return "one of the names that are compared" if _is_comparison(task) else "the name of a page"
    if " who " in question or " whose " in question:
        return "the name of a person"
    if any(
        f" {word} " in question
        for word in ("where", "town", "city", "country", "state", "county", "province", "region")
    ):
        return "the name of a place"
    return "the exact name or short phrase from the page"


def wrong_answers(task: Task) -> list[str]:
    """Answers that a careless reader would give, none of which scores: the other side, another year, another
    page's name."""
    gold = _answer(task)
    if plain(gold) in ("yes", "no"):
        return ["no" if plain(gold) == "yes" else "yes"]
    titles = [unbracketed(title) for title in page_order(task)]
    others = [unbracketed(title) for title, _ in _context(task)]
    years = sorted({year for _, sentences in _context(task) for year in _YEAR.findall(" ".join(sentences))})
    candidates = years if re.fullmatch(_YEAR, gold) else [*reversed(titles), *others]
    unscored = [answer for answer in dict.fromkeys(candidates) if score_answer(answer, gold).f1 == 0.0]
    return unscored or ["unknown"]


def _spoil(task: Task, right: Plan, dice: Random) -> Plan:
    kind = dice.choice(MISTAKES)
    wrong = wrong_answers(task)
    answer = dice.choice(wrong[:3])
    if kind == "finishes_with_a_distractor":
        return Plan(right.searches, answer, kind)
    if kind == "skips_the_bridge":
        return Plan(right.searches[:-1], answer, kind)
    distractors = [title for title, _ in _context(task) if title not in right.searches]
    detour = (dice.choice(distractors),) if distractors else ()
    return Plan((*detour, *right.searches[:-1]), answer, kind)


def _names_fix(task: Task, plan: Plan, reflections: Sequence[str]) -> bool:
    """Whether the reflections name every page that the plan leaves out or, when it leaves out none, the kind
    of answer."""
    told = f" {plain(' '.join(reflections))} "
    missing = [title for title in page_order(task) if title not in plan.searches]
    return all(f" {plain(fix)} " in told for fix in (missing or [answer_kind(task)]))


def _search_thought(task: Task, plan: Plan, number: int, query: str, reflections: Sequence[str]) -> str:
    title = plan.searches[number]
    if title not in page_order(task):
        return f"The page {_quoted(title)} could have the answer, so I search it first."
    if number and plan.searches[number - 1] in page_order(task):
        found = _cut(_evidence(task, plan.searches[number - 1]))
        then = "Now I need the same about" if _is_comparison(task) else "So the next page I need is"
        return f"{found} {then} {_quoted(title)}."
    told = f" {plain(' '.join(reflections))} "
    if all(f" {plain(name)} " in told for name in plan.searches):
        return (
            f"My reflection tells me to read {_list(plan.searches)} before I answer. I start with {_quoted(title)}."
        )
    if _is_comparison(task):
        return f"I need to compare {_list(page_order(task))}. First I search {_quoted(title)}."
    if query != title:
        return f"I do not know the name yet, so I search for the description {_quoted(query)}."
    return f"The question leads to {_quoted(title)}, so I search it and look for what comes next."


def _finish_thought(task: Task, plan: Plan) -> str:
    read = [title for title in plan.searches if title in page_order(task)]
    if plan.mistake == "skips_the_bridge" or plan.mistake == "searches_a_distractor":
        found = _cut(_evidence(task, read[-1])) + " " if read else ""
        return f"{found}I think that is enough: the answer must be {plan.answer}."
    found = _cut(_evidence(task, read[-1])) if read else ""
    return f"{found} So the answer is {plan.answer}.".strip()


def _diagnosis(task: Task, said: str | None, read: Sequence[str], missing: Sequence[str]) -> str:
    ended = (
        "I used up my turns without finishing"
        if said is None
        else f"I finished with {_quoted(_cut(said))}, which is wrong"
    )
    if missing:
        needed = [title for title in read if title in page_order(task)]
        seen = f"although I had only read {_list(needed)}" if needed else "although I had read no page that I needed"
        return f"{ended}, {seen}. I never read {_list(missing)}, which the question needs."
    if said is None:
        return f"{ended}, although I had read all the pages that I needed."
    return (
        f"{ended}, although I had read the right pages. The question asks for {answer_kind(task)}, so I should "
        f"have taken it "
        f"from the sentence about that in {_quoted(page_order(task)[-1])}."
    )


def _finished_with(trial: Trial) -> str | None:
    for turn in reversed(trial.turns):
        match = re.fullmatch(r"\s*finish\[(.*)\]\s*", turn.action, re.IGNORECASE | re.DOTALL)
        if match:
            return match[1].strip()
    return None


def _searched(trial: Trial) -> set[str]:
    found = (re.fullmatch(r"\s*search\[(.*)\]\s*", turn.action, re.IGNORECASE | re.DOTALL) for turn in trial.turns)
    return {plain(match[1]) for match in found if match}


def _write(trial: Trial, verb: str, argument: str) -> str:
    """Spell the verb as the prompt does: the react dialect writes it in lower case."""
    is_lower = "search[" in trial.prompt and "Search[" not in trial.prompt
    return f"{verb.lower() if is_lower else verb}[{argument}]"


def _evidence(task: Task, title: str) -> str:
    """The supporting sentences of a page."""
    sentences = dict(_context(task))[title]
    return " ".join(sentences[index].strip() for name, index in _facts(task) if name == title)


def _is_comparison(task: Task) -> bool:
    return task.metadata.get("type") == "comparison"


def _answer(task: Task) -> str:
    return str(task.metadata["answer"])


def _facts(task: Task) -> list[tuple[str, int]]:
    facts: list[tuple[str, int]] = task.metadata["supporting_facts"]  # type: ignore[assignment]
    return [(title, int(index)) for title, index in facts]


def _context(task: Task) -> list[tuple[str, list[str]]]:
    context: list[tuple[str, list[str]]] = task.metadata["context"]  # type: ignore[assignment]
    return [(title, sentences) for title, sentences in context]


def _bare(title: str) -> str:
    return plain(unbracketed(title))


def _list(titles: Sequence[str]) -> str:
    return " and ".join(_quoted(title) for title in titles)


def _quoted(text: str) -> str:
    return f'"{text}"' if '"' not in text else text


def _cut(text: str) -> str:
    return text if len(text) <= QUOTE_LIMIT else text[: QUOTE_LIMIT - 1] + "…"
