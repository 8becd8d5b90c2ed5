"""Which policies there are, by the names that people choose."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from data.errors import BadFile, UnknownName
from envs.base import EnvironmentKind
from retro_dash.agent.briefing import Briefing
from retro_dash.agent.expert_policy import ExpertPolicy
from retro_dash.agent.policy import Dialogue, Policy
from retro_dash.agent.sampling import Sampling
from retro_dash.agent.scripted_policy import ScriptedPolicy
from retro_dash.agent.shuffled import SHUFFLED
from retro_dash.bundled import adapter_cards

EXPERT = "expert"
CARELESS = "expert:careless"
SCRIPTED = "scripted:"
_CARELESS_FIRST = ("hotpotqa", "intercode_sql", "intercode_bash")
"""Where the expert knows the answer at once. In ALFWorld it has to search, and fails often enough."""
Role = Literal["planner", "reflector"]


@dataclass(frozen=True)
class PolicyChoice:
    """A policy as it is offered to people."""

    name: str
    label: str
    detail: str
    available: bool = True
    role: Role | None = None
    """What it was trained to be; None for a policy that takes either part."""
    envs: tuple[str, ...] = ()
    """Environments where people start with it, as those that it was trained for; empty when nobody said."""


class ModelServer(Protocol):
    """The engine as the agent sees it."""

    def model_names(self) -> list[str]:
        """Models and adapters that can be asked now; empty while the engine is not ready."""
        ...

    def default_model(self) -> str | None:
        """The base model's name, known before the engine is ready."""
        ...

    def policy(self, name: str) -> Policy:
        """A policy that asks the engine for `name`. Raises UnknownName or EngineError."""
        ...


def make_policy(
    name: str, role: Role, kind: EnvironmentKind, server: ModelServer | None, words_per_second: float | None = None
) -> Policy:
    """The policy called `name`: `expert`, `expert:careless`, `scripted:FILE`, or one of the engine's.

    Experts may write at a pace. Raises UnknownName.
    """
    if name == EXPERT:
        return ExpertPolicy(kind.expert, role, words_per_second=words_per_second)
    if name == CARELESS:
        return ExpertPolicy(kind.careless, role, name, words_per_second)
    if name.startswith(SCRIPTED):
        return ScriptedPolicy(_read_replies(Path(name.removeprefix(SCRIPTED))), name)
    if server is None:
        raise UnknownName(role, name, [EXPERT, f"{SCRIPTED}FILE"])
    return server.policy(name)


class AbsentPolicy:
    """A policy that is looked for when it is first asked: what it played can be read and forked while it is away."""

    is_expert = False

    def __init__(self, name: str, find: Callable[[], Policy]) -> None:
        self.name = name
        self._find = find
        self._found: Policy | None = None

    def begin(self, briefing: Briefing, sampling: Sampling) -> Dialogue:
        """Raises what `find` raises, so that it can be tried again."""
        if self._found is None:
            self._found = self._find()
        return self._found.begin(briefing, sampling)


def is_expert(name: str) -> bool:
    """Whether an environment's expert plays it, careless or not."""
    return name in (EXPERT, CARELESS)


def is_served(name: str) -> bool:
    """Whether the engine plays it: a model or an adapter."""
    return not is_expert(name) and not name.startswith((SCRIPTED, SHUFFLED))


def policy_choices(server: ModelServer | None) -> list[PolicyChoice]:
    """All that can be chosen now, the scripted experts first."""
    experts = [
        PolicyChoice(EXPERT, "Scripted expert", "Rules written by hand for each environment; not a model."),
        PolicyChoice(
            CARELESS,
            "Careless expert",
            "The scripted expert with the slips of a model: it often fails at first, and does better once it was "
            "told why.",
            role="planner",
            envs=_CARELESS_FIRST,
        ),
    ]
    if server is None:
        return experts
    ready = server.model_names()
    base = server.default_model()
    cards = {card.name: card for card in adapter_cards(base)}
    names = ready or [*([base] if base else []), *cards]
    models = [
        PolicyChoice(
            name,
            name,
            "Base model, untrained for these tasks." if name == base else "Adapter or model served by the engine.",
            name in ready,
        )
        for name in names
        if name not in cards
    ]
    bundled = [
        PolicyChoice(name, name, card.summary, name in ready, card.role, card.envs) for name, card in cards.items()
    ]
    return [*experts, *bundled, *models]


def _read_replies(path: Path) -> list[str]:
    try:
        replies = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadFile(f"{path} is not a JSON list of replies: {error}.") from error
    if not isinstance(replies, list) or not replies or not all(isinstance(reply, str) for reply in replies):
        raise BadFile(f"{path} must hold a JSON list of at least one text, each the whole reply of one turn.")
    return [str(reply) for reply in replies]
