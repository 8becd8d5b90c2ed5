"""An adapter, the engine and the memory in words, as on the page: `web/static/pages/serving.js`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from textual.content import Content

from retro_dash.tui.place import engine_sign
from retro_dash.tui.runwords import load_words, title
from retro_dash.tui.text import State, age, one_line, plain, sign, size

HELP = {
    "stopped": "No engine runs, so no model can play. Scripted experts, stored episodes, curation and training work "
    "without one. Start one with: retro-dash web --engine embedded",
    "failed": "The engine could not be kept running. Its log says why; nothing that was played is lost. "
    "See: retro-dash doctor",
}
PLANS = {
    "share": ("Shared", "training and serving use it at the same time"),
    "pause": ("Taken in turns", "the engine is paused while this run trains, and serves again after it"),
}
STEPS = ("the engine lets go", "the run trains", "the engine serves again")
MOST_SCORES = 4


def engine_words(engine: State) -> Content:
    """State, model, address and load."""
    who, mark, word = engine_sign(str(engine["state"]))
    model = plain(one_line(engine["model"] or "no model"), "bold")
    about = " · ".join(one_line(engine[name]) for name in ("detail", "url") if engine.get(name))
    lines = [Content.assemble((f"{mark} {word}", f"bold ${who}"), "  ", model, "  ", plain(about, "$dim"))]
    if engine["state"] in HELP:
        lines.append(Content.styled(HELP[engine["state"]], "$human"))
    figures = _figures(engine.get("load") or {})
    lines += [plain(" · ".join(figures))] if figures else []
    return Content("\n").join(lines)


def _figures(load: Mapping[str, Any]) -> list[str]:
    """How busy the engine is."""
    shown: dict[str, Callable[[Any], str]] = {
        "tokens_per_second": lambda value: f"{value:,.0f} tokens/s",
        "running": lambda value: f"{value} running",
        "waiting": lambda value: f"{value} waiting",
        "kv_cache_tokens": lambda value: f"{value:,} cached tokens",
        "kv_cache_bytes": lambda value: f"keys and values {size(value)} of {size(load.get('kv_limit_bytes', 0))}",
        "prefix_hit_rate": lambda value: f"{round(100 * value)} % of prompt tokens from cache",
        "dtype": lambda value: f"weights {one_line(value)} on {one_line(load.get('device'))}",
        "loaded_copies": lambda value: f"{len(value)} in memory",
    }
    return [words(load[name]) for name, words in shown.items() if load.get(name) is not None]


def memory_words(engine: State, machine: State, rows: Sequence[State]) -> Content:
    """Who has the memory: the device, what holds it, and what the run at work (or next) asks of the engine."""
    trains = [row for row in rows if row["run"]["kind"] == "train"]
    working = [row for row in trains if row["run"]["state"] in ("running", "stalled", "cancelling")]
    row = next(iter(working or [row for row in trains if row["position"] == 0]), None)
    load = plain(load_words(machine, row["run"]["id"] if row else ""), "$dim")
    if row is None:
        device = one_line(machine["room"]["device"])
        words = f"Nothing trains. A run says whether the engine shares {device} with it or is paused."
        return Content("\n").join([Content.assemble(("Memory  ", "bold"), (words, "$dim")), load])
    plan = str(row["run"]["config"].get("memory") or "share")
    name, meaning = PLANS.get(plan, (plan, ""))
    lines = [Content.assemble((f"Memory  {name}", "bold"), plain(f": {meaning}. Run {title(row['run'])}"))]
    if plan == "pause":
        at = 0 if engine["state"] == "pausing" else 1 if row["run"]["state"] == "running" else -1
        styles = ["bold $planner" if n == at else "$dim" for n in range(len(STEPS))]
        steps = [Content.styled(f"{n + 1} {step}", styles[n]) for n, step in enumerate(STEPS)]
        lines.append(Content(" › ").join(steps))
    return Content("\n").join([*lines, load])


def served_adapters(engine: State, planners: Sequence[State]) -> set[str]:
    """Adapters that the engine answers for now; of an engine that does not say, those that can play."""
    if engine["state"] != "ready":
        return set()
    loaded = (engine.get("load") or {}).get("adapters")
    return set(loaded) if loaded is not None else {one["name"] for one in planners if one.get("available", True)}


def card(row: State, summary: str, defaults: Sequence[str]) -> Content:
    """One adapter: where it came from, what it scored, what is wrong with it, and where it is the default."""
    adapter = row["adapter"]
    role = adapter["role"] if adapter["role"] in ("planner", "reflector") else "planner"
    name, part = plain(one_line(adapter["name"]), "bold"), plain(f"  {adapter['role']}", f"${role}")
    chosen = [Content.styled(f"  ✓ default {one} on Play", "$success") for one in defaults]
    lines = [Content.assemble(sign(role), " ", name, part, *chosen)]
    if summary:
        lines.append(plain(one_line(summary)))
    lines.append(plain(" › ".join(origin(row)), "$dim"))
    if row["problem"]:
        lines.append(plain(f"✕ {one_line(row['problem'])}", "$failure"))
    lines += [_score(one) for one in row["scores"][:MOST_SCORES]]
    if not row["scores"]:
        lines.append(Content.styled("Not evaluated yet: n tests it.", "$dim"))
    return Content("\n").join(lines)


def origin(row: State) -> list[str]:
    """Filter, dataset, run; or that it shipped with the program; on which base; how old."""
    adapter, run_id = row["adapter"], row["adapter"]["run_id"] or "import"
    was_imported = run_id.startswith("import")
    source = f"✎ {row['filter']}" if row["filter"] else "imported" if was_imported else "all episodes"
    hash_ = (row["dataset_hash"] or "")[:8]
    parts = [
        "ships with Retro Dash" if row["is_bundled"] else source,
        f"dataset {row['dataset_name'] or hash_}" if row["dataset_name"] or hash_ else "",
        "" if was_imported else f"run {row['run_name']}" + (f" ({row['about']})" if row["about"] else ""),
        "full weights" if adapter["is_full_weights"] else f"LoRA on {adapter['base_model']}",
        f"{age(adapter['created_at'])} ago",
    ]
    return [one_line(part) for part in parts if part]


def best_score(row: State) -> str:
    """The newest evaluation, in a few words."""
    return "" if not row["scores"] else _score(row["scores"][0]).plain


def _score(score: State) -> Content:
    gap = score["difference"]
    words = f"{one_line(score['env'])} {one_line(score['arm'])}: {100 * score['final']:.1f}"
    if gap is None:
        return Content(words)
    who = "success" if gap > 0 else "failure" if gap < 0 else "dim"
    return Content.assemble(words, (f" {'−' if gap < 0 else '+'}{abs(100 * gap):.1f}", f"${who}"))
