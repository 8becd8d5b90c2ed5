"""`retro-dash judge`: a language model judges stored episodes or reflections, and how far it agrees with people.

retro-dash judge --engine https://api.example.org/v1 --model NAME --filter "env:hotpotqa" --limit 200
retro-dash judge --reflections --filter "outcome:failed"
retro-dash judge --agreement
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice

from pydantic import JsonValue

from retro_dash.agreement import JudgeAgreement
from retro_dash.commands.curator import Curator, open_curator
from retro_dash.judgement import Judgement, Matter, judged_by, matters
from retro_dash.judging import find_judge, judgements
from retro_dash.serving.engine import start_engine
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--filter", default="", help="the stored episodes to judge (default: all)")
    parser.add_argument("--limit", type=int, default=100, help="at most so many, judged ones left out (default 100)")
    parser.add_argument(
        "--reflections", action="store_true", help="judge the reflections instead: accurate? actionable?"
    )
    parser.add_argument("--agreement", action="store_true", help="only say how far judges agree with people")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    with open_curator(settings) as curator:
        if not arguments.agreement:
            _judge(arguments, settings, curator)
        for one in curator.judge_agreement():
            print(one.model_dump_json() if arguments.json else _agreement(one))
    return 0


def _judge(arguments: argparse.Namespace, settings: Settings, curator: Curator) -> None:
    engine = None if settings.judge else start_engine(settings)
    try:
        judge = find_judge(settings, engine, arguments.model or "")
        done = judged_by(curator.find_labels(None, None, "judgement"), judge.name)
        given = (
            matter
            for episode in curator.whole_episodes(arguments.filter)
            for matter in matters(episode, arguments.reflections)
            if matter.target not in done
        )
        asked = unreadable = 0
        for matter, said in judgements(judge, islice(given, arguments.limit)):
            asked, unreadable = asked + 1, unreadable + (said is None)
            if said is not None:
                curator.send_labels([matter.label(judge.name, said)])
            print(json.dumps(_fields(matter, said)) if arguments.json else _line(matter, said))
        if unreadable:
            hint = "Choose another with --model or --engine." if unreadable == asked else "They are not stored."
            print(f"{judge.name}: {unreadable} of {asked} answers held no verdict. {hint}", file=sys.stderr)
    finally:
        if engine is not None:
            engine.stop()


def _fields(matter: Matter, said: Judgement | None) -> dict[str, JsonValue]:
    where = {"episode": matter.episode.id, **({"trial": matter.target.trial} if matter.reflection else {})}
    if said is None:
        return {**where, "verdict": None, "reason": "no verdict"}
    return {**where, **{key: value for key, value in said._asdict().items() if value is not None}}


def _line(matter: Matter, said: Judgement | None) -> str:
    where = matter.episode.id + (f" reflection {matter.target.trial}" if matter.reflection else "")
    if said is None:
        return f"{where}  no verdict"
    if matter.reflection is None:
        return f"{where}  {said.verdict}  {_plain(said.reason)}"
    words = f"{'' if said.accurate else 'not '}accurate, {'' if said.actionable else 'not '}actionable"
    return f"{where}  {words}  {_plain(said.reason)}"


def _agreement(one: JudgeAgreement) -> str:
    def shown(value: float | None) -> str:
        return "not defined" if value is None else f"{value:.3f}"

    is_verdict = one.about == "verdict"
    yes, items = ("good", "episodes") if is_verdict else (one.about, "reflections")
    return (
        f"{one.model}: {one.good} of {one.judged} {items} judged {yes}\n"
        f"  with people on {one.items}: agrees on {shown(one.percent)}, Cohen's kappa {shown(one.cohen_kappa)}\n"
        f"  both {yes} {one.both_good}, only the judge {one.only_judge}, only people {one.only_people}, "
        f"neither {one.both_bad}"
    )


def _plain(text: str | None) -> str:
    """Without the control codes that a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in text or "")
