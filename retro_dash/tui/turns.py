"""Trials, turns and reflections as blocks of a board."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from textual.content import Content

from retro_dash.tui.board import Block, Line
from retro_dash.tui.text import State, clean, gain, number, outcome, plain, plural, reason, sign

FOLD_CHARACTERS = 420
FOLD_LINES = 6
AUTHORS = {"reflector": "by the reflector", "human": "by a person", "expert": "by the scripted expert"}
_THOUGHT_ACTION = re.compile(
    r"^\s*(?:thought(?:\s+\d+)?\s*:\s*)?(.*?)(?:(?:^|\n)\s*action(?:\s+\d+)?\s*:\s*(.*))?$", re.IGNORECASE | re.DOTALL
)


def turn_key(trial: int, turn: int) -> str:
    return f"turn {trial} {turn}"


def parse_turn_key(key: str | None) -> tuple[int, int] | None:
    """(trial, turn) of a turn's key."""
    words = (key or "").split()
    return (int(words[1]), int(words[2])) if len(words) == 3 and words[0] == "turn" else None


def fold(text: object, unfolded: bool) -> str:
    """The beginning of a long text, and how much there is."""
    whole = clean(text).strip("\n")
    if unfolded:
        return whole
    short = "\n".join(whole.split("\n")[:FOLD_LINES])[:FOLD_CHARACTERS]
    return whole if len(short) > len(whole) - 40 else f"{short.rstrip()} … ({len(whole):,} characters, z shows all)"


def trial_head(trial: State, turn_count: int, folded: bool = False, repeats: int = 0) -> Block:
    """What a trial came to, in a line."""
    who, mark, word = outcome(trial)
    ended = None if trial.get("is_hidden") else trial.get("stop_reason")
    facts = [
        f"reward {number(trial['reward'])}" if ended else "",
        plural(turn_count, "turn"),
        reason(ended) if ended and not trial["success"] else "",
        f"↻ {plural(repeats, 'repeat')}" if repeats else "",
    ]
    title = Content.assemble(
        (f"{'▸' if folded else '▾'} Trial {trial['index']} ", "bold"),
        (f"{mark} {word}", f"bold ${who}"),
        ("  " + " · ".join(fact for fact in facts if fact), "$dim"),
    )
    lines = [Line(title)]
    if trial.get("error"):
        lines.append(Line(plain(trial["error"], "$failure"), sign("failure")))
    return Block(f"trial {trial['index']}", tuple(lines))


def opening(trial: State, unfolded: bool) -> Block:
    """What the environment said before the first turn."""
    lines = [Line(plain(fold(trial["opening"], unfolded), "$environment"), sign("environment"))]
    if unfolded and trial.get("prompt"):
        lines.append(Line(plain(trial["prompt"], "$dim"), Content.styled("prompt", "$dim")))
    return Block(f"opening {trial['index']}", (*lines, Line(Content(""))))


def turn_block(
    trial: int,
    turn: State,
    before: float,
    unfolded: bool = False,
    repeats: int | None = None,
    parting: int | None = None,
) -> Block:
    """Think, act, observe. `repeats`: the turn it only repeats; `parting`: the trial it first differs from."""
    who = turn["author"]
    number_ = Content.styled(f"{turn['index']:>2}", "$dim")
    lines = []
    if parting is not None:
        lines.append(Line(Content.styled(f"≠ first difference from trial {parting}", "bold $human")))
    if str(turn["thought"]).strip():
        lines.append(Line(plain(fold(turn["thought"], unfolded)), number_))
        number_ = Content("  ")
    marks = [
        (" ✎ edited by a person" if turn.get("edited_from") else " ✎ forced by a person", "$human")
        if who == "human"
        else None,
        (" ✕ no readable action", "$failure") if turn.get("is_malformed") else None,
        (f" ↻ repeats turn {repeats}", "$human") if repeats is not None else None,
        (f"  reward {number(turn['reward'])}", "bold $success" if turn["reward"] > 0 else "bold $failure")
        if turn["reward"] != before
        else None,
    ]
    action = Content.assemble(
        plain(fold(turn["action"], unfolded) or "(no action)", f"bold ${who}"), *(mark for mark in marks if mark)
    )
    lines.append(Line(action, number_ + " " + sign(who)))
    if turn.get("edited_from") and unfolded:
        lines.append(Line(plain(turn["edited_from"], "$dim"), Content.styled("was", "$dim"), 3))
    style = "$environment" if turn["is_valid"] or turn.get("is_malformed") else "$failure"
    lines.append(Line(plain(fold(turn["observation"], unfolded), style), sign("environment"), 3))
    return Block(turn_key(trial, turn["index"]), tuple(lines))


def pending_block(trial: int, index: int, text: str, phase: str) -> Block:
    """The turn that is being written."""
    match = _THOUGHT_ACTION.match(text)
    said, done = (match.group(1), match.group(2)) if match else (text, None)
    wait = "the environment answers …" if phase == "acting" else "thinking …"
    lines = [Line(plain(said, "") + ("" if done is not None else "▌"), Content.styled(f"{index:>2}", "$planner"))]
    if not text:
        lines = [Line(Content.styled(wait, "$dim"), Content.styled(f"{index:>2}", "$planner"))]
    if done is not None:
        lines.append(Line(plain(done, "bold $planner") + "▌", Content("   ") + sign("planner")))
    return Block(f"pending {trial}", tuple(lines))


def reflection_block(reflection: State, unfolded: bool = True) -> Block:
    """The words between two trials: the hero."""
    author = reflection["author"]
    head = Content.assemble(
        ("◆ Reflection ", "bold $reflector"),
        (AUTHORS.get(author, clean(author)), f"${'human' if author == 'human' else 'dim'}"),
        "  ",
        gain(reflection),
    )
    text = clean(reflection["text"]).strip()
    body = Content.styled(text, "bold") if text else Content.styled("None: the next trial starts without it.", "$dim")
    lines = [Line(Content("")), Line(head), Line(Content("")), Line(body)]
    if reflection.get("edited_from") and unfolded:
        lines.append(Line(plain(reflection["edited_from"], "$dim"), Content.styled("was", "$dim")))
    return Block(
        f"reflection {reflection['after_trial']}", (*lines, Line(Content(""))), "$reflector", "$reflector-soft"
    )


def writing_block(after_trial: int, text: str) -> Block:
    """The reflection that is being written."""
    head = Content.assemble(("◆ Reflection ", "bold $reflector"), ("being written", "$dim"))
    body = plain(text, "bold") + "▌" if text else Content.styled("looking back …", "$dim")
    empty = Line(Content(""))
    lines = (empty, Line(head), empty, Line(body), empty)
    return Block(f"writing {after_trial}", lines, "$reflector", "$reflector-soft")


def choice_block(trial: int, allowed: Mapping[str, Any] | list[str]) -> Block:
    """A trial failed and nobody has said what to learn from it."""
    keys = "f reflect · E write my own · n next trial" if "reflect" in allowed else "n next trial"
    lines = (
        Line(Content("")),
        Line(Content.assemble(("◆ ", "$reflector"), f"Trial {trial} failed. What should the next one know?")),
        Line(Content.styled(keys, "$dim")),
    )
    return Block(f"choice {trial}", lines, "$reflector")
