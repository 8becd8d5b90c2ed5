"""Play: choose a task, step an agent, watch it fail, reflect and try again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.reactive import reactive

from retro_dash.tui.board import Board
from retro_dash.tui.editor import Editor
from retro_dash.tui.playkeys import PLAY_KEYS
from retro_dash.tui.pressing import Pressing
from retro_dash.tui.setup import Setup
from retro_dash.tui.stagebox import StageBox
from retro_dash.tui.world import World


class PlayPlace(Pressing):
    """One live episode at a time."""

    TITLE_WORD = "Play"
    RESTS_ON = "#trials"
    HELP = "Step an agent; the reflection between two trials is what it learned."
    BINDINGS = PLAY_KEYS

    panel: reactive[str] = reactive("setup", init=False)

    def compose_middle(self) -> ComposeResult:
        with Horizontal(id="play"):
            yield Setup()
            yield StageBox()
            yield World()

    def on_mount(self) -> None:
        self.rest()
        self.watch_panel()
        self.show()

    def arrive(self) -> None:
        self.query_one(Setup).load()
        if self.live is not None and self.live.is_lost:
            self.attach(self.live.state["episode_id"])

    def page(self) -> str:
        return f"/?episode={quote(self.state['episode_id'])}" if self.state else "/"

    def lineage(self) -> Sequence[str]:
        episode = self.state["episode"] if self.state else None
        task = episode["task"] if episode else self.query_one(Setup).picked
        if not task:
            return ("Play",)
        fork = f"fork of {episode['parent_id']}" if episode and episode.get("parent_id") else ""
        return [
            part for part in (task["env"], task["split"], task["id"], fork, episode["id"] if episode else "") if part
        ]

    def is_taken(self) -> None:
        self.panel = "" if self.has_class("-narrow") else "world"

    def action_new_episode(self) -> None:
        self.detach()
        self.stage.clear()
        self.tell("")
        self.panel = "setup"
        self.show()

    # Editing

    async def action_edit_reflection(self) -> None:
        state = self.state
        if not state or not state["episode"]["trials"]:
            return
        last = state["episode"]["trials"][-1]["index"]
        written = next((one for one in state["episode"]["reflections"] if one["after_trial"] == last), None)
        verb = "edit_reflection" if "edit_reflection" in self.allowed() else "reflect"
        text = written["text"] if written else ""
        title = f"✎ Reflection after trial {last}. Ctrl+S uses it, Esc leaves it as it was."
        await self.query_one(Editor).edit(verb, title, {"reflection": text})

    def action_no_reflection(self) -> None:
        self.press("edit_reflection" if "edit_reflection" in self.allowed() else "reflect", {"text": ""})

    @on(Editor.Sent)
    def editor_sent(self, event: Editor.Sent) -> None:
        self.rest()
        if event.purpose == "turn":
            proposal = (self.state or {}).get("proposal") or {}
            texts = {name: proposal.get(name, "") if text is None else text for name, text in event.texts.items()}
            changed = any(text is not None for text in event.texts.values())
            self.press("step", dict(texts) if changed else {})
        elif event.texts["reflection"] is not None:
            self.press(event.purpose, {"text": event.texts["reflection"]})

    # Looking around

    def action_panel(self, name: str) -> None:
        self.panel = "" if self.panel == name else name

    def watch_panel(self) -> None:
        self.set_class(self.panel == "setup", "panel-setup")
        self.set_class(self.panel == "world", "panel-world")

    def action_presenter(self) -> None:
        self.toggle_class("presenter")

    def action_leave(self) -> None:
        self.remove_class("presenter")
        self.rest()

    def action_filter_tasks(self) -> None:
        self.panel = "setup"
        self.query_one("#task-filter").focus()

    def action_random_task(self) -> None:
        self.query_one(Setup).choose_random()

    def action_newest(self) -> None:
        self.stage.follow()

    def action_turn(self, by: int) -> None:
        self.stage.mark(by)

    @on(Board.Chosen)
    def block_chosen(self, event: Board.Chosen) -> None:
        kind, *rest = event.key.split()
        if kind == "trial" and self.state:
            self.stage.fold(int(rest[0]), self.state["episode"]["trials"][-1]["index"])
            self.show()
        elif kind == "turn":
            self.stage.board.select(event.key)

    @on(World.Forced)
    def door_opened(self, event: World.Forced) -> None:
        self.press("step", {"action": event.action, "thought": ""})
        self.rest()

    # Showing

    @on(Setup.Changed)
    def setup_changed(self) -> None:
        self.show()

    @on(Setup.Failed)
    def setup_failed(self, event: Setup.Failed) -> None:
        self.tell(event.error)

    def show(self) -> None:
        """Draw everything as it is now."""
        state = self.state
        self.stage.show(state, self.query_one(Setup), self.allowed(), self.unfolded)
        self._show_phase()
        self.query_one(World).show(self.state, self.allowed())
        self.show_where()
        self.refresh_bindings()
        editor = self.query_one(Editor)
        if state and state["phase"] == "proposed" and state.get("proposal") and not editor.display:
            self._offer_turn(state["proposal"])
        elif editor.purpose == "turn" and state and state["phase"] != "proposed":
            editor.close()
        if state and state.get("error"):
            self.tell(state["error"])

    @work(exclusive=True, group="editor")
    async def _offer_turn(self, proposal: dict[str, Any]) -> None:
        title = "✎ The planner waits. Change its thought or action; Enter does it."
        texts = {"thought": str(proposal["thought"]), "action": str(proposal["action"])}
        if not proposal["action"]:
            texts["thought"] = texts["thought"] or str(proposal.get("raw", ""))
        await self.query_one(Editor).edit("turn", title, texts)
