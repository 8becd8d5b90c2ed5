"""Curate: one episode after the other, labelled part by part with the keys of the page, all of it undone at will.

A label is shown at once and sent behind; what is not stored yet is counted, kept, and sent again under the same id.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.events import Resize
from textual.widgets import Input, Static

from data.errors import RetroDashError
from data.types import Label
from retro_dash.client import HubClient
from retro_dash.tui.blind import blinded
from retro_dash.tui.board import Board
from retro_dash.tui.columns import columns_for, episode_head, side_by_side
from retro_dash.tui.curatekeys import CURATE_KEYS, with_tags
from retro_dash.tui.datasets import DatasetsScreen
from retro_dash.tui.editor import Editor
from retro_dash.tui.filter import FilterLine
from retro_dash.tui.importer import ImportScreen
from retro_dash.tui.labelbar import LabelBar, saved_state
from retro_dash.tui.labelling import Labelling
from retro_dash.tui.marks import marked
from retro_dash.tui.parts import WHOLE, Part, beside, next_of
from retro_dash.tui.place import Place
from retro_dash.tui.queue import ORDERS, Item, Queue
from retro_dash.tui.review import ReviewScreen
from retro_dash.tui.statements import Statements
from retro_dash.tui.votes import VoteScreen

LOOK_SECONDS = 1.0


class CuratePlace(Labelling):
    """The next episode of the annotator's queue, full width, with what is said of it under it."""

    TITLE_WORD = "Curate"
    HELP = "A verdict on the whole episode brings the next one. Nothing is overwritten: undo takes back, on any item."
    BINDINGS = CURATE_KEYS

    def __init__(self) -> None:
        super().__init__()
        self.alignment: dict[str, Any] = {}
        self.queue = Queue()
        self.is_blind = False
        self.said = Statements(getpass.getuser(), self._ask, self.show, self._refused)

    def compose_middle(self) -> ComposeResult:
        yield FilterLine()
        yield Static(id="episode-head", markup=False)
        board = Board(id="item")
        board.follows = False
        yield board
        yield Editor()
        yield LabelBar()

    def on_mount(self) -> None:
        self.rest()
        self.run_worker(self.said.outbox.run(), group="send")
        self.set_interval(LOOK_SECONDS, self._look)

    def arrive(self) -> None:
        self.query_one(FilterLine).learn()
        self.learn_who_and_tags()
        if self.episode is None:
            self.action_next()
        elif self.said.episode_id != self.episode["id"]:  # Something was said of another one, over this place.
            self.visit(self.episode["id"], self.part)
        else:
            self.read_labels()

    def key_list(self) -> Sequence[BindingType]:
        return with_tags(CURATE_KEYS, self.tags)

    def page(self) -> str:
        order = "" if self.queue.order == "shuffle" else self.queue.order
        place = {"filter": self.queue.filter_text, "order": order, "episode": self.said.episode_id}
        query = urlencode({name: value for name, value in place.items() if value})
        return f"/curate?{query}" if query else "/curate"

    def lineage(self) -> Sequence[str]:
        queue = self.queue
        words = [f"annotator {self.said.annotator}", ORDERS[queue.order], "blind" if self.is_blind else ""]
        return [part for part in ("Curate", queue.filter_text or "all episodes", *words) if part]

    # Loading

    @work(exclusive=True, group="item")
    async def load(self, take: Callable[[HubClient], Item | None], part: Part = WHOLE, end: str = "") -> None:
        """Show the item that `take` gives, with a part marked; without one say `end`, or that nothing is left."""
        await self.said.outbox.empty()
        with self.telling(with_loss=False), self.query_one(FilterLine).marking():
            item = await self.dash.ask(take)
            self.tell("")
            if item is None and end:
                self.dash.say(end)
            else:
                self._take(item, part)

    def _take(self, item: Item | None, part: Part) -> None:
        self.episode, self.alignment = (item.episode, item.alignment) if item else (None, {})
        self.said.open(item.episode["id"] if item else "", item.labels if item else [])
        self.part = WHOLE
        board = self.query_one(Board)
        board.select(None, reach=False)
        board.scroll_home(animate=False)
        self.go_to(part)

    def _look(self) -> None:
        """What is said on another screen is shown here too."""
        if self.is_current and not self.is_loading("labels"):
            self.read_labels()

    @work(exclusive=True, group="labels")
    async def read_labels(self) -> None:
        said, episode_id = self.said, self.said.episode_id
        if not episode_id or said.outbox:
            return
        try:
            labels = await self.dash.ask(lambda hub: hub.labels(episode_id, history=True))
        except RetroDashError as error:
            self.log.warning(str(error))
            return
        if said.episode_id == episode_id and not said.outbox and labels != said.history:
            said.open(episode_id, labels)
            self.show()

    async def _ask(self, question: Callable[[HubClient], list[Label]]) -> list[Label]:
        return await self.dash.ask(question)

    def _refused(self, error: RetroDashError) -> None:
        for place in {self, self.dash.screen}:
            if isinstance(place, Place):
                place.tell(f"Not stored: {error}")
        self.read_labels()

    # Looking around

    def visit(self, episode_id: str, part: Part = WHOLE) -> None:
        self.load(lambda hub: self.queue.visit(hub, episode_id), part)

    def action_votes(self) -> None:
        self.app.push_screen(VoteScreen(self.said, self.queue.filter_text))

    def action_review(self) -> None:
        self.app.push_screen(ReviewScreen(self.said, self.visit))

    def action_datasets(self) -> None:
        self.app.push_screen(DatasetsScreen(self.said, self.queue.filter_text))

    def action_import(self) -> None:
        self.app.push_screen(ImportScreen(self._begin))

    def action_blind(self) -> None:
        self.is_blind = not self.is_blind
        words = "outcomes are hidden until you have judged the reflection" if self.is_blind else "outcomes are shown"
        self.dash.say(f"Blind is {'on' if self.is_blind else 'off'}: {words}.")
        self.show()

    def action_order(self) -> None:
        orders = list(ORDERS)
        order = orders[(orders.index(self.queue.order) + 1) % len(orders)]
        self.queue = Queue(self.queue.filter_text, order)
        self.dash.say(f"The queue is {ORDERS[order]}.")
        self.action_next()

    def action_next(self) -> None:
        annotator = self.said.annotator
        self.load(lambda hub: self.queue.next(hub, annotator))

    def action_back(self) -> None:
        self.load(self.queue.back, end="This is the first item of this sitting.")

    def action_part(self, by: int) -> None:
        self.go_to(beside(self.parts(), self.part, by))

    def action_jump(self, kind: str, by: int) -> None:
        """To the next part of a kind; of reflections to the first again after the last."""
        self.go_to(next_of(self.parts(), self.part, kind, by))

    def action_whole(self) -> None:
        self.go_to(WHOLE)

    def action_auto(self) -> None:
        self.is_auto = not self.is_auto
        self.dash.say(f"Auto-advance is {'on' if self.is_auto else 'off'}.")

    def go_to(self, part: Part) -> None:
        """Mark a part and bring it into sight; one that is not there is the whole episode."""
        self.part = part if part in self.parts() else WHOLE
        self.show()
        board = self.query_one(Board)
        board.select(None if self.part == WHOLE else self.part.key, reach=self.part != WHOLE)
        if self.part == WHOLE:
            board.scroll_home(animate=False)

    @on(Board.Chosen)
    def block_chosen(self, event: Board.Chosen) -> None:
        self.go_to(next((part for part in self.parts() if part.key == event.key), self.part))

    @on(FilterLine.Sent)
    def filter_sent(self, event: FilterLine.Sent) -> None:
        self.rest()
        self._begin(event.text)

    def _begin(self, filter_text: str) -> None:
        """The queue of another filter, from its first item."""
        self.query_one("#filter", Input).value = filter_text
        self.queue = Queue(filter_text, self.queue.order)
        self.action_next()

    # Showing

    def on_resize(self, event: Resize) -> None:
        self.show()

    def show(self) -> None:
        if not self.is_mounted:
            return
        self.show_where()
        said, episode = self.said, self.episode
        state = saved_state(self.queue.progress, len(said.outbox), self.dash.is_lost)
        ledger, bar = said.ledger(only_mine=self.is_blind), self.query_one(LabelBar)
        bar.display = episode is not None
        bar.show(self.part, ledger, said.annotator, self.tags, state)
        head, board = self.query_one("#episode-head", Static), self.query_one(Board)
        if episode is None:
            head.update(Content.styled(self.queue.end_words(), "bold"))
            board.show([])
            return
        episode = blinded(episode, ledger) if self.is_blind else episode
        head.update(episode_head(episode))
        trials = [trial["index"] for trial in episode["trials"]]
        columns = columns_for(episode, self.size.width, self.part.trial or (trials[-1] if trials else 0))
        rows = side_by_side(episode, self.alignment, columns, self.unfolded)
        board.show(marked(rows, ledger.standing(), said.annotator), [1] * max(1, len(columns)))
