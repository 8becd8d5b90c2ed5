"""Curate: one episode after the other; a verdict by one key, step rewards as one reads, all of it undone at will.

A label is shown at once and sent behind; what is not stored yet is counted, kept, and sent again under the same id.
"""

from __future__ import annotations

import asyncio
import getpass
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar
from urllib.parse import urlencode

from pydantic import JsonValue
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Resize
from textual.reactive import reactive
from textual.widgets import Input, Static

from data.errors import BadInput, RetroDashError
from data.types import Label
from retro_dash.client import HubClient, HubLost
from retro_dash.tui.board import Board
from retro_dash.tui.columns import columns_for, episode_head, side_by_side, whole_episode
from retro_dash.tui.editor import Editor
from retro_dash.tui.filter import FilterLine
from retro_dash.tui.place import Place
from retro_dash.tui.text import one_line, plain
from retro_dash.tui.train import duration
from retro_dash.tui.turns import parse_turn_key, turn_key

VERDICTS = {"expert": "expert", "good": "success", "bad": "failure", "discard": "dim"}
REWARDS = {1: "+1", 0: "0", -1: "−1"}
RETRY_SECONDS = 1.0
LOOK_SECONDS = 1.0


class CuratePlace(Place):
    """The next episode of the annotator's queue, full width, with what was said of it under it."""

    TITLE_WORD = "Curate"
    HELP = "A verdict brings the next episode. Labels are statements: undo takes back, nothing is overwritten."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "verdict('expert')", "Expert"),
        Binding("g", "verdict('good')", "Good"),
        Binding("b", "verdict('bad')", "Bad"),
        Binding("d", "verdict('discard')", "Discard"),
        Binding("plus,equals_sign", "reward(1)", "Step", key_display="+0-", tooltip="Reward of the marked turn"),
        Binding("0", "reward(0)", "Step reward 0", show=False),
        Binding("minus", "reward(-1)", "Step reward −1", show=False),
        Binding("exclamation_mark", "first_error", "First error here", show=False, key_display="!"),
        Binding("m", "note", "Note", show=False),
        Binding("u", "undo", "Undo"),
        Binding("U", "redo", "Redo", show=False),
        Binding("n,enter", "skip", "Next", key_display="n"),
        Binding("slash", "filter", "Filter", show=False, key_display="/"),
        Binding("l,right", "turn(1)", "Turn", key_display="h/l"),
        Binding("h,left", "turn(-1)", "Previous turn", show=False),
        Binding("j,down", "scroll(1)", "Scroll down", show=False),
        Binding("k,up", "scroll(-1)", "Scroll up", show=False),
        Binding("tab", "trial(1)", "Next trial", show=False),
        Binding("z", "unfold", "All of long texts", show=False),
        Binding("escape", "leave", "Leave the filter", show=False),
    ]

    unfolded: reactive[bool] = reactive(False, init=False)

    def __init__(self) -> None:
        super().__init__()
        self.annotator = getpass.getuser()
        self.filter_text = ""
        self.episode: dict[str, Any] | None = None
        self.alignment: dict[str, Any] = {}
        self.labels: list[Label] = []
        self.progress: dict[str, Any] = {}
        self.focus_turn = (0, 0)
        self.unsent: deque[dict[str, JsonValue]] = deque()
        self.skipped: list[str] = []

    def compose_middle(self) -> ComposeResult:
        yield FilterLine()
        yield Static(id="episode-head", markup=False)
        board = Board(id="item")
        board.follows = False
        yield board
        yield Editor()
        yield Static(id="said", markup=False)

    def on_mount(self) -> None:
        self.query_one(Board).focus()
        self.send()
        self.set_interval(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """What the same annotator says on another screen is shown here too."""
        if self.is_current and not self.is_loading("labels"):
            self.read_labels()

    def arrive(self) -> None:
        self.learn_words()
        if self.episode is None:
            self.next()
        else:
            self.read_labels()

    def page(self) -> str:
        return f"/curate?{urlencode({'filter': self.filter_text})}" if self.filter_text else "/curate"

    def lineage(self) -> Sequence[str]:
        return ("Curate", self.filter_text or "all episodes", f"annotator {self.annotator}")

    # Loading

    @work(exclusive=True, group="words")
    async def learn_words(self) -> None:
        try:
            self.query_one(FilterLine).words.know(await self.dash.ask(lambda hub: hub.filters()))
        except RetroDashError as error:
            self.log.warning(str(error))  # Only completion is missing then.

    @work(exclusive=True, group="item")
    async def next(self, episode_id: str | None = None) -> None:
        """The next episode of the queue that was not skipped, or the one that is named."""
        await self._sent()
        filter_text, annotator, skipped = self.filter_text, self.annotator, tuple(self.skipped)
        line = self.query_one(FilterLine)
        try:
            self.progress, item = await self.dash.ask(
                lambda hub: _next_item(hub, annotator, filter_text, skipped, episode_id)
            )
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
        self.episode, self.alignment, self.labels = item if item else (None, {}, [])
        trials = self.episode["trials"] if self.episode else []
        self.focus_turn = (trials[-1]["index"], 0) if trials else (0, 0)
        board = self.query_one(Board)
        board.select(None, reach=False)
        board.scroll_home(animate=False)
        self.show()

    @work(exclusive=True, group="labels")
    async def read_labels(self) -> None:
        episode_id, annotator = (self.episode or {}).get("id"), self.annotator
        if episode_id is None or self.unsent:
            return
        try:
            labels = await self.dash.ask(lambda hub: hub.labels(episode_id, annotator))
        except RetroDashError as error:
            self.log.warning(str(error))
            return
        if not self.unsent and labels != self.labels and (self.episode or {}).get("id") == episode_id:
            self.labels = labels
            self.show()

    # Saying

    def say(
        self, name: str, value: JsonValue, part: str = "episode", trial: int | None = None, turn: int | None = None
    ) -> None:
        """Make a statement: it is on the screen at once, and on the disk when `unsent` is empty."""
        if self.episode is None:
            return
        target = {"episode_id": self.episode["id"], "part": part, "trial": trial, "turn": turn}
        self.unsent.append(
            {
                "id": f"tui-{secrets.token_hex(12)}",
                "target": target,
                "name": name,
                "value": value,
                "annotator": self.annotator,
            }
        )
        self.show()

    @work(exclusive=True, group="send")
    async def send(self) -> None:
        """Send what was said, in order, for as long as the place lives."""
        while True:
            if not self.unsent:
                await asyncio.sleep(0.05)
                continue
            batch = list(self.unsent)
            try:
                stored = await self.dash.ask(_storing(batch))
            except HubLost:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except RetroDashError as error:
                self.tell(f"Not stored: {error}")
                stored = []
            for _ in batch:
                self.unsent.popleft()
            here = (self.episode or {}).get("id")
            self.labels += [
                Label.model_validate(one["label"]) for one in stored if one["label"]["target"]["episode_id"] == here
            ]
            self.show()

    async def _sent(self) -> None:
        while self.unsent:
            await asyncio.sleep(0.02)

    def action_verdict(self, verdict: str) -> None:
        self.say("verdict", verdict)
        self.next()

    def action_reward(self, reward: int) -> None:
        trial, turn = self.focus_turn
        if turn:
            self.say("step_reward", reward, "turn", trial, turn)
        else:
            self.dash.say("Mark a turn with h and l first.")

    def action_first_error(self) -> None:
        trial, turn = self.focus_turn
        if turn:
            self.say("first_error", turn, "trial", trial)
        else:
            self.dash.say("Mark a turn with h and l first.")

    async def action_note(self) -> None:
        if self.episode is not None:
            old = next((str(one.value) for one in reversed(self.labels) if one.name == "note"), "")
            await self.query_one(Editor).edit("note", "✎ Note on this episode. Ctrl+S keeps it.", {"note": old})

    @on(Editor.Sent)
    def note_written(self, event: Editor.Sent) -> None:
        if event.texts["note"] is not None:
            self.say("note", event.texts["note"])
        self.query_one(Board).focus()

    @on(Editor.Left)
    def note_left(self) -> None:
        self.query_one(Board).focus()

    @work(group="undo")
    async def action_undo(self) -> None:
        await self._step("undo")

    @work(group="undo")
    async def action_redo(self) -> None:
        await self._step("redo")

    async def _step(self, verb: str) -> None:
        """Take back or put back, on whichever episode it was; that episode is shown."""
        await self._sent()
        annotator, id_ = self.annotator, f"tui-{secrets.token_hex(12)}"
        try:
            if verb == "undo":
                label = await self.dash.ask(lambda hub: hub.undo_label(annotator, id_))
            else:
                label = await self.dash.ask(lambda hub: hub.redo_label(annotator, id_))
        except RetroDashError as error:
            self.tell(error)
            return
        self.dash.say(f"{'Took back' if verb == 'undo' else 'Put back'}: {label.name}")
        self.next(label.target.episode_id)

    # Showing

    def show(self) -> None:
        self.show_where()
        self.query_one("#said", Static).update(self._said())
        head, board = self.query_one("#episode-head", Static), self.query_one(Board)
        episode = self.episode
        if episode is None:
            done = self.progress.get("total") and not self.progress.get("left_for_me")
            words = (
                "Everything in this queue has your verdict."
                if done
                else "No episode matches. Press / for another filter."
            )
            head.update(Content.styled(words, "bold"))
            board.show([])
            return
        head.update(episode_head(episode))
        columns = columns_for(episode, self.size.width, self.focus_turn[0])
        board.show(side_by_side(episode, self.alignment, columns, self.unfolded), [1] * max(1, len(columns)))

    def _said(self) -> Content:
        """What stands of this episode, and how far the work is."""
        words: list[Content] = []
        for name, value, part, turn in self._statements():
            who = VERDICTS.get(str(value), "human") if name == "verdict" else "human"
            where = f" turn {turn}" if part == "turn" else ""
            shown = (
                REWARDS.get(value, str(value))
                if name == "step_reward" and isinstance(value, int)
                else one_line(value)[:40]
            )
            words.append(
                Content.assemble(("✎ ", "$human"), f"{name.replace('_', ' ')}{where} ", plain(shown, f"bold ${who}"))
            )
        said = Content("  ").join(words) if words else Content.styled("✎ nothing said yet", "$dim")
        return Content("\n").join([said, self._progress()])

    def _statements(self) -> list[tuple[str, JsonValue, str, int | None]]:
        """The newest value of each target and name, unsent ones included."""
        here = (self.episode or {}).get("id")
        newest: dict[tuple[str, str, int | None, int | None], JsonValue] = {}
        for one in self.labels:
            newest[one.name, one.target.part, one.target.trial, one.target.turn] = one.value
        for request in self.unsent:
            target: Any = request["target"]
            if target["episode_id"] == here:
                newest[str(request["name"]), target["part"], target["trial"], target["turn"]] = request["value"]
        return [(name, value, part, turn) for (name, part, _, turn), value in newest.items()]

    def _progress(self) -> Content:
        progress = self.progress
        parts = [f"{progress.get('mine', 0)} of {progress.get('total', 0)} by you, {progress.get('done', 0)} done"]
        if progress.get("per_minute"):
            parts.append(f"{progress['per_minute']:.1f} a minute")
        if progress.get("eta_seconds"):
            parts.append(f"{duration(progress['eta_seconds'])} to go")
        state = (f"{len(self.unsent)} not saved yet", "bold $human") if self.unsent else ("✓ all saved", "$success")
        return Content.assemble((" · ".join(parts) + " · ", "$dim"), state)

    # Looking around

    def watch_unfolded(self) -> None:
        self.show()

    def on_resize(self, event: Resize) -> None:
        self.show()

    def action_unfold(self) -> None:
        self.unfolded = not self.unfolded

    def action_skip(self) -> None:
        if self.episode is not None:
            self.skipped.append(self.episode["id"])
        self.next()

    def action_scroll(self, by: int) -> None:
        self.query_one(Board).scroll_lines(3 * by)

    def action_turn(self, by: int) -> None:
        trial, turn = self.focus_turn
        self._go_to(trial, max(1, turn + by))

    def action_trial(self, by: int) -> None:
        indices = [trial["index"] for trial in self.episode["trials"]] if self.episode else []
        if indices:
            at = indices.index(self.focus_turn[0]) if self.focus_turn[0] in indices else 0
            self._go_to(indices[(at + by) % len(indices)], max(1, self.focus_turn[1]))

    def _go_to(self, trial: int, turn: int) -> None:
        found = next((one for one in self.episode["trials"] if one["index"] == trial), None) if self.episode else None
        if found and found["turns"]:
            self.focus_turn = (trial, min(turn, len(found["turns"])))
            self.show()
            self.query_one(Board).select(turn_key(*self.focus_turn))

    @on(Board.Chosen)
    def block_chosen(self, event: Board.Chosen) -> None:
        turn = parse_turn_key(event.key)
        if turn is not None:
            self._go_to(*turn)

    def action_filter(self) -> None:
        self.query_one("#filter").focus()

    def action_leave(self) -> None:
        self.query_one(Board).focus()

    @on(Input.Submitted, "#filter")
    def filter_sent(self, event: Input.Submitted) -> None:
        self.filter_text, self.skipped = event.value.strip(), []
        self.query_one(Board).focus()
        self.next()


def _storing(batch: list[dict[str, JsonValue]]) -> Callable[[HubClient], list[dict[str, Any]]]:
    return lambda hub: hub.label(batch)


Item = tuple[dict[str, Any], dict[str, Any], list[Label]]


def _next_item(
    hub: HubClient, annotator: str, filter_text: str, skipped: Sequence[str], episode_id: str | None
) -> tuple[dict[str, Any], Item | None]:
    """The queue's progress, and an episode with its alignment and the annotator's labels."""
    page = hub.label_queue(annotator, filter_text, limit=min(100, len(skipped) + 1))
    ids = [item["episode_id"] for item in page["items"]]
    fresh = [one for one in ids if one not in skipped]
    chosen = episode_id or next(iter(fresh or ids), None)
    if chosen is None:
        return page, None
    return page, (*whole_episode(hub, chosen), hub.labels(chosen, annotator))
