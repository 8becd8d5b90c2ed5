"""What to play: environment, split, task, agents and settings. A task is chosen from the start."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Select, Static
from textual.widgets._input import InputType
from textual.widgets.option_list import Option

from data.errors import RetroDashError
from retro_dash.tui.text import one_line, plain, plural

if TYPE_CHECKING:
    from retro_dash.tui.app import RetroDash

STRATEGIES = (("Reflections", "reflexion"), ("Last attempt", "last_attempt"), ("Both", "both"), ("Nothing", "none"))
PAGE = 50
FIRST = {
    "alfworld": "rooms-7-large-0069",
    "hotpotqa": "hotpotqa-valid-7-0016",
    "intercode_sql": "city_library-11",
    "intercode_bash": "bash_server_02",
}
"""What people meet first in each environment: those who start there fail at first, and the reflection helps them."""
SELECTS = (("env", "Environment"), ("split", "Split"), ("planner", "Planner"), ("reflector", "Reflector"))


class Setup(Vertical):
    """The picker."""

    class Changed(Message):
        """Another task or other agents were chosen."""

    class Failed(Message):
        """The hub refused."""

        def __init__(self, error: RetroDashError) -> None:
            self.error = error
            super().__init__()

    def __init__(self) -> None:
        super().__init__(id="setup")
        self.chosen: dict[str, Any] = {
            "env": "",
            "split": "",
            "planner": "expert",
            "reflector": "expert",
            "strategy": "reflexion",
        }
        self.picked: dict[str, Any] | None = None
        self._agents: dict[str, tuple[str, str]] = {}
        """The planner and reflector that a person chose, and where; the rest follows the environment."""
        self._policies: dict[str, list[dict[str, Any]]] = {"planner": [], "reflector": []}
        self._environments: list[dict[str, Any]] = []
        self._tasks: list[dict[str, Any]] = []

    def compose(self) -> ComposeResult:
        for name, label in SELECTS[:2]:
            yield _field(label, Select[str]([], id=f"choose-{name}", compact=True, allow_blank=True, prompt="…"))
        yield Input(placeholder="Filter tasks (/)", id="task-filter", compact=True)
        yield OptionList(id="tasks", markup=False, compact=True)
        yield Static("Loading tasks …", id="task-count", markup=False)
        for name, label in SELECTS[2:]:
            yield _field(label, Select[str]([], id=f"choose-{name}", compact=True, allow_blank=True, prompt="…"))
        strategies = Select[str](STRATEGIES, value="reflexion", id="choose-strategy", compact=True, allow_blank=False)
        yield _field("Next is told", strategies)
        with Horizontal(classes="field numbers"):
            for name, label, value in (
                ("temperature", "T", "0"),
                ("seed", "seed", "7"),
                ("trial_limit", "trials", "3"),
            ):
                yield Static(label, markup=False)
                kind: InputType = "number" if name == "temperature" else "integer"
                yield Input(value, id=f"set-{name}", type=kind, compact=True, max_length=9)

    @property
    def dash(self) -> RetroDash:
        return cast("RetroDash", self.app)

    def settings(self) -> dict[str, JsonValue]:
        """The request for a new live episode."""
        numbers = {
            name: self.query_one(f"#set-{name}", Input).value for name in ("temperature", "seed", "trial_limit")
        }
        return {
            **self.chosen,
            "task_id": self.picked["id"] if self.picked else "",
            "temperature": float(numbers["temperature"] or 0),
            "seed": int(numbers["seed"] or 0),
            "trial_limit": int(numbers["trial_limit"] or 3),
        }

    @work(exclusive=True, group="setup")
    async def load(self) -> None:
        """Environments and policies as the hub knows them now; what was chosen stays chosen where it can."""
        try:
            self._environments = await self.dash.ask(lambda hub: hub.environments())
            policies = await self.dash.ask(lambda hub: hub.policies())
        except RetroDashError as error:
            self.post_message(self.Failed(error))
            return
        works = [env["name"] for env in self._environments if env["works"]]
        if self.chosen["env"] not in works:
            self.chosen["env"] = next((env for env in FIRST if env in works), next(iter(works), ""))
        titles = [(env["title"], env["name"]) for env in self._environments if env["works"]]
        self._offer("env", titles)
        for role in self._policies:
            self._policies[role] = [
                one for one in policies[f"{role}s"] if one.get("available", True) and one["role"] in (None, role)
            ]
        self._offer_agents()
        self._offer_splits()
        if self.picked is None:
            self.load_tasks(FIRST.get(self.chosen["env"], ""))

    def choose_agent(self, role: str, name: str) -> None:
        """As if it had been chosen from the list."""
        self._agents[role] = name, self.chosen["env"]
        self.load()

    def _offer_splits(self) -> None:
        env = next((one for one in self._environments if one["name"] == self.chosen["env"]), None)
        self._offer("split", [(split, split) for split in env["splits"]] if env else [])

    def _offer_agents(self) -> None:
        """Planners and reflectors; chosen are those that start in this environment, or that were picked in it."""
        env = self.chosen["env"]
        for role, able in self._policies.items():
            name, picked_in = self._agents.get(role, ("", ""))
            taken = next((one for one in able if one["name"] == name), None)
            starts = next((one["name"] for one in able if one["role"] and env in one["envs"]), "expert")
            suits = taken is not None and (not taken["envs"] or env in taken["envs"] or env == picked_in)
            self.chosen[role] = name if suits else starts
            self._offer(role, [(one["label"] or one["name"], one["name"]) for one in able])

    def _offer(self, name: str, options: list[tuple[str, str]]) -> None:
        """Fill a list; keep its choice where it is still there, else take the first."""
        select = self.query_one(f"#choose-{name}", Select)
        values = [value for _, value in options]
        if self.chosen[name] not in values:
            self.chosen[name] = next(iter(values), "")
        with self.prevent(Select.Changed):
            select.set_options([(plain(one_line(title)), value) for title, value in options])
            if self.chosen[name]:
                select.value = self.chosen[name]

    @work(exclusive=True, group="tasks")
    async def load_tasks(self, wanted: str = "") -> None:
        """The tasks that match the filter; `wanted` (an id) is chosen and put on top where it is not among them."""
        env, split, query = self.chosen["env"], self.chosen["split"], self.query_one("#task-filter", Input).value
        if not env:
            self.query_one("#task-count", Static).update("No environment works here: retro-dash doctor says why.")
            return
        try:
            page = await self.dash.ask(lambda hub: hub.tasks(env, split, query, PAGE))
            self._tasks = page["tasks"]
            if wanted and all(task["id"] != wanted for task in self._tasks):
                found = (await self.dash.ask(lambda hub: hub.tasks(env, split, wanted, 5)))["tasks"]
                self._tasks = [task for task in found if task["id"] == wanted] + self._tasks
        except RetroDashError as error:
            self.post_message(self.Failed(error))
            return
        self._show_tasks(page["total"], wanted)

    def _show_tasks(self, total: int, wanted: str) -> None:
        options = self.query_one("#tasks", OptionList)
        at = next((n for n, task in enumerate(self._tasks) if task["id"] == wanted), 0)
        with self.prevent(OptionList.OptionHighlighted):
            options.clear_options()
            options.add_options([Option(_task_words(task)) for task in self._tasks])
            if self._tasks:
                options.highlighted = at
        shown = len(self._tasks)
        words = f"{shown} of {plural(total, 'task')}; type to narrow" if total > shown else plural(total, "task")
        self.query_one("#task-count", Static).update(words)
        self.choose(self._tasks[at] if self._tasks else None)

    def choose(self, task: dict[str, Any] | None) -> None:
        if task != self.picked:
            self.picked = task
            self.post_message(self.Changed())

    @work(exclusive=True, group="tasks")
    async def choose_random(self) -> None:
        env, split, query = self.chosen["env"], self.chosen["split"], self.query_one("#task-filter", Input).value
        try:
            total = (await self.dash.ask(lambda hub: hub.tasks(env, split, query, 1)))["total"]
            at = random.randrange(max(1, total))  # noqa: S311 - a choice of task, no secret
            [task] = (await self.dash.ask(lambda hub: hub.tasks(env, split, query, 1, at)))["tasks"]
        except (RetroDashError, ValueError):
            return
        self.load_tasks(task["id"])

    @on(OptionList.OptionHighlighted, "#tasks")
    def task_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if event.option_index < len(self._tasks):
            self.choose(self._tasks[event.option_index])

    @on(Input.Changed, "#task-filter")
    def filter_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.load_tasks()

    @on(Select.Changed)
    def something_chosen(self, event: Select.Changed) -> None:
        event.stop()
        name, value = str(event.select.id).removeprefix("choose-"), event.value
        if value is Select.NULL or self.chosen.get(name) == value:
            return
        self.chosen[name] = value
        if name in self._policies:
            self._agents[name] = str(value), self.chosen["env"]
        if name == "env":
            self.chosen["split"] = ""
            self._offer_splits()
            self._offer_agents()
        if name in ("env", "split"):
            filtered = self.query_one("#task-filter", Input).value
            self.load_tasks("" if filtered or name == "split" else FIRST.get(self.chosen["env"], ""))
        self.post_message(self.Changed())


def _field(label: str, control: Select[str]) -> Horizontal:
    return Horizontal(Static(label, markup=False, classes="label"), control, classes="field")


def _task_words(task: dict[str, Any]) -> Content:
    return Content.assemble(plain(one_line(task["instruction"])), (f"  {one_line(task['id'])}", "$dim"))
