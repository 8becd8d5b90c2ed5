"""What can be played: environments, their bundled tasks, tasks of files, and the options of an episode."""

from __future__ import annotations

import random
from functools import lru_cache
from pathlib import Path

from pydantic import JsonValue

from data.errors import BadInput, Refused, UnknownName
from data.types import Task
from envs import ENVIRONMENTS, environment_kind
from envs.base import EnvironmentKind, Options
from envs.sandbox import UNSAFE_OPTION
from retro_dash.present import public_metadata
from retro_dash.settings import Settings


def environments() -> list[dict[str, JsonValue]]:
    """All environments and whether they work here."""
    return [_describe(environment_kind(name)) for name in ENVIRONMENTS]


def find_tasks(
    env: str, split: str | None = None, query: str = "", limit: int = 50, offset: int = 0
) -> dict[str, JsonValue]:
    """A page of an environment's bundled tasks whose id or instruction holds every word of `query`."""
    kind = environment_kind(env)
    words = query.lower().split()
    found = [
        task
        for task in bundled_tasks(env, known_split(kind, split))
        if all(word in f"{task.id} {task.instruction}".lower() for word in words)
    ]
    page = found[offset : offset + limit]
    return {"total": len(found), "tasks": [public_task(task, kind) for task in page]}


def random_task(env: str, split: str | None = None, seed: int | None = None) -> dict[str, JsonValue]:
    """One bundled task, drawn at random."""
    kind = environment_kind(env)
    draw = random.Random(seed)  # noqa: S311 - a choice of task, no secret
    return public_task(draw.choice(bundled_tasks(env, known_split(kind, split))), kind)


@lru_cache(maxsize=64)
def bundled_tasks(env: str, split: str) -> list[Task]:
    """Bundled tasks of a split, read once."""
    return environment_kind(env).bundled(split)


def find_task(env: str, task_id: str, split: str | None = None) -> Task:
    """The bundled task called `task_id`. Raises UnknownName with some known ids."""
    kind = environment_kind(env)
    splits = [known_split(kind, split)] if split else list(kind.splits)
    known: list[str] = []
    for name in splits:
        for task in bundled_tasks(env, name):
            if task.id == task_id:
                return task
            known.append(task.id)
    raise UnknownName(f"{env} task", task_id, known[:12])


def read_tasks(env: str, path: Path, options: Options) -> list[Task]:
    """Tasks from a file in the environment's public format. Raises BadFile, BadInput when it holds none."""
    tasks = environment_kind(env).read(path, options)
    if not tasks:
        raise BadInput(f"{path} holds no tasks for {env}.")
    return tasks


def allowed_options(given: Options, kind: EnvironmentKind, settings: Settings) -> dict[str, JsonValue]:
    """The options of an episode. Only the setting can turn the sandbox off, and then every episode records it.

    Raises BadInput for an option that the environment does not have.
    """
    for name in given:
        if name not in kind.options or name == UNSAFE_OPTION:
            known = ", ".join(sorted(set(kind.options) - {UNSAFE_OPTION}))
            raise BadInput(f"{kind.name} has no option {name!r}. Known: {known or 'none'}.")
    is_unsafe = settings.unsafe_run_model_code_on_host and UNSAFE_OPTION in kind.options
    return {**given, UNSAFE_OPTION: True} if is_unsafe else dict(given)


def refuse_unavailable(kind: EnvironmentKind, options: Options) -> None:
    """Raises Refused with the reason when the environment cannot be played here."""
    availability = kind.check()
    if not availability.works and UNSAFE_OPTION not in options:
        raise Refused(f"{kind.title} does not work on this machine: {availability.detail}")


def known_split(kind: EnvironmentKind, split: str | None) -> str:
    if split is None or split == "":
        return kind.splits[0]
    if split not in kind.splits:
        raise UnknownName(f"split of {kind.name}", split, kind.splits)
    return split


def _describe(kind: EnvironmentKind) -> dict[str, JsonValue]:
    availability = kind.check()
    return {
        "name": kind.name,
        "title": kind.title,
        "summary": kind.summary,
        "turn_limit": kind.turn_limit,
        "success_rule": kind.success_rule,
        "splits": list(kind.splits),
        "options": dict(kind.options),
        "works": availability.works,
        "detail": availability.detail,
    }


def public_task(task: Task, kind: EnvironmentKind) -> dict[str, JsonValue]:
    """A task without its gold."""
    return {
        "id": task.id,
        "env": task.env,
        "split": task.split,
        "instruction": task.instruction,
        "turn_limit": task.turn_limit or kind.turn_limit,
        "metadata_public": public_metadata(task),
    }
