"""A planner's turn before it is executed: written, held, taken as it is or replaced by a person's words."""

from __future__ import annotations

from dataclasses import dataclass

from data.errors import BadInput, Refused
from data.types import Completion
from retro_dash.agent.reply import Malformed, Reply, format_reply, parse_reply


@dataclass(frozen=True)
class Proposal:
    """A turn that was written and not yet executed."""

    completion: Completion
    parsed: Reply | Malformed
    edited_from: str | None = None
    """The planner's text that a person replaced."""
    is_human: bool = False


def propose(completion: Completion) -> Proposal:
    """The planner's reply as a turn."""
    return Proposal(completion, parse_reply(completion.text))


def choose(written: Proposal | None, thought: str | None, action: str | None) -> Proposal:
    """What is executed: what the planner wrote, or a person's thought and action in its place.

    Raises Refused when there is neither, BadInput for an empty action.
    """
    if thought is None and action is None:
        if written is None:
            raise Refused("There is no proposed turn to execute. Step first, or write an action.")
        return written
    kept = written.parsed if written and isinstance(written.parsed, Reply) else Reply("", "")
    chosen = Reply(kept.thought if thought is None else thought, kept.action if action is None else action.strip())
    if not chosen.action:
        raise BadInput("The action is empty. Write what the planner should do.")
    if written is not None and chosen == written.parsed:
        return written
    said = Completion(policy="human", text=format_reply(chosen.thought, chosen.action))
    return Proposal(said, chosen, written.completion.text if written else None, is_human=True)
