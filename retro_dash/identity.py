"""Who makes a request: the owner of the hub, or a user, by a header of scripts or a cookie of browsers."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from retro_dash.accounts import Accounts
from retro_dash.roles import Role
from retro_dash.sessions import LIFETIME, Sessions

COOKIE = "retro_dash"


@dataclass(frozen=True)
class Person:
    """Who asks."""

    name: str
    role: Role
    is_owner: bool = False
    """Holds the token of `hub.json`, or signed in with it: the one user of a hub without accounts."""


OWNER = Person("owner", Role.ADMIN, is_owner=True)


def person(request: Request) -> Person:
    """Who makes this request; the owner where no guard stands in front (a service used in its own process)."""
    found = getattr(request.state, "person", None)
    return found if isinstance(found, Person) else OWNER


def actor(request: Request, claimed: str) -> str:
    """Under which name a statement is stored: the signed-in user's. Only the owner may give any name (`claimed`)."""
    who = person(request)
    return claimed if who.is_owner else who.name


class Identity:
    """Tells who makes a request: by a header of scripts or a cookie of browsers."""

    def __init__(self, home: Path, token: str, must_have_users: bool = False) -> None:
        self.accounts = Accounts(home)
        self.sessions = Sessions(home / "sessions.json")
        self._token = token
        self._must_have_users = must_have_users

    @property
    def is_single_user(self) -> bool:
        """True while the token of the address signs a browser in."""
        return not self._must_have_users and not self.accounts.users()

    def is_token(self, given: str) -> bool:
        return bool(given) and hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token.encode())

    def of(self, headers: Headers) -> Person | None:
        """Raises StorageError when the accounts cannot be read."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if self.is_token(bearer.strip()):
                return OWNER
            user = self.accounts.by_token(bearer.strip())
            return Person(user.name, user.role) if user else None
        session = self.sessions.find(session_secret(headers))
        if session is None:
            return None
        if session.user == "":
            return OWNER if self.is_single_user else None
        user = self.accounts.users().get(session.user)
        return Person(user.name, user.role) if user and session.started_at >= user.sessions_from else None


def session_secret(headers: Headers) -> str:
    """What the request's cookie says, empty for none."""
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except CookieError:  # A broken header is the same as none.
        return ""
    name = _cookie_name(headers)
    return cookies[name].value if name in cookies else ""


def set_session(answer: Response, headers: Headers, secret: str, scheme: str) -> None:
    """Give the browser its session."""
    answer.set_cookie(
        _cookie_name(headers),
        secret,
        max_age=int(LIFETIME.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=scheme == "https",
        path="/",
    )


def drop_session(answer: Response, headers: Headers) -> None:
    answer.delete_cookie(_cookie_name(headers), path="/", httponly=True, samesite="strict")


def _cookie_name(headers: Headers) -> str:
    """Browsers keep cookies by host and not by port; two hubs of one machine must not sign each other out."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"{COOKIE}_{port}" if port.isdigit() else COOKIE
