"""The keys of Curate, those of the page (`web/static/curatekeys.js`), and the letter of each tag."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from string import ascii_lowercase
from typing import Any

from textual.binding import Binding, BindingType

from retro_dash.tui.filter import FILTER
from retro_dash.tui.labelbar import QUALITY_KEYS
from retro_dash.tui.marks import VERDICTS
from retro_dash.tui.reading import UNFOLD

TAKEN = frozenset("acefghjklmruz")
"""Letters with a meaning of their own."""
TAG_LETTERS = [letter for letter in ascii_lowercase if letter not in TAKEN]

CURATE_KEYS: list[BindingType] = [
    *(Binding(str(n), f"verdict('{verdict}')", verdict) for n, verdict in enumerate(VERDICTS, 1)),
    Binding("plus,equals_sign", "reward(1)", "Good step, then the next turn", show=False),
    Binding("0", "reward(0)", "Neutral step", show=False),
    Binding("minus", "reward(-1)", "Bad step", show=False),
    Binding("exclamation_mark", "first_error", "First error is this turn; on a trial: none", show=False),
    *(
        Binding(key, f"quality('{name}')", f"Reflection: {name}, not {name}, unmarked", show=False)
        for key, name in QUALITY_KEYS.items()
    ),
    *(Binding(letter, f"tag('{letter}')", "Tag", show=False) for letter in TAG_LETTERS),
    Binding("e", "rewrite", "rewrite"),
    Binding("m", "note", "note"),
    Binding("u", "undo", "undo", tooltip="On any item"),
    Binding("U", "redo", "Redo", show=False),
    Binding("enter,L", "next", "next", key_display="⏎"),
    Binding("H", "back", "Item before", show=False),
    Binding("j,down", "part(1)", "part", key_display="j/k", tooltip="Next turn, reflection or trial"),
    Binding("k,up", "part(-1)", "Part before", show=False),
    Binding("l,right", "jump('trial', 1)", "Next trial", show=False),
    Binding("h,left", "jump('trial', -1)", "Trial before", show=False),
    Binding("r", "jump('reflection', 1)", "Next reflection", show=False),
    Binding("g,escape", "whole", "Whole episode", show=False),
    Binding("A", "auto", "Auto-advance on or off", show=False),
    Binding("B", "blind", "Blind: outcomes hidden until judged", show=False),
    Binding("O", "order", "Order of the queue: shuffled, worst first, highest gain, …", show=False),
    Binding("V", "votes", "Blind votes: which advice is better?", show=False),
    Binding("R", "review", "Review: agreement, disagreements, the final word", show=False),
    Binding("D", "datasets", "Datasets: freeze the queue, compare versions, train on one", show=False),
    Binding("T", "tags", "Edit the tags", show=False),
    Binding("I", "import", "Import files", show=False),
    UNFOLD,
    FILTER,
]


def tag_keys(tags: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Tag by letter: its own, else the first free one of its name, else any. The same as on the page."""
    letters: dict[str, str] = {}
    for tag in tags:
        wanted = [str(tag["key"]), *str(tag["name"]).lower(), *TAG_LETTERS]
        letter = next((one for one in wanted if one in TAG_LETTERS and one not in letters), None)
        if letter is not None:
            letters[letter] = str(tag["name"])
    return letters


def with_tags(keys: Iterable[BindingType], tags: Mapping[str, str]) -> list[BindingType]:
    """The keys with the tags that their letters give; letters that give none are left out."""
    shown: list[BindingType] = []
    for key in keys:
        if isinstance(key, Binding) and key.action.startswith("tag("):
            if key.key in tags:
                shown.append(replace(key, description=f"Tag: {tags[key.key]}"))
        else:
            shown.append(key)
    return shown
