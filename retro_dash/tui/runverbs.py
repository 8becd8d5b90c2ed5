"""What the keys of Train do with runs (the page: `web/static/runverbs.js`), and the draft of a new one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from textual import on, work

from data.errors import RetroDashError
from retro_dash.client import HubClient
from retro_dash.tui.draft import Checked, Draft, check, like_run, new_training, request_of
from retro_dash.tui.editor import Editor
from retro_dash.tui.place import Place
from retro_dash.tui.runwords import ENDED
from retro_dash.tui.statements import new_id

SURE_SECONDS = 5.0


class RunVerbs(Place):
    """A place with one run chosen; a subclass shows runs and loads them."""

    def __init__(self) -> None:
        super().__init__()
        self._asked: dict[str, Any] | None = None
        """The draft that was looked at and can start."""
        self._key = ""
        """The same draft sent twice makes one run."""
        self._sure = ("", 0.0)
        """The run that ends at the second press, and until when."""

    @property
    def row(self) -> dict[str, Any] | None:
        """The chosen run, as in `retro_dash.run_list.RunRow`."""
        raise NotImplementedError

    def load(self) -> object:
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done with the chosen run is offered, as on the page."""
        run = self.row["run"] if self.is_mounted and self.row else None
        if action in ("clone", "episodes", "overlay"):
            return run is not None
        if action in ("stop", "kill"):
            return run is not None and run["state"] not in ENDED and (action == "stop" or run["state"] != "queued")
        if action == "resume":
            return run is not None and run["state"] in ("failed", "cancelled")
        if action == "extend":
            return run is not None and run["kind"] == "train" and run["state"] == "finished"
        if action == "move":
            return self.is_mounted and self.row is not None and self.row["position"] is not None
        return True

    @work(exclusive=True, group="act")
    async def action_stop(self) -> None:
        await self._act(lambda hub, run_id: hub.cancel_run(run_id), "The run saves and ends.")

    @work(exclusive=True, group="act")
    async def action_kill(self) -> None:
        """No question over the page: the second press says yes."""
        row, (sure, until) = self.row, self._sure
        if row is None:
            return
        run_id = row["run"]["id"]
        if sure != run_id or time.monotonic() > until:
            self._sure = (run_id, time.monotonic() + SURE_SECONDS)
            self.dash.say("Press X again: steps since the last checkpoint are lost.")
            return
        self._sure = ("", 0.0)
        await self._act(lambda hub, run_id: hub.cancel_run(run_id, at_once=True), "The run is ended.")

    @work(exclusive=True, group="act")
    async def action_resume(self) -> None:
        await self._act(lambda hub, run_id: hub.resume_run(run_id), "The run is queued again.")

    @work(exclusive=True, group="act")
    async def action_move(self, by: int) -> None:
        row = self.row
        if row is None or row["position"] is None:
            return
        place = max(0, row["position"] + by)
        await self._act(lambda hub, run_id: hub.move_run(run_id, place), f"Place {place + 1} in the queue.")

    async def _act(self, verb: Callable[[HubClient, str], object], said: str) -> None:
        row = self.row
        if row is None:
            return
        run_id = row["run"]["id"]
        with self.telling():
            await self.dash.ask(lambda hub: verb(hub, run_id))
            self.tell("")
            self.dash.say(said)
            self.load()

    # A new run

    async def action_extend(self) -> None:
        title = "✎ So many epochs more, from its last state: Enter starts it, Esc leaves it."
        await self.query_one(Editor).edit("extend", title, {"epochs": "1"})

    def action_new(self) -> None:
        self.draft(new_training)

    def action_clone(self) -> None:
        if self.row is not None:
            run_id = self.row["run"]["id"]
            self.draft(lambda hub: like_run(hub, run_id))

    @work(exclusive=True, group="draft")
    async def draft(self, make: Callable[[HubClient], Draft]) -> None:
        """Open the settings of a new run, to change."""
        self._asked, self._key = None, new_id()
        self.tell("")
        with self.telling():
            await self._open(await self.dash.ask(make))

    async def _open(self, draft: Draft) -> None:
        title = "✎ A new run: Ctrl+S checks it, Ctrl+S again starts it, Esc leaves it."
        await self.query_one(Editor).edit("draft", title, {"name": draft.name, "settings": draft.settings})

    @on(Editor.Sent)
    def editor_sent(self, event: Editor.Sent) -> None:
        if event.purpose == "extend":
            self.rest()
            self._extend(event.texts["epochs"] or "1")
        else:
            self._send(Draft(event.whole["name"], event.whole["settings"]))

    @on(Editor.Left)
    def draft_left(self) -> None:
        self.tell("")

    @work(exclusive=True, group="act")
    async def _extend(self, epochs: str) -> None:
        if not epochs.strip().isdecimal():
            self.tell(f"Epochs are a whole number from 1 up, not {epochs.strip()!r}.")
            return
        await self._act(lambda hub, run_id: hub.extend_run(run_id, int(epochs)), "The longer run is queued.")

    @work(exclusive=True, group="draft")
    async def _send(self, draft: Draft) -> None:
        """Look at a draft; start it when nothing was changed since the look."""
        try:
            request = request_of(draft.name, draft.settings)
            if request != self._asked:
                checked = await self.dash.ask(lambda hub: check(hub, request))
                self._asked = request if checked.can_start else None
                if checked.words:
                    await self._open(draft)
                    self._say_checked(checked)
                    return
            run = await self.dash.ask(lambda hub: hub.submit_run(request, key=self._key))
        except RetroDashError as error:
            await self._open(draft)
            self.tell(error)
            return
        self.tell("")
        self.rest()
        self.dash.say(f"{run.name} is queued.")
        self.load()

    def _say_checked(self, checked: Checked) -> None:
        self.tell(checked.words, "success" if checked.can_start else "human")
