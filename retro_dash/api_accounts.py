"""Signing in and out, `/api/v1/me`, and what admins may see of accounts."""

from __future__ import annotations

import asyncio
import html
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel

from retro_dash.accounts import UserRow, user_row
from retro_dash.audit import Entry, read_audit
from retro_dash.guard import client_address
from retro_dash.identity import Identity, Person, drop_session, person, session_secret, set_session
from retro_dash.limits import Attempts
from retro_dash.paging import say_next
from retro_dash.roles import Role

LONGEST_FORM = 8192
WRONG = "This name and password do not go together."
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · Retro Dash</title>
<link rel="icon" href="/ui/favicon.svg"><link rel="stylesheet" href="/ui/sign_in.css"></head>
<body><main><h1><img src="/ui/favicon.svg" alt="" width="28" height="28"> Retro Dash</h1>
{content}</main></body></html>"""
_FORM = """<form method="post" action="/sign-in">
<label for="name">Name</label><input id="name" name="name" autocomplete="username" required autofocus{name}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<input type="hidden" name="next" value="{next}">{error}
<button type="submit">Sign in</button></form>"""
_ACCOUNT = """<p>You are signed in as <strong>{name}</strong>, with the role <strong>{role}</strong>.</p>
<form method="post" action="/sign-out"><button type="submit">Sign out</button></form>
<p><a href="/">Back to the dashboard</a></p>"""


class Me(BaseModel):
    """Who the caller is."""

    name: str
    role: Role
    is_owner: bool
    """True for the one user of a hub without accounts, who may label under any name."""


def accounts_router(identity: Identity, home: Path) -> APIRouter:
    """The routes of the API."""
    router = APIRouter(tags=["accounts"])

    @router.get("/me")
    def me(request: Request) -> Me:
        who = person(request)
        return Me(name=who.name, role=who.role, is_owner=who.is_owner)

    @router.get("/users")
    def users() -> list[UserRow]:
        return [user_row(user) for user in identity.accounts.users().values()]

    @router.get("/audit")
    def audit(
        request: Request,
        response: Response,
        limit: Annotated[int, Query(ge=1, le=5000)] = 100,
        cursor: Annotated[int | None, Query(ge=0, lt=2**62)] = None,
    ) -> list[Entry]:
        """The newest lines, oldest first; the `Link` header says where those before them are."""
        entries, first = read_audit(home / "audit.jsonl", limit, cursor)
        if first > 0:
            say_next(request, response, first)
        return entries

    return router


def sign_in_router(identity: Identity, attempts: Attempts) -> APIRouter:
    """The sign-in page: a plain form, no script."""
    router = APIRouter(include_in_schema=False)

    @router.get("/sign-in")
    def form(next: str = "/") -> Response:  # noqa: A002 - the word in the address
        return _form(next) if not identity.is_single_user else RedirectResponse("/", status_code=303)

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        fields = await _fields(request)
        name, password, place = (fields.get(key, "") for key in ("name", "password", "next"))
        user_key, address_key = f"user {name}", f"address {client_address(request.scope)}"
        locked = attempts.begin(user_key, address_key)
        if locked > 0:
            return _form(place, f"Too many attempts. Try again in {int(locked // 60) + 1} minutes.", name, 429)
        user = await asyncio.to_thread(identity.accounts.by_password, name, password)
        if user is None:
            await asyncio.sleep(attempts.delay(user_key, address_key))
            return _form(place, WRONG, name, 401)
        attempts.succeed(user_key, address_key)
        request.state.person = Person(user.name, user.role)
        answer = RedirectResponse(_local(place), status_code=303)
        secret = await asyncio.to_thread(identity.sessions.start, user.name)
        set_session(answer, request.headers, secret, request.url.scheme)
        return answer

    @router.post("/sign-out")
    def sign_out(request: Request) -> Response:
        identity.sessions.end(session_secret(request.headers))
        answer = RedirectResponse("/sign-in", status_code=303)
        drop_session(answer, request.headers)
        return answer

    @router.get("/account")
    def account(request: Request) -> Response:
        who = person(request)
        return _page("Account", _ACCOUNT.format(name=html.escape(who.name), role=who.role))

    return router


async def _fields(request: Request) -> dict[str, str]:
    """The form's fields; of a body that is none of ours, nothing."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_FORM:
            return {}
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def _form(place: str, error: str = "", name: str = "", status: int = 200) -> HTMLResponse:
    shown = f' value="{html.escape(name[:64])}"' if name else ""
    said = f'<p class="error" role="alert">{html.escape(error)}</p>' if error else ""
    return _page("Sign in", _FORM.format(name=shown, next=html.escape(_local(place)), error=said), status)


def _page(title: str, content: str, status: int = 200) -> HTMLResponse:
    page = _PAGE.format(title=title, content=content)
    # Under `no-referrer` a browser would send its forms with the origin null, which the guard refuses.
    headers = {"cache-control": "no-store", "referrer-policy": "same-origin"}
    return HTMLResponse(page, status_code=status, headers=headers)


def _local(place: str) -> str:
    """A path of this dashboard, so that signing in leads nowhere else."""
    is_ours = place.startswith("/") and not place.startswith(("//", "/\\")) and place.isprintable()
    return place if is_ours and len(place) < 2000 else "/"
