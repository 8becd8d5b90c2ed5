"""The stage of Play: a live episode's trials, turns and reflections as blocks, and the lines over them."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from retro_dash.tui.board import Block, Line, Row
from retro_dash.tui.text import how_played, one_line, plain, player, sign, strip
from retro_dash.tui.turns import (
    choice_block,
    opening,
    pending_block,
    reflection_block,
    trial_head,
    turn_block,
    writing_block,
)

PHASES = {
    "ready": "Ready",
    "thinking": "The planner thinks",
    "proposed": "Waits for you",
    "acting": "The environment answers",
    "reflecting": "The reflector looks back",
    "between_trials": "Between trials",
    "finished": "Finished",
}
EXPERT = (
    " The scripted expert is a program that knows how this environment works, not a language model. "
    "Choose a model as planner to see one try."
)


def agents(chosen: dict[str, Any]) -> Content:
    """Planner and reflector of an episode, or of what is chosen."""
    parts = [
        Content.assemble(sign(player(chosen[role], role)), f" {role} ", plain(one_line(chosen[role])))
        for role in ("planner", "reflector")
    ]
    if "task" in chosen:
        parts.append(Content.styled(how_played(chosen), "$dim"))
    return Content("  ").join(parts)


def phase_words(state: dict[str, Any] | None, asking: str, is_lost: bool) -> Content:
    """What the episode is doing, how its trials went, and the last word when it is over."""
    phase = "Ready" if state is None else PHASES.get(state["phase"], state["phase"])
    if asking:
        phase = f"{asking.replace('_', ' ').capitalize()} …"
    if is_lost:
        phase = "The line to the hub is lost; trying again"
    is_busy = state is not None and state["phase"] in ("thinking", "acting", "reflecting")
    words = Content.styled(f"{'● ' if is_busy else ''}{phase}", "$planner" if is_busy else "$dim")
    if state is None or not state["episode"]["trials"]:
        return words
    return words + Content("   ") + strip(state["episode"]) + _ending(state)


def stage(state: dict[str, Any], allowed: list[str], folded: dict[int, bool], unfolded: bool) -> list[Row]:
    """Trials one under the other, with the reflections between them; the last one is open, the others folded."""
    blocks: list[Block] = []
    episode, phase, partial = state["episode"], state["phase"], state.get("partial") or {}
    reflections = {one["after_trial"]: one for one in episode["reflections"]}
    for trial in episode["trials"]:
        is_last = trial is episode["trials"][-1]
        blocks += _trial_blocks(state, trial, folded.get(trial["index"], not is_last), unfolded)
        failed = trial.get("stop_reason") is not None and not trial["success"]
        if trial["index"] in reflections:
            blocks.append(reflection_block(reflections[trial["index"]], unfolded))
        elif is_last and failed and (phase == "reflecting" or partial.get("role") == "reflector"):
            blocks.append(writing_block(trial["index"], partial.get("text", "")))
        elif is_last and failed and phase == "between_trials":
            blocks.append(choice_block(trial["index"], allowed))
    if not episode["trials"]:
        words = (
            "thinking …" if phase == "thinking" else "Press s for one turn, r for a trial, R for the whole episode."
        )
        blocks.append(Block("start", (Line(Content.styled(words, "$dim")),)))
    return [((block,),) for block in blocks]


def _trial_blocks(state: dict[str, Any], trial: dict[str, Any], folded: bool, unfolded: bool) -> list[Block]:
    index, turns = trial["index"], trial["turns"]
    blocks = [trial_head(trial, len(turns), folded)]
    if folded:
        return blocks
    blocks.append(opening(trial, unfolded))
    before = 0.0
    for turn in turns:
        blocks.append(turn_block(index, turn, before, unfolded))
        before = turn["reward"]
    partial = state.get("partial") or {}
    if trial.get("stop_reason") is None and state["phase"] in ("thinking", "acting"):
        text = partial.get("text", "") if partial.get("role") == "planner" else ""
        blocks.append(pending_block(index, len(turns) + 1, text, state["phase"]))
    return blocks


def _ending(state: dict[str, Any]) -> Content:
    """The last word on an episode that is over."""
    episode = state["episode"]
    if state["phase"] != "finished":
        return Content("")
    solved = next((trial["index"] for trial in episode["trials"] if trial["success"]), 0)
    if solved:
        after = f", after {solved - 1} reflection{'s' if solved > 2 else ''}" if solved > 1 else ""
        return Content.styled(f"   ✓ Solved in trial {solved}{after}.", "bold $success")
    if episode["state"] == "failed":
        return Content.styled(f"   ✕ Not solved in {len(episode['trials'])} trials.", "bold $failure")
    return Content.styled(f"   The episode ended: {episode['state']}.", "bold $human")


def empty_stage(chosen: dict[str, Any]) -> list[Row]:
    """What would be here, and the key that fills it."""
    lines = [
        Line(Content("")),
        Line(Content.styled("Nothing has been played yet.", "bold")),
        Line(
            Content(
                "Press R: the planner tries the task, the reflector looks back at what went wrong, and the planner "
                "tries again. Or go turn by turn with s."
            )
        ),
    ]
    if "expert" in (player(chosen[role], role) for role in ("planner", "reflector")):
        lines += [Line(Content("")), Line(Content.styled(EXPERT.strip(), "$dim"), sign("expert"))]
    return [((Block("empty", tuple(lines)),),)]
