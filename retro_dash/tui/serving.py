"""Serving: what the engine is doing, and the adapters that it can serve by name."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from data.errors import RetroDashError
from data.types import Adapter
from retro_dash.client import HubLost
from retro_dash.tui.place import ENGINE, Place, Table
from retro_dash.tui.text import age, cell, number, one_line, plain

REFRESH_SECONDS = 2.0


class ServingPlace(Place):
    """The engine above, its adapters below."""

    TITLE_WORD = "Serving"
    HELP = "A loaded adapter can be chosen as planner or reflector on Play."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "load", "Load", tooltip="Let the engine serve the adapter by its name"),
        Binding("x", "unload", "Unload", tooltip="Stop serving it; requests in flight finish"),
        Binding("v", "episodes", "Its episodes"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.adapters: list[Adapter] = []
        self.served: set[str] = set()

    def compose_middle(self) -> ComposeResult:
        with Vertical(id="serving"):
            yield Static(id="engine", markup=False)
            yield Table(id="adapters")
            yield Static(id="adapter-count", markup=False)

    def on_mount(self) -> None:
        self.query_one(Table).focus()
        self.set_interval(REFRESH_SECONDS, self._refresh)

    def arrive(self) -> None:
        self.load()

    def page(self) -> str:
        return "/serving"

    def _refresh(self) -> None:
        if self.is_current and not self.is_loading("adapters"):
            self.load()

    @work(exclusive=True, group="adapters")
    async def load(self) -> None:
        try:
            self.adapters = await self.dash.ask(lambda hub: hub.adapters())
            policies = await self.dash.ask(lambda hub: hub.policies())
        except HubLost:
            return
        except RetroDashError as error:
            self.tell(error)
            return
        self.served = {one["name"] for one in policies["planners"] if one.get("available", True)}
        self.show()

    def show(self) -> None:
        engine = self.dash.status.get("engine")
        if engine:
            self.query_one("#engine", Static).update(engine_words(engine))
        columns = [("Served", 9), ("Adapter", 34), ("Role", 10), ("Base model", 26), ("Scores", 30), ("Age", 6)]
        if self.has_class("-narrow"):
            columns = [("Served", 9), ("Adapter", 34), ("Role", 10), ("Age", 6)]
        self.query_one(Table).fill(columns, ((one.name, self._cells(one)) for one in self.adapters))
        words = (
            f"{len(self.adapters)} published" if self.adapters else "No adapter yet: a training run publishes them."
        )
        self.query_one("#adapter-count", Static).update(words)

    def _cells(self, adapter: Adapter) -> list[Text]:
        ink = self.dash.ink
        on = adapter.name in self.served
        scores = "  ".join(f"{name} {number(value)}" for name, value in adapter.scores.items())
        cells = [
            cell("● served" if on else "○", ink("success" if on else "dim")),
            cell(adapter.name),
            cell(adapter.role, ink(adapter.role if adapter.role in ("planner", "reflector") else "dim")),
        ]
        if not self.has_class("-narrow"):
            cells += [cell(adapter.base_model), cell(scores)]
        return [*cells, cell(age(adapter.created_at), ink("dim"))]

    @work(exclusive=True, group="act")
    async def action_load(self) -> None:
        await self._act("load")

    @work(exclusive=True, group="act")
    async def action_unload(self) -> None:
        await self._act("unload")

    async def _act(self, verb: str) -> None:
        name = self.query_one(Table).chosen
        if name is None:
            return
        self.tell(f"{verb.capitalize()}ing {one_line(name)} …", "dim")
        try:
            if verb == "load":
                await self.dash.ask(lambda hub: hub.load_adapter(name))
            else:
                await self.dash.ask(lambda hub: hub.unload_adapter(name))
        except RetroDashError as error:
            self.tell(error)
            return
        self.tell(f"✓ {one_line(name)} is {'served' if verb == 'load' else 'no longer served'}.", "success")
        self.load()

    async def action_episodes(self) -> None:
        name = self.query_one(Table).chosen
        if name is not None:
            await self.dash.show_episodes(f'planner:"{name}"')


def engine_words(engine: dict[str, Any]) -> Content:
    """State, model, address and load."""
    who, mark = ENGINE.get(engine["state"], ("dim", "○"))
    lines = [
        Content.assemble(
            (f"{mark} {one_line(engine['state'])}", f"bold ${who}"),
            "  ",
            plain(one_line(engine["model"] or "no model"), "bold"),
        )
    ]
    for name in ("detail", "url"):
        if engine.get(name):
            lines.append(plain(one_line(engine[name]), "$dim"))
    load = engine.get("load") or {}
    figures = [
        f"{one_line(name).replace('_', ' ')} {_figure(value)}" for name, value in load.items() if value is not None
    ]
    if figures:
        lines.append(Content(" · ".join(figures)))
    return Content("\n").join(lines)


def _figure(value: object) -> str:
    return f"{value:,.6g}" if isinstance(value, int | float) else one_line(value)
