"""`retro-dash tui`: the places of the dashboard in a terminal. It talks to a hub over HTTP and to nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.theme import Theme

from data.errors import RetroDashError
from retro_dash.address import HubAddress
from retro_dash.client import HubClient, HubLost
from retro_dash.tui.choices import read_theme, write_theme
from retro_dash.tui.curate import CuratePlace
from retro_dash.tui.draft import Draft
from retro_dash.tui.episode import EpisodeScreen
from retro_dash.tui.episodes import EpisodesPlace
from retro_dash.tui.keys import KeySheet
from retro_dash.tui.line import Line
from retro_dash.tui.place import KEYS, PLACES, Place
from retro_dash.tui.play import PlayPlace
from retro_dash.tui.results import ResultsPlace
from retro_dash.tui.serving import ServingPlace
from retro_dash.tui.setup import Setup
from retro_dash.tui.text import clean, plural
from retro_dash.tui.themes import RETRO_DARK, RETRO_LIGHT, first_theme, hues
from retro_dash.tui.train import TrainPlace

Answer = TypeVar("Answer")
LOOK_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 0.7
SCREENS: dict[str, Callable[[], Place]] = {
    "Play": PlayPlace,
    "Episodes": EpisodesPlace,
    "Curate": CuratePlace,
    "Train": TrainPlace,
    "Serving": ServingPlace,
    "Results": ResultsPlace,
}


class RetroDash(App[None]):
    """The application: one mode a place, one line to the hub."""

    TITLE = "Retro Dash"
    CSS_PATH = "app.tcss"
    MODES = SCREENS  # type: ignore[assignment]
    DEFAULT_MODE = "Play"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(f"{KEYS[name]},f{KEYS[name]}", f"go('{name}')", name, show=False) for name in PLACES),
        Binding("question_mark", "keys", "Keys", key_display="?"),
        Binding("Y", "copy_link", "Copy the link of the web page", show=False),
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
    ]

    def __init__(self, find: Callable[[], HubAddress | None], choices: Path | None = None) -> None:
        """`choices`: the file that remembers the theme."""
        super().__init__()
        self.line = Line(find)
        self.status: dict[str, Any] = {}
        self.is_lost = False
        self._leaves_labels = False
        self._look_now = asyncio.Event()
        self.register_theme(RETRO_DARK)
        self.register_theme(RETRO_LIGHT)
        self._choices, chosen, self._trouble = choices, "", ""
        try:
            chosen = read_theme(choices) if choices else ""
        except ValueError as error:
            self._trouble = str(error)
        if chosen and chosen not in self.available_themes:
            self._trouble = f"There is no theme called {chosen[:80]!r}, which {choices} names. Choose another one."
        self.theme = self._kept_theme = first_theme(self.console.color_system, self.available_themes, chosen)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return hues(self.current_theme)

    def on_mount(self) -> None:
        self.watch_hub()
        self.theme_changed_signal.subscribe(self, self._remember)
        if self._trouble:
            self.say(self._trouble)

    def _remember(self, theme: Theme) -> None:
        """Begin with this theme the next time."""
        if self._choices is None or theme.name == self._kept_theme:
            return
        self._kept_theme = theme.name
        try:
            write_theme(self._choices, theme.name)
        except OSError as error:
            self.say(f"The theme is not remembered: {self._choices} cannot be written ({error.strerror}).")

    # The hub

    async def ask(self, call: Callable[[HubClient], Answer]) -> Answer:
        """Run a blocking call of the hub in a thread. Raises what the hub refuses with; HubLost starts a search."""
        try:
            return await asyncio.to_thread(lambda: call(self.line.reach()))
        except HubLost:
            self._look_now.set()
            raise
        except (ValueError, KeyError, TypeError) as error:
            words = f"The hub answered something unexpected ({error}). Is it of another version than this terminal?"
            raise RetroDashError(words) from error

    @work(exclusive=True, group="hub")
    async def watch_hub(self) -> None:
        """Ask the hub how it is, for ever; when it is back, every place loads anew."""
        while True:
            before = self.line.address
            try:
                self.status = await asyncio.to_thread(self.line.status)
                is_back = self.is_lost or (before is not None and before != self.line.address)
                self.is_lost = False
            except HubLost:
                self.is_lost, is_back = True, False
            except Exception as error:  # A status that cannot be read must not end the watch.
                self.log.error(str(error))
                is_back = False
            self._show_hub(is_back)
            self._look_now.clear()
            with_pause = LOOK_AGAIN_SECONDS if self.is_lost else LOOK_SECONDS
            try:
                await asyncio.wait_for(self._look_now.wait(), with_pause)
                await asyncio.sleep(0.1)
            except TimeoutError:
                continue

    def _show_hub(self, is_back: bool) -> None:
        for screen in {screen for stack in self._screen_stacks.values() for screen in stack}:
            if isinstance(screen, Place) and screen.is_attached:
                screen.show_status()
                if is_back:
                    screen.show_where()
                    screen.arrive()

    # Keys

    async def action_go(self, place: str) -> None:
        if place != self.current_mode and not self.screen.is_modal:
            await self.switch_mode(place)

    async def action_quit(self) -> None:
        """Leave; with labels that the hub does not have yet only when asked twice."""
        unsaved = self.unsaved()
        if unsaved and not self._leaves_labels:
            self._leaves_labels = True
            self.say(f"{plural(unsaved, 'label')} not saved yet. Press Ctrl+Q again to leave without them.")
            return
        self.exit()

    def unsaved(self) -> int:
        """Labels that the hub does not have yet."""
        screens = (screen for stack in self._screen_stacks.values() for screen in stack)
        return sum(len(screen.said.outbox) for screen in screens if isinstance(screen, CuratePlace))

    def action_keys(self) -> None:
        place = self.screen
        if isinstance(place, Place):
            self.push_screen(KeySheet(place.TITLE_WORD, place.HELP or "", place.key_list(), self.BINDINGS))

    def action_copy_link(self) -> None:
        if isinstance(self.screen, Place):
            self.copy_to_clipboard(self.line.url + self.screen.page())
            self.say("✓ The link of this page is in the clipboard (where the terminal allows OSC 52).")

    def ink(self, who: str) -> str:
        """The colour of who or what, in Rich's words (tables draw with Rich)."""
        return self.theme_variables[who].removeprefix("ansi_")

    def write_file(self, name: str, text: str) -> Path:
        """A file in the folder that the terminal is in. Raises OSError."""
        path = Path.cwd() / name
        path.write_text(text, encoding="utf-8")
        return path

    async def play(self, episode_id: str) -> None:
        """Go to Play and show a live episode there."""
        await self.switch_mode("Play")
        for screen in self._screen_stacks["Play"]:
            if isinstance(screen, PlayPlace):
                screen.attach(episode_id)

    def choose_agent(self, role: str, name: str) -> None:
        """Let Play start with this planner or reflector."""
        for screen in self._screen_stacks.get("Play", []):
            if isinstance(screen, PlayPlace):
                screen.query_one(Setup).choose_agent(role, name)

    async def open_episode(self, episode_id: str) -> None:
        """Go to Episodes and open one."""
        await self.switch_mode("Episodes")
        for screen in list(self._screen_stacks["Episodes"]):
            if isinstance(screen, EpisodesPlace):
                self.push_screen(EpisodeScreen(episode_id, screen))

    async def draft(self, make: Callable[[HubClient], Draft]) -> None:
        """Go to Train and open the settings of a new run."""
        await self.switch_mode("Train")
        for screen in self._screen_stacks["Train"]:
            if isinstance(screen, TrainPlace):
                screen.draft(make)

    async def show_episodes(self, filter_text: str) -> None:
        """Go to Episodes with a filter."""
        await self.switch_mode("Episodes")
        for screen in self._screen_stacks["Episodes"]:
            if isinstance(screen, EpisodesPlace):
                screen.set_filter(filter_text)

    def say(self, text: str) -> None:
        self.notify(clean(text), timeout=4, markup=False)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        yield from (one for one in super().get_system_commands(screen) if one.title != "Keys")
        yield SystemCommand("Keys", "The keys of this place (key ?)", self.action_keys)
        for name in PLACES:
            yield SystemCommand(
                name, f"Go to {name} (key {KEYS[name]} or F{KEYS[name]})", lambda name=name: self.action_go(name)
            )
        yield SystemCommand("Copy link", "The web page that shows the same (key Y)", self.action_copy_link)
        yield SystemCommand("Copy sign-in link", "With the token: it signs a browser in", self._copy_sign_in)

    def _copy_sign_in(self) -> None:
        if self.line.address is not None:
            self.copy_to_clipboard(self.line.address.sign_in_url)
            self.say("✓ The sign-in link is in the clipboard. Whoever has it may do everything.")
