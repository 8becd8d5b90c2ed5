"""A run before it is started: its settings as TOML, with the episodes or tasks it works on in `[data]`.

What `retro-dash train` reads, with `[data]` at its end; of collections and evaluations the keys of their configs.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any, NamedTuple

from data.errors import BadInput
from retro_dash.client import HubClient
from retro_dash.tui.text import duration, one_line, plural, size

SOLVED = "outcome:solved"
DATA = ("filter", "dataset", "split", "count", "seed")
"""What a request says of the episodes or tasks, see `retro_dash.api_runs.RunRequest`."""
OUTER = ("model", "memory", "exploration")
"""Keys of a training run that do not belong to its training config."""
HINT = "# Keys: docs/training.md, retro-dash train --help."
MARKS = {"ok": "✓", "note": "!", "stop": "✕"}


class Draft(NamedTuple):
    name: str
    settings: str


class Checked(NamedTuple):
    """What a run would do, and whether it can start."""

    words: str
    can_start: bool


def new_training(hub: HubClient, filter_text: str = "", dataset: str = "") -> Draft:
    """Imitation of the episodes of a filter, or of a frozen dataset, to change."""
    schema = hub.train_schema()
    config = {"kind": "train", "model": schema["model"], "train": {"method": "sft", "preset": "fixed"}}
    file = hub.check_training(config, "id:none")["toml"]
    hint = f"# method: {', '.join(schema['methods'])}. preset: {', '.join(schema['presets'])}."
    data = {"dataset": dataset} if dataset else {"filter": filter_text or SOLVED}
    return Draft("", f"{hint}\n{HINT}\n{file}{_data(data)}")


def like_run(hub: HubClient, run_id: str) -> Draft:
    """The settings of a run, on the same episodes or tasks."""
    run, lineage = hub.run(run_id), hub.lineage(run_id)
    name = f"{run.name or run.id}, changed"
    if lineage["dataset_name"]:
        data: dict[str, Any] = {"dataset": lineage["dataset_hash"]}
    elif lineage["filter"] or run.kind == "train":
        data = {"filter": lineage["filter"] or ""}
    elif lineage["split"]:
        data = {"split": lineage["split"], "count": lineage["items"], "seed": 0}
    else:
        data = {"filter": f"run:{run.id}"}  # Its tasks came from a file: those of the episodes that it played.
    if run.kind == "train":
        return Draft(name, f"{HINT}\n{hub.check_training(run.config, 'id:none')['toml']}{_data(data)}")
    return Draft(name, f"{_toml(run.config)}{_data(data)}")


def test_of(hub: HubClient, row: Mapping[str, Any]) -> Draft:
    """An evaluation of an adapter (see `retro_dash.adapters.AdapterRow`) against the base, on its run's tasks."""
    name, role = row["adapter"]["name"], row["adapter"]["role"]
    choices = {one["name"]: one for one in hub.policies()["planners"]}
    base = next((one for one in choices if one == row["adapter"]["base_model"]), "expert")
    player = {one: name if role in (one, "both") else base for one in ("planner", "reflector")}
    given = next((word[4:] for word in str(row["filter"] or "").split() if word.startswith("env:")), "")
    env = given or next(iter(choices.get(name, {}).get("envs") or ()), "alfworld")
    split = next((one["splits"][0] for one in hub.environments() if one["name"] == env), "")
    arms = [{"name": "base", "planner": base, "reflector": base}, {"name": row["about"] or "trained", **player}]
    config = {"kind": "evaluate", "env": env, "trials": 3, "seeds": [0], "measure": "reward", "arms": arms}
    data = {"filter": row["filter"]} if row["filter"] else {"split": split, "count": 20, "seed": 0}
    return Draft(f"base against {name}", f"{_toml(config)}{_data(data)}")


def new_evaluation(hub: HubClient) -> Draft:
    """With and without reflections, to change."""
    player = next(
        (one["name"] for one in hub.policies()["planners"] if not one["name"].startswith("expert")), "expert"
    )
    env = next(one for one in hub.environments() if one["works"])
    arms = [
        {"name": name, "planner": player, "reflector": player, "strategy": strategy}
        for name, strategy in (("no reflection", "none"), ("reflexion", "reflexion"))
    ]
    config = {"kind": "evaluate", "env": env["name"], "trials": 3, "seeds": [0], "measure": "reward", "arms": arms}
    return Draft("", f"{_toml(config)}{_data({'split': env['splits'][0], 'count': 20, 'seed': 0})}")


def request_of(name: str, settings: str) -> dict[str, Any]:
    """What to ask the hub for. Raises BadInput for what is not TOML, and for keys of `[data]` that do not exist."""
    try:
        given = tomllib.loads(settings)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"The settings are not TOML: {error}.") from error
    data = given.pop("data", {})
    unknown = sorted(set(data) - set(DATA)) if isinstance(data, dict) else ["data"]
    if unknown:
        raise BadInput(f"[data] has no {unknown[0]!r}: it takes {', '.join(DATA)}.")
    kind = given.pop("kind", "train")
    what = f"{given.get('method', kind)}: {data.get('filter') or data.get('dataset') or given.get('env', '')}"
    if kind == "train":
        given = {**{key: given.pop(key) for key in OUTER if key in given}, "train": given}
    return {"kind": kind, "name": one_line(name) or one_line(what), "config": {"kind": kind, **given}, **data}


def check(hub: HubClient, request: Mapping[str, Any]) -> Checked:
    """What a training run would do; runs that play are looked at by the hub when they are started."""
    if request["kind"] != "train":
        return Checked("", True)
    found = hub.check_training(request["config"], request.get("filter", ""), request.get("dataset"))
    forecast, findings = found["forecast"], found["findings"]
    rows = ", ".join(f"{many:,} {kind}" for kind, many in forecast["rows"].items()) or "no samples"
    parts = [
        f"{plural(forecast['episodes'], 'episode')}: {rows}",
        f"{forecast['tokens']:,} tokens, {forecast['trained_tokens']:,} of them trained",
        f"{plural(forecast['steps'], 'step')}, about {duration(forecast['seconds'])}",
        size(forecast["bytes"]) if forecast["bytes"] else "",
    ]
    worst = sorted(findings, key=lambda one: ("stop", "note", "ok").index(one["level"]))
    lines = [f"{MARKS[one['level']]} {one_line(one['text'])}" for one in worst if one["level"] != "ok"]
    can_start = all(one["level"] != "stop" for one in findings)
    lines += ["Ctrl+S starts it." if can_start else "Change it, then Ctrl+S again."]
    return Checked("\n".join([" · ".join(part for part in parts if part), *lines]), can_start)


def _data(values: Mapping[str, Any]) -> str:
    return "\n[data]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _toml(values: Mapping[str, Any]) -> str:
    """A flat config, its lists of tables last; what is empty is left out."""
    simple = {key: value for key, value in values.items() if value is not None and not _is_tables(value)}
    lines = [f"{key} = {_value(value)}" for key, value in simple.items() if value != {}]
    for key, tables in values.items():
        for table in tables if _is_tables(tables) else ():
            lines += ["", f"[[{key}]]", *(f"{name} = {_value(value)}" for name, value in table.items())]
    return "\n".join(lines) + "\n"


def _is_tables(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def _value(value: object) -> str:
    """A TOML value: JSON's are the same, but for tables."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
