"""The one gate in front of every route: who asks, from where, and what the browser may do with the answer.

Deny by default: without the token only `/health` answers. A Host that is not ours is refused (DNS rebinding), a
foreign or null Origin may not change anything (CSRF), and every answer carries a content security policy under which
model text can neither run a script nor reach another host.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "retro_dash"
PUBLIC_PATHS = frozenset({"/health"})
BLOCKED_PREFIXES = ("/gradio_api/mcp",)
"""Gradio mounts these outside its own authentication; we do not serve them."""
CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
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
<body><main><h1>Retro Dash</h1><p>Open the address that was printed where Retro Dash was started:
it ends in <code>?token=…</code> and signs this browser in.</p>
<p>It is also in the file <code>hub.json</code> of the home folder.</p></main></body></html>"""


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str]) -> None:
        self._app, self._token = app, token
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._judge(scope)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "http":
            await refusal(scope, receive, _with_headers(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _judge(self, scope: Scope) -> Response | None:
        """None to let the request pass, else the answer that refuses it."""
        headers, path = Headers(scope=scope), str(scope["path"])
        host = headers.get("host", "").rsplit(":", 1)[0].strip("[]").lower()
        if host not in self._hosts:
            return _problem(400, f"The host name {host!r} is not this dashboard's.")
        method = str(scope.get("method", "GET"))
        origin = headers.get("origin")
        if (method in CHANGING or scope["type"] == "websocket") and origin is not None:
            its_host = (urlsplit(origin).hostname or "").lower()
            if origin == "null" or f"{its_host}" not in self._hosts or urlsplit(origin).netloc != headers["host"]:
                return _problem(403, f"A page of {origin!r} may not change anything here.")
        if any(path.startswith(prefix) for prefix in BLOCKED_PREFIXES):
            return _problem(404, "There is nothing here.")
        if path in PUBLIC_PATHS:
            return None
        if self._is_known(headers):
            return None
        query = parse_qs(str(scope.get("query_string", b""), "latin-1"))
        given = query.pop("token", [""])[0]
        if method == "GET" and given and hmac.compare_digest(given.encode(), self._token.encode()):
            rest = urlencode(query, doseq=True)
            answer: Response = RedirectResponse(path + (f"?{rest}" if rest else ""), status_code=303)
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", path="/")
            return answer
        if "text/html" in headers.get("accept", ""):
            return HTMLResponse(_SIGN_IN, status_code=401)
        return _problem(401, "Sign in first: send the token of hub.json as 'Authorization: Bearer …'.")

    def _is_known(self, headers: Headers) -> bool:
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except Exception:  # A broken cookie header is the same as none.
            cookies = SimpleCookie()
        cookie = cookies[COOKIE].value if COOKIE in cookies else ""
        bearer = headers.get("authorization", "").removeprefix("Bearer ").strip()
        return any(given and hmac.compare_digest(given.encode(), self._token.encode()) for given in (cookie, bearer))


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)  # Pages bring a stricter policy of their own.
        await send(message)

    return send_with_headers


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse(
        {"title": "Refused", "status": status, "detail": detail},
        status_code=status,
        media_type="application/problem+json",
    )
