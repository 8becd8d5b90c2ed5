"""Serving: the engine, who has the memory, and every adapter with where it came from and what it scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import DataTable, Static

from retro_dash.client import HubClient
from retro_dash.tui.adapterwords import best_score, card, engine_words, memory_words, served_adapters
from retro_dash.tui.draft import test_of
from retro_dash.tui.editor import Editor
from retro_dash.tui.place import Place, Table
from retro_dash.tui.runwords import MOST_RUNS
from retro_dash.tui.text import age, cell, one_line

REFRESH_SECONDS = 2.0
ROLES = {"planner": ("planner",), "reflector": ("reflector",), "both": ("planner", "reflector")}
EMPTY = "No adapters yet. A training run publishes one for each role: press 4, then n. Press i to import a folder."


class Seen(NamedTuple):
    """What the hub says of the engine, the machine and the adapters."""

    status: dict[str, Any]
    rows: list[dict[str, Any]]
    machine: dict[str, Any]
    runs: list[dict[str, Any]]
    planners: list[dict[str, Any]]


class ServingPlace(Place):
    """The engine above, its adapters below, the card of the chosen one under them."""

    TITLE_WORD = "Serving"
    HELP = "A loaded adapter can be chosen as planner or reflector on Play."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "load", "Load", tooltip="Load or unload the adapter; requests in flight finish"),
        Binding("d", "default", "Default", tooltip="Play starts with it in its role"),
        Binding("n", "test", "Test", tooltip="Test it on the same tasks, against the base"),
        Binding("i", "import", "Import", tooltip="Import an adapter from a folder of the hub's machine"),
        Binding("v", "episodes", "Episodes", tooltip="Its episodes"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.seen: Seen | None = None
        self.served: set[str] = set()
        self.defaults: dict[str, str] = {}
        """By role, the adapters that Play starts with."""

    def compose_middle(self) -> ComposeResult:
        with Vertical(id="serving"):
            yield Static(id="engine", markup=False)
            yield Static(id="memory", markup=False)
            yield Table(id="adapters")
            yield Static(id="card", markup=False)
        yield Editor()

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self.set_interval(REFRESH_SECONDS, self._refresh)

    def arrive(self) -> None:
        self.load()

    def page(self) -> str:
        name = self.query_one(Table).chosen if self.is_mounted else None
        return f"/serving?adapter={quote(name, safe='')}" if name else "/serving"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.row is not None if action in ("load", "default", "test", "episodes") else True

    @property
    def row(self) -> dict[str, Any] | None:
        """The chosen adapter, as in `retro_dash.adapters.AdapterRow`."""
        name = self.query_one(Table).chosen if self.is_mounted else None
        return next((row for row in self.seen.rows if row["adapter"]["name"] == name), None) if self.seen else None

    # Loading

    def _refresh(self) -> None:
        if self.is_current and not self.is_loading("adapters"):
            self.load()

    @work(exclusive=True, group="adapters")
    async def load(self) -> None:
        with self.telling(with_loss=False):
            self.seen = await self.dash.ask(_look)
            self.served = served_adapters(self.seen.status["engine"], self.seen.planners)
            self.show()

    @on(DataTable.RowHighlighted)
    def row_highlighted(self) -> None:
        self.show_card()

    # Showing

    def on_resize(self, event: Resize) -> None:
        self.show()

    def show(self) -> None:
        seen = self.seen
        if seen is None:
            return
        engine = seen.status["engine"]
        self.query_one("#engine", Static).update(engine_words(engine))
        self.query_one("#memory", Static).update(memory_words(engine, seen.machine, seen.runs))
        self.set_empty(not seen.rows)
        columns = [("Served", 11), ("Adapter", 34), ("Role", 10), ("Age", 6)]
        if not self.has_class("-narrow"):
            columns[3:3] = [("Base model", 26), ("Newest score", max(16, self.size.width - 102))]
        with self.prevent(DataTable.RowHighlighted):
            self.query_one(Table).fill(columns, ((row["adapter"]["name"], self._cells(row)) for row in seen.rows))
        self.show_card()

    def _cells(self, row: dict[str, Any]) -> list[Text]:
        adapter, ink = row["adapter"], self.dash.ink
        state, who = ("● served", "success") if adapter["name"] in self.served else ("○", "dim")
        if row["problem"]:
            state, who = "✕ cannot", "failure"
        role = adapter["role"]
        cells = [
            cell(state, ink(who)),
            cell(adapter["name"]),
            cell(role, ink(role if role in ("planner", "reflector") else "dim")),
        ]
        if not self.has_class("-narrow"):
            cells += [cell(adapter["base_model"]), cell(best_score(row))]
        return [*cells, cell(age(adapter["created_at"]), ink("dim"))]

    def show_card(self) -> None:
        place, row, seen = self.query_one("#card", Static), self.row, self.seen
        self.show_where()
        self.offer()
        if row is None or seen is None:
            place.update(Content.styled(EMPTY, "$dim"))
            return
        name = row["adapter"]["name"]
        summary = next((one["detail"] for one in seen.planners if one["name"] == name and row["is_bundled"]), "")
        place.update(card(row, summary, [role for role, one in self.defaults.items() if one == name]))

    def lineage(self) -> Sequence[str]:
        row = self.row
        return ("Serving", f"adapter {row['adapter']['name']}") if row else ("Serving",)

    # Keys

    @work(exclusive=True, group="act")
    async def action_load(self) -> None:
        """Load it, or unload it when it is served."""
        name = self.query_one(Table).chosen
        if name is None:
            return
        is_served = name in self.served
        self.tell(f"{'Unloading' if is_served else 'Loading'} {one_line(name)} …", "dim")
        with self.telling():
            await self.dash.ask(lambda hub: hub.unload_adapter(name) if is_served else hub.load_adapter(name))
            self.tell(f"✓ {one_line(name)} is {'no longer served' if is_served else 'served'}.", "success")
            self.load()

    def action_default(self) -> None:
        """Play starts with it; it stays so until this terminal is closed."""
        row = self.row
        if row is None:
            return
        name = row["adapter"]["name"]
        for role in ROLES[row["adapter"]["role"]]:
            self.defaults[role] = name
            self.dash.choose_agent(role, name)
        self.dash.say(f"✓ {one_line(name)} is the {' and '.join(ROLES[row['adapter']['role']])} on Play.")
        self.show_card()

    async def action_test(self) -> None:
        row = self.row
        if row is not None:
            await self.dash.draft(lambda hub: test_of(hub, row))

    async def action_import(self) -> None:
        title = "✎ Import a PEFT folder of the hub's machine. Ctrl+S copies it, Esc leaves it."
        fields = {"name": "", "role": "planner", "folder": ""}
        await self.query_one(Editor).edit("import", title, fields)

    @on(Editor.Sent)
    def import_sent(self, event: Editor.Sent) -> None:
        self.rest()
        self._import({name: one_line(text) for name, text in event.whole.items()})

    @work(exclusive=True, group="act")
    async def _import(self, given: dict[str, str]) -> None:
        self.tell("Copying …", "dim")
        with self.telling():
            adapter = await self.dash.ask(
                lambda hub: hub.import_adapter(given["folder"], given["name"], given["role"])
            )
            self.tell(f"✓ {one_line(adapter.name)} was imported.", "success")
            self.load()

    async def action_episodes(self) -> None:
        row = self.row
        if row is not None:
            role = "reflector" if row["adapter"]["role"] == "reflector" else "planner"
            await self.dash.show_episodes(f'{role}:"{row["adapter"]["name"]}"')


def _look(hub: HubClient) -> Seen:
    return Seen(hub.status(), hub.adapter_rows(), hub.machine(), hub.run_rows(MOST_RUNS), hub.policies()["planners"])
