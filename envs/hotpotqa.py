"""HotpotQA (1809.09600, distractor setting): answer a question from its own ten paragraphs, two of which are needed.

A task's metadata holds the official fields `answer`, `type`, `level`, `supporting_facts` and `context`. The
trial scores only what is finished in it: until Finish its reward is 0, and no answer survives from an earlier trial.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from pydantic import JsonValue

from data.errors import BadConfig, BadFile, UnknownName
from data.types import StopReason, Task
from envs.base import Availability, EnvironmentKind, Options, StepOutcome
from envs.experts.hotpotqa import HotpotqaExpert
from envs.hotpotqa_dialects import DIALECTS, Dialect
from envs.hotpotqa_files import ENVIRONMENT, read_questions
from envs.hotpotqa_metric import Score, score_answer
from envs.hotpotqa_questions import generate_questions
from envs.hotpotqa_search import Paragraph, find_title, rank_paragraphs
from envs.single_use import refuse_restart, refuse_step

SPLITS = ("valid", "train")
REWARDS = ("f1", "em")
ECHO_LIMIT = 200
"""Characters of an action that an observation repeats."""

_ACTION = re.compile(r"\s*(\w+)\[(.+)\]\s*", re.DOTALL)


class HotpotqaEnvironment:
    """One trial of one question. Nothing outside the task is read, so it is deterministic and cheap."""

    def __init__(self, task: Task, dialect: Dialect, reward: str) -> None:
        self._task = task
        self._dialect = dialect
        self._reward = reward
        self._answer, self._facts, self._paragraphs = _gold(task)
        self._read: list[int] = []
        """Paragraphs seen so far, in order."""
        self._page: int | None = None
        self._search: dict[str, JsonValue] | None = None
        self._lookup: tuple[str, int] = ("", 0)
        self._turns_left = task.turn_limit or dialect.turn_limit
        self._said: str | None = None
        self._is_started = False

    def start(self) -> str:
        """Return the question. Raises Refused when called twice."""
        refuse_restart(self._task, self._is_started)
        self._is_started = True
        return f"Question: {self._task.instruction}"

    def step(self, action: str) -> StepOutcome:
        """Do one action. Raises Refused before the start and after Finish."""
        refuse_step(self._task, self._is_started, self._said is not None)
        self._turns_left -= 1
        match = _ACTION.fullmatch(action)
        verbs = {verb.lower(): verb for verb in self._dialect.verbs}
        if match is None or match[1].lower() not in verbs:
            return StepOutcome(self._dialect.invalid.format(action=_cut(action)), is_valid=False)
        verb, argument = match[1].lower(), match[2].strip()
        if verb == "search":
            return StepOutcome(self._search_for(argument))
        if verb == "lookup":
            return self._look_up(argument)
        if verb == "think":
            return StepOutcome("Nice thought.")
        return self._finish(argument)

    def view(self) -> dict[str, JsonValue]:
        """Titles and the text of what was read; once the trial is over all supporting paragraphs, marked, and
        the gold answer.

        Keys: dialect, question, paragraphs [{title, is_read, is_current, sentences, supporting}], last_search
        {query, found, similar}, turns_left, result (None while the trial runs, then {answer, gold, exact_match, f1}).
        """
        is_over = self._said is not None or self._turns_left <= 0
        return {
            "dialect": self._dialect.name,
            "question": self._task.instruction,
            "paragraphs": [self._show(index, is_over) for index in range(len(self._paragraphs))],
            "last_search": self._search,
            "turns_left": max(0, self._turns_left),
            "result": self._result() if is_over else None,
        }

    def close(self) -> None:
        """Nothing to free."""

    def _search_for(self, query: str) -> str:
        ranked = rank_paragraphs(query, self._paragraphs)
        found = ranked[0] if self._dialect.is_nearest else find_title(query, self._paragraphs)
        self._page, self._lookup = found, ("", 0)
        titles = [self._paragraphs[index].title for index in ranked]
        similar = titles[: self._dialect.similar_count] if found is None else []
        self._search = {
            "query": _cut(query),
            "found": None if found is None else self._paragraphs[found].title,
            "similar": list[JsonValue](similar),
        }
        if found is None:
            return self._dialect.not_found.format(query=_cut(query), titles=similar)
        if found not in self._read:
            self._read.append(found)
        page = self._paragraphs[found]
        if self._dialect.is_nearest:
            return f"{page.title}: {page.text}"
        return Paragraph(page.title, page.sentences[: self._dialect.sentence_limit]).text

    def _look_up(self, keyword: str) -> StepOutcome:
        if self._page is None:
            return StepOutcome(self._dialect.no_page, is_valid=False)
        wanted = keyword.lower()
        last, count = self._lookup
        self._lookup = (wanted, count + 1 if wanted == last else 1)
        hits = [s.strip() for s in self._paragraphs[self._page].sentences if wanted in s.lower()]
        number = self._lookup[1]
        if not hits:
            return StepOutcome(self._dialect.no_result)
        if number > len(hits):
            return StepOutcome(self._dialect.no_more_results)
        return StepOutcome(self._dialect.result.format(number=number, count=len(hits), sentence=hits[number - 1]))

    def _finish(self, answer: str) -> StepOutcome:
        self._said = answer
        score = score_answer(answer, self._answer)
        reward = self._value(score)
        # A graded reward short of 1 is a failure: RetroAct calls a trial right when its F1 is 1.
        is_right = reward == 1.0
        text = self._dialect.right if is_right else self._dialect.wrong
        return StepOutcome(text.format(reward=reward), reward, StopReason.SOLVED if is_right else StopReason.FAILED)

    def _value(self, score: Score) -> float:
        return score.f1 if self._reward == "f1" else score.exact_match

    def _show(self, index: int, is_over: bool) -> dict[str, JsonValue]:
        paragraph = self._paragraphs[index]
        supporting = [sentence for title, sentence in self._facts if title == paragraph.title] if is_over else []
        is_read = index in self._read
        return {
            "title": paragraph.title,
            "is_read": is_read,
            "is_current": index == self._page,
            "sentences": list(paragraph.sentences) if is_read or supporting else None,
            "supporting": list[JsonValue](supporting),
        }

    def _result(self) -> dict[str, JsonValue]:
        said = self._said
        score = score_answer(said, self._answer) if said is not None else Score(0.0, 0.0, 0.0, 0.0)
        return {
            "answer": None if said is None else _cut(said),
            "gold": self._answer,
            "exact_match": score.exact_match,
            "f1": score.f1,
        }


def open_question(task: Task, options: Options) -> HotpotqaEnvironment:
    """A fresh trial of a question. Raises BadConfig for a wrong option and BadFile for a task without the
    official fields."""
    return HotpotqaEnvironment(task, _dialect(options), _reward(options))


def bundled(split: str) -> list[Task]:
    """Questions of our own about a made-up world. Raises UnknownName for a split that is not bundled."""
    if split not in SPLITS:
        raise UnknownName("bundled split of hotpotqa", split, SPLITS)
    with as_file(files("data") / "tasks" / f"hotpotqa_{split}.json.gz") as path:
        return read_questions(path, split)


def read(path: Path, options: Options) -> list[Task]:
    """Questions of a file in the official or the hub's format; a dialect in the options sets their turn limit."""
    _reward(options)
    return read_questions(path, turn_limit=_dialect(options).turn_limit if "dialect" in options else None)


def instructions(task: Task, options: Options) -> str:
    return _dialect(options).instructions


def _dialect(options: Options) -> Dialect:
    name = _choice(options, "dialect", tuple(DIALECTS))
    return DIALECTS[name]


def _reward(options: Options) -> str:
    return _choice(options, "reward", REWARDS)


def _choice(options: Options, key: str, choices: Sequence[str]) -> str:
    """The option's value or the first choice."""
    for name in options:
        if name not in KIND.options:
            raise BadConfig(f"hotpotqa has no option {name!r}; it has {', '.join(KIND.options)}.")
    value = options.get(key, choices[0])
    if not isinstance(value, str) or value not in choices:
        raise BadConfig(f"hotpotqa's option {key} is {value!r}; it can be {', '.join(choices)}.")
    return value


def _gold(task: Task) -> tuple[str, list[tuple[str, int]], list[Paragraph]]:
    """Answer, supporting facts and paragraphs of a task. Raises BadFile when its metadata does not hold them."""
    try:
        context: list[tuple[str, list[str]]] = task.metadata["context"]  # type: ignore[assignment]
        facts: list[tuple[str, int]] = task.metadata["supporting_facts"]  # type: ignore[assignment]
        paragraphs = [Paragraph(title, tuple(sentences)) for title, sentences in context]
        return str(task.metadata["answer"]), [(title, int(index)) for title, index in facts], paragraphs
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(
            f"Task {task.id!r} lacks HotpotQA's answer, supporting_facts or context ({error!r}); read it from a "
            f"file of "
            "the official format."
        ) from error


def _cut(text: str) -> str:
    return text if len(text) <= ECHO_LIMIT else text[: ECHO_LIMIT - 1] + "…"


def _check() -> Availability:
    return Availability(True, "Plays from the question's own paragraphs in pure Python; nothing else is needed.")


KIND = EnvironmentKind(
    name=ENVIRONMENT,
    title="HotpotQA",
    summary="Answer questions that need two paragraphs, found by searching among ten.",
    turn_limit=DIALECTS["retroact"].turn_limit,
    reflection_memory=None,
    success_rule="The finished answer has F1 1 with the gold answer (or matches it exactly, with reward=em).",
    splits=SPLITS,
    bundled=bundled,
    read=read,
    open=open_question,
    instructions=instructions,
    expert=HotpotqaExpert(),
    careless=HotpotqaExpert(mistake_rate=0.5),
    check=_check,
    generate=generate_questions,
    options={
        "dialect": "Tools and wordings: retroact (Search, Finish), react (search, lookup, finish, think), "
        "reflexion (Search, Lookup, Finish).",
        "reward": "What a finished answer scores: f1 (share of words, as in RetroAct) or em (exact match).",
    },
)
