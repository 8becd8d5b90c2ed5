"""What kinds of things lie where in a household: counts over ALFWorld's training games.

The generator furnishes rooms by it, the scripted expert searches by it. The table `data/tasks/alfworld_places.json`
holds counts only (ALFWorld's data is MIT-licensed) and is made again by

    python -m envs.household_places GAMES_TRAIN.jsonl.gz
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

from envs.household_problem import Fact, read_problem

TABLE = Path(__file__).resolve().parent.parent / "data" / "tasks" / "alfworld_places.json"
ABILITIES = ("pickupable", "cleanable", "heatable", "coolable", "sliceable", "toggleable", "isreceptacleobject")
_ROOMS = ((100, "kitchen"), (300, "living room"), (400, "bedroom"), (1000, "bathroom"))


class Places(NamedTuple):
    """Counts, types in lower case (`apple`, `countertop`)."""

    rooms: dict[str, int]
    """Room kind -> games."""
    receptacles: dict[str, dict[str, int]]
    """Room kind -> receptacle type -> how many there were in all its games."""
    objects: dict[str, dict[str, int]]
    """Room kind -> object type -> how many."""
    found: dict[str, dict[str, int]]
    """Object type -> receptacle type -> how many of the objects were there at the start."""
    offered: dict[str, dict[str, int]]
    """Object type -> receptacle type -> how many such receptacles the games with such an object had."""
    fits: dict[str, list[str]]
    """Receptacle type -> object types that can be put there."""
    abilities: dict[str, list[str]]
    """Object type -> what can be done with it, of ABILITIES."""
    openable: list[str]
    """Receptacle types that are (nearly) always opened and closed."""
    spelling: dict[str, str]
    """Type in lower case -> as ALFRED spells it (`countertop` -> `CounterTop`)."""

    def chance(self, object_type: str, receptacle_type: str) -> float:
        """Expected number of such objects in one such receptacle of a game that has the object."""
        offered = self.offered.get(object_type, {}).get(receptacle_type, 0)
        return self.found.get(object_type, {}).get(receptacle_type, 0) / offered if offered else 0.0


@cache
def places() -> Places:
    """The shipped table."""
    return Places(**json.loads(TABLE.read_text(encoding="utf-8")))


def count_places(games: list[dict[str, object]]) -> Places:
    """Count over rows with `scene` and `pddl_problem`."""
    rooms: Counter[str] = Counter()
    counts: dict[str, dict[str, Counter[str]]] = {
        part: defaultdict(Counter) for part in ("receptacles", "objects", "found", "offered")
    }
    fits: dict[str, set[str]] = defaultdict(set)
    abilities: dict[str, Counter[str]] = defaultdict(Counter)
    totals: Counter[str] = Counter()
    opens: Counter[str] = Counter()
    spelling: dict[str, str] = {}
    for game in games:
        scene, text = int(cast(int, game["scene"])), str(game["pddl_problem"])
        kind = next(name for limit, name in _ROOMS if scene < limit)
        facts = read_problem(text).facts()
        spelling |= {word.lower()[:-4]: word[:-4] for word in text.split() if word.endswith("Type")}
        object_type, receptacle_type = _types(facts["objecttype"]), _types(facts["receptacletype"])
        furniture = Counter(receptacle_type.values())
        rooms[kind] += 1
        counts["receptacles"][kind] += furniture
        counts["objects"][kind] += Counter(object_type.values())
        for one in set(object_type.values()):
            counts["offered"][one] += furniture
        for item, receptacle in facts["inreceptacle"]:
            counts["found"][object_type[item]][receptacle_type[receptacle]] += 1
        for rtype, otype in facts["cancontain"]:
            fits[rtype[:-4]].add(otype[:-4])
        totals += Counter(object_type.values())
        for ability in ABILITIES:
            abilities[ability] += Counter(object_type[item] for (item,) in facts[ability] if item in object_type)
        totals += furniture
        opens += Counter(receptacle_type[receptacle] for (receptacle,) in facts["openable"])
    return Places(
        rooms=dict(rooms),
        receptacles=_plain(counts["receptacles"]),
        objects=_plain(counts["objects"]),
        found=_plain(counts["found"]),
        offered=_plain(counts["offered"]),
        fits={rtype: sorted(fits[rtype]) for rtype in sorted(fits)},
        abilities={
            otype: [ability for ability in ABILITIES if abilities[ability][otype] * 2 > totals[otype]]
            for otype in sorted(set().union(*counts["objects"].values()))
        },
        openable=sorted(rtype for rtype, count in opens.items() if count * 2 > totals[rtype]),
        spelling={word: spelling[word] for word in sorted(spelling)},
    )


def _types(facts: set[Fact]) -> dict[str, str]:
    return {name: type_[:-4] for name, type_ in facts}


def _plain(counts: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
    return {name: dict(sorted(counts[name].items())) for name in sorted(counts)}


def main(path: str) -> None:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        table = count_places([json.loads(line) for line in lines])
    TABLE.write_text(json.dumps(table._asdict(), separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
