"""Runs one game in the official ALFWorld engine, driven by JSON lines; started by `alfworld_engine` as a script.

In: `{problem, task, dialect}`, then `{command}` each. Out: `{text, won, commands}`, or `{error}` and the end. It
imports nothing of ours, so that the engine's Python may be another one than the program's.
"""

from __future__ import annotations

import json
import os
import sys
from copy import deepcopy
from functools import cache
from typing import Any


def main() -> None:
    # Whatever the engine or a C library prints must not reach the pipe that the answers go through.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        play(answers)
    except BaseException as error:  # a malformed problem raises SystemExit, among others
        reason = f"{type(error).__name__}: {str(error)[:300]}".rstrip(": ")
        print(json.dumps({"error": f"{reason}. It is malformed or unsolvable."}), file=answers, flush=True)


def play(answers: Any) -> None:
    game = json.loads(sys.stdin.readline())
    engine = load(game["problem"], game["task"], game["dialect"])
    state = engine.reset()
    answer(answers, state)
    for line in sys.stdin:
        state, _, _ = engine.step(json.loads(line)["command"])
        answer(answers, state)


def answer(answers: Any, state: Any) -> None:
    text = {"text": state.feedback, "won": bool(state["won"]), "commands": list(state["admissible_commands"])}
    print(json.dumps(text), file=answers, flush=True)


def load(problem: str, task: str, dialect: str) -> Any:
    """The engine as alfworld sets it up, with the package's own domain and grammar."""
    spare_repeated_work()
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from alfworld.info import ALFRED_PDDL_PATH, ALFRED_TWL2_PATH
    from textworld import EnvInfos
    from textworld.envs.pddl.pddl import PddlEnv

    with open(ALFRED_PDDL_PATH) as domain, open(ALFRED_TWL2_PATH) as grammar:
        texts = domain.read(), in_dialect(grammar.read(), dialect)
    engine = AlfredDemangler(PddlEnv(EnvInfos(won=True, admissible_commands=True)))
    sentence = json.dumps(task.removesuffix("."))[1:-1]
    engine.load(
        {"pddl_domain": texts[0], "grammar": texts[1].replace("UNKNOWN GOAL", sentence), "pddl_problem": problem}
    )
    return engine


def spare_repeated_work() -> None:
    """Keep what the engine works out anew again and again from the same input; its answers stay the same.

    It parses the same few templates and queries at every step, copies every name it knows for every word it writes,
    and translates the problem twice before the first step. Grammar symbols are handed out as copies, because the
    engine writes its context into them; all else it only reads.
    """
    import fast_downward  # type: ignore[import-not-found,unused-ignore]
    from textworld.envs.pddl import textgen
    from textworld.logic import Rule

    symbols = cache(textgen._parse_and_convert)
    textgen._parse_and_convert = lambda text, rule_name, **_: deepcopy(symbols(text, rule_name=rule_name))
    textgen.copy_context = lambda context: {
        **context,
        "variables": dict(context["variables"]),
        "mapping": dict(context["mapping"]),
    }
    Rule.parse_conjunctive_query = staticmethod(cache(Rule.parse_conjunctive_query))
    fast_downward.pddl2sas = cache(fast_downward.pddl2sas)


def in_dialect(grammar: str, dialect: str) -> str:
    """The wording of the games before alfworld 0.4, made from today's grammar."""
    if dialect == "move":
        return grammar
    for new, old in (
        ('template :: "move {o} to {r}"', 'template :: "put {o} in/on {r}"'),
        ("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}."),
        ("You arrive at {r.name}.", "You arrive at {lend.name}."),
        ("move (object) to (receptacle):  place", "put (object) in/on (receptacle):  place"),
    ):
        if new not in grammar:
            raise ValueError(f"alfworld's grammar has no {new!r}; this needs alfworld 0.4.2")
        grammar = grammar.replace(new, old)
    return grammar


if __name__ == "__main__":
    main()
