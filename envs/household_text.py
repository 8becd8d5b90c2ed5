"""The words of the household: names of things as the engine says them, lists, and its help."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

HELP_MOVE = "move (object) to (receptacle):  place an object in or on a receptacle"
HELP_PUT = "put (object) in/on (receptacle):  place an object in or on a receptacle"
HELP = """\
Available commands:
  look:                             look around your current location
  inventory:                        check your current inventory
  go to (receptacle):               move to a receptacle
  open (receptacle):                open a receptacle
  close (receptacle):               close a receptacle
  take (object) from (receptacle):  take an object from a receptacle
  {put}
  examine (something):              examine a receptacle or an object
  use (object):                     use an object
  heat (object) with (receptacle):  heat an object using a receptacle
  clean (object) with (receptacle): clean an object using a receptacle
  cool (object) with (receptacle):  cool an object using a receptacle
  slice (object) with (object):     slice an object using a sharp object
"""


def type_of(name: str) -> str:
    """`desk` of `desk 2`."""
    return name.partition(" ")[0]


def listed(names: list[str], article: str = "a ") -> str:
    """`a x 1, a y 2, and a z 1`; two are joined by `, and` too, as the engine does."""
    words = [article + name for name in names]
    if len(words) < 2:
        return words[0] if words else "nothing"
    return f"{', '.join(words[:-1])}, and {words[-1]}"


def demangled_names(ids: Iterable[str]) -> dict[str, str]:
    """Ids -> names, as alfworld's Demangler makes them: `fridge_bar_..` -> `fridge 1`.

    Ids are counted by what stands before `_bar_` (plus `basin` where that occurs in the id), the first in order
    getting the highest number; an id without `_bar_` keeps its text and a blank.
    """
    ordered = sorted(ids)
    left = Counter(_kind(one) for one in ordered)
    names = {}
    for one in ordered:
        kind = _kind(one)
        if "_bar_" not in one:
            names[one] = f"{one} "
            continue
        names[one] = f"{kind} {left[kind]}"
        left[kind] -= 1
    return names


def _kind(one: str) -> str:
    kind, bar, _ = one.partition("_bar_")
    return kind + ("basin" if bar and "basin" in one else "")
