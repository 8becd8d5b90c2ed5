"""Who may do what: one table from (method, path) to the least role, and nothing that is not in it is served.

Roles contain each other: viewer < annotator < operator < admin. `{name}` stands for one part of a path, `{rest:path}`
for all that follows. Where several rows fit, the strictest counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple


class Role(StrEnum):
    """From the least to the most; ANYONE has not signed in."""

    ANYONE = "anyone"
    VIEWER = "viewer"
    ANNOTATOR = "annotator"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def rank(self) -> int:
        return list(Role).index(self)


class Rule(NamedTuple):
    method: str
    """GET stands for HEAD too."""
    path: str
    role: Role


ANYONE, VIEWER, ANNOTATOR, OPERATOR, ADMIN = Role

RULES: tuple[Rule, ...] = tuple(
    Rule(*row)
    for row in (
        # Signing in, and what the sign-in page is drawn with
        ("GET", "/health", ANYONE),
        ("GET", "/sign-in", ANYONE),
        ("POST", "/sign-in", ANYONE),
        ("GET", "/ui/{path:path}", ANYONE),
        ("GET", "/ui/vendor/plotly.min.js", ANYONE),
        ("GET", "/favicon.ico", ANYONE),
        # Oneself, and the accounts
        ("GET", "/account", VIEWER),
        ("POST", "/sign-out", VIEWER),
        ("GET", "/api/v1/me", VIEWER),
        ("GET", "/api/v1/users", ADMIN),
        ("GET", "/api/v1/audit", ADMIN),
        # Pages, and the Gradio frame that they stand in
        ("GET", "/", VIEWER),
        ("GET", "/episodes", VIEWER),
        ("GET", "/curate", VIEWER),
        ("GET", "/train", VIEWER),
        ("GET", "/results", VIEWER),
        ("GET", "/serving", VIEWER),
        ("GET", "/theme.css", VIEWER),
        ("GET", "/static/{path:path}", VIEWER),
        ("GET", "/assets/{path:path}", VIEWER),
        # Reading
        ("GET", "/api/v1/openapi.json", VIEWER),
        ("GET", "/api/v1/status", VIEWER),
        ("GET", "/api/v1/environments", VIEWER),
        ("GET", "/api/v1/tasks", VIEWER),
        ("GET", "/api/v1/tasks/random", VIEWER),
        ("GET", "/api/v1/policies", VIEWER),
        ("GET", "/api/v1/filters", VIEWER),
        ("GET", "/api/v1/events", VIEWER),
        ("GET", "/api/v1/live", VIEWER),
        ("GET", "/api/v1/live/{episode_id}", VIEWER),
        ("GET", "/api/v1/live/{episode_id}/events", VIEWER),
        ("GET", "/api/v1/episodes", VIEWER),
        ("GET", "/api/v1/episodes/{episode_id}", VIEWER),
        ("GET", "/api/v1/episodes/{episode_id}/trials/{trial}/turns", VIEWER),
        ("GET", "/api/v1/episodes/{episode_id}/alignment", VIEWER),
        ("GET", "/api/v1/episodes/{episode_id}/markdown", VIEWER),
        ("GET", "/api/v1/export/episodes", VIEWER),
        ("GET", "/api/v1/runs", VIEWER),
        ("GET", "/api/v1/runs/rows", VIEWER),
        ("GET", "/api/v1/runs/queue", VIEWER),
        ("GET", "/api/v1/runs/{run_id}", VIEWER),
        ("GET", "/api/v1/runs/{run_id}/metrics", VIEWER),
        ("GET", "/api/v1/runs/{run_id}/curves", VIEWER),
        ("GET", "/api/v1/runs/{run_id}/lineage", VIEWER),
        ("GET", "/api/v1/runs/{run_id}/dataset", VIEWER),
        ("GET", "/api/v1/runs/{run_id}/log", VIEWER),
        ("GET", "/api/v1/runs/{run_id}/report", VIEWER),
        ("GET", "/api/v1/runs/{run_id}/alerts", VIEWER),
        ("GET", "/api/v1/runs/{run_id}/steps/{step}", VIEWER),
        ("GET", "/api/v1/machine", VIEWER),
        ("GET", "/api/v1/train/schema", VIEWER),
        ("GET", "/api/v1/adapters", VIEWER),
        ("GET", "/api/v1/adapters/rows", VIEWER),
        ("GET", "/api/v1/results", VIEWER),
        ("GET", "/api/v1/results/sets", VIEWER),
        ("GET", "/api/v1/datasets", VIEWER),
        ("GET", "/api/v1/datasets/evaluators", VIEWER),
        ("GET", "/api/v1/datasets/{hash_}", VIEWER),
        ("GET", "/api/v1/datasets/{old}/diff/{new}", VIEWER),
        ("GET", "/api/v1/datasets/{hash_}/training", VIEWER),
        ("GET", "/api/v1/formats", VIEWER),
        ("GET", "/api/v1/exports/{format_}", VIEWER),
        ("POST", "/api/v1/episodes/known", VIEWER),  # A question with a long list.
        ("GET", "/api/v1/agreement", VIEWER),
        ("GET", "/api/v1/agreement/votes", VIEWER),
        ("GET", "/api/v1/agreement/judges", VIEWER),
        ("GET", "/api/v1/judge", VIEWER),
        ("GET", "/api/v1/tagset", VIEWER),
        ("GET", "/api/v1/tagset/versions", VIEWER),
        ("GET", "/api/v1/labels", VIEWER),
        ("POST", "/mcp", VIEWER),  # Each tool asks the API with the caller's own token, whose role decides there.
        # Curating
        ("GET", "/api/v1/labels/audit", ANNOTATOR),
        ("POST", "/api/v1/labels", ANNOTATOR),
        ("POST", "/api/v1/labels/undo", ANNOTATOR),
        ("POST", "/api/v1/labels/redo", ANNOTATOR),
        ("GET", "/api/v1/queue", ANNOTATOR),  # It hands out leases.
        ("POST", "/api/v1/queue/release", ANNOTATOR),
        ("GET", "/api/v1/agreement/pair", ANNOTATOR),
        ("POST", "/api/v1/episodes/{episode_id}/replay", ANNOTATOR),
        ("POST", "/api/v1/datasets/check", ANNOTATOR),
        # Playing, training, serving
        ("POST", "/api/v1/live", OPERATOR),
        ("POST", "/api/v1/live/{episode_id}/step", OPERATOR),
        ("POST", "/api/v1/live/{episode_id}/reflect", OPERATOR),
        ("POST", "/api/v1/live/{episode_id}/edit_reflection", OPERATOR),
        ("POST", "/api/v1/live/{episode_id}/fork", OPERATOR),
        ("POST", "/api/v1/live/{episode_id}/{verb}", OPERATOR),
        ("POST", "/api/v1/runs", OPERATOR),
        ("POST", "/api/v1/runs/{run_id}/cancel", OPERATOR),
        ("POST", "/api/v1/runs/{run_id}/resume", OPERATOR),
        ("POST", "/api/v1/runs/{run_id}/extend", OPERATOR),
        ("POST", "/api/v1/runs/{run_id}/move", OPERATOR),
        ("POST", "/api/v1/train/check", OPERATOR),
        ("POST", "/api/v1/adapters/{name}/load", OPERATOR),
        ("POST", "/api/v1/adapters/{name}/unload", OPERATOR),
        ("PUT", "/api/v1/tagset", OPERATOR),
        ("POST", "/api/v1/judge", OPERATOR),
        ("POST", "/api/v1/judge/stop", OPERATOR),
        # What comes in, and what is frozen
        ("POST", "/api/v1/datasets", OPERATOR),
        ("POST", "/api/v1/imports", OPERATOR),
        ("GET", "/api/v1/imports/{id_}", OPERATOR),
        ("POST", "/api/v1/imports/{id_}/start", OPERATOR),
        ("DELETE", "/api/v1/imports/{id_}", OPERATOR),
        # A folder of this machine, by its path
        ("POST", "/api/v1/adapters/import", ADMIN),
        # The store itself: events may say anything in anybody's name, a copy holds everything
        ("POST", "/api/v1/events", ADMIN),
        ("GET", "/api/v1/snapshot", ADMIN),
    )
)

CLOSED: tuple[str, ...] = (
    "/config",
    "/svelte/{path:path}",
    "/openapi.json",
    "/login",
    "/logout",
    "/robots.txt",
    "/manifest.json",
    "/pwa_icon",
    "/pwa_icon/{size}",
    "/monitoring",
    "/monitoring/summary",
    "/monitoring/{key}",
    "/gradio_api/{rest:path}",
)
"""Gradio's own routes that no page of ours needs. They are refused like everything without a rule; they are named so
that a new route of Gradio's is looked at by a person."""


def least_role(method: str, path: str) -> Role | None:
    """The least role that may do this; None when nobody may."""
    method = "GET" if method == "HEAD" else method
    roles = [rule.role for rule in RULES if rule.method == method and _fits(rule.path, path)]
    return max(roles, key=lambda role: role.rank) if roles else None


def allowed_methods(path: str) -> tuple[str, ...]:
    """The methods that the table has for a path."""
    return tuple(sorted({rule.method for rule in RULES if _fits(rule.path, path)}))


def rules_table(rules: Sequence[Rule] = RULES) -> str:
    """The table as Markdown, for `docs/api.md`."""
    rows = "\n".join(f"| {rule.method} | `{rule.path}` | {rule.role} |" for rule in rules)
    return f"| method | path | least role |\n| --- | --- | --- |\n{rows}"


def _fits(pattern: str, path: str) -> bool:
    return _compiled(pattern).fullmatch(path.rstrip("/") or "/") is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^}]+\})", pattern)
    return re.compile("".join(_part(part) for part in parts), re.DOTALL)


def _part(part: str) -> str:
    if not part.startswith("{"):
        return re.escape(part)
    return ".*" if part.endswith(":path}") else "[^/]+"
