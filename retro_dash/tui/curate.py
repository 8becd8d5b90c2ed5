"""Curate: one episode after the other, labelled part by part with the keys of the page, all of it undone at will.

A label is shown at once and sent behind; what is not stored yet is counted, kept, and sent again under the same id.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from typing import Any, Literal
from urllib.parse import urlencode

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from data.errors import BadInput, RetroDashError
from data.types import Label
from retro_dash.client import HubClient, HubLost
from retro_dash.tui.board import Board
from retro_dash.tui.columns import columns_for, episode_head, side_by_side
from retro_dash.tui.curatekeys import CURATE_KEYS, tag_keys, with_tags
from retro_dash.tui.editor import Editor
from retro_dash.tui.filter import FilterLine
from retro_dash.tui.labelbar import LabelBar, saved_state
from retro_dash.tui.labelling import Labelling
from retro_dash.tui.marks import marked
from retro_dash.tui.parts import WHOLE, Part, beside, next_of
from retro_dash.tui.queue import Item, Queue
from retro_dash.tui.statements import Statements, new_id

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
        else:
            self.read_labels()

    def key_list(self) -> Sequence[BindingType]:
        return with_tags(CURATE_KEYS, self.tags)

    def page(self) -> str:
        place = {"filter": self.queue.filter_text, "episode": self.said.episode_id}
        query = urlencode({name: value for name, value in place.items() if value})
        return f"/curate?{query}" if query else "/curate"

    def lineage(self) -> Sequence[str]:
        return ("Curate", self.queue.filter_text or "all episodes", f"annotator {self.said.annotator}")

    # Loading

    @work(exclusive=True, group="who")
    async def learn_who_and_tags(self) -> None:
        try:
            me, tags = await self.dash.ask(lambda hub: (hub.me(), hub.tags()))
        except RetroDashError as error:
            self.log.warning(str(error))
            return
        self.tags = tag_keys(tags)
        if not me["is_owner"]:
            self.said.annotator = str(me["name"])
        self.show()

    @work(exclusive=True, group="item")
    async def load(self, take: Callable[[HubClient], Item | None], part: Part = WHOLE, end: str = "") -> None:
        """Show the item that `take` gives, with a part marked; without one say `end`, or that nothing is left."""
        await self.said.outbox.empty()
        line = self.query_one(FilterLine)
        try:
            item = await self.dash.ask(take)
        except HubLost:
            return
        except BadInput as error:
            line.fail(str(error))
            return
        except RetroDashError as error:
            self.tell(error)
            return
        line.fail(None)
        self.tell("")
        if item is None and end:
            self.dash.say(end)
            return
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
        self.tell(f"Not stored: {error}")
        self.read_labels()

    # Undo

    def action_undo(self) -> None:
        self._step("undo")

    def action_redo(self) -> None:
        self._step("redo")

    @work(exclusive=True, group="step")
    async def _step(self, verb: Literal["undo", "redo"]) -> None:
        """A step of this session, else an older one that the hub knows; what it was about is shown."""
        request, annotator = self.said.step(verb), self.said.annotator
        if request is None:
            await self.said.outbox.empty()
            try:
                label = await self.dash.ask(lambda hub: hub.step_label(verb, annotator, new_id()))
            except RetroDashError as error:
                self.tell(error)
                return
            target, name = label.target.model_dump(), label.name
        else:
            target, name = dict(request["target"]), str(request["name"])  # type: ignore[arg-type]
        episode_id, part = str(target.pop("episode_id")), Part(**target)
        self.dash.say(
            f"{'Undone' if verb == 'undo' else 'Done again'}: {name.replace('_', ' ')}, {part.name.lower()}"
        )
        if episode_id == self.said.episode_id and request is not None:
            self.go_to(part)
        else:
            self.load(lambda hub: self.queue.visit(hub, episode_id), part)

    # Looking around

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
        self.queue = Queue(event.text)
        self.rest()
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
        ledger, bar = said.ledger(), self.query_one(LabelBar)
        bar.display = episode is not None
        bar.show(self.part, ledger, said.annotator, self.tags, state)
        head, board = self.query_one("#episode-head", Static), self.query_one(Board)
        if episode is None:
            head.update(Content.styled(self.queue.end_words(), "bold"))
            board.show([])
            return
        head.update(episode_head(episode))
        trials = [trial["index"] for trial in episode["trials"]]
        columns = columns_for(episode, self.size.width, self.part.trial or (trials[-1] if trials else 0))
        rows = side_by_side(episode, self.alignment, columns, self.unfolded)
        board.show(marked(rows, ledger.standing(), said.annotator), [1] * max(1, len(columns)))
