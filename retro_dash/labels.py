"""What people may say of an episode: the names of labels, their values, and what a history of them means.

verdict       expert, good, bad or discard                                 any part
tags          a list of names from the tag set                             any part
note          text                                                         any part
rewrite       {"thought": …, "action": …} or {"text": …}                   turn, reflection
step_reward   1, 0 or -1; no label means unmarked, which is not neutral    turn
first_error   number of the first wrong turn, 0 when there is none         trial
quality       {"accurate", "actionable", "followed": true or false}        reflection
adjudication  {name: value}: the final word where annotators differ        any part
preference    {"episode_id", "trial", "winner": "this", "other" or "tie"}  reflection (blind A/B against another)
judgement     {"verdict": "good" or "bad", "reason", "model"}              episode, reflection (a language model as
              judge); of a reflection also "accurate" and "actionable"
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from data.errors import BadInput, Refused
from data.types import Episode, Label, LabelTarget, Noun

VERDICTS = ("expert", "good", "bad", "discard")
QUALITIES = ("accurate", "actionable", "followed")
LONGEST_TEXT = 100_000
Part = tuple[str, int | None, int | None]
"""`part`, `trial` and `turn` of a target within its episode."""


class LabelRequest(BaseModel):
    """One statement as a client sends it. Sending the same id again is harmless."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=100)
    """Made by the client, so that an unsure one may send it twice."""
    target: LabelTarget
    name: str
    value: JsonValue = None
    annotator: str
    undoes: str | None = None
    """Takes back the label with this id; `name` and `target` are those of that label."""
    seen: str | None = None
    """When given: the newest label that the client knows from this annotator, of this target and name (null: none).
    If there is a newer one, nothing is stored and the answer says what it is."""


class LabelConflict(Refused):
    """Somebody was faster: `current` is what the client did not know."""

    def __init__(self, current: Label | None) -> None:
        self.current = current
        now = f"{current.value!r} by {current.annotator}" if current is not None else "not labelled any more"
        super().__init__(f"This label was changed elsewhere in the meantime; it is now {now}. Look, then decide.")


class Change(Noun):
    """One event of the audit: what a statement changed."""

    label: Label
    before: JsonValue
    after: JsonValue


class Steps(NamedTuple):
    """What an annotator can take back and put back, the next one last."""

    undoable: list[Label]
    redoable: list[Label]
    """The undo labels that a redo takes back."""


def check_annotator(name: str) -> str:
    """The annotator's name without outer spaces. Raises BadInput."""
    name = name.strip()
    if not 1 <= len(name) <= 80 or any(unicodedata.category(c).startswith("C") for c in name):
        raise BadInput(f"An annotator's name has 1 to 80 visible characters, not {name[:80]!r}. Say who labels.")
    return name


def parts_of(episode: Episode) -> frozenset[Part]:
    """Everything of an episode that can be labelled."""
    parts: set[Part] = {("episode", None, None)}
    for trial in episode.trials:
        parts.add(("trial", trial.index, None))
        parts.update(("turn", trial.index, turn.index) for turn in trial.turns)
    parts.update(("reflection", reflection.after_trial, None) for reflection in episode.reflections)
    return frozenset(parts)


def part_of(target: LabelTarget) -> Part:
    return target.part, target.trial, target.turn


def check_target(target: LabelTarget, parts: Collection[Part]) -> None:
    """Raises BadInput when the episode has no such part."""
    if part_of(target) not in parts:
        where = " ".join(
            f"{name} {number}" for name, number in zip(("trial", "turn"), part_of(target)[1:], strict=True)
        )
        raise BadInput(
            f"Episode {target.episode_id} has no {target.part} at {where}. Reload it: it may have changed."
        )


def check_value(
    name: str, value: JsonValue, target: LabelTarget, parts: Collection[Part], tags: Collection[str]
) -> None:
    """Raises BadInput when the value is not one that `name` may have on this target."""
    if name not in _CHECKS:
        raise BadInput(f"There is no label called {name!r}. Known: {', '.join(_CHECKS)}.")
    allowed, check = _CHECKS[name]
    if target.part not in allowed:
        raise BadInput(f"{name} is said of {' or '.join(allowed)}, not of {target.part}.")
    check(value, target, parts, tags)


def _verdict(value: JsonValue, *_: object) -> None:
    if value not in VERDICTS:
        raise BadInput(f"A verdict is {', '.join(VERDICTS)}, not {_shown(value)}.")


def _tags(value: JsonValue, target: LabelTarget, parts: Collection[Part], tags: Collection[str]) -> None:
    if not isinstance(value, list) or len({str(tag) for tag in value}) != len(value):
        raise BadInput(f"tags is a list of different names, not {_shown(value)}.")
    unknown = [tag for tag in value if not isinstance(tag, str) or tag not in tags]
    if unknown:
        raise BadInput(f"The tag set has no {_shown(unknown[0])}. Known: {', '.join(sorted(tags))}.")


def _note(value: JsonValue, *_: object) -> None:
    _text("A note", value)


def _rewrite(value: JsonValue, target: LabelTarget, *_: object) -> None:
    fields = {"text"} if target.part == "reflection" else {"thought", "action"}
    if not isinstance(value, dict) or not value or not value.keys() <= fields:
        raise BadInput(f"A rewrite of a {target.part} is an object with {' and '.join(sorted(fields))}.")
    for field, text in value.items():
        _text(f"The rewritten {field}", text)
    if any(not str(value[field]).strip() for field in ("action", "text") if field in value):
        raise BadInput("A rewrite cannot be empty. To leave something out, give the verdict discard.")


def _step_reward(value: JsonValue, *_: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value not in (1, 0, -1):
        raise BadInput(f"A step reward is 1, 0 or -1, not {_shown(value)}. Take it back to leave the turn unmarked.")


def _first_error(value: JsonValue, target: LabelTarget, parts: Collection[Part], tags: Collection[str]) -> None:
    is_turn = isinstance(value, int) and not isinstance(value, bool)
    if not is_turn or (value != 0 and ("turn", target.trial, value) not in parts):
        raise BadInput(f"first_error is a turn of trial {target.trial}, or 0 for none, not {_shown(value)}.")


def _quality(value: JsonValue, *_: object) -> None:
    if not isinstance(value, dict) or not value or not value.keys() <= set(QUALITIES):
        raise BadInput(f"quality is an object with {', '.join(QUALITIES)}, not {_shown(value)}.")
    if not all(isinstance(answer, bool) for answer in value.values()):
        raise BadInput(f"Each of {', '.join(QUALITIES)} is true or false; leave out what is not judged.")


def _adjudication(value: JsonValue, target: LabelTarget, parts: Collection[Part], tags: Collection[str]) -> None:
    if (
        not isinstance(value, dict)
        or not value
        or not value.keys() <= _CHECKS.keys() - {"adjudication", "preference", "judgement"}
    ):
        raise BadInput(f"An adjudication is an object of label names and final values, not {_shown(value)}.")
    for name, final in value.items():
        check_value(name, final, target, parts, tags)


def _preference(value: JsonValue, *_: object) -> None:
    if (
        not isinstance(value, dict)
        or value.keys() != {"episode_id", "trial", "winner"}
        or not isinstance(value["episode_id"], str)
        or type(value["trial"]) is not int
        or value["winner"] not in ("this", "other", "tie")
    ):
        raise BadInput('A preference is {"episode_id", "trial", "winner": "this", "other" or "tie"}.')


def _judgement(value: JsonValue, target: LabelTarget, *_: object) -> None:
    qualities = {"accurate", "actionable"} if target.part == "reflection" else set()
    fields = {"verdict", "reason", "model"} | qualities
    if not isinstance(value, dict) or value.keys() != fields:
        raise BadInput(f"A judgement of a {target.part} is an object with {', '.join(sorted(fields))}.")
    if not all(isinstance(value[name], bool) for name in qualities):
        raise BadInput(f"A judgement says true or false of {' and '.join(sorted(qualities))}, not {_shown(value)}.")
    if value["verdict"] not in ("good", "bad") or not isinstance(value["model"], str) or not value["model"]:
        raise BadInput(f"A judgement says good or bad and which model says it, not {_shown(value)}.")
    _text("The reason", value["reason"])


def _text(what: str, value: JsonValue) -> None:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise BadInput(f"{what} is text of at most {LONGEST_TEXT} characters.")


def _shown(value: JsonValue) -> str:
    return repr(value)[:80]


_ANY = ("episode", "trial", "turn", "reflection")
_Check = Callable[[JsonValue, LabelTarget, Collection[Part], Collection[str]], None]
_CHECKS: dict[str, tuple[tuple[str, ...], _Check]] = {
    "verdict": (_ANY, _verdict),
    "tags": (_ANY, _tags),
    "note": (_ANY, _note),
    "rewrite": (("turn", "reflection"), _rewrite),
    "step_reward": (("turn",), _step_reward),
    "first_error": (("trial",), _first_error),
    "quality": (("reflection",), _quality),
    "adjudication": (_ANY, _adjudication),
    "preference": (("reflection",), _preference),
    "judgement": (("episode", "reflection"), _judgement),
}
LABEL_NAMES = tuple(_CHECKS)


# What a history means -----------------------------------------------------------------------------------------------


def same_statement(label: Label, request: LabelRequest) -> bool:
    """Whether the stored label says what the request says."""
    return (label.target, label.name, label.value, label.annotator, label.undoes) == (
        request.target,
        request.name,
        request.value,
        request.annotator,
        request.undoes,
    )


def steps(history: Sequence[Label]) -> Steps:
    """What one annotator, whose whole history this is (oldest first), can undo and redo.

    A new statement ends the possibility of redoing older ones, as in any editor.
    """
    done: dict[str, Label] = {}
    undone: dict[str, Label] = {}
    roots: dict[str, tuple[str, int]] = {}
    originals: dict[str, Label] = {}
    for label in history:
        if label.undoes is None:
            roots[label.id] = (label.id, 1)
            done[label.id] = originals[label.id] = label
            undone.clear()
            continue
        root, effect = roots.get(label.undoes, (label.undoes, 1))
        roots[label.id] = (root, -effect)
        if effect > 0:
            done.pop(root, None)
            undone[root] = label
        elif root in originals:
            undone.pop(root, None)
            done[root] = originals[root]
    return Steps(list(done.values()), list(undone.values()))


def audit(history: Sequence[Label]) -> list[Change]:
    """Every statement with the value that stood before and after it. `history` is oldest first and complete for its
    targets, names and annotators."""
    standing: dict[tuple[LabelTarget, str, str], dict[int, Label]] = {}
    roots: dict[str, tuple[str, int]] = {}
    originals: dict[str, tuple[int, Label]] = {}
    changes = []
    for label in history:
        key = (label.target, label.name, label.annotator)
        stack = standing.setdefault(key, {})
        before = _newest(stack)
        root, effect = (label.id, 1) if label.undoes is None else roots.get(label.undoes, (label.undoes, 1))
        effect = effect if label.undoes is None else -effect
        roots[label.id] = (root, effect)
        place, original = originals.setdefault(root, (len(originals), label))
        if effect > 0:
            stack[place] = original
        else:
            stack.pop(place, None)
        changes.append(Change(label=label, before=before, after=_newest(stack)))
    return changes


def _newest(stack: dict[int, Label]) -> JsonValue:
    return stack[max(stack)].value if stack else None
