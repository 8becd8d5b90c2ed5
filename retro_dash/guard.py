"""The one gate in front of every route: who asks, from where, what they may do, how much and how often.

Deny by default: what `roles.py` does not name is not served. A Host that is not ours is refused (DNS rebinding), a
foreign or null Origin may not change anything (CSRF), and every answer carries a content security policy under which
model text can neither run a script nor reach another host. What is refused or changes something is in the audit log.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data.errors import StorageError
from retro_dash.audit import AuditLog
from retro_dash.identity import OWNER, Identity, Person, set_session
from retro_dash.limits import Buckets
from retro_dash.problems import problem
from retro_dash.roles import Role, allowed_methods, least_role

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
AUDITED = frozenset({401, 403, 429})
BODY_LIMIT = 16 * 2**20
LARGE_BODIES = {"/api/v1/events": 256 * 2**20, "/api/v1/imports": 8 * 2**30}
"""Bytes of a request's body, by path where they may be more: events come in large parts, imports as whole files."""
RATE, BURST = 100.0, 1000.0
"""Requests a second of one user, and so many at once."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "form-action 'self'; frame-src 'none'; frame-ancestors 'none'; object-src 'none'; base-uri 'self'"
)
SECURITY_HEADERS = {
    "content-security-policy": POLICY,
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
_SIGN_IN = """<!doctype html><html lang="en"><title>Retro Dash</title>
<link rel="stylesheet" href="/ui/sign_in.css">
<body><main><h1>Retro Dash</h1><p>Open the address that was printed where Retro Dash was started:
it ends in <code>?token=…</code> and signs this browser in.</p>
<p>It is also in the file <code>hub.json</code> of the home folder.</p></main></body></html>"""


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, identity: Identity, audit: AuditLog, hosts: Iterable[str]) -> None:
        self._app, self._identity, self._audit = app, identity, audit
        self._hosts = frozenset(host.lower() for host in hosts)
        self._buckets = Buckets(RATE, BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # Nothing of ours speaks over one.
        else:
            verdict = self._judge(scope)
            scope.setdefault("state", {})["person"] = verdict.who
            send = self._with_headers(scope, send)
            if verdict.refusal is None:
                await self._app(scope, _limited(receive, _body_limit(scope)), send)
            else:
                await verdict.refusal(scope, receive, send)

    def _judge(self, scope: Scope) -> _Verdict:
        headers, path, method = Headers(scope=scope), str(scope["path"]), str(scope["method"])
        refusal = self._check_origin(headers, method) or _check_path(path)
        if refusal is not None:
            return _Verdict(None, refusal)
        try:
            who = self._identity.of(headers)
            if who is None and method == "GET" and "token=" in str(scope.get("query_string", b""), "latin-1"):
                answer = self._take_token(scope, headers, path)
                if answer is not None:
                    return _Verdict(OWNER, answer)
            return _Verdict(who, self._check_role(scope, headers, method, path, who))
        except StorageError as error:
            return _Verdict(None, problem(error.http_status, str(error), "StorageError"))

    def _check_origin(self, headers: Headers, method: str) -> Response | None:
        host = headers.get("host", "")
        if _host_name(f"//{host}") not in self._hosts:
            name = host.rsplit(":", 1)[0][:100]
            return problem(400, f"The host name {name!r} is not this dashboard's. Add it to allowed_hosts.")
        origin = headers.get("origin")
        if method in CHANGING and (
            (origin is not None and (_host_name(origin) not in self._hosts or _place(origin) != host))
            or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        ):
            return problem(403, f"A page of {str(origin)[:100]!r} may not change anything here.")
        return None

    def _take_token(self, scope: Scope, headers: Headers, path: str) -> Response | None:
        """Turn the token in an address into a session, and leave it out of the address."""
        query = parse_qs(str(scope.get("query_string", b""), "latin-1"), keep_blank_values=True)
        if not self._identity.is_token(query.pop("token", [""])[0]) or not self._identity.is_single_user:
            return None
        rest = urlencode(query, doseq=True)
        answer = RedirectResponse(path + (f"?{rest}" if rest else ""), status_code=303)
        set_session(answer, headers, self._identity.sessions.start(""), str(scope.get("scheme", "http")))
        return answer

    def _check_role(
        self, scope: Scope, headers: Headers, method: str, path: str, who: Person | None
    ) -> Response | None:
        least = least_role(method, path)
        if least is Role.ANYONE:
            return None
        if who is None:
            return self._ask_to_sign_in(scope, headers, method, path)
        if least is None:
            others = allowed_methods(path)
            if others:
                return problem(
                    405,
                    f"{path[:200]} takes {', '.join(others)}, not {method}.",
                    headers={"allow": ", ".join(others)},
                )
            return problem(404, f"There is nothing at {path[:200]} (no rule in retro_dash/roles.py).")
        if who.role.rank < least.rank:
            return problem(403, f"This needs the role {least}, and {who.name} is {who.role}. Ask an admin.")
        wait = 0.0 if who.is_owner else self._buckets.wait(who.name)
        if wait > 0:
            return problem(
                429, "Too many requests at once. Wait a second.", headers={"retry-after": str(int(wait) + 1)}
            )
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > _body_limit(scope):
            return problem(413, _too_large(_body_limit(scope)))
        return None

    def _ask_to_sign_in(self, scope: Scope, headers: Headers, method: str, path: str) -> Response:
        if "text/html" not in headers.get("accept", ""):
            return problem(401, "Sign in first: send a token as 'Authorization: Bearer …'.", "SignInFirst")
        if self._identity.is_single_user:
            return HTMLResponse(_SIGN_IN, status_code=401)
        query = str(scope.get("query_string", b""), "latin-1")
        there = path + (f"?{query}" if query else "")
        return RedirectResponse("/sign-in" if there == "/" else f"/sign-in?next={quote(there)}", status_code=303)

    def _with_headers(self, scope: Scope, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)  # Pages bring a stricter policy of their own.
                self._note(scope, int(message["status"]))
            await send(message)

        return send_with_headers

    def _note(self, scope: Scope, status: int) -> None:
        method = str(scope["method"])
        if method not in CHANGING and status not in AUDITED:
            return
        who = scope["state"].get("person")
        name, role = (who.name, str(who.role)) if isinstance(who, Person) else ("", "")
        try:
            self._audit.write(name, role, client_address(scope), method, str(scope["path"]), status)
        except OSError as error:
            print(f"audit log: {error}", file=sys.stderr, flush=True)


class _Verdict(NamedTuple):
    who: Person | None
    refusal: Response | None


def client_address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _check_path(path: str) -> Response | None:
    if "\\" in path or "\x00" in path or any(part == ".." for part in path.split("/")):
        return problem(404, "There is nothing there.")
    return None


def _host_name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _place(url: str) -> str:
    return urlsplit(url).netloc


def _body_limit(scope: Scope) -> int:
    return LARGE_BODIES.get(str(scope["path"]), BODY_LIMIT)


def _too_large(limit: int) -> str:
    return f"The request is larger than {limit // 2**20} MiB. Send it in parts."


def _limited(receive: Receive, limit: int) -> Receive:
    """The body as it comes, ended by 413 where it grows beyond the limit without having said so."""
    taken = 0

    async def receive_limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise HTTPException(413, _too_large(limit))
        return message

    return receive_limited
