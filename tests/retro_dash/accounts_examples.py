"""A whole hub in a folder, with four users, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi.testclient import TestClient

from data.store import Store
from retro_dash.accounts import Accounts
from retro_dash.audit import AuditLog
from retro_dash.guard import Guard
from retro_dash.hub import LOCAL_HOSTS, build_api, build_app
from retro_dash.identity import Identity
from retro_dash.limits import Attempts
from retro_dash.roles import Role
from retro_dash.service import Service
from retro_dash.settings import Settings

URL = "http://127.0.0.1:7860"
TOKEN = "a-long-random-token"
BEARER = {"authorization": f"Bearer {TOKEN}"}
PASSWORD = "correct horse battery"
ROLES = tuple(role for role in Role if role is not Role.ANYONE)


class Patient(Attempts):
    """Counts and locks as always, without making a test wait."""

    def delay(self, *keys: str) -> float:
        return 0.0


@contextmanager
def hub(home: Path, has_pages: bool = False) -> Iterator[Guard]:
    """The application over a store of its own. Its pages take a second or two to build."""
    service = Service(Settings(home=home, engine="none"), Store.open(home))
    identity = Identity(home, TOKEN)
    audit = AuditLog(home / "audit.jsonl")
    api = build_api(service, identity, Patient())
    yield build_app(service, TOKEN) if has_pages else Guard(api, identity, audit, LOCAL_HOSTS)
    service.close()


def client_of(app: Guard, url: str = URL) -> TestClient:
    return TestClient(app, base_url=url, raise_server_exceptions=False, follow_redirects=False)


def add_users(home: Path) -> dict[Role, str]:
    """A user called after each role; returns a token of each."""
    accounts = Accounts(home)
    for role in ROLES:
        accounts.add(role.value, role, PASSWORD)
    return {role: accounts.make_token(role.value, "script", 1) for role in ROLES}


def sign_in(client: TestClient, name: str, password: str = PASSWORD):
    return client.post("/sign-in", data={"name": name, "password": password}, headers={"origin": URL})
