"""An environment plays one trial: it is started once, and takes no step before that or after the end."""

from __future__ import annotations

from data.errors import Refused
from data.types import Task


def refuse_restart(task: Task, is_started: bool) -> None:
    """Raises Refused when the trial was started before."""
    if is_started:
        raise Refused(f"The trial of {task.id} has already started; open a new environment for the next one.")


def refuse_step(task: Task, is_started: bool, has_ended: bool) -> None:
    """Raises Refused when the trial does not run."""
    if not is_started:
        raise Refused(f"The trial of {task.id} has not started; call start() first.")
    if has_ended:
        raise Refused(f"The trial of {task.id} has ended; open a new environment.")
