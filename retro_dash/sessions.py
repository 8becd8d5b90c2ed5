"""Browser sessions: a random secret in a cookie, its digest in a file, so that a restarted hub still knows it."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from data.errors import StorageError

LIFETIME = timedelta(days=7)
MOST_PER_USER = 50
"""Beyond these the oldest end."""


class Session(NamedTuple):
    user: str
    """Empty for the owner of a hub without accounts."""
    started_at: datetime

    @property
    def is_over(self) -> bool:
        return datetime.now(UTC) - self.started_at > LIFETIME


class Sessions:
    """The sessions of one hub. All methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._sessions = _read(path)

    def start(self, user: str) -> str:
        """A new session; returns its secret, which is kept nowhere. Raises StorageError."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            kept = {key: one for key, one in self._sessions.items() if not one.is_over}
            own = sorted((one.started_at, key) for key, one in kept.items() if one.user == user)
            for _, key in own[: max(0, len(own) + 1 - MOST_PER_USER)]:
                del kept[key]
            kept[digest(secret)] = Session(user, datetime.now(UTC))
            self._sessions = kept
            self._write()
        return secret

    def find(self, secret: str) -> Session | None:
        session = self._sessions.get(digest(secret)) if secret else None
        return session if session is not None and not session.is_over else None

    def end(self, secret: str) -> None:
        with self._lock:
            if self._sessions.pop(digest(secret), None) is not None:
                self._write()

    def _write(self) -> None:
        rows = {key: [one.user, one.started_at.isoformat()] for key, one in self._sessions.items()}
        write_private(self._path, json.dumps(rows))


def digest(secret: str) -> str:
    """What is kept of a random secret of 256 bits: too long to guess, so one round is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only. Raises StorageError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"Cannot write {path}: {error.strerror}. Free some space or make it writable.") from error


def _read(path: Path) -> dict[str, Session]:
    """Sessions of an earlier hub; none when the file is missing or does not read, and everybody signs in again."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {key: Session(str(user), datetime.fromisoformat(at)) for key, (user, at) in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
