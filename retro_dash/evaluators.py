"""Automatic evaluators: does an episode pass? Filters of a dataset, as the papers use them and more.

success            a trial solved the task                  (RetroAct: ALFWorld and InterCode)
em                 the last final answer equals the gold     (RetroAct: HotpotQA, exact match)
f1>=0.8            token F1 of the last final answer
reward>=0.5        reward of the last trial
gain>0             best gain of a reflection
turns<=20          turns of the longest trial
no_repeats         no trial takes an action three times
no_malformed       every turn holds an action
positive_next      a reflection after which the next trial succeeded (RetroAct's positive reflections)
judge              the newest judgement of a language model on the episode is good
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence

from data.errors import BadInput
from data.types import Episode, Label
from envs.hotpotqa_metric import exact_match, score_answer

Evaluator = Callable[[Episode, Sequence[Label]], bool]
"""Of an episode and its labels that stand."""
MOST_REPEATS = 2
JUDGE = "judge"
_COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "=": operator.eq}
_SPEC = re.compile(r"(?P<name>[a-z_0-9]+)\s*(?:(?P<op>>=|<=|>|<|=)\s*(?P<number>-?[\d.]+))?")
_ANSWER = re.compile(r"\A\s*finish\[(.*)\]\s*\Z", re.IGNORECASE | re.DOTALL)


def parse_evaluator(spec: str) -> Evaluator:
    """The evaluator that `spec` names, such as `success` or `reward>=0.5`. Raises BadInput with the known ones."""
    match = _SPEC.fullmatch(spec.strip())
    known = f"Known: {', '.join((*_FLAGS, JUDGE))}; with a number: {', '.join(_NUMBERS)}."
    if match is None or match["name"] not in EVALUATORS:
        raise BadInput(f"There is no evaluator {spec!r}. {known}")
    name = match["name"]
    if name not in _NUMBERS:
        if match["op"]:
            raise BadInput(f"The evaluator {name!r} takes no number: write just {name!r}.")
        if name == JUDGE:
            return lambda episode, labels: _is_judged_good(labels)
        flag = _FLAGS[name]
        return lambda episode, labels: flag(episode)
    if not match["op"]:
        raise BadInput(f"The evaluator {name!r} needs a comparison, for example {name}>=0.5.")
    try:
        wanted = float(match["number"])
    except ValueError:
        raise BadInput(f"{match['number']!r} is not a number in the evaluator {spec!r}.") from None
    compare, measure = _COMPARISONS[match["op"]], _NUMBERS[name]

    def evaluate(episode: Episode, labels: Sequence[Label]) -> bool:
        value = measure(episode)
        return value is not None and bool(compare(value, wanted))

    return evaluate


def passes(episode: Episode, labels: Sequence[Label], evaluators: Sequence[Evaluator]) -> bool:
    """Whether all hold."""
    return all(evaluator(episode, labels) for evaluator in evaluators)


def final_answer(episode: Episode) -> str | None:
    """What the last trial answered with `finish[…]`; None when it did not."""
    for trial in reversed(episode.trials):
        for turn in reversed(trial.turns):
            if answer := _ANSWER.match(turn.action):
                return answer[1].strip()
        return None
    return None


def _is_solved(episode: Episode) -> bool:
    return any(trial.success for trial in episode.trials)


def _is_exact(episode: Episode) -> bool:
    answer, gold = final_answer(episode), episode.task.metadata.get("answer")
    return answer is not None and isinstance(gold, str) and exact_match(answer, gold)


def _f1(episode: Episode) -> float | None:
    answer, gold = final_answer(episode), episode.task.metadata.get("answer")
    return score_answer(answer, gold).f1 if answer is not None and isinstance(gold, str) else None


def _has_no_repeats(episode: Episode) -> bool:
    counts = (Counter(turn.action for turn in trial.turns) for trial in episode.trials if trial.turns)
    return all(count.most_common(1)[0][1] <= MOST_REPEATS for count in counts)


def _has_no_malformed(episode: Episode) -> bool:
    return not any(turn.is_malformed for trial in episode.trials for turn in trial.turns)


def _has_positive_next(episode: Episode) -> bool:
    solved = {trial.index for trial in episode.trials if trial.success}
    return any(reflection.after_trial + 1 in solved for reflection in episode.reflections)


def _is_judged_good(labels: Sequence[Label]) -> bool:
    said = [
        label
        for label in labels
        if label.name == "judgement" and label.target.part == "episode" and isinstance(label.value, dict)
    ]
    newest = max(said, key=lambda label: label.at, default=None)
    return newest is not None and isinstance(newest.value, dict) and newest.value["verdict"] == "good"


def _reward(episode: Episode) -> float | None:
    return episode.trials[-1].reward if episode.trials else None


def _gain(episode: Episode) -> float | None:
    return max((r.gain for r in episode.reflections if r.gain is not None), default=None)


def _turns(episode: Episode) -> float | None:
    return float(max((len(trial.turns) for trial in episode.trials), default=0))


_FLAGS: dict[str, Callable[[Episode], bool]] = {
    "success": _is_solved,
    "em": _is_exact,
    "no_repeats": _has_no_repeats,
    "no_malformed": _has_no_malformed,
    "positive_next": _has_positive_next,
}
_NUMBERS: dict[str, Callable[[Episode], float | None]] = {
    "f1": _f1,
    "reward": _reward,
    "gain": _gain,
    "turns": _turns,
}
EVALUATORS = (*_FLAGS, JUDGE, *_NUMBERS)
