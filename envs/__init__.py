"""The environments, by name. Never imports torch."""

from __future__ import annotations

from importlib import import_module

from data.errors import UnknownName
from envs.base import EnvironmentKind

ENVIRONMENTS = {
    "alfworld": "envs.alfworld",
    "hotpotqa": "envs.hotpotqa",
    "intercode_sql": "envs.intercode_sql",
    "intercode_bash": "envs.intercode_bash",
}


def environment_kind(name: str) -> EnvironmentKind:
    """Return the environment's description; raises UnknownName with the known names."""
    if name not in ENVIRONMENTS:
        raise UnknownName("environment", name, ENVIRONMENTS)
    kind: EnvironmentKind = import_module(ENVIRONMENTS[name]).KIND
    return kind
