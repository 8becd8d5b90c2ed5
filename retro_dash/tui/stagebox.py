"""The middle of Play: the task, who plays, how it stands, the board of trials, and the field to edit in."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from retro_dash.tui.board import Board
from retro_dash.tui.editor import Editor
from retro_dash.tui.setup import Setup
from retro_dash.tui.stage import agents, empty_stage, phase_words, stage
from retro_dash.tui.text import one_line, plain
from retro_dash.tui.turns import parse_turn_key


class StageBox(Vertical):
    """Draws the state of a live episode, or what is chosen for a new one."""

    def __init__(self) -> None:
        super().__init__(id="stage")
        self._folded: dict[int, bool] = {}

    def compose(self) -> ComposeResult:
        yield Static(id="task", markup=False)
        yield Static(id="agents", markup=False)
        yield Static(id="phase", markup=False)
        yield Board(id="trials")
        yield Editor()

    @property
    def board(self) -> Board:
        return self.query_one(Board)

    def show(self, state: dict[str, Any] | None, setup: Setup, allowed: list[str], unfolded: bool) -> None:
        episode = state["episode"] if state else None
        task = episode["task"] if episode else setup.picked
        words = one_line(task["instruction"] if task else "Choose a task")
        self.query_one("#task", Static).update(plain(words, "bold"))
        self.query_one("#agents", Static).update(agents(episode or setup.chosen))
        self.board.show(stage(state, allowed, self._folded, unfolded) if state else empty_stage(setup.chosen))

    def show_phase(self, state: dict[str, Any] | None, asking: str, is_lost: bool) -> None:
        self.query_one("#phase", Static).update(phase_words(state, asking, is_lost))

    def clear(self) -> None:
        """Another episode: nothing is folded, marked or edited."""
        self._folded.clear()
        self.board.select(None, reach=False)
        self.query_one(Editor).close()

    def fold(self, trial: int, last: int) -> None:
        """Fold a trial, or open it; all but the last are folded until somebody opens them."""
        self._folded[trial] = not self._folded.get(trial, trial != last)

    def mark(self, by: int) -> None:
        """Mark a turn so many after the marked one; from none the newest."""
        board = self.board
        keys = [key for key in board.block_keys() if parse_turn_key(key)]
        if keys:
            at = keys.index(board.selected) + by if board.selected in keys else len(keys) - 1
            board.select(keys[min(len(keys) - 1, max(0, at))])

    def marked(self, episode: dict[str, Any]) -> tuple[int, int] | None:
        """(trial, turn) that is marked, else of the newest turn; None before the first."""
        played = [trial for trial in episode["trials"] if trial["turns"]]
        newest = (played[-1]["index"], played[-1]["turns"][-1]["index"]) if played else None
        return parse_turn_key(self.board.selected) or newest

    def follow(self) -> None:
        """Stay at the end from now on."""
        board = self.board
        board.select(None, reach=False)
        board.follows = True
        board.scroll_end(animate=False)
