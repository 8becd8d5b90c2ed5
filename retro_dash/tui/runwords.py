"""A run in words and signs, as on the page: its line in the list, its head, the load of the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from textual.content import Content

from retro_dash.tui.text import State, age, duration, one_line, plain, plural, size

MOST_RUNS = 200
"""So many of the newest are listed; the page goes on to older ones."""
BLOCKS = "▁▂▃▄▅▆▇█"
STATES = {
    "queued": ("environment", "◌", "queued"),
    "running": ("planner", "●", "running"),
    "stalled": ("human", "!", "stalled"),
    "cancelling": ("human", "◍", "stopping"),
    "finished": ("success", "✓", "finished"),
    "failed": ("failure", "✕", "failed"),
    "cancelled": ("environment", "■", "stopped"),
}
ENDED = ("finished", "failed", "cancelled")
PAUSED = {
    "pausing": "◍ The engine finishes its requests and makes room for this run.",
    "paused": "◫ The engine is paused while this run trains, and serves again after it.",
}


def title(run: State) -> str:
    return one_line(run["name"] or run["id"])


def state_of(row: State) -> tuple[str, str]:
    """Whose colour, and sign and word; a run that waits says its place in the queue."""
    who, mark, word = STATES.get(row["run"]["state"], ("environment", "?", row["run"]["state"]))
    if row["position"] is not None:
        word = "next" if row["position"] == 0 else f"{row['position'] + 1}. in queue"
    return who, f"{mark} {word}"


def pace(row: State) -> str:
    """How far it is, and how long yet; or how long ago it ended."""
    run = row["run"]
    if run["state"] in ENDED:
        return f"{age(run['finished_at'])} ago" if run.get("finished_at") else ""
    done = f"{row['done']} of {row['total']}" if row["total"] else ""
    left = "" if row["eta_seconds"] is None else f"{duration(row['eta_seconds'])} to go"
    return " · ".join(part for part in (done, left) if part)


def sparkline(values: Sequence[float], width: int = 12) -> str:
    """A curve as small as a word."""
    if len(values) < 2:
        return ""
    low, span = min(values), (max(values) - min(values)) or 1.0
    picked = [values[at * (len(values) - 1) // (width - 1)] for at in range(width)]
    return "".join(BLOCKS[min(7, int((value - low) / span * 7.99))] for value in picked)


def run_head(row: State, engine: State, machine: State | None, is_narrow: bool = False) -> Content:
    """Name and state; what it is; who has the memory, how busy the machine is, or why it failed."""
    run, (who, state) = row["run"], state_of(row)
    facts = [run["kind"], row["about"], str(run["config"].get("model") or "")]
    if run.get("started_at"):
        end = datetime.fromisoformat(run["finished_at"]) if run.get("finished_at") else None
        passed = ((end or datetime.now().astimezone()) - datetime.fromisoformat(run["started_at"])).total_seconds()
        facts.append(f"{duration(passed)} {'in all' if end else 'so far'}")
    lines = [Content.assemble((title(run), "bold"), (f"  {state}  ", f"${who}"), pace(row))]
    facts = facts if is_narrow else [run["id"], *facts]
    lines.append(plain(" · ".join(one_line(fact) for fact in facts if fact), "$dim"))
    if run["config"].get("memory") == "pause" and run["state"] not in ENDED and engine.get("state") in PAUSED:
        lines.append(Content.styled(PAUSED[engine["state"]], "$human"))
    if machine is not None and not is_narrow:
        lines.append(plain(load_words(machine, run["id"]), "$dim"))
    if run.get("error"):
        lines.append(plain(run["error"], "$failure"))
    return Content("\n").join(lines)


def load_words(state: State, run_id: str = "") -> str:
    """What the machine is doing, and how much of its memory a run and the engine hold."""
    machine, room = state["machine"], state["room"]
    used, total = machine["memory_used"], machine["memory_total"]
    parts = [
        f"processor {_percent(machine['cpu_share'])} of {plural(machine['cores'], 'core')}",
        f"memory {size(used)} of {size(total)}",
    ]
    for gpu in machine["gpus"]:
        busy = "" if gpu["busy_share"] is None else f" {_percent(gpu['busy_share'])} busy"
        parts.append(f"{one_line(gpu['name'])}{busy}, {size(gpu['memory_used'])} of {size(gpu['memory_total'])}")
    if run_id in room["workers"]:
        parts.append(f"this run {size(room['workers'][run_id])}")
    if room["engine"]:
        parts.append(f"engine {size(room['engine'])}")
    return " · ".join(parts)


def lineage_words(lineage: Mapping[str, Any]) -> list[str]:
    """Filter, dataset, the run it goes on from, the run, its adapters, their evaluations."""
    run, parent, hash_ = lineage["run"], lineage["parent"], lineage["dataset_hash"]
    of_ = "episode" if run["kind"] == "train" else "task"
    what = plural(lineage["items"], of_)
    usual = "all episodes" if run["kind"] == "train" else "bundled tasks"
    source = f"split {lineage['split']}" if lineage["split"] else usual
    named = f"dataset {lineage['dataset_name']} ({what}, {hash_[:8]})" if lineage["dataset_name"] else ""
    return [
        f"✎ {lineage['filter']}" if lineage["filter"] else source,
        named or f"{what}{f', {hash_[:8]}' if hash_ else ''}",
        *([f"run {title(parent)}"] if parent else []),
        f"run {title(run)}",
        *(f"adapter {name}" for name in lineage["adapters"]),
        *(f"evaluation {title(one)}" for one in lineage["evaluations"]),
    ]


def _percent(share: float) -> str:
    return f"{round(share * 100)} %"
