"""How far annotators agree: kappa and alpha by NLTK, statistics of each annotator, and A/B votes against the gain.

Cohen's kappa is the mean over pairs of annotators on what both judged; Fleiss' kappa (multi-pi, Siegel and Castellan)
needs every annotator on every item, so it is taken over the items that all judged; Krippendorff's alpha (nominal)
takes all items that two or more judged, whoever they were.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import combinations
from typing import Any, Literal

from pydantic import JsonValue

from data.errors import BadInput, Unavailable
from data.types import Label, LabelTarget, Noun
from retro_dash.labels import QUALITIES, Part, part_of
from retro_dash.training_view import POSITIVE, Final, final_values

AGREED_NAMES = ("verdict", "step_reward", "first_error", *QUALITIES)
"""What has categories; the last are the parts of `quality`."""
Item = tuple[str, Part]
About = Literal["verdict", "accurate", "actionable"]
JUDGED: tuple[About, ...] = ("accurate", "actionable")
"""What a language model says of a reflection."""


class AnnotatorStatistics(Noun):
    """What one annotator did."""

    annotator: str
    labels: int
    items: int
    values: dict[str, int]
    with_others: int
    """Items that others judged too."""
    with_majority: float | None
    """Share of those on which they said what most others said."""


class Disagreement(Noun):
    """An item on which annotators differ, and whether it was adjudicated."""

    target: LabelTarget
    values: dict[str, JsonValue]
    """By annotator."""
    adjudicated: JsonValue


class Agreement(Noun):
    """Agreement on one label name."""

    name: str
    items: int
    """Items that at least two annotators judged."""
    annotators: int
    percent: float | None
    """Mean over items of the share of agreeing pairs."""
    cohen_kappa: float | None
    fleiss_kappa: float | None
    fleiss_items: int
    krippendorff_alpha: float | None
    statistics: tuple[AnnotatorStatistics, ...]
    disagreements: tuple[Disagreement, ...]


class VoteComparison(Noun):
    """Blind A/B votes on reflections against what really came of them."""

    votes: int
    ties: int
    comparable: int
    """Votes with a winner whose reflections had different gains."""
    for_higher_gain: int


class JudgeAgreement(Noun):
    """How far one language model as judge agrees with people, on what both judged.

    People's word is the adjudication or what most of them said. Of an episode it is the verdict: expert counts as
    good, discard as bad. Of a reflection it is whether it is accurate, or actionable: yes counts as good.
    """

    model: str
    about: About
    judged: int
    good: int
    """Of those, the ones that it called good."""
    items: int
    """Those that people judged too."""
    both_good: int
    only_judge: int
    """The judge says good, people bad."""
    only_people: int
    both_bad: int
    percent: float | None
    cohen_kappa: float | None


def agreement(labels: Sequence[Label], name: str = "verdict") -> Agreement:
    """From the labels that stand. Raises BadInput for a name whose values are not categories."""
    if name not in AGREED_NAMES:
        raise BadInput(f"Agreement is computed for {', '.join(AGREED_NAMES)}, not for {name!r}.")
    items: dict[Item, dict[str, JsonValue]] = defaultdict(dict)
    final: dict[Item, JsonValue] = {}
    for label in labels:
        item = (label.target.episode_id, part_of(label.target))
        said = _said(label.name, label.value, name)
        if said is not None:
            items[item][label.annotator] = said
        elif label.name == "adjudication" and isinstance(label.value, dict):
            decided = [_said(key, value, name) for key, value in label.value.items()]
            final[item] = next((value for value in decided if value is not None), final.get(item))
    shared = {item: given for item, given in items.items() if len(given) > 1}
    everybody = {annotator for given in shared.values() for annotator in given}
    whole = {item: given for item, given in shared.items() if given.keys() == everybody}
    return Agreement(
        name=name,
        items=len(shared),
        annotators=len(everybody),
        percent=_percent(shared),
        cohen_kappa=_mean_cohen(shared),
        fleiss_kappa=_measure(whole, lambda task: float(task.pi())),
        fleiss_items=len(whole),
        krippendorff_alpha=_measure(shared, lambda task: float(task.alpha())),
        statistics=_statistics(items),
        disagreements=tuple(
            Disagreement(target=_target(item), values=given, adjudicated=final.get(item))
            for item, given in shared.items()
            if len({str(value) for value in given.values()}) > 1
        ),
    )


def _said(label_name: str, value: JsonValue, name: str) -> JsonValue:
    """What a statement says of `name`; None when it is about something else."""
    if name in QUALITIES:
        return value.get(name) if label_name == "quality" and isinstance(value, dict) else None
    return value if label_name == name else None


def judge_agreement(labels: Sequence[Label]) -> tuple[JudgeAgreement, ...]:
    """Every judge against people, from the labels that stand: a row for the verdicts, one for each quality judged."""
    judged: dict[tuple[str, About], dict[LabelTarget, bool]] = defaultdict(dict)
    by_episode: dict[str, list[Label]] = defaultdict(list)
    for label in labels:
        if label.name == "judgement" and isinstance(label.value, dict):
            abouts: tuple[About, ...] = JUDGED if label.target.part == "reflection" else ("verdict",)
            for about in abouts:
                judged[str(label.value["model"]), about][label.target] = label.value[about] in ("good", True)
        else:
            by_episode[label.target.episode_id].append(label)
    people = {id_: final_values(theirs) for id_, theirs in by_episode.items()}
    return tuple(
        _of_judge(model, about, said, {target: _people(people, target, about) for target in said})
        for (model, about), said in sorted(judged.items())
    )


def _people(final: Mapping[str, Final], target: LabelTarget, about: About) -> bool | None:
    """What people say in the end of what a judge judged; None when they say nothing."""
    said = final.get(target.episode_id, {}).get(part_of(target), {})
    if about == "verdict":
        return None if said.get("verdict") is None else said["verdict"] in POSITIVE
    quality = said.get("quality")
    value = quality.get(about) if isinstance(quality, dict) else None
    return value if isinstance(value, bool) else None


def _of_judge(
    model: str, about: About, said: Mapping[LabelTarget, bool], people: Mapping[LabelTarget, bool | None]
) -> JudgeAgreement:
    pairs = {target: (judge, people[target]) for target, judge in said.items() if people[target] is not None}
    counts = Counter(pairs.values())
    items: dict[Item, dict[str, JsonValue]] = {
        (target.episode_id, part_of(target)): {"judge": judge, "people": person}
        for target, (judge, person) in pairs.items()
    }
    return JudgeAgreement(
        model=model,
        about=about,
        judged=len(said),
        good=sum(said.values()),
        items=len(pairs),
        both_good=counts[True, True],
        only_judge=counts[True, False],
        only_people=counts[False, True],
        both_bad=counts[False, False],
        percent=sum(judge == person for judge, person in pairs.values()) / len(pairs) if pairs else None,
        cohen_kappa=_measure(items, lambda task: float(task.kappa())),
    )


def compare_votes(labels: Sequence[Label], gain: Callable[[str, int], float | None]) -> VoteComparison:
    """`gain` gives the realised gain of the reflection of an episode after a trial."""
    votes = [label for label in labels if label.name == "preference" and isinstance(label.value, dict)]
    ties = comparable = right = 0
    for label in votes:
        value: Any = label.value
        if value["winner"] == "tie":
            ties += 1
            continue
        this = gain(label.target.episode_id, label.target.trial or 0)
        other = gain(str(value["episode_id"]), int(value["trial"]))
        if this is not None and other is not None and this != other:
            comparable += 1
            right += (this > other) == (value["winner"] == "this")
    return VoteComparison(votes=len(votes), ties=ties, comparable=comparable, for_higher_gain=right)


def _percent(items: Mapping[Item, Mapping[str, JsonValue]]) -> float | None:
    shares = []
    for given in items.values():
        pairs = list(combinations(given.values(), 2))
        shares.append(sum(a == b for a, b in pairs) / len(pairs))
    return sum(shares) / len(shares) if shares else None


def _mean_cohen(items: Mapping[Item, Mapping[str, JsonValue]]) -> float | None:
    """Mean kappa of the pairs of annotators that judged at least two items together."""
    everybody = sorted({annotator for given in items.values() for annotator in given})
    kappas = []
    for a, b in combinations(everybody, 2):
        both = {item: {a: given[a], b: given[b]} for item, given in items.items() if a in given and b in given}
        if len(both) > 1:
            kappas.append(_measure(both, lambda task: float(task.kappa())))
    known = [kappa for kappa in kappas if kappa is not None]
    return sum(known) / len(known) if known else None


def _measure(items: Mapping[Item, Mapping[str, JsonValue]], measure: Callable[[Any], float]) -> float | None:
    """A coefficient by NLTK; None when there are too few items or only one value was ever given."""
    values = {str(value) for given in items.values() for value in given.values()}
    if len(items) < 2 or len(values) < 2:
        return None
    try:
        task = import_module("nltk.metrics.agreement").AnnotationTask  # A third of a second to import.
    except ImportError as error:
        raise Unavailable("Agreement needs the package nltk. Install it with: pip install nltk") from error
    rows = [(who, repr(item), str(value)) for item, given in items.items() for who, value in given.items()]
    try:
        return measure(task(data=rows))
    except ZeroDivisionError:
        return None


def _statistics(items: Mapping[Item, Mapping[str, JsonValue]]) -> tuple[AnnotatorStatistics, ...]:
    everybody = sorted({annotator for given in items.values() for annotator in given})
    return tuple(_of_annotator(annotator, items) for annotator in everybody)


def _of_annotator(annotator: str, items: Mapping[Item, Mapping[str, JsonValue]]) -> AnnotatorStatistics:
    own = {item: given for item, given in items.items() if annotator in given}
    with_others = agreeing = 0
    for given in own.values():
        others = Counter(str(value) for who, value in given.items() if who != annotator)
        if others:
            with_others += 1
            agreeing += others[str(given[annotator])] == max(others.values())
    return AnnotatorStatistics(
        annotator=annotator,
        labels=len(own),
        items=len(own),
        values=dict(Counter(str(given[annotator]) for given in own.values())),
        with_others=with_others,
        with_majority=agreeing / with_others if with_others else None,
    )


def _target(item: Item) -> LabelTarget:
    part, trial, turn = item[1]
    return LabelTarget.model_validate({"episode_id": item[0], "part": part, "trial": trial, "turn": turn})
