"""The bar under an item: what has the focus, what is said of it, what else can be said, with its keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from textual.content import Content
from textual.widgets import Static

from retro_dash.tui.ledger import Ledger
from retro_dash.tui.marks import QUALITIES, marks
from retro_dash.tui.parts import Part
from retro_dash.tui.text import duration, plain, plural

QUALITY_KEYS = dict(zip(("a", "c", "f"), QUALITIES, strict=True))
STEP_KEYS = {"+": (1, "good step", "success"), "0": (0, "neutral", "environment"), "-": (-1, "bad step", "failure")}


class LabelBar(Static):
    """Drawn anew by `show`; says the keys of the part that has the focus."""

    def __init__(self) -> None:
        super().__init__(id="said", markup=False)

    def show(self, part: Part, ledger: Ledger, annotator: str, tags: Mapping[str, str], state: Content) -> None:
        """`tags`: name by key. `state`: progress, and what is not saved yet."""
        here = [one for one in ledger.standing() if Part.of(one.target) == part]
        said = marks(here, annotator) if here else Content.styled("nothing said yet", "$dim")
        first = Content.assemble(("✎ ", "$human"), (part.name, "bold"), "  ", said)
        mine = ledger.value(part, "tags")
        self.update(
            Content("\n").join(
                [first, self._special(part, ledger), _tags(tags, mine if isinstance(mine, list) else ()), state]
            )
        )

    def _special(self, part: Part, ledger: Ledger) -> Content:
        """What can be said of this kind of part only."""
        if part.part == "turn":
            reward = ledger.value(part, "step_reward")
            first = ledger.value(Part("trial", part.trial), "first_error")
            steps = [_key(key, text, who, reward == value) for key, (value, text, who) in STEP_KEYS.items()]
            return Content("  ").join([*steps, _key("!", "first error", "failure", first == part.turn)])
        if part.part == "trial":
            return _key("!", "no error in this trial", "success", ledger.value(part, "first_error") == 0)
        if part.part == "reflection":
            given = ledger.value(part, "quality")
            judged = given if isinstance(given, dict) else {}
            return Content("  ").join(_quality(key, name, judged.get(name)) for key, name in QUALITY_KEYS.items())
        return Content.styled("The verdict on the whole episode brings the next one. j and k go by part.", "$dim")


def saved_state(progress: Mapping[str, Any], unsaved: int, is_lost: bool) -> Content:
    """How far the work is, and whether the hub has all of it."""
    parts = [f"{progress.get('mine', 0)} of {progress.get('total', 0)} by you, {progress.get('done', 0)} done"]
    if progress.get("per_minute"):
        parts.append(f"{progress['per_minute']:.1f} a minute")
    if progress.get("eta_seconds"):
        parts.append(f"{duration(progress['eta_seconds'])} to go")
    disputed = (progress.get("states") or {}).get("adjudication", 0)
    if disputed:
        parts.append(f"R reviews {plural(disputed, 'disagreement')}")
    state = ("✓ all saved", "$success")
    if unsaved:
        state = (f"✕ {unsaved} unsaved" if is_lost else f"{unsaved} not saved yet", "bold $human")
    return Content.assemble(state, (" · " + " · ".join(parts), "$dim"))


def _tags(tags: Mapping[str, str], mine: Collection[Any]) -> Content:
    shown: list[Content] = [_key(key, name, "human", name in mine) for key, name in tags.items()]
    return Content.assemble(("# ", "$human"), Content("  ").join(shown)) if shown else Content("")


def _key(key: str, text: str, who: str, is_on: bool) -> Content:
    style = f"bold ${who} reverse" if is_on else f"${who}"
    return Content.assemble((f"{key} ", "bold"), plain(text, style))


def _quality(key: str, name: str, judged: object) -> Content:
    if judged is None:
        return _key(key, name, "dim", False)
    return _key(key, name if judged else f"not {name}", "success" if judged else "failure", True)
