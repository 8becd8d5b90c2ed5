"""Blind votes: two reflections on failures of one task, nothing else; which advice is better? (`web/static/pairs.js`)

Votes are compared with what the reflections really gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from data.types import Label
from retro_dash.client import HubClient
from retro_dash.tui.board import Block, Board, Line, Row
from retro_dash.tui.parts import Part
from retro_dash.tui.reading import SCROLL, Reading
from retro_dash.tui.statements import Statements
from retro_dash.tui.text import clean, one_line, plain, plural

NONE = (
    "A pair is two different reflections on failures of the same task. Play a task twice and they stand here, "
    "without a name and without what came of them."
)


class Asked(NamedTuple):
    """A pair, every label of the first one's episode, and the votes so far."""

    pair: dict[str, Any] | None
    labels: list[Label]
    votes: dict[str, Any]


class VoteScreen(Reading):
    """Lies over Curate and asks about the episodes of its filter; a vote brings the next pair."""

    TITLE_WORD = "Curate"
    HELP = "Both look back on a failed trial of the same task. Which advice is better?"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1,left", "vote('this')", "A is better", key_display="1"),
        Binding("2,right", "vote('other')", "B is better", key_display="2"),
        Binding("3,0", "vote('tie')", "Equally good", key_display="3"),
        Binding("u", "undo", "Undo"),
        *SCROLL,
        Binding("escape,V,q", "back", "Back", key_display="esc"),
    ]

    def __init__(self, said: Statements, filter_text: str = "") -> None:
        super().__init__()
        self.said = said
        self.filter_text = filter_text
        self.asked: Asked | None = None

    def compose_middle(self) -> ComposeResult:
        yield Static("Looking for two reflections …", id="episode-head", markup=False)
        board = Board(id="pair", widths=(1, 1))
        board.follows = False
        yield board
        yield Static(id="score", markup=False)

    def on_mount(self) -> None:
        self.rest()

    def arrive(self) -> None:
        self.load()

    def page(self) -> str:
        return "/curate"

    def lineage(self) -> Sequence[str]:
        return ("Curate", "Blind votes on reflections", f"annotator {self.said.annotator}")

    @work(exclusive=True, group="pair")
    async def load(self) -> None:
        """The next pair: the hub chooses it by what it has stored."""
        await self.said.outbox.empty()
        annotator, filter_text = self.said.annotator, self.filter_text
        with self.telling(with_loss=False):
            self.asked = await self.dash.ask(lambda hub: _ask(hub, annotator, filter_text))
            if self.asked.pair is not None:
                self.said.open(self.asked.pair["this"]["episode_id"], self.asked.labels)
            self.show()

    def show(self) -> None:
        if self.asked is None:
            return
        pair, votes = self.asked.pair, self.asked.votes
        head, board = self.query_one("#episode-head", Static), self.query_one(Board)
        self.query_one("#score", Static).update(plain(votes_words(votes), "$dim"))
        if pair is None:
            head.update(Content.styled("✓ No pair is left." if votes["votes"] else "No two reflections.", "bold"))
            among = (
                f" Looked for among {self.filter_text}; without a filter there may be more."
                if self.filter_text
                else ""
            )
            board.show([[[Block("none", (Line(plain(NONE + among, "$dim")),))]]], (1,))
            return
        task = plain(one_line(pair["instruction"]), "bold")
        question = "Both look back on a failed trial of this task. Which advice is better?"
        head.update(Content("\n").join([task, Content.styled(question, "$dim")]))
        row: Row = [[_side("A", "1", pair["this"]["text"])], [_side("B", "2", pair["other"]["text"])]]
        board.show([row], (1, 1))

    def action_vote(self, winner: str) -> None:
        if self.asked is None or self.asked.pair is None:
            return
        one, other = self.asked.pair["this"], self.asked.pair["other"]
        self.asked = None  # A second press waits for the next pair.
        value = {"episode_id": other["episode_id"], "trial": other["trial"], "winner": winner}
        self.said.say(Part("reflection", one["trial"]), "preference", value)
        self.load()

    def action_undo(self) -> None:
        request = self.said.step("undo")
        if request is None:
            self.dash.say("Nothing was said since this terminal was started.")
            return
        self.dash.say(f"Undone: {str(request['name']).replace('_', ' ')}")
        self.load()

    def action_back(self) -> None:
        self.dismiss()


def votes_words(votes: dict[str, Any]) -> str:
    """How many, and how often they were for the reflection that really gained more."""
    words = f"{plural(votes['votes'], 'vote')} so far."
    if votes["comparable"]:
        share = f"{votes['for_higher_gain']} of {votes['comparable']}"
        words += f" Where the gains differed, {share} were for the reflection that gained more."
    return words


def _ask(hub: HubClient, annotator: str, filter_text: str) -> Asked:
    pair = hub.blind_pair(annotator, filter_text)
    labels = hub.labels(pair["this"]["episode_id"], history=True) if pair else []
    return Asked(pair, labels, hub.votes())


def _side(letter: str, key: str, text: str) -> Block:
    empty = Line(Content(""))
    head = Content.assemble((f"◆ {letter} ", "bold $reflector"), (f" key {key}", "$dim"))
    body = Line(Content.styled(clean(text).strip(), "bold"))
    return Block(f"side {letter}", (empty, Line(head), empty, body, empty), "$reflector", "$reflector-soft")
