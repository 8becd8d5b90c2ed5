"""Prompts are plain files, one per environment and role, in `prompts/ENV/ROLE.md`.

A file holds the system message, a line `=== user ===`, and the user message, both Jinja templates in which a missing
variable is an error. The same functions render for play, collection and training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from jinja2 import Environment, StrictUndefined, Template, TemplateError

from data.errors import BadConfig
from data.types import Task, Trial
from retro_dash.agent.reply import reply_text

PROMPTS = Path(__file__).parent / "prompts"
_SEPARATOR = "=== user ===\n"
_JINJA = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701
"""Not HTML: prompts go to a model as they are."""

Role = Literal["planner", "reflector"]


@dataclass(frozen=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


def planner_messages(
    task: Task, instructions: str, opening: str, reflections: Sequence[str], last_attempt: str | None
) -> list[Message]:
    """What the planner is told before its first turn of a trial."""
    return _render(
        task.env,
        "planner",
        instructions=instructions,
        instruction=task.instruction,
        opening=opening,
        reflections=list(reflections),
        last_attempt=last_attempt,
    )


def reflector_messages(task: Task, trial: Trial, reflections: Sequence[str], character_limit: int) -> list[Message]:
    """What the reflector is told after a failed trial; the transcript is cut to `character_limit`."""
    return _render(
        task.env,
        "reflector",
        instruction=task.instruction,
        transcript=transcript(trial, character_limit),
        stop_reason=str(trial.stop_reason or "running").replace("_", " "),
        reflections=list(reflections),
    )


def transcript(trial: Trial, character_limit: int) -> str:
    """The trial as text. When it is too long the longest observations are blanked first (as RetroAct does), then
    the oldest turns are dropped, so that the end of the trial is always there."""
    observations = [turn.observation for turn in trial.turns]
    opening = trial.opening

    def text(first: int) -> str:
        lines = [opening]
        if first:
            lines.append(f"[{first} earlier turns left out]")
        for turn, observation in zip(trial.turns[first:], observations[first:], strict=True):
            lines += [reply_text(turn), f"Observation: {observation}"]
        return "\n".join(lines)

    for index in sorted(range(len(observations)), key=lambda i: -len(observations[i])):
        if len(text(0)) <= character_limit:
            break
        observations[index] = "[long observation left out]"
    first = 0
    while len(text(first)) > character_limit and first < len(observations):
        first += 1
    return text(first)


def as_text(messages: Sequence[Message]) -> str:
    """The messages as people read them in the trial's record."""
    return "\n\n".join(message.content for message in messages)


def _render(env: str, role: Role, **variables: object) -> list[Message]:
    system, user = _templates(env, role)
    try:
        return [
            Message("system", system.render(variables).strip()),
            Message("user", user.render(variables).strip()),
        ]
    except TemplateError as error:
        raise BadConfig(f"The prompt {env}/{role}.md cannot be rendered: {error}. Correct the file.") from error


@lru_cache
def _templates(env: str, role: Role) -> tuple[Template, Template]:
    path = PROMPTS / env / f"{role}.md"
    if not path.is_file():
        raise BadConfig(f"There is no prompt for the {role} of {env}: write {env}/{role}.md under agent/prompts.")
    parts = path.read_text(encoding="utf-8").split(_SEPARATOR)
    if len(parts) != 2:
        raise BadConfig(f"The prompt {env}/{role}.md needs exactly one line '{_SEPARATOR.strip()}'.")
    try:
        return _JINJA.from_string(parts[0]), _JINJA.from_string(parts[1])
    except TemplateError as error:
        raise BadConfig(f"The prompt {env}/{role}.md is not a template: {error}. Correct the file.") from error
