"""Makes every HTML page ours: theme and scripts from the first byte, and a policy that lets no other script run.

Gradio's pages carry inline scripts of their own (their configuration). They are allowed one by one through their
SHA-256 in the Content-Security-Policy of that response, so `'unsafe-inline'` is never needed and text of a model or
an environment can't become a script. `'unsafe-eval'` is what `gr.HTML` compiles its fixed templates with.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from dataclasses import asdict

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retro_dash.web.page import Page

STATIC_PATH = "/ui"
"""Where our static files are served; Gradio keeps `/static` and `/assets` for its own."""

_INLINE_SCRIPT = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
_FOREIGN = re.compile(r'<meta\s+(?:property|name)="(?:og|twitter):[^>]*>|<link rel="manifest"[^>]*>', re.DOTALL)


def content_security_policy(script_hashes: Sequence[str] = ()) -> str:
    """The policy of one response; `script_hashes` are the base64 SHA-256 of inline scripts that may run."""
    scripts = " ".join(["'self'", "'unsafe-eval'", *(f"'sha256-{digest}'" for digest in script_hashes)])
    return (
        f"default-src 'self'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self' data:; connect-src 'self'; form-action 'self'; frame-src 'none'; frame-ancestors 'none'; "
        "object-src 'none'; base-uri 'self'"
    )


def inline_script_hashes(page: str) -> list[str]:
    """Base64 SHA-256 of every inline script of a page, as a browser computes it."""
    # A browser turns CR LF into LF before it hashes.
    scripts = (match.group(1).replace("\r\n", "\n") for match in _INLINE_SCRIPT.finditer(page))
    return [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]


def head_tags(pages: Sequence[Page]) -> str:
    """What every page's head gets: styles, the theme before the first paint, the program, the list of pages."""
    names = html.escape(json.dumps([asdict(page) for page in pages]), quote=True)
    return (
        f'<meta name="retro-pages" content="{names}">'
        f'<link rel="stylesheet" href="{STATIC_PATH}/app.css">'
        f'<link rel="stylesheet" href="{STATIC_PATH}/runs.css">'
        f'<link rel="stylesheet" href="{STATIC_PATH}/curate.css">'
        f'<script src="{STATIC_PATH}/theme.js"></script>'
        f'<script type="module" src="{STATIC_PATH}/app.js"></script>'
    )


class PageFrame:
    """ASGI middleware that rewrites HTML responses and leaves all others alone."""

    def __init__(self, app: ASGIApp, pages: Sequence[Page]) -> None:
        self.app = app
        self.head = head_tags(pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
            await self.app(scope, receive, send)
            return
        # A compressed page could not be rewritten.
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        await self.app({**scope, "headers": plain}, receive, _Rewriter(self.head, send))


class _Rewriter:
    """Holds an HTML response back until it is whole, then sends it rewritten."""

    def __init__(self, head: str, send: Send) -> None:
        self.head = head
        self.send = send
        self.start: Message | None = None
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_html(message):
            self.start = message
        elif self.start is None:
            await self.send(message)
        else:
            self.body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self.start)

    async def _finish(self, start: Message) -> None:
        page = _FOREIGN.sub("", self.body.decode())
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-security-policy"] = content_security_policy(inline_script_hashes(page))
        if "<gradio-app" in page:
            page = page.replace("</head>", self.head + "</head>", 1)
        body = page.encode()
        headers["content-length"] = str(len(body))
        await self.send({**start, "headers": headers.raw})
        await self.send({"type": "http.response.body", "body": body})


def _is_html(message: Message) -> bool:
    return Headers(raw=message["headers"]).get("content-type", "").startswith("text/html")
