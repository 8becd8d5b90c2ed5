"""Accounts: `users.json` in the home, written by `retro-dash users`, read again by a running hub when it changes.

Passwords are kept as scrypt hashes (RFC 7914), tokens of scripts as SHA-256 of 256 random bits. Without any account
the home has one owner, who holds the token of `hub.json`.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from data.errors import BadInput, Refused, StorageError, UnknownName
from retro_dash.roles import Role
from retro_dash.sessions import digest, write_private

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 1024
COST, BLOCK, PARALLEL = 2**15, 8, 1
"""scrypt: 32 MiB and about 0.1 s a check."""
_AT_ONCE = threading.Semaphore(2)
"""Password checks at a time, so that guessing takes neither all memory nor all cores."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Token(_Record):
    """Lets a script in as its user."""

    name: str
    digest: str
    created_at: datetime
    expires_at: datetime


class User(_Record):
    name: str
    role: Role
    password: str
    """`scrypt$cost$block$parallel$salt$hash`"""
    created_at: datetime
    sessions_from: datetime
    """Sessions that began earlier have ended."""
    tokens: tuple[Token, ...] = ()


class _File(_Record):
    users: tuple[User, ...] = ()


class UserRow(_Record):
    """A user, without secrets."""

    name: str
    role: Role
    created_at: datetime
    tokens: dict[str, datetime]
    """Names of the tokens and when they expire."""


class Accounts:
    """The accounts of one home. All methods may be called from any thread and any process."""

    def __init__(self, home: Path) -> None:
        self._path = home / "users.json"
        self._seen: tuple[int, int, int] | None = None
        self._users: dict[str, User] = {}

    def users(self) -> dict[str, User]:
        """All users by name. Raises StorageError when the file does not read: then nobody gets in."""
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen != self._seen:
                file = _File.model_validate_json(self._path.read_bytes())
                self._users, self._seen = {user.name: user for user in file.users}, seen
        except FileNotFoundError:
            self._users, self._seen = {}, None
        except (OSError, ValidationError) as error:
            raise StorageError(f"{self._path} cannot be read. Repair it, or remove it to begin anew.") from error
        return self._users

    def user(self, name: str) -> User:
        """Raises UnknownName."""
        users = self.users()
        if name not in users:
            raise UnknownName("user", name, users)
        return users[name]

    def add(self, name: str, role: Role, password: str) -> User:
        """Raises BadInput for a name or password that will not do, Refused when the name is taken."""
        if not NAME.fullmatch(name):
            raise BadInput(f"{name[:80]!r} is no user name: letters, digits and . _ @ -, 64 at most.")
        now = datetime.now(UTC)
        user = User(name=name, role=role, password=hash_password(password), created_at=now, sessions_from=now)
        with self._changing() as users:
            if name in users:
                raise Refused(f"There is a user {name!r} already. Use set-role or password to change it.")
            users[name] = user
        return user

    def remove(self, name: str) -> None:
        """Sessions and tokens end with the user. Raises UnknownName."""
        self.user(name)
        with self._changing() as users:
            users.pop(name, None)

    def set_role(self, name: str, role: Role) -> None:
        self._change(name, role=role)

    def set_password(self, name: str, password: str) -> None:
        """Also ends the user's sessions."""
        self._change(name, password=hash_password(password), sessions_from=datetime.now(UTC))

    def sign_out(self, name: str) -> None:
        """End all sessions of a user; tokens stay."""
        self._change(name, sessions_from=datetime.now(UTC))

    def make_token(self, name: str, token_name: str, days: int) -> str:
        """A new token for scripts, which is kept nowhere. Raises BadInput, Refused when the name is taken."""
        user = self.user(name)
        if not NAME.fullmatch(token_name):
            raise BadInput(f"{token_name[:80]!r} is no name for a token: letters, digits and . _ @ -.")
        if not 1 <= days <= 3650:
            raise BadInput(f"A token lasts 1 to 3650 days, not {days}.")
        if any(token.name == token_name for token in user.tokens):
            raise Refused(f"{name} has a token {token_name!r}. Revoke it first, or choose another name.")
        secret, now = f"rd_{secrets.token_urlsafe(32)}", datetime.now(UTC)
        made = Token(name=token_name, digest=digest(secret), created_at=now, expires_at=now + timedelta(days=days))
        self._change(name, tokens=(*user.tokens, made))
        return secret

    def revoke_token(self, name: str, token_name: str) -> None:
        """Raises UnknownName."""
        user = self.user(name)
        kept = tuple(token for token in user.tokens if token.name != token_name)
        if len(kept) == len(user.tokens):
            raise UnknownName("token", token_name, [token.name for token in user.tokens])
        self._change(name, tokens=kept)

    def by_token(self, secret: str) -> User | None:
        """The user of a token that has not expired."""
        key, now = digest(secret), datetime.now(UTC)
        for user in self.users().values():
            if any(token.expires_at > now and hmac.compare_digest(token.digest, key) for token in user.tokens):
                return user
        return None

    def by_password(self, name: str, password: str) -> User | None:
        """The user, if the password is right. Takes as long for a name that is not there."""
        user = self.users().get(name)
        is_right = is_password(password, user.password if user else _NOBODYS)
        return user if is_right else None

    def _change(self, name: str, **changes: object) -> None:
        self.user(name)
        with self._changing() as users:
            users[name] = users[name].model_copy(update=changes)

    @contextmanager
    def _changing(self) -> Iterator[dict[str, User]]:
        """The users, to change in place; written when the block ends. One process at a time."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._path.with_name("users.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(f"Cannot write {self._path}: {error.strerror}. Make its folder writable.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            users = dict(self.users())
            yield users
            write_private(self._path, _File(users=tuple(users.values())).model_dump_json(indent=1) + "\n")
        finally:
            os.close(lock)


def user_row(user: User) -> UserRow:
    tokens = {token.name: token.expires_at for token in user.tokens}
    return UserRow(name=user.name, role=user.role, created_at=user.created_at, tokens=tokens)


def hash_password(password: str) -> str:
    """Raises BadInput for a password that is too short or too long."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise BadInput(f"A password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters.")
    salt = os.urandom(16)
    parts = (_encoded(salt), _encoded(_scrypt(password, salt, COST, BLOCK, PARALLEL)))
    return "$".join(("scrypt", str(COST), str(BLOCK), str(PARALLEL), *parts))


def is_password(password: str, hashed: str) -> bool:
    """Whether this is the password of which `hash_password` made `hashed`."""
    if len(password) > LONGEST_PASSWORD:
        return False
    _, cost, block, parallel, salt, expected = hashed.split("$")
    with _AT_ONCE:
        found = _scrypt(password, base64.b64decode(salt), int(cost), int(block), int(parallel))
    return hmac.compare_digest(found, base64.b64decode(expected))


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    room = 256 * cost * block  # OpenSSL refuses the default of 32 MiB by a few bytes.
    text = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(text, salt=salt, n=cost, r=block, p=parallel, maxmem=room, dklen=32)


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


_NOBODYS = f"scrypt${COST}${BLOCK}${PARALLEL}${_encoded(bytes(16))}${_encoded(bytes(32))}"
"""What a password is checked against when there is no such user."""
