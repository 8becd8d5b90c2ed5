"""`retro-dash judge`: a language model says good or bad of stored episodes, and how far it agrees with people.

retro-dash judge --engine https://api.example.org/v1 --model NAME --filter "env:hotpotqa" --limit 200
retro-dash judge --agreement
"""

from __future__ import annotations

import argparse
import json
from itertools import islice

from retro_dash.agreement import JudgeAgreement
from retro_dash.commands.curator import Curator, open_curator
from retro_dash.judging import find_judge, judged_by, judgement_request, judgements
from retro_dash.serving.engine import start_engine
from retro_dash.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--filter", default="", help="the stored episodes to judge (default: all)")
    parser.add_argument("--limit", type=int, default=100, help="at most so many, judged ones left out (default 100)")
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
        fresh = (episode for episode in curator.whole_episodes(arguments.filter) if episode.id not in done)
        for episode, said in judgements(judge, islice(fresh, arguments.limit)):
            if said is not None:
                curator.send_labels([judgement_request(episode.id, judge.name, said)])
            line = {"episode": episode.id, **(said._asdict() if said else {"verdict": None, "reason": "no verdict"})}
            print(
                json.dumps(line) if arguments.json else f"{episode.id}  {line['verdict']}  {_plain(line['reason'])}"
            )
    finally:
        if engine is not None:
            engine.stop()


def _agreement(one: JudgeAgreement) -> str:
    def shown(value: float | None) -> str:
        return "not defined" if value is None else f"{value:.3f}"

    return (
        f"{one.model}: {one.good} of {one.judged} judged good\n"
        f"  with people on {one.items} episodes: agrees on {shown(one.percent)}, "
        f"Cohen's kappa {shown(one.cohen_kappa)}\n"
        f"  both good {one.both_good}, only the judge {one.only_judge}, only people {one.only_people}, "
        f"both bad {one.both_bad}"
    )


def _plain(text: str | None) -> str:
    """Without the control codes that a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in text or "")
