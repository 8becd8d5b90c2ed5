"""What the keys of Play ask the hub for, and the live episode that it answers with."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue
from textual import work

from data.errors import RetroDashError
from retro_dash.client import HubLost
from retro_dash.tui.editor import Editor
from retro_dash.tui.reading import Reading
from retro_dash.tui.setup import Setup
from retro_dash.tui.stagebox import StageBox
from retro_dash.tui.watch import Watch, merge

FRAME_SECONDS = 0.25
DRAFT = ("step", "run_trial", "run_episode", "hold")


class Pressing(Reading):
    """A place with one live episode, or with a task chosen for the next; a subclass draws it in `show`."""

    def __init__(self) -> None:
        super().__init__()
        self.live: Watch | None = None
        self.asking = ""
        """The verb that was pressed and not answered yet."""

    def is_taken(self) -> None:
        """Another episode is on the stage now."""
        raise NotImplementedError

    @property
    def stage(self) -> StageBox:
        return self.query_one(StageBox)

    @property
    def state(self) -> dict[str, Any] | None:
        return self.live.state if self.live else None

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
            self.is_taken()

    def detach(self) -> None:
        if self.live is not None:
            self.live.close()
            self.live = None

    def on_unmount(self) -> None:
        self.detach()

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
        at = ids.index(here) + 1 if here in ids else 0
        following = next((one for one in [*ids[at:], *ids[:at]] if one != here), None)
        if following is None:
            self.dash.say("No other episode is live.")
        else:
            self.attach(following)

    # Following

    def on_mount(self) -> None:
        self.set_interval(FRAME_SECONDS, self._frame)

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

    def _show_phase(self) -> None:
        self.stage.show_phase(self.state, self.asking, self.live is not None and self.live.is_lost)
