"""The trials of an episode side by side: what stands in one row was done at the same point."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from retro_dash.client import HubClient
from retro_dash.tui.board import Block, Line, Row
from retro_dash.tui.text import age, how_played, one_line, plain, player, sign, strip
from retro_dash.tui.turns import opening, reflection_block, trial_head, turn_block

NARROWEST = 38
"""Cells that a column needs to be read."""
TURNS_A_REQUEST = 500


def whole_episode(hub: HubClient, episode_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """An episode with all its turns (long ones come in pieces) and its alignment."""
    episode: dict[str, Any] = dict(hub.episode(episode_id))
    for trial in episode["trials"]:
        count = episode.get("turn_counts", {}).get(str(trial["index"]), len(trial["turns"]))
        while len(trial["turns"]) < count:
            start = len(trial["turns"]) + 1
            more = hub.turns(episode_id, trial["index"], start, start + TURNS_A_REQUEST)
            if not more:
                break
            trial["turns"] += [turn.model_dump(mode="json") for turn in more]
    return episode, dict(hub.alignment(episode_id))


def columns_for(episode: dict[str, Any], width: int, marked: int) -> list[int]:
    """Which trials (positions) stand side by side: as many as can be read, the marked one among them."""
    trials = episode["trials"]
    count = max(1, min(len(trials), width // NARROWEST))
    at = next((n for n, trial in enumerate(trials) if trial["index"] == marked), 0)
    start = min(max(0, at - count + 1), max(0, len(trials) - count))
    return list(range(start, min(len(trials), start + count)))


def side_by_side(episode: dict[str, Any], alignment: dict[str, Any], columns: list[int], unfolded: bool) -> list[Row]:
    """Rows of a board: over each trial the reflection that it started with, then its turns."""
    if not columns:
        return [((Block("empty", (Line(Content("This episode has no trials yet.")),)),),)]
    trials = [episode["trials"][column] for column in columns]
    reflections = {one["after_trial"]: one for one in episode["reflections"]}
    repeats = alignment.get("repeats", {})
    heads = []
    for trial in trials:
        before = reflections.get(trial["index"] - 1)
        head = trial_head(trial, len(trial["turns"]), repeats=len(repeats.get(str(trial["index"]), {})))
        heads.append([*([reflection_block(before, unfolded)] if before else []), head, opening(trial, unfolded)])
    rows: list[Row] = [heads]
    for row in alignment.get("rows", []):
        cells = [_cell(episode["trials"][column], row[column], alignment, unfolded) for column in columns]
        if any(cells):
            rows.append(cells)
    last = reflections.get(trials[-1]["index"])
    if last and columns[-1] == len(episode["trials"]) - 1:
        rows.append([*([] for _ in columns[1:]), [reflection_block(last, unfolded)]])
    return rows


def _cell(trial: dict[str, Any], turn: int | None, alignment: dict[str, Any], unfolded: bool) -> list[Block]:
    if turn is None or turn > len(trial["turns"]):
        return []
    index = trial["index"]
    before = trial["turns"][turn - 2]["reward"] if turn > 1 else 0.0
    repeats = alignment.get("repeats", {}).get(str(index), {}).get(str(turn))
    partings = (one for one in alignment.get("divergences", []) if one["trial"] == index and one["turn"] == turn)
    parting = next((one["against"] for one in partings), None)
    return [turn_block(index, trial["turns"][turn - 1], before, unfolded, repeats, parting)]


def episode_head(episode: dict[str, Any]) -> Content:
    roles = [
        Content.assemble(sign(player(episode[role], role)), f" {role} ", plain(one_line(episode[role])))
        for role in ("planner", "reflector")
    ]
    facts = Content.styled(f"{how_played(episode)} · {age(episode['created_at'])} ago", "$dim")
    return Content("\n").join(
        [
            plain(one_line(episode["task"]["instruction"]), "bold"),
            Content.assemble((episode["state"] + "  ", "$dim"), strip(episode)),
            Content("  ").join([*roles, facts]),
        ]
    )
