"""Review: how far annotators agree, where they differ, and the final word (the page: `web/static/reviewpanel.js`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

from pydantic import JsonValue
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Resize
from textual.widgets import DataTable, Static

from data.types import LabelTarget
from retro_dash.tui.agreement import LABELS, choices_of, decision, label_of, numbers, people, said_words
from retro_dash.tui.board import Board
from retro_dash.tui.columns import columns_for, side_by_side
from retro_dash.tui.marks import marked
from retro_dash.tui.parts import WHOLE, Part
from retro_dash.tui.place import Table
from retro_dash.tui.queue import Item, item_of
from retro_dash.tui.reading import UNFOLD, Reading
from retro_dash.tui.statements import Statements
from retro_dash.tui.text import cell, one_line, plain, plural

NOBODY = "Where two people judge the same item, it shows here whether they agree. So far no two did."


class Found(NamedTuple):
    """Agreement on one label, and the judges against people."""

    agreement: dict[str, Any]
    judges: list[dict[str, Any]]


class ReviewScreen(Reading):
    """Lies over Curate: numbers, the disagreements, and the part that the chosen one is about."""

    TITLE_WORD = "Curate"
    RESTS_ON = "Table"
    HELP = "A decision is the final word; the same key again takes it back."
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(n), f"decide({n})", "Decide", show=n == 1, key_display="1-9") for n in range(1, 10)),
        Binding("right_square_bracket", "step(1)", "Disagreement", key_display="[/]"),
        Binding("left_square_bracket", "step(-1)", "Disagreement before", show=False),
        Binding("n", "name(1)", "Label", tooltip="Agreement on another label: step reward, first error, …"),
        Binding("N", "name(-1)", "Label before", show=False),
        Binding("J", "scroll(1)", "Scroll", key_display="J/K"),
        Binding("K", "scroll(-1)", "Scroll up", show=False),
        UNFOLD,
        Binding("u", "undo", "Undo"),
        Binding("escape,R,q", "back", "Back", key_display="esc"),
    ]

    def __init__(self, said: Statements, visit: Callable[[str, Part], None]) -> None:
        super().__init__()
        self.said, self.visit = said, visit
        self.name_at = 0
        self.found: Found | None = None
        self.item: Item | None = None

    def compose_middle(self) -> ComposeResult:
        yield Static("Counting …", id="numbers", markup=False)
        with Horizontal(id="review"):
            yield Table(id="disputes", opens=True)
            board = Board(id="item")
            board.follows = False
            yield board
        yield Static(id="decide", markup=False)

    def on_mount(self) -> None:
        self.rest()

    def arrive(self) -> None:
        self.load()

    def page(self) -> str:
        return "/curate"

    def lineage(self) -> Sequence[str]:
        return ("Curate", "Review", LABELS[self.name_at].replace("_", " "))

    def key_list(self) -> Sequence[BindingType]:
        digits, others = self.BINDINGS[0], self.BINDINGS[9:]
        assert isinstance(digits, Binding)
        words = "Decide: what stands under the text has its number; the same again takes it back"
        return [replace(digits, key="1-9", description=words), *others, *Table.BINDINGS]

    @property
    def disputes(self) -> list[dict[str, Any]]:
        """Those without a decision first."""
        found = self.found.agreement["disagreements"] if self.found else ()
        return sorted(found, key=lambda one: one["adjudicated"] is not None)

    @property
    def dispute(self) -> dict[str, Any] | None:
        chosen = self.query_one(Table).chosen
        return next((one for one in self.disputes if _key(one) == chosen), None)

    # Loading

    @work(exclusive=True, group="agreement")
    async def load(self, go_on: bool = False) -> None:
        """The numbers and the list; with `go_on` to the first one without a decision."""
        name = LABELS[self.name_at]
        await self.said.outbox.empty()
        with self.telling(with_loss=False):
            self.found = await self.dash.ask(lambda hub: Found(hub.agreement(name), hub.judges()))
            self.show_list()
            if go_on and self.disputes:
                self.query_one(Table).move_cursor(row=0)
            self.load_item()

    @on(DataTable.RowHighlighted)
    def row_highlighted(self) -> None:
        self.query_one(Board).scroll_home(animate=False)
        self.load_item()

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self.show)

    @work(exclusive=True, group="item")
    async def load_item(self) -> None:
        dispute = self.dispute
        if dispute is None:
            self.item = None
            self.show()
            return
        episode_id = str(dispute["target"]["episode_id"])
        with self.telling(with_loss=False):
            self.item = await self.dash.ask(lambda hub: item_of(hub, episode_id))
            self.said.open(episode_id, self.item.labels)
            self.show()

    # Showing

    def show_list(self) -> None:
        assert self.found is not None
        agreement, ink = self.found.agreement, self.dash.ink
        lines = [numbers(agreement, self.size.width), *people(self.found)]
        self.query_one("#numbers", Static).update(Content("\n").join(lines))
        self.set_empty(not self.disputes)
        width = max(20, (self.size.width if self.has_class("-narrow") else self.size.width // 2) - 40)
        columns = [("Part", 26), ("They say", width), ("Decided", 10)]
        name = agreement["name"]
        rows = (
            (
                _key(one),
                [
                    cell(_part(one).name),
                    cell(said_words(name, one["values"])),
                    cell(decision(name, one["adjudicated"]), ink("human")),
                ],
            )
            for one in self.disputes
        )
        with self.prevent(DataTable.RowHighlighted):
            self.query_one(Table).fill(columns, rows)
        self.show_where()

    def show(self) -> None:
        bar, board = self.query_one("#decide", Static), self.query_one(Board)
        dispute, item = self.dispute, self.item
        if self.found is None:
            return
        if dispute is None or item is None:
            words = "Nobody disagrees." if self.found.agreement["items"] else NOBODY
            bar.update(Content.styled("" if self.disputes else words, "$dim"))
            board.show([])
            return
        part, name = _part(dispute), self.found.agreement["name"]
        open_ = sum(one["adjudicated"] is None for one in self.disputes)
        keys = [
            Content.assemble((f"{n} ", "bold"), plain(decision(name, value), _style(dispute, value)))
            for n, value in enumerate(choices_of(name, dispute["values"]), 1)
        ]
        count = f"{plural(len(self.disputes), 'disagreement')}, {open_} without a decision"
        head = Content.assemble(("✎ ", "$human"), (part.name, "bold"), "  ", Content("  ").join(keys))
        task = plain(f"{count} · {one_line(item.episode['task']['instruction'])}", "$dim")
        bar.update(Content("\n").join([head, task.truncate(max(20, self.size.width - 4), ellipsis=True)]))
        trials = item.episode["trials"]
        columns = columns_for(item.episode, board.size.width, part.trial or (trials[-1]["index"] if trials else 0))
        rows = side_by_side(item.episode, item.alignment, columns, self.unfolded)
        board.show(marked(rows, self.said.ledger().standing(), self.said.annotator), [1] * max(1, len(columns)))
        board.select(None if part == WHOLE else part.key, reach=part != WHOLE)

    # Keys

    def action_decide(self, number: int) -> None:
        """The final word; the one that stands is taken back."""
        dispute = self.dispute
        if dispute is None or self.found is None or self.said.episode_id != dispute["target"]["episode_id"]:
            return
        name, part = self.found.agreement["name"], _part(dispute)
        choices = choices_of(name, dispute["values"])
        if number > len(choices):
            return
        value, key = choices[number - 1], label_of(name)
        is_back = dispute["adjudicated"] is not None and dispute["adjudicated"] == value
        given = self.said.ledger().value(part, "adjudication")
        final: dict[str, JsonValue] = dict(given) if isinstance(given, dict) else {}
        was = final.pop(key, None)
        if not is_back:
            final[key] = {**(was if isinstance(was, dict) else {}), name: value} if key == "quality" else value
        self.said.put(part, "adjudication", final)
        words = "decision taken back" if is_back else f"decided, {decision(name, value)}"
        self.dash.say(f"{part.name}: {words}")
        self.load(go_on=not is_back)

    def action_step(self, by: int) -> None:
        place = self.query_one(Table)
        place.move_cursor(row=place.cursor_row + by)

    def action_name(self, by: int) -> None:
        self.name_at = (self.name_at + by) % len(LABELS)
        self.load(go_on=True)

    def action_undo(self) -> None:
        request = self.said.step("undo")
        if request is None:
            self.dash.say("Nothing was said since this terminal was started.")
            return
        self.dash.say(f"Undone: {str(request['name']).replace('_', ' ')}")
        self.load()

    @on(DataTable.RowSelected)
    def row_selected(self) -> None:
        """Go and label it."""
        dispute = self.dispute
        if dispute is not None:
            self.dismiss()
            self.visit(str(dispute["target"]["episode_id"]), _part(dispute))

    def action_back(self) -> None:
        self.dismiss()


def _part(dispute: dict[str, Any]) -> Part:
    return Part.of(LabelTarget.model_validate(dispute["target"]))


def _key(dispute: dict[str, Any]) -> str:
    return f"{dispute['target']['episode_id']} {_part(dispute).key}"


def _style(dispute: dict[str, Any], value: JsonValue) -> str:
    return (
        "bold $human reverse" if dispute["adjudicated"] == value and dispute["adjudicated"] is not None else "$human"
    )
