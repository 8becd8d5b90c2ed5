"""Where a hub listens: the file `hub.json` of a home, which a hub writes and everybody else reads."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil

from data.errors import BadInput

TOKEN_VARIABLE = "RETRO_TOKEN"  # noqa: S105 - its name
"""Environment variable with the token of a hub elsewhere: unlike a flag it is in no list of processes."""


@dataclass(frozen=True)
class HubAddress:
    """How to reach a running hub."""

    url: str
    token: str
    pid: int
    started: float
    """Start time of the process, seconds since the epoch: tells it from another that got the same pid."""
    certificate: str | None = None
    """The PEM file that the hub serves HTTPS with."""

    @property
    def sign_in_url(self) -> str:
        return f"{self.url}/?token={self.token}"

    def trust(self) -> ssl.SSLContext | bool:
        """What a client on this machine checks the hub's certificate by: it must be the very file of the hub's, made
        out to whatever name, since it is reached under a local one."""
        if self.certificate is None:
            return True
        context = ssl.create_default_context(cafile=self.certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
        return context


def find_hub(home: Path) -> HubAddress | None:
    """The hub that runs on this home, if its process is alive and is the one that wrote the file."""
    try:
        known = HubAddress(**json.loads((home / "hub.json").read_text(encoding="utf-8")))
        alive = abs(psutil.Process(known.pid).create_time() - known.started) < 1
    except (OSError, ValueError, TypeError, psutil.Error):
        return None
    return known if alive else None


def left_token(home: Path) -> str | None:
    """The token of a hub that was killed: it had no time to take its address away. None after an orderly end."""
    try:
        token = json.loads((home / "hub.json").read_text(encoding="utf-8"))["token"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return token if isinstance(token, str) and len(token) >= 20 else None


def remote_address(url: str, token: str | None = None) -> HubAddress:
    """The address of a hub elsewhere; the token is the one given, else that of a sign-in link, else empty.

    Raises BadInput.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadInput(f"--url {url!r} is no address. Write it as http://127.0.0.1:7860")
    return HubAddress(
        f"{parts.scheme}://{parts.netloc}", token or parse_qs(parts.query).get("token", [""])[0], 0, 0.0
    )
