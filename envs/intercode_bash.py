"""InterCode Bash (2306.14898): do with shell commands what a sentence asks, on a small file tree.

A task's metadata holds `gold` (the command), `tree` (name of its file tree) and, where it is not the published one,
`reward` (the reward's form). Commands run in the sandbox or not at all; gold, its copy of the tree and the scoring
are outside of it.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import cast, get_args

from pydantic import JsonValue

from data.errors import BadConfig, BadFile, BadInput, EnvironmentCrashed, Refused
from data.types import StopReason, Task
from envs import sandbox, sandbox_docker
from envs.base import Availability, EnvironmentKind, Options, StepOutcome
from envs.bash_container import ContainerCopy
from envs.bash_folder import FolderCopy
from envs.bash_options import BashOptions
from envs.bash_reward import SOLVED, RewardForm, Score, score
from envs.bash_shell import Answer, Copy, Shell
from envs.bash_tasks import ENVIRONMENT, SPLITS, bundled_folder, bundled_tasks, read_tasks
from envs.bash_trees import Snapshot, Tree, all_changes, read_tree
from envs.experts.intercode_bash import BashExpert
from envs.sandbox import Limits
from envs.single_use import refuse_restart

TURN_LIMIT = 10
NO_COMMAND = "Error executing command: Your last `execute` action did not contain a bash command"
_ACTION = re.compile(r"\s*execute\[(.*)\]\s*", re.DOTALL | re.IGNORECASE)
_VIEW_ENTRIES = 80
_VIEW_OUTPUT = 2_000
INSTRUCTIONS = """You work in a Bash shell on a small file tree. Do what the question asks with shell commands.
Actions:
  execute[COMMAND]  runs COMMAND with bash and shows what it prints (stdout and stderr). The current folder and all \
files stay as it leaves them; variables and functions do not.
  submit            ends the trial. The files as they are now and the output of your last command are your answer: \
print what is asked for, and nothing where only changes are asked for.
Example: execute[find /site -name "*.html" | wc -l]"""


class BashEnvironment:
    """One trial of one task."""

    def __init__(self, task: Task, settings: BashOptions, tree: Tree) -> None:
        self._task = task
        self._settings = settings
        self._gold = _text(task, "gold")
        self._form: RewardForm = settings.reward or _form(task)
        self._slot = sandbox.take_slot()
        self._tree = tree
        self._shell: Shell | None = None
        self._gold_end: tuple[Snapshot, Answer] | None = None
        self._last: Answer | None = None
        self._score: Score | None = None
        self._is_over = False
        self._turns_left = task.turn_limit or TURN_LIMIT

    def start(self) -> str:
        """Lay out the tree and return the instruction. Raises Refused when called twice."""
        refuse_restart(self._task, self._shell is not None)
        self._shell = self._open_shell()
        return self._task.instruction

    def step(self, action: str) -> StepOutcome:
        """Do one action. Raises Refused before the start and after the end."""
        if self._shell is None or self._is_over:
            raise Refused(f"The trial of {self._task.id} is not running; open a new environment and start it.")
        self._turns_left -= 1
        if action.strip().lower() == "submit":
            self._is_over = True
            reward = self._evaluate()
            is_solved = reward >= SOLVED
            return StepOutcome(
                self._cut(self._output()), reward, StopReason.SOLVED if is_solved else StopReason.FAILED
            )
        match = _ACTION.fullmatch(action)
        if match is None:
            return StepOutcome(NO_COMMAND, self._evaluate(), is_valid=False)
        return self._execute(self._shell, match[1])

    def view(self) -> dict[str, JsonValue]:
        """What a person sees beside the transcript.

        Keys: cwd, tree [{path, kind, mode, change}] (80 at most, changed ones before others), entries (their number),
        output (the last command's, cut), status, turns_left, backend (bubblewrap, docker or host), image (docker's,
        else None), unsafe, result (None while the trial runs, then {gold, gold_output, reward, changes, contents,
        output, missing, extra, wrong}).
        """
        is_over = self._is_over or self._turns_left <= 0
        found = self._shell.look() if self._shell is not None else {}
        return {
            "cwd": self._shell.cwd if self._shell is not None else "/",
            "tree": self._show_tree(found),
            "entries": len(found),
            "output": _cut(self._last.text, _VIEW_OUTPUT) if self._last is not None else None,
            "status": self._last.status if self._last is not None else None,
            "turns_left": max(0, self._turns_left),
            "backend": self._settings.place,
            "image": self._settings.image if self._settings.place == "docker" else None,
            "unsafe": self._settings.unsafe_run_model_code_on_host,
            "result": self._result() if is_over else None,
        }

    def close(self) -> None:
        if self._shell is not None:
            self._shell.close()
        self._slot.close()

    def _execute(self, shell: Shell, command: str) -> StepOutcome:
        try:
            self._last = shell.run(command)
        except BadInput as error:
            return StepOutcome(str(error), self._evaluate(), is_valid=False)
        text, note = self._cut(self._last.text), self._last.note
        if note:
            text = f"{text.rstrip()}\n{note}".lstrip()
        return StepOutcome(text, self._evaluate(), is_valid=self._last.status == 0)

    def _output(self) -> str:
        """What is compared with gold's: the last command's output; before any, InterCode compares the question."""
        return self._task.instruction if self._last is None else self._last.text

    def _evaluate(self) -> float:
        assert self._shell is not None
        found, answer = self._run_gold()
        self._score = score(self._shell.start, self._shell.look(), found, self._output(), answer.text, self._form)
        return self._score.reward

    def _run_gold(self) -> tuple[Snapshot, Answer]:
        """The gold command in a copy of its own, once a trial."""
        if self._gold_end is None:
            shell = self._open_shell()
            try:
                answer = shell.run(self._gold)
                self._gold_end = shell.look(), answer
            except BadInput as error:
                raise EnvironmentCrashed(f"The gold command of {self._task.id} cannot be run: {error}") from error
            finally:
                shell.close()
        return self._gold_end

    def _open_shell(self) -> Shell:
        settings, limits = self._settings, Limits(seconds=self._settings.seconds)
        copy: Copy
        if settings.backend == "docker":
            copy = ContainerCopy(self._tree, self._slot, limits, settings.image)
        else:
            is_unsafe = settings.unsafe_run_model_code_on_host
            copy = FolderCopy(self._tree, self._slot, limits, unsafe_run_model_code_on_host=is_unsafe)
        return Shell(copy, self._tree.tops)

    def _show_tree(self, found: Snapshot) -> list[JsonValue]:
        if self._shell is None:
            return []
        changed = dict(all_changes(self._shell.start, found))
        shown = {**self._shell.start, **found}
        paths = sorted(shown, key=lambda path: (path not in changed, path))[:_VIEW_ENTRIES]
        return [
            {"path": f"/{path}", "kind": seen.kind, "mode": f"{seen.mode:04o}", "change": changed.get(path)}
            for path, seen in ((path, shown[path]) for path in sorted(paths))
        ]

    def _result(self) -> dict[str, JsonValue]:
        if self._score is None:
            self._evaluate()
        assert self._score is not None
        _, answer = self._run_gold()
        return {
            "gold": self._gold,
            "gold_output": _cut(answer.text, _VIEW_OUTPUT),
            "reward": self._score.reward,
            "changes": self._score.changes,
            "contents": self._score.contents,
            "output": self._score.output,
            "missing": [f"{status} /{path}" for path, status in self._score.missing[:_VIEW_ENTRIES]],
            "extra": [f"{status} /{path}" for path, status in self._score.extra[:_VIEW_ENTRIES]],
            "wrong": [f"/{path}" for path in self._score.wrong[:_VIEW_ENTRIES]],
        }

    def _cut(self, text: str) -> str:
        return _cut(text, self._settings.observation_limit)


def open_task(task: Task, options: Options) -> BashEnvironment:
    """A fresh trial of a task. Raises BadConfig for a wrong option, BadFile for a task or tree that is not one,
    Unavailable without a sandbox."""
    settings = BashOptions.of(options)
    if settings.place == "bubblewrap":
        sandbox.require()
    name = _text(task, "tree")
    if not re.fullmatch(r"[\w-]+", name):
        raise BadFile(f"Task {task.id!r} names the file tree {name!r}; a name has letters, digits, - and _ only.")
    return BashEnvironment(task, settings, _tree(_folder(settings) / f"{name}.json"))


def read(path: Path, options: Options) -> list[Task]:
    """Tasks in InterCode's format; each one's file tree must be in the folder of the option `trees`, or bundled.
    Raises BadFile for tasks or trees that are none."""
    folder = _folder(BashOptions.of(options))
    tasks = read_tasks(path)
    for name in sorted({_text(task, "tree") for task in tasks}):
        if not (folder / f"{name}.json").is_file():
            raise BadFile(f"{path} needs the file tree {name}.json, which is not in {folder}; give --trees FOLDER.")
        _tree(folder / f"{name}.json")
    return tasks


def instructions(task: Task, options: Options) -> str:
    return INSTRUCTIONS


def check() -> Availability:
    """Works where one of the two backends does; the detail speaks of both."""
    found, docker = sandbox.probe(), sandbox_docker.probe()
    if docker.works:
        return Availability(True, f"{found.detail.rstrip('.')}; {docker.detail} with the option backend=docker")
    needless = "no Docker daemon answers, which only the option backend=docker needs"
    return Availability(found.works, f"{found.detail.rstrip('.')}; {needless}")


def _folder(settings: BashOptions) -> Path:
    return Path(settings.trees) if settings.trees is not None else bundled_folder()


def _form(task: Task) -> RewardForm:
    form = task.metadata.get("reward", "published")
    if form not in get_args(RewardForm):
        raise BadConfig(f"The reward form of {task.id} is {form!r}; it can be {', '.join(get_args(RewardForm))}.")
    return cast(RewardForm, form)


def _text(task: Task, key: str) -> str:
    value = task.metadata.get(key)
    if not isinstance(value, str) or not value:
        raise BadFile(f"Task {task.id!r} has no {key!r} in its metadata; read it from a file in InterCode's format.")
    return value


@functools.lru_cache(maxsize=16)
def _tree_at(path: Path, _changed: int) -> Tree:
    return read_tree(path)


def _tree(path: Path) -> Tree:
    return _tree_at(path, path.stat().st_mtime_ns if path.exists() else 0)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}\n… (cut: {len(text):,} characters in all)"


KIND = EnvironmentKind(
    name=ENVIRONMENT,
    title="InterCode Bash",
    summary="Do with shell commands what a sentence asks, on a small file tree in a sandbox.",
    turn_limit=TURN_LIMIT,
    reflection_memory=3,
    success_rule="submit with reward 1: the same files changed, with the same contents, and the same last output as "
    "the gold command.",
    splits=SPLITS,
    bundled=bundled_tasks,
    read=read,
    open=open_task,
    instructions=instructions,
    expert=BashExpert(),
    careless=BashExpert(mistake_rate=0.5),
    check=check,
    options=BashOptions.described(),
)
