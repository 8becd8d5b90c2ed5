"""The world beside the stage: what is left to use, what the environment shows, and what can be done now."""

from __future__ import annotations

from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from retro_dash.tui.board import Block, Board, Line
from retro_dash.tui.text import one_line, plain
from retro_dash.tui.watch import view_of
from retro_dash.tui.worlds import world

EMPTY = "What the environment shows beside the transcript appears here as soon as the episode begins."


class World(Vertical):
    """The panel at the right."""

    class Forced(Message):
        """A person does this instead of the planner."""

        def __init__(self, action: str) -> None:
            self.action = action
            super().__init__()

    def __init__(self) -> None:
        super().__init__(id="world")
        self._actions: list[str] = []

    def compose(self) -> ComposeResult:
        yield Static(id="budget", markup=False)
        board = Board(id="view")
        board.follows = False
        yield board
        yield OptionList(id="doors", markup=False, compact=True)

    def show(self, state: dict[str, Any] | None, allowed: list[str]) -> None:
        """Draw the state of a live episode; None before there is one."""
        view = view_of(state) if state else None
        budget = state["budget"] if state else {}
        meters = [
            _meter("turns", budget.get("turns_used", 0), budget.get("turn_limit")),
            _meter("tokens", budget.get("tokens_used", 0), budget.get("token_limit")),
        ]
        self.query_one("#budget", Static).update(Content("\n").join(meter for meter in meters if meter))
        content = world(state["episode"]["task"]["env"], view) if state and view else Content.styled(EMPTY, "$dim")
        self.query_one(Board).show([((Block("view", hanging(content)),),)])
        can_act = state is not None and state["phase"] in ("ready", "proposed") and "step" in allowed
        self._show_doors(list((view or {}).get("admissible") or []) if can_act else [])

    def _show_doors(self, actions: list[str]) -> None:
        doors = self.query_one("#doors", OptionList)
        doors.display = bool(actions)
        if actions != self._actions:
            self._actions = actions
            doors.clear_options()
            doors.add_options([Option(plain(one_line(action))) for action in actions])
            doors.highlighted = 0 if actions else None

    @on(OptionList.OptionSelected, "#doors")
    def door_opened(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_index < len(self._actions):
            self.post_message(self.Forced(self._actions[event.option_index]))


def hanging(content: Content) -> tuple[Line, ...]:
    """Its lines, each with what it begins with (spaces, a sign) hanging out."""
    lines = []
    for line in content.split("\n", allow_blank=True):
        text = line.plain
        indent = len(text) - len(text.lstrip(" "))
        has_sign = text[indent + 1 : indent + 2] == " " and not text[indent].isalnum()
        body = line[indent + 2 :] if has_sign else line[indent:]
        lines.append(Line(body, line[indent : indent + 1] if has_sign else Content(""), indent))
    return tuple(lines)


def _meter(name: str, used: int, limit: int | None) -> Content:
    if not limit:
        return Content("")
    full = min(12, round(12 * used / limit))
    style = "$human" if used >= 0.8 * limit else "$planner"
    return Content.assemble(
        (f"{name:<7}", "$dim"), ("━" * full, style), ("─" * (12 - full), "$dim"), f" {used:,} / {limit:,}"
    )
