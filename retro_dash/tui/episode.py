"""One episode: its trials as columns, aligned by what was done, with the reflections and their gain between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from retro_dash.tui.board import Block, Board, Line
from retro_dash.tui.columns import columns_for, episode_head, side_by_side, whole_episode
from retro_dash.tui.reading import SCROLL, UNFOLD, Reading
from retro_dash.tui.turns import parse_turn_key, turn_key
from retro_dash.tui.world import hanging
from retro_dash.tui.worlds import world

if TYPE_CHECKING:
    from retro_dash.tui.episodes import EpisodesPlace

WORLD_WIDTH = 38
"""Cells of the panel, as in `app.tcss`."""
NO_VIEW = "The environment showed nothing beside this turn."


class EpisodeScreen(Reading):
    """Lies over the table of episodes."""

    TITLE_WORD = "Episodes"
    HELP = "Trials side by side; what stands in one row was done at the same point."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l,right", "turn(1)", "Turn", key_display="h/l"),
        Binding("h,left", "turn(-1)", "Previous turn", show=False),
        *SCROLL,
        Binding("L", "episode(1)", "Episode", key_display="H/L"),
        Binding("H", "episode(-1)", "Previous episode", show=False),
        Binding("tab", "trial(1)", "Trial", key_display="tab"),
        Binding("shift+tab", "trial(-1)", "Previous trial", show=False),
        Binding("D", "divergence", "First difference", show=False),
        Binding("w", "world", "World", tooltip="What the environment showed after the marked turn", show=False),
        UNFOLD,
        Binding("y", "copy", "Copy"),
        Binding("W", "write", "Write Markdown to a file", show=False),
        Binding("v", "replay", "Is this trace reproducible?", show=False),
        Binding("F", "fork", "Fork", tooltip="A new live episode that leaves this one before the marked turn"),
        Binding("escape,q", "back", "Back"),
    ]

    def __init__(self, episode_id: str, table: EpisodesPlace) -> None:
        super().__init__()
        self.episode_id, self.table = episode_id, table
        self.episode: dict[str, Any] | None = None
        self.alignment: dict[str, Any] = {}
        self.focus_turn = (0, 0)
        """Trial and turn that the keys move."""

    def compose_middle(self) -> ComposeResult:
        yield Static(id="episode-head", markup=False)
        with Horizontal(id="trials-and-world"):
            for name in ("trials", "beside"):
                board = Board(id=name)
                board.follows = False
                yield board

    def on_mount(self) -> None:
        self.rest()

    def arrive(self) -> None:
        if self.episode is None or self.episode["id"] != self.episode_id or self.episode["state"] == "running":
            self.load()

    def page(self) -> str:
        trial, turn = self.focus_turn
        place = {"episode": self.episode_id, **({"trial": trial, "turn": turn} if turn else {})}
        return f"/episodes?{urlencode(place)}"

    def lineage(self) -> Sequence[str]:
        episode = self.episode
        if episode is None:
            return ("All episodes", self.episode_id)
        fork = f"fork of {episode['parent_id']} before turn {episode['fork_turn']} of trial {episode['fork_trial']}"
        parts = (
            "All episodes",
            episode["task"]["env"],
            episode["task"]["id"],
            fork if episode.get("parent_id") else "",
        )
        return [part for part in (*parts, f"run {episode['run_id']}") if part]

    # Loading

    @work(exclusive=True, group="episode")
    async def load(self) -> None:
        episode_id = self.episode_id
        with self.telling(with_loss=False):
            episode, self.alignment = await self.dash.ask(lambda hub: whole_episode(hub, episode_id))
            self.episode = episode
            if self.focus_turn == (0, 0) and episode["trials"]:
                self.focus_turn = (episode["trials"][-1]["index"], 0)
            self.tell("")
            self.show()

    def show(self) -> None:
        episode = self.episode
        if episode is None:
            return
        self.query_one("#episode-head", Static).update(episode_head(episode))
        columns = self._columns()
        rows = side_by_side(episode, self.alignment, columns, self.unfolded)
        self.query_one("#trials", Board).show(rows, [1] * max(1, len(columns)))
        self._show_world(episode)
        self.show_where()

    def _show_world(self, episode: dict[str, Any]) -> None:
        """As it was after the marked turn, or before the first."""
        index, turn = self.focus_turn
        trial: dict[str, Any] = next((one for one in episode["trials"] if one["index"] == index), {"turns": []})
        views = [one.get("view") for one in (trial, *trial["turns"])]
        view = views[turn] if turn < len(views) else None
        shown = world(episode["task"]["env"], view) if view else Content.styled(NO_VIEW, "$dim")
        where = f"World after turn {turn} of trial {index}" if turn else f"World before trial {index}"
        lines = (Line(Content.styled(where, "bold")), Line(Content("")), *hanging(shown))
        self.query_one("#beside", Board).show([((Block("beside", lines),),)])

    def _columns(self) -> list[int]:
        room = self.size.width - (WORLD_WIDTH if self.has_class("with-world") else 0)
        return columns_for(self.episode, room, self.focus_turn[0]) if self.episode else []

    # Keys

    def on_resize(self, event: Resize) -> None:
        self.show()

    def action_back(self) -> None:
        self.dismiss()

    def action_turn(self, by: int) -> None:
        trial, turn = self.focus_turn
        self.go_to(trial, max(1, turn + by))

    def action_trial(self, by: int) -> None:
        indices = [trial["index"] for trial in self.episode["trials"]] if self.episode else []
        if indices:
            at = indices.index(self.focus_turn[0]) if self.focus_turn[0] in indices else 0
            self.go_to(indices[(at + by) % len(indices)], max(1, self.focus_turn[1]))

    def action_world(self) -> None:
        self.toggle_class("with-world")
        self.call_after_refresh(self.show)

    def action_divergence(self) -> None:
        """To the first turn of the marked trial (or of any) that is not as in the trial before."""
        found = [one for one in self.alignment.get("divergences", []) if one["turn"] is not None]
        mine = [one for one in found if one["trial"] == self.focus_turn[0]] or found
        if mine:
            self.go_to(mine[0]["trial"], mine[0]["turn"])
        else:
            self.dash.say("No trial differs from the one before.")

    def go_to(self, trial: int, turn: int) -> None:
        """Mark a turn and bring it into sight; a turn after the last one is the last one."""
        found = next((one for one in self.episode["trials"] if one["index"] == trial), None) if self.episode else None
        if found is None or not found["turns"]:
            return
        columns = self._columns()
        self.focus_turn = (trial, min(turn, len(found["turns"])))
        if columns != self._columns():
            self.show()
        self.query_one("#trials", Board).select(turn_key(*self.focus_turn))
        if self.episode:
            self._show_world(self.episode)
        self.show_where()

    @on(Board.Chosen)
    def block_chosen(self, event: Board.Chosen) -> None:
        turn = parse_turn_key(event.key)
        if turn is not None:
            self.go_to(*turn)

    def action_episode(self, by: int) -> None:
        other = self.table.neighbour(self.episode_id, by)
        if other is None:
            self.dash.say(f"This is the {'last' if by > 0 else 'first'} episode of the table.")
            return
        self.episode_id, self.focus_turn = other, (0, 0)
        board = self.query_one(Board)
        board.select(None, reach=False)
        board.scroll_home(animate=False)
        self.load()

    @work(exclusive=True, group="act")
    async def action_copy(self) -> None:
        """As Markdown into the clipboard, by the terminal's OSC 52."""
        text = await self._markdown()
        if text is not None:
            self.app.copy_to_clipboard(text)
            self.dash.say("✓ Copied as Markdown (where the terminal allows OSC 52; W writes a file instead).")

    @work(exclusive=True, group="act")
    async def action_write(self) -> None:
        text = await self._markdown()
        if text is not None:
            self.write(f"{self.episode_id}.md", text)

    async def _markdown(self) -> str | None:
        episode_id = self.episode_id
        with self.telling():
            return await self.dash.ask(lambda hub: hub.markdown(episode_id))
        return None

    @work(exclusive=True, group="act")
    async def action_replay(self) -> None:
        episode_id = self.episode_id
        self.tell("Playing the recorded actions again …", "dim")
        with self.telling():
            self.tell(*_replay_words(await self.dash.ask(lambda hub: hub.replay(episode_id))))

    @work(exclusive=True, group="act")
    async def action_fork(self) -> None:
        trial, turn = self.focus_turn
        if not turn:
            self.dash.say("Mark the turn to leave before with h and l first.")
            return
        episode_id = self.episode_id
        with self.telling():
            state = await self.dash.ask(lambda hub: hub.press(episode_id, "fork", {"trial": trial, "turn": turn}))
            await self.dash.play(str(state["episode_id"]))


def _replay_words(report: dict[str, Any]) -> tuple[str, str]:
    """What the replay found, and whose colour says it."""
    if report["is_reproducible"]:
        return f"✓ Reproducible. {report['summary']}", "success"
    return f"✕ Not reproducible. {report['summary']}", "failure"
