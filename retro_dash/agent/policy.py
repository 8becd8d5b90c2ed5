"""Who writes the text: what planners and reflectors can do, be they a model, an expert or a list of replies.

A `Policy` opens a `Dialogue` for one trial (planner) or one reflection (reflector). A dialogue is one growing
sequence: the prompt, then what was sampled, then the observation, and so on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from data.types import Completion
from retro_dash.agent.briefing import Briefing
from retro_dash.agent.sampling import Sampling

OnText = Callable[[str], None]
ShouldStop = Callable[[], bool]


class Dialogue(Protocol):
    """One growing sequence of prompt, replies and observations."""

    @property
    def length(self) -> int:
        """Tokens so far; 0 where the policy has none."""
        ...

    @property
    def capacity(self) -> int | None:
        """Tokens that fit; None where the policy has no limit of its own."""
        ...

    def reply(self, on_text: OnText | None = None, should_stop: ShouldStop | None = None) -> Completion:
        """Sample the next reply. Raises EngineError."""
        ...

    def put(self, completion: Completion) -> None:
        """Take a reply as it was recorded, or a person's words (no token ids), instead of sampling one."""
        ...

    def tell(self, observation: str) -> None:
        """Add what the environment answered."""
        ...


class Policy(Protocol):
    """Plans or reflects."""

    name: str
    is_expert: bool

    def begin(self, briefing: Briefing, sampling: Sampling) -> Dialogue: ...


def finish_reason(said: str) -> str:
    """A server's reason for the end of a reply, in our words; any that we do not know is a stop."""
    return said if said in ("length", "abort") else "stop"
