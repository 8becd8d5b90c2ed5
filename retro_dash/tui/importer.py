"""Import: a file or folder is sent, what is understood of it is shown, then it is stored if somebody says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType

from data.errors import RetroDashError
from retro_dash.client import HubClient
from retro_dash.tui.board import Block, Board, Line
from retro_dash.tui.editor import Editor
from retro_dash.tui.importwords import fresh_of, intro, preview_lines, progress_lines, result_lines
from retro_dash.tui.reading import SCROLL, Reading
from retro_dash.tui.text import one_line, plural

LOOK_SECONDS = 0.3
TITLE = "✎ Import files: a path, such as ~/logs. Enter reads it, Esc leaves it."


class ImportScreen(Reading):
    """Lies over Curate: the field for a path, the preview, the progress, the result."""

    TITLE_WORD = "Curate"
    HELP = "Nothing is stored before you have seen what is understood. Importing again adds only what is new."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "go", "Import", tooltip="Store what was understood; when it is done, label it"),
        Binding("v", "episodes", "Episodes", tooltip="See what was imported on Episodes"),
        Binding("I,n", "choose", "Another file", key_display="I"),
        *SCROLL,
        Binding("escape,q", "back", "Back", key_display="esc", tooltip="Gives up what was not imported"),
    ]

    def __init__(self, label: Callable[[str], None]) -> None:
        """`label(filter)` begins the queue of what was imported."""
        super().__init__()
        self._label = label
        self.state: dict[str, Any] | None = None
        """What was sent, as in `retro_dash.uploads.ImportState`."""
        self.found = ""
        """The filter of what was imported."""
        self._lines: list[Line] = []
        self._fields = {"format": "", "path": ""}

    def compose_middle(self) -> Any:
        board = Board(id="import")
        board.follows = False
        yield board
        yield Editor()

    def on_mount(self) -> None:
        self.action_choose()

    def arrive(self) -> None:
        if self.state is not None and self.state["state"] == "importing":
            self._follow()  # The hub is back.

    def page(self) -> str:
        return "/curate"

    def lineage(self) -> Sequence[str]:
        file = one_line(self.state["preview"]["file"]) if self.state else ""
        return [part for part in ("Curate", "Import files", file) if part]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        now = self.state["state"] if self.state else ""
        match action:
            case "go":
                return bool(self.found) or (now == "ready" and self._fresh > 0)
            case "episodes":
                return bool(self.found)
            case "choose":
                return now != "importing" and not self.is_loading("look")
        return True

    @property
    def _fresh(self) -> int:
        return fresh_of(self.state["preview"]) if self.state else 0

    def show(self) -> None:
        self.query_one(Board).show([((Block("import", tuple(self._lines)),),)])
        self.show_where()
        self.offer()

    def _say_lines(self, lines: list[Line]) -> None:
        self._lines = lines
        self.query_one(Board).scroll_home(animate=False)
        self.show()

    # Choosing and looking

    @work(exclusive=True, group="choose")
    async def action_choose(self) -> None:
        self._give_up()
        with self.telling():
            formats = await self.dash.ask(lambda hub: hub.import_formats())
            self.tell("")
            self._say_lines(intro(formats))
        await self.query_one(Editor).edit("import", TITLE, self._fields)

    @on(Editor.Left)
    def left(self) -> None:
        if self.state is None:
            self.dismiss()

    @on(Editor.Sent)
    def editor_sent(self, event: Editor.Sent) -> None:
        self.rest()
        self._fields = event.whole
        self._look(event.whole["path"], one_line(event.whole["format"]))

    @work(exclusive=True, group="look")
    async def _look(self, typed: str, format_: str) -> None:
        path = path_of(typed)
        if path is None:
            self.tell("Which file or folder? Type its path.", "human")
            await self.query_one(Editor).edit("import", TITLE, self._fields)
            return
        self.tell(f"Reading {one_line(path.name)} …", "dim")
        try:
            self.state = await self.dash.ask(lambda hub: self._send(hub, path, format_))
        except RetroDashError as error:
            await self.query_one(Editor).edit("import", TITLE, self._fields)
            self.tell(error)
            return
        fresh = plural(self._fresh, "episode")
        self.tell(f"Enter imports {fresh}, Esc gives it up." if self._fresh else "Nothing new to import.", "human")
        self._say_lines(preview_lines(self.state["preview"]))

    def _send(self, hub: HubClient, path: Path, format_: str) -> dict[str, Any]:
        state = hub.upload(path, format_)
        if not self.is_attached:  # Somebody left while it was sent.
            hub.forget_import(state["id"])
        return state

    def _give_up(self) -> None:
        """Let the hub delete what it was sent and not told to import."""
        state, self.state, self.found = self.state, None, ""
        if state is not None and state["state"] == "ready":
            self.dash.run_worker(self._forget(str(state["id"])), group="forget")

    async def _forget(self, id_: str) -> None:
        with suppress(RetroDashError):  # The hub forgets it by itself after an hour.
            await self.dash.ask(lambda hub: hub.forget_import(id_))

    # Importing

    def action_go(self) -> None:
        """Import what was understood; after that, label it."""
        if self.state is None:
            return
        if self.found:
            self.dismiss()
            self._label(self.found)
        elif self.state["state"] == "ready":
            self.state = {**self.state, "state": "importing"}
            self.tell("")
            self._say_lines(progress_lines(self.state))
            self._follow(start=True)

    @work(exclusive=True, group="follow")
    async def _follow(self, start: bool = False) -> None:
        state = self.state
        assert state is not None
        id_ = str(state["id"])
        with self.telling():
            now = await self.dash.ask(lambda hub: hub.start_import(id_) if start else hub.import_state(id_))
            while now["state"] == "importing":
                self._say_lines(progress_lines(now))
                await asyncio.sleep(LOOK_SECONDS)
                now = await self.dash.ask(lambda hub: hub.import_state(id_))
            self.state = now
            if now["state"] == "failed":
                self._say_lines([])
                self.tell(now["error"])
                return
            await self._end(now["result"])

    async def _end(self, result: dict[str, Any]) -> None:
        """Episodes of other programs belong to the import's run; ours keep the run that made them."""
        filter_text = f"run:{result['run_id']}" if result["run_id"] else ""
        if filter_text:
            page = await self.dash.ask(lambda hub: hub.episodes(filter_text, limit=1))
            self.found = filter_text if page.total else ""
        self._say_lines(result_lines(result, self.found))
        self.tell(
            "Enter labels them, v shows them on Episodes." if self.found else "Esc goes back to the queue.", "human"
        )

    # Leaving

    async def action_episodes(self) -> None:
        if self.found:
            self.dismiss()
            await self.dash.show_episodes(self.found)

    def action_back(self) -> None:
        if self.state is not None and self.state["state"] == "importing":
            self.dash.say("The import goes on; its episodes come into the queue.")
        self._give_up()
        self.dismiss()


def path_of(typed: str) -> Path | None:
    """The path that somebody typed, or dropped into the terminal in quotes; None where there is none."""
    words = typed.strip()
    if len(words) > 1 and words[0] == words[-1] and words[0] in "'\"":
        words = words[1:-1]
    if not words:
        return None
    try:
        return Path(words).expanduser()
    except RuntimeError:  # A user that does not exist, as in ~nobody/logs.
        return Path(words)
