"""Datasets: what a filter and the labels would train on, frozen into versions, compared, trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize
from textual.widgets import DataTable

from data.errors import RetroDashError
from data.types import DatasetVersion
from retro_dash.tui.board import Block, Board, Line
from retro_dash.tui.datasetwords import SHARE, card, difference, lint, request_of, suggested
from retro_dash.tui.draft import new_training
from retro_dash.tui.editor import Editor
from retro_dash.tui.place import Table
from retro_dash.tui.reading import Reading
from retro_dash.tui.statements import Statements
from retro_dash.tui.text import age, cell, one_line, plain

EMPTY = (
    "No version yet. A version is what a run trains on; its hash is that of its content. Press n to freeze what the "
    "queue's filter finds, with the labels as they stand now."
)


class DatasetsScreen(Reading):
    """Lies over Curate: the versions, newest first, and what the chosen one holds."""

    TITLE_WORD = "Curate"
    RESTS_ON = "Table"
    HELP = "A version is what a run trains on. What people discarded is left out."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "freeze", "Freeze", tooltip="The queue's filter with the labels as they stand now"),
        Binding("t", "train", "Train", tooltip="Train on the chosen version"),
        Binding("c", "compare", "Compare", tooltip="Press it on one version, then on the other"),
        Binding("v", "episodes", "Episodes", tooltip="What its filter finds now"),
        Binding("J", "scroll(1)", "Scroll", key_display="J/K"),
        Binding("K", "scroll(-1)", "Scroll up", show=False),
        Binding("escape,D,q", "back", "Back", key_display="esc"),
    ]

    def __init__(self, said: Statements, filter_text: str) -> None:
        super().__init__()
        self.said, self.filter_text = said, filter_text
        self.versions: list[DatasetVersion] = []
        self.words: list[Content] = [Content.styled("Loading …", "$dim")]
        self._asked: dict[str, Any] | None = None
        """What was looked at and can be frozen."""
        self._first = ""
        """The version that is compared with the next."""

    def compose_middle(self) -> ComposeResult:
        yield Table(id="versions")
        board = Board(id="dataset")
        board.follows = False
        yield board
        yield Editor()

    def on_mount(self) -> None:
        self.rest()

    def arrive(self) -> None:
        self.load()

    def page(self) -> str:
        return f"/curate?dataset={quote(self.chosen.hash) if self.chosen else ''}"

    def lineage(self) -> Sequence[str]:
        return ("Curate", "Datasets", *([one_line(self.chosen.name)] if self.chosen else []))

    def key_list(self) -> Sequence[BindingType]:
        return [*self.BINDINGS, *Table.BINDINGS[1:]]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.chosen is not None if action in ("train", "compare", "episodes") else True

    @property
    def chosen(self) -> DatasetVersion | None:
        hash_ = self.query_one(Table).chosen if self.is_mounted else None
        return next((one for one in self.versions if one.hash == hash_), None)

    # Loading

    @work(exclusive=True, group="versions")
    async def load(self, choose: str = "") -> None:
        with self.telling(with_loss=False):
            found = await self.dash.ask(lambda hub: hub.datasets())
            self.versions = sorted(found, key=lambda one: one.created_at, reverse=True)
            self.show_list()
            if choose in self.query_one(Table).rows:
                self.query_one(Table).move_cursor(row=self.query_one(Table).get_row_index(choose))
            self.load_card()

    @on(DataTable.RowHighlighted)
    def row_highlighted(self) -> None:
        self.load_card()

    @work(exclusive=True, group="card")
    async def load_card(self) -> None:
        chosen = self.chosen
        self.offer()
        if chosen is None:
            self._say_words([Content.styled(EMPTY, "$dim")])
            return
        self.show_where()
        with self.telling(with_loss=False):
            self._say_words(card(await self.dash.ask(lambda hub: hub.dataset(chosen.hash))))

    # Showing

    def show_list(self) -> None:
        is_narrow = self.has_class("-narrow")
        columns = [("Name", 40 if is_narrow else 60), ("Episodes", 8), ("Labels", 7), ("Hash", 10), ("Age", 6)]
        dim = self.dash.ink("dim")
        rows = (
            (
                one.hash,
                [
                    cell(("≠ " if one.hash == self._first else "") + one.name),
                    cell(f"{len(one.episode_ids):,}"),
                    cell(f"{len(one.label_ids):,}", self.dash.ink("human")),
                    cell(one.hash[:10], dim),
                    cell(age(one.created_at), dim),
                ],
            )
            for one in self.versions
        )
        with self.prevent(DataTable.RowHighlighted):
            self.query_one(Table).fill(columns, rows)

    def _say_words(self, words: list[Content]) -> None:
        self.words = words
        self.query_one(Board).scroll_home(animate=False)
        self.show()

    def show(self) -> None:
        self.query_one(Board).show([((Block("card", tuple(map(Line, self.words))),),)])
        self.show_where()

    def on_resize(self, event: Resize) -> None:
        self.show_list()

    # Keys

    @work(exclusive=True, group="freeze")
    async def action_freeze(self) -> None:
        self._asked = None
        with self.telling():
            known = ", ".join(await self.dash.ask(lambda hub: hub.evaluators()))
            self._say_words([plain(f"Evaluators, with commas between them, keep what passes all: {known}.", "$dim")])
            name = suggested(self.filter_text)
            await self._open({"filter": self.filter_text, "evaluators": "", SHARE: "0.1", "name": name})

    async def _open(self, fields: dict[str, str]) -> None:
        title = "✎ Freeze: Ctrl+S looks at it, Ctrl+S again freezes it, Esc leaves it."
        await self.query_one(Editor).edit("freeze", title, fields)

    @on(Editor.Sent)
    def editor_sent(self, event: Editor.Sent) -> None:
        self._freeze(event.whole)

    @on(Editor.Left)
    def freeze_left(self) -> None:
        self.tell("")
        self.load_card()

    @work(exclusive=True, group="freeze")
    async def _freeze(self, fields: dict[str, str]) -> None:
        """Look at what would be frozen; freeze it when nothing was changed since the look."""
        self.tell("Reading what would be frozen …", "dim")
        await self.said.outbox.empty()
        try:
            request = request_of(fields)
            if request != self._asked:
                report = await self.dash.ask(lambda hub: hub.check_dataset(request))
                self._asked = request if report["texts"] else None
                self._say_words([plain(f"Not frozen yet: {request['name']}", "bold"), *lint(report)])
                await self._open({**fields, "name": request["name"]})
                self.tell("Ctrl+S freezes it." if report["texts"] else "There is nothing to freeze.", "human")
                return
            version = await self.dash.ask(lambda hub: hub.freeze(request))
        except RetroDashError as error:
            await self._open(fields)
            self.tell(error)
            return
        self.tell(f"✓ Frozen as {version.hash[:10]}: {one_line(version.name)}.", "success")
        self.rest()
        self.load(version.hash)

    async def action_train(self) -> None:
        chosen = self.chosen
        if chosen is not None:
            self.dismiss()
            await self.dash.draft(lambda hub: new_training(hub, dataset=chosen.hash))

    async def action_compare(self) -> None:
        chosen, first = self.chosen, self._first
        if chosen is None:
            return
        self._first = "" if first else chosen.hash
        self.show_list()
        if not first:
            self.dash.say("Now press c on the version to compare it with.")
        elif first != chosen.hash:
            self._compare(first, chosen.hash)

    @work(exclusive=True, group="card")
    async def _compare(self, *hashes: str) -> None:
        old, new = sorted((one for one in self.versions if one.hash in hashes), key=lambda one: one.created_at)
        head = plain(f"From {one_line(old.name)} {old.hash[:10]} to {one_line(new.name)} {new.hash[:10]}", "bold")
        with self.telling():
            found = await self.dash.ask(lambda hub: hub.dataset_diff(old.hash, new.hash))
            self._say_words([head, *difference(found)])

    async def action_episodes(self) -> None:
        chosen = self.chosen
        if chosen is not None:
            self.dismiss()
            await self.dash.show_episodes(chosen.filter)

    def action_back(self) -> None:
        self.dismiss()
