"""Play: choose a task, step an agent, watch it fail, reflect and try again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from pydantic import JsonValue
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.reactive import reactive

from data.errors import RetroDashError
from retro_dash.client import HubLost
from retro_dash.tui.board import Board
from retro_dash.tui.editor import Editor
from retro_dash.tui.playkeys import PLAY_KEYS
from retro_dash.tui.reading import Reading
from retro_dash.tui.setup import Setup
from retro_dash.tui.stagebox import StageBox
from retro_dash.tui.watch import Watch, merge
from retro_dash.tui.world import World

FRAME_SECONDS = 0.25
DRAFT = ("step", "run_trial", "run_episode", "hold")


class PlayPlace(Reading):
    """One live episode at a time."""

    TITLE_WORD = "Play"
    RESTS_ON = "#trials"
    HELP = "Step an agent; the reflection between two trials is what it learned."
    BINDINGS = PLAY_KEYS

    panel: reactive[str] = reactive("setup", init=False)

    def __init__(self) -> None:
        super().__init__()
        self.live: Watch | None = None
        self.asking = ""

    @property
    def stage(self) -> StageBox:
        return self.query_one(StageBox)

    @property
    def state(self) -> dict[str, Any] | None:
        return self.live.state if self.live else None

    def compose_middle(self) -> ComposeResult:
        with Horizontal(id="play"):
            yield Setup()
            yield StageBox()
            yield World()

    def on_mount(self) -> None:
        self.set_interval(FRAME_SECONDS, self._frame)
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

    # Pressing

    def allowed(self) -> list[str]:
        """The verbs that can be pressed now."""
        if self.state is None:
            return list(DRAFT) if self.query_one(Setup).picked else []
        verbs = list(self.state.get("allowed") or [])
        return [*verbs, "hold"] if "step" in verbs and self.state["phase"] != "proposed" else verbs

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return True
        if action == "fork" or action == "press":
            return True if str((*parameters, "fork")[0]) in self.allowed() else None
        if action in ("edit_reflection", "no_reflection"):
            return True if {"reflect", "edit_reflection"} & set(self.allowed()) else None
        return True

    def action_press(self, verb: str) -> None:
        if verb == "hold":
            self.press("step", {"hold": True})
        elif verb == "step" and self.state and self.state["phase"] == "proposed":
            self.query_one(Editor).action_send()
        else:
            self.press(verb)

    def press(self, verb: str, body: dict[str, JsonValue] | None = None) -> None:
        """Ask the hub for one verb; a second press waits for the answer to the first."""
        if self.asking:
            return
        self.asking = verb
        self.tell("")
        self._show_phase()
        self.stage.board.follows = True
        self._press(verb, body or {})

    @work(group="press")
    async def _press(self, verb: str, body: dict[str, JsonValue]) -> None:
        try:
            if self.live is None:
                request = self.query_one(Setup).settings()
                self._take(await self.dash.ask(lambda hub: hub.open_live(request)))
            live = self.live
            assert live is not None
            episode_id = live.state["episode_id"]
            answer = await self.dash.ask(lambda hub: hub.press(episode_id, verb, body))
            if verb == "fork":
                self._take(answer)
                self.dash.say(f"Forked before turn {body['turn']} of trial {body['trial']}")
            elif self.live is live and int(str(answer["cursor"])) >= live.state["cursor"]:
                merge(live.state, answer)
        except RetroDashError as error:
            self.tell(error)
        finally:
            self.asking = ""
            self.show()

    @work(exclusive=True, group="attach")
    async def attach(self, episode_id: str) -> None:
        """Show a live episode, from its whole state on."""
        try:
            self._take(await self.dash.ask(lambda hub: hub.live_state(episode_id)))
            self.tell("")
        except HubLost:
            return  # The app looks for the hub, and `arrive` is called when it is back.
        except RetroDashError as error:
            self.tell(error)
        self.show()

    def _take(self, state: dict[str, Any]) -> None:
        is_new = self.state is None or self.state["episode_id"] != state["episode_id"]
        self.detach()
        self.live = Watch(self.dash.line.reach(), state)
        if is_new:
            self.stage.clear()
            self.panel = "" if self.has_class("-narrow") else "world"

    def detach(self) -> None:
        if self.live is not None:
            self.live.close()
            self.live = None

    def on_unmount(self) -> None:
        self.detach()

    def action_new_episode(self) -> None:
        self.detach()
        self.stage.clear()
        self.tell("")
        self.panel = "setup"
        self.show()

    def action_fork(self) -> None:
        turn = self.stage.marked(self.state["episode"]) if self.state else None
        if turn is not None:
            self.press("fork", {"trial": turn[0], "turn": turn[1]})

    @work(exclusive=True, group="attach")
    async def action_next_live(self) -> None:
        """Go round the episodes that are live in the hub."""
        try:
            open_now = [one for one in await self.dash.ask(lambda hub: hub.live_list()) if one["phase"] != "finished"]
        except RetroDashError as error:
            self.tell(error)
            return
        ids = [one["episode_id"] for one in open_now]
        here = self.state["episode_id"] if self.state else ""
        others = [one for one in ids if one != here]
        if not others:
            self.dash.say("No other episode is live.")
            return
        at = ids.index(here) if here in ids else -1
        self.attach(ids[(at + 1) % len(ids)] if ids[(at + 1) % len(ids)] != here else others[0])

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

    def _frame(self) -> None:
        if self.live is None or not self.live.take():
            return
        if self.live.is_lost:
            self.set_timer(0.5, self._again)
        self.show()

    def _again(self) -> None:
        """The stream ended: go on where the hub is, or wait until the app has found it."""
        if self.live is not None and self.live.is_lost and not self.dash.is_lost:
            self.attach(self.live.state["episode_id"])

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

    def _show_phase(self) -> None:
        self.stage.show_phase(self.state, self.asking, self.live is not None and self.live.is_lost)
