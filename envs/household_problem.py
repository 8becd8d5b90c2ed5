"""An ALFRED planning problem, read from PDDL: who and what is in the house, where, and what is wanted.

The text is an s-expression `(define (problem ..) (:domain alfred) (:objects ..) (:init ..) (:goal ..))`. Names are
compared in lower case, as the planner behind the official engine does. A goal is kept as nested tuples and answered
by `Goal.is_met`, so any mix of and, or, not, exists and forall over the domain's predicates works.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from data.errors import BadFile

Fact = tuple[str, ...]
"""A predicate and its arguments."""
Formula = tuple["Formula | str", ...]
Facts = Mapping[str, set[Fact]]
"""Predicate -> the argument tuples for which it is true."""

CHANGING = frozenset(
    {"atlocation", "objectatlocation", "opened", "inreceptacle", "holds", "holdsany", "isclean", "ishot", "iscool"}
    | {"istoggled", "ison", "issliced"}
)
"""Predicates that actions change; all others are as they were at the start."""
ARITY = {
    "atlocation": 2, "receptacleatlocation": 2, "objectatlocation": 2, "openable": 1, "opened": 1, "inreceptacle": 2,
    "isreceptacleobject": 1, "inreceptacleobject": 2, "isreceptacleobjectfull": 1, "wasinreceptacle": 2,
    "receptacletype": 2, "cancontain": 2, "objecttype": 2, "holds": 2, "holdsany": 1, "holdsanyreceptacleobject": 1,
    "full": 1, "isclean": 1, "cleanable": 1, "ishot": 1, "heatable": 1, "iscool": 1, "coolable": 1, "pickupable": 1,
    "moveable": 1, "toggleable": 1, "ison": 1, "istoggled": 1, "sliceable": 1, "issliced": 1,
}  # fmt: skip
"""The ALFRED domain's predicates (without `checked` and `examined`, which no goal can need)."""
IGNORED = frozenset({"=", "checked", "examined"})
MAX_CHARACTERS = 4_000_000
MAX_DEPTH = 60
_TOKEN = re.compile(r"[()]|[^\s()]+")


@dataclass(frozen=True)
class Problem:
    """What a PDDL problem says, checked."""

    types: dict[str, str]
    """Every declared name -> its type (agent, object, receptacle, location, otype, rtype)."""
    init: frozenset[Fact]
    goal: Formula

    def facts(self) -> dict[str, set[Fact]]:
        """Initial facts by predicate, in sets that the caller may change."""
        facts: dict[str, set[Fact]] = {predicate: set() for predicate in ARITY}
        for predicate, *arguments in self.init:
            facts[predicate].add(tuple(arguments))
        return facts


def read_problem(text: str) -> Problem:
    """Read PDDL; raises BadFile with the first thing that is wrong."""
    sections = {}
    for part in _parse(text)[1:]:
        if isinstance(part, tuple) and part and isinstance(part[0], str):
            sections[part[0]] = part
    missing = [name for name in (":objects", ":init", ":goal") if name not in sections]
    if missing:
        raise BadFile(f"The PDDL problem has no {missing[0]} section; it needs :objects, :init and :goal.")
    types = _declared(sections[":objects"][1:])
    init = frozenset(_init_facts(sections[":init"][1:], types))
    if len(sections[":goal"]) != 2 or isinstance(sections[":goal"][1], str):
        raise BadFile("The PDDL problem's :goal is not one formula in brackets.")
    goal = sections[":goal"][1]
    _check_goal(goal, set(types))
    return Problem(types=types, init=init, goal=goal)


def _parse(text: str) -> Formula:
    """The one s-expression of the text, in lower case."""
    if len(text) > MAX_CHARACTERS:
        raise BadFile(f"The PDDL problem has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read.")
    stack: list[list[Formula | str]] = [[]]
    for word in _TOKEN.findall(re.sub(r";[^\n]*", "", text).lower()):
        if word == "(":
            stack.append([])
            if len(stack) > MAX_DEPTH:
                raise BadFile(f"The PDDL problem nests brackets more than {MAX_DEPTH} deep.")
        elif word == ")":
            if len(stack) == 1:
                raise BadFile("The PDDL problem closes a bracket that was never opened.")
            done = tuple(stack.pop())
            stack[-1].append(done)
        else:
            stack[-1].append(word)
    if len(stack) != 1:
        raise BadFile(f"The PDDL problem ends with {len(stack) - 1} brackets still open; the file is cut short?")
    if len(stack[0]) != 1 or isinstance(stack[0][0], str) or stack[0][0][:1] != ("define",):
        raise BadFile("The text is not a PDDL problem: it is not one `(define (problem ..) ..)`.")
    return stack[0][0]


def _declared(tokens: Formula) -> dict[str, str]:
    """`a b - object c - receptacle` -> {a: object, b: object, c: receptacle}."""
    types: dict[str, str] = {}
    waiting: list[str] = []
    words = iter(tokens)
    for word in words:
        if not isinstance(word, str):
            raise BadFile(
                "The :objects section of the PDDL problem holds a bracket; it should be `name - type` pairs."
            )
        if word != "-":
            waiting.append(word)
            continue
        kind = next(words, None)
        if not isinstance(kind, str):
            raise BadFile("The :objects section of the PDDL problem ends after `-`, without a type.")
        types.update(dict.fromkeys(waiting, kind))
        waiting = []
    if waiting:
        raise BadFile(f"{waiting[0]!r} in the :objects section of the PDDL problem has no type.")
    return types


def _init_facts(items: Formula, types: Mapping[str, str]) -> Iterator[Fact]:
    for item in items:
        if isinstance(item, str) or not item:
            raise BadFile(f"The :init section of the PDDL problem holds {item!r}, which is not a fact in brackets.")
        if item[0] in IGNORED:
            continue
        words = tuple(word for word in item if isinstance(word, str))
        if len(words) != len(item):
            raise BadFile(f"The :init section of the PDDL problem holds a nested fact under {words[:1]}.")
        _check_atom(words, set(types))
        yield words


def _check_atom(words: Fact, known: set[str]) -> None:
    if ARITY.get(words[0]) != len(words) - 1:
        raise BadFile(f"({' '.join(words)[:120]}) is not a fact of the ALFRED domain.")
    for name in words[1:]:
        if name not in known:
            raise BadFile(f"({' '.join(words)[:120]}) names {name[:60]!r}, which is not declared in :objects.")


def _check_goal(formula: Formula | str, known: set[str]) -> None:
    if isinstance(formula, str) or not formula or not isinstance(formula[0], str):
        raise BadFile(f"The :goal of the PDDL problem holds {str(formula)[:60]!r} where a formula should be.")
    head, *parts = formula
    if head in ("and", "or"):
        for part in parts:
            _check_goal(part, known)
    elif head == "not" and len(parts) == 1:
        _check_goal(parts[0], known)
    elif head in ("exists", "forall") and len(parts) == 2 and isinstance(parts[0], tuple):
        _check_goal(parts[1], known | set(_declared(parts[0])))
    else:
        words = tuple(part for part in formula if isinstance(part, str))
        if head == "=" and len(formula) == len(words) == 3:
            return
        if len(words) != len(formula):
            raise BadFile(f"The :goal of the PDDL problem uses ({head} ..) in a way that is not understood.")
        _check_atom(words, known)


class Goal:
    """Answers whether a goal formula is met; nested `exists` is one join over few candidates."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._test = self._compile(problem.goal)

    @cached_property
    def _start(self) -> dict[str, set[Fact]]:
        return self._problem.facts()

    def is_met(self, facts: Facts) -> bool:
        return self._test(facts, {})

    def _compile(self, formula: Formula | str) -> Callable[[Facts, dict[str, str]], bool]:
        assert isinstance(formula, tuple)
        head, *parts = formula
        if head in ("and", "or"):
            tests = [self._compile(part) for part in parts]
            every = head == "and"
            return lambda facts, names: (all if every else any)(test(facts, names) for test in tests)
        if head == "not":
            test = self._compile(parts[0])
            return lambda facts, names: not test(facts, names)
        if head == "exists":
            return self._compile_exists(formula)
        if head == "forall":
            test = self._compile(("exists", parts[0], ("not", parts[1])))
            return lambda facts, names: not test(facts, names)
        words = tuple(str(part) for part in parts)
        if head == "=":
            return lambda facts, names: names.get(words[0], words[0]) == names.get(words[1], words[1])
        predicate = str(head)
        return lambda facts, names: tuple([names.get(word, word) for word in words]) in facts[predicate]

    def _compile_exists(self, formula: Formula) -> Callable[[Facts, dict[str, str]], bool]:
        """Variables with few candidates come first; every condition is tested once its variables are bound."""
        variables, conditions = _join(formula)
        domains = {name: self._candidates(name, kind, conditions) for name, kind in variables.items()}
        order = sorted(variables, key=lambda name: len(domains[name]))
        rank = {name: index for index, name in enumerate(order)}
        steps: list[list[Callable[[Facts, dict[str, str]], bool]]] = [[] for _ in range(len(order) + 1)]
        for condition in conditions:
            used = [rank[name] + 1 for name in _names(condition) if name in rank]
            steps[max(used, default=0)].append(self._compile(condition))

        def search(facts: Facts, names: dict[str, str], depth: int) -> bool:
            if not all(test(facts, names) for test in steps[depth]):
                return False
            if depth == len(order):
                return True
            variable = order[depth]
            return any(search(facts, {**names, variable: value}, depth + 1) for value in domains[variable])

        return lambda facts, names: search(facts, names, 0)

    def _candidates(self, variable: str, kind: str, conditions: list[Formula]) -> list[str]:
        """Names of the right type for which every unchanging condition on the variable alone holds."""
        names = [name for name, type_ in self._problem.types.items() if type_ == kind]
        for predicate, *arguments in conditions:
            known = predicate in ARITY and predicate not in CHANGING
            if (
                known
                and set(arguments) & {variable}
                and not any(a != variable and str(a)[:1] == "?" for a in arguments)
            ):
                rows = self._start[str(predicate)]
                names = [n for n in names if tuple(n if a == variable else str(a) for a in arguments) in rows]
        return names


def _join(formula: Formula) -> tuple[dict[str, str], list[Formula]]:
    """Variables and conditions of an `exists`, with every `exists` and `and` directly inside it folded in."""
    declared, body = formula[1], formula[2]
    assert isinstance(declared, tuple)
    assert isinstance(body, tuple)
    variables = _declared(declared)
    conditions: list[Formula] = []
    waiting: list[Formula | str] = [body]
    while waiting:
        part = waiting.pop(0)
        assert isinstance(part, tuple)
        if part[0] == "and":
            waiting[:0] = part[1:]
        elif part[0] == "exists" and isinstance(part[1], tuple) and not set(_declared(part[1])) & set(variables):
            variables |= _declared(part[1])
            waiting.insert(0, part[2])
        else:
            conditions.append(part)
    return variables, conditions


def _names(formula: Formula | str) -> set[str]:
    if isinstance(formula, str):
        return {formula}
    return set().union(*(_names(part) for part in formula)) if formula else set()
