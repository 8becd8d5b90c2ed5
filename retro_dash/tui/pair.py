"""Two episodes of one task beside each other, trial by trial (the page: `web/static/sidebyside.js`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from retro_dash.client import HubClient
from retro_dash.tui.board import Block, Board, Line, Row
from retro_dash.tui.columns import whole_episode
from retro_dash.tui.reading import SCROLL, UNFOLD, Reading
from retro_dash.tui.text import one_line, outcome, plain, player, sign
from retro_dash.tui.turns import opening, reflection_block, trial_head, turn_block


class PairScreen(Reading):
    """Lies over Results."""

    TITLE_WORD = "Results"
    HELP = "The same task, played by two methods."
    BINDINGS: ClassVar[list[BindingType]] = [
        *SCROLL,
        UNFOLD,
        Binding("b", "open(0)", "Open before", tooltip="The episode of the first method, on Episodes"),
        Binding("a", "open(1)", "Open after", tooltip="The episode of the other method, on Episodes"),
        Binding("escape,q", "back", "Back"),
    ]

    def __init__(self, run_id: str, before: str, after: str) -> None:
        super().__init__()
        self.run_id, self.ids = run_id, (before, after)
        self.episodes: list[dict[str, Any]] = []

    def compose_middle(self) -> ComposeResult:
        yield Static("Loading both episodes …", id="episode-head", markup=False)
        board = Board(id="pair", widths=(1, 1))
        board.follows = False
        yield board

    def on_mount(self) -> None:
        self.rest()

    def arrive(self) -> None:
        if not self.episodes:
            self.load()

    def page(self) -> str:
        return f"/results?{urlencode({'run': self.run_id, 'a': self.ids[0], 'b': self.ids[1]})}"

    def lineage(self) -> Sequence[str]:
        return ("Results", f"run {self.run_id}", *self.ids)

    @work(exclusive=True, group="pair")
    async def load(self) -> None:
        with self.telling(with_loss=False):
            self.episodes = await self.dash.ask(self._read)
            self.tell("")
            self.show()

    def _read(self, hub: HubClient) -> list[dict[str, Any]]:
        return [whole_episode(hub, one)[0] for one in self.ids]

    def show(self) -> None:
        if not self.episodes:
            return
        self.query_one("#episode-head", Static).update(
            plain(one_line(self.episodes[0]["task"]["instruction"]), "bold")
        )
        heads = [_head(word, episode) for word, episode in zip(("Before", "After"), self.episodes, strict=True)]
        count = max(len(episode["trials"]) for episode in self.episodes)
        trials = [
            [_trial(word, episode, at, self.unfolded) for word, episode in zip("ba", self.episodes, strict=True)]
            for at in range(count)
        ]
        rows: list[Row] = [[[head] for head in heads], *trials]
        self.query_one(Board).show(rows, (1, 1))

    def action_back(self) -> None:
        self.dismiss()

    async def action_open(self, side: int) -> None:
        await self.dash.open_episode(self.ids[side])


def _head(word: str, episode: dict[str, Any]) -> Block:
    who, mark, state = outcome(episode["trials"][-1]) if episode["trials"] else ("environment", "–", "no trial")
    players = [
        Content.assemble(sign(player(episode[role], role)), " ", one_line(episode[role]))
        for role in ("planner", "reflector")
    ]
    lines = [
        Line(Content.assemble((f"{word}: ", "bold"), (f"{mark} {state}", f"bold ${who}"))),
        Line(Content("  ").join(players)),
        Line(plain(episode["id"], "$dim")),
        Line(Content("")),
    ]
    return Block(f"{word} head", tuple(lines))


def _trial(side: str, episode: dict[str, Any], at: int, unfolded: bool) -> list[Block]:
    if at >= len(episode["trials"]):
        return []
    trial = episode["trials"][at]
    before = [0.0, *(turn["reward"] for turn in trial["turns"])]
    turns = [
        turn_block(trial["index"], turn, was, unfolded) for turn, was in zip(trial["turns"], before, strict=False)
    ]
    after = [one for one in episode["reflections"] if one["after_trial"] == trial["index"]]
    blocks = [
        trial_head(trial, len(trial["turns"])),
        *([opening(trial, unfolded)] if at == 0 else []),
        *turns,
        *(reflection_block(one, unfolded) for one in after),
        Block("gap", (Line(Content("")),)),
    ]
    return [block.__class__(f"{side} {block.key}", block.lines, block.bar, block.tint) for block in blocks]
