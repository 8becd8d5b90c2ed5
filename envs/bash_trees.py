"""File trees as data, laid out on disk, looked at again, and compared as `git status` would.

A tree is the JSON object {"entries": [{"path": "/site/index.html", "type": "file" | "dir" | "link", "mode": "0o644",
"mtime": seconds, "text" | "base64": content, "target": of a link}]}. Links are never followed: one that points
outside is a link like any other, and leads nowhere but into the sandbox.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.errors import BadFile
from envs.sandbox import Slot

_SYSTEM_WORDS = "bin boot dev etc home lib lib32 lib64 libx32 media opt proc root run sbin srv sys usr var"
SYSTEM_NAMES = frozenset(_SYSTEM_WORDS.split())
"""Folders of the system. As in InterCode's `.gitignore` nothing in them, or in any folder of such a name, counts."""
_MOST_ENTRIES = 5_000
_MOST_BYTES = 16 << 20
_MOST_HASHED = 1 << 28
"""What is read of all files of a copy, small ones first; of the others only the size is looked at."""
_RESERVED = SYSTEM_NAMES - {"home", "opt", "root", "srv", "var"}
FOLDERS = {"tmp": 0o1777, "root": 0o755, "home": 0o755, "var": 0o755}
"""What every copy has beside its tree, with permission bits."""


class Entry(BaseModel):
    """One file, folder or link of a tree."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str
    type: Literal["file", "dir", "link"]
    mode: str = ""
    mtime: float | None = None
    text: str | None = None
    base64: str | None = None
    target: str | None = None

    @model_validator(mode="after")
    def _is_inside(self) -> Entry:
        parts = PurePosixPath(self.path).parts
        if not self.path.startswith("/") or len(parts) < 2 or ".." in parts or "\0" in self.path:
            raise ValueError(f"path {self.path!r} is not an absolute path inside the tree")
        if parts[1] in _RESERVED:
            raise ValueError(f"path {self.path!r} lies in a folder of the system")
        if self.type == "link" and not self.target:
            raise ValueError(f"link {self.path!r} has no target")
        self.permissions  # noqa: B018 (parses, or raises)
        return self

    @property
    def name(self) -> str:
        """The path from the root: `site/index.html`."""
        return "/".join(PurePosixPath(self.path).parts[1:])

    @property
    def permissions(self) -> int:
        default = 0o755 if self.type == "dir" else 0o644
        return int(self.mode, 8) & 0o777 if self.mode else default

    @property
    def content(self) -> bytes:
        if self.base64 is not None:
            return base64.b64decode(self.base64, validate=True)
        return (self.text or "").encode("utf-8", "surrogateescape")


class Tree(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    entries: tuple[Entry, ...] = Field(max_length=_MOST_ENTRIES)

    @model_validator(mode="after")
    def _is_a_tree(self) -> Tree:
        """Nothing lies in what is no folder: through a link it would be written outside."""
        kinds = {entry.name: entry.type for entry in self.entries}
        for name in kinds:
            if any(kinds.get(parent, "dir") != "dir" for parent in parents(name)):
                raise ValueError(f"entry /{name} lies behind a link or in a file; put it into a folder")
        return self

    @property
    def tops(self) -> tuple[str, ...]:
        """Names of the folders and files directly under the root."""
        return tuple(sorted({entry.name.split("/")[0] for entry in self.entries}))


@dataclass(frozen=True)
class Seen:
    """One entry as found on disk: permission bits, md5 of the content (of a link's target; empty for a folder)."""

    kind: Literal["file", "dir", "link", "other"]
    mode: int
    md5: str


Snapshot = Mapping[str, Seen]
"""Path from the root ("site/index.html") -> what is there."""
Change = tuple[str, str]
"""Path ("site/index.html", "site/new/" for a whole new folder) and status as `git status --short` writes it:
`??` new, `M` changed, `D` gone."""


def read_tree(path: Path) -> Tree:
    """Raises BadFile for what is not a tree, or one that reaches outside itself."""
    try:
        raw = json.loads(path.read_bytes())
        tree = Tree.model_validate(raw)
        size = sum(len(entry.content) for entry in tree.entries)
    except FileNotFoundError:
        raise BadFile(
            f"There is no file tree {path.name} in {path.parent}; name its folder with the option trees."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadFile(f"{path} is not a file tree: {_first_line(error)}.") from error
    if size > _MOST_BYTES:
        raise BadFile(f"{path} holds {size:,} bytes; a tree may hold {_MOST_BYTES:,}.")
    return tree


def lay_out(tree: Tree, root: Path, slot: Slot) -> None:
    """Make the tree under `root`, which must be empty, with its permissions, times and owner."""
    for name in FOLDERS:
        (root / name).mkdir(exist_ok=True)
    folders: list[tuple[Path, Entry]] = []
    for entry in sorted(tree.entries, key=lambda entry: entry.name.split("/")):
        path = root / entry.name
        _make(path, entry)
        if entry.type == "dir":
            folders.append((path, entry))
    slot.own(root)
    os.chmod(root / "tmp", FOLDERS["tmp"])
    # Innermost first: what is made in a folder changes its time.
    for path, entry in reversed(folders):
        _touch(path, entry)


def snapshot(root: Path) -> dict[str, Seen]:
    """What is under `root`, but for folders of the system."""
    found: dict[str, Seen] = {}
    read = 0
    for size, name, entry in sorted(_walk(root), key=lambda entry: entry[:2]):
        read += size
        with suppress(FileNotFoundError):
            found[name] = _look(entry, is_read=read <= _MOST_HASHED)
    return found


def git_changes(before: Snapshot, after: Snapshot) -> frozenset[Change]:
    """As `git status --short` names them: empty folders do not exist, of the mode only the executable bit counts, and
    a new folder stands for all in it."""
    old = {path: _as_git(seen) for path, seen in before.items() if seen.kind in ("file", "link")}
    new = {path: _as_git(seen) for path, seen in after.items() if seen.kind in ("file", "link")}
    known = {parent for path in old for parent in parents(path)}
    changes = {(path, "D") for path in old.keys() - new.keys()}
    changes |= {(path, "M") for path in old.keys() & new.keys() if old[path] != new[path]}
    for path in new.keys() - old.keys():
        fresh = next((parent for parent in parents(path) if parent not in known), None)
        changes.add((path if fresh is None else fresh + "/", "??"))
    return frozenset(changes)


def all_changes(before: Snapshot, after: Snapshot) -> frozenset[Change]:
    """Every path whose kind, mode or content differs, folders included."""
    changes = {(path, "D") for path in before.keys() - after.keys()}
    changes |= {(path, "??") for path in after.keys() - before.keys()}
    changes |= {(path, "M") for path in before.keys() & after.keys() if before[path] != after[path]}
    return frozenset(changes)


def content(path: str, found: Snapshot) -> tuple[tuple[str, str], ...]:
    """The md5 of a file, or of every file of a folder (a path that ends in "/")."""
    if not path.endswith("/"):
        return ((path, found[path].md5),) if path in found else ()
    return tuple(sorted((name, seen.md5) for name, seen in found.items() if name.startswith(path) and seen.md5))


def _make(path: Path, entry: Entry) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if entry.type == "dir":
            path.mkdir(exist_ok=True)
        elif entry.type == "link":
            os.symlink(entry.target or "", path)
        else:
            path.write_bytes(entry.content)
            _touch(path, entry)
    except OSError as error:
        raise BadFile(f"The tree's entry {entry.path} cannot be made: {error.strerror}.") from error


def _touch(path: Path, entry: Entry) -> None:
    os.chmod(path, entry.permissions)
    if entry.mtime is not None:
        os.utime(path, (entry.mtime, entry.mtime))


def _walk(root: Path) -> Iterator[tuple[int, str, os.DirEntry[str]]]:
    """Size, path and entry of all but folders of the system."""
    waiting = [(root, "")]
    while waiting:
        folder, prefix = waiting.pop()
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in SYSTEM_NAMES:
                    continue
                name = f"{prefix}{entry.name}"
                with suppress(FileNotFoundError):
                    yield entry.stat(follow_symlinks=False).st_size, name, entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry.path), f"{name}/"))


def _look(entry: os.DirEntry[str], *, is_read: bool) -> Seen:
    found = entry.stat(follow_symlinks=False)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        return Seen("link", 0o777, md5(os.fsencode(os.readlink(entry.path))))
    if stat.S_ISDIR(found.st_mode):
        return Seen("dir", mode, "")
    if not stat.S_ISREG(found.st_mode):
        return Seen("other", mode, "")
    if not is_read:
        return Seen("file", mode, f"{found.st_size} bytes")
    try:
        with open(entry.path, "rb") as file:
            return Seen("file", mode, md5_of(file))
    except PermissionError:  # of a file that its owner closed to itself, when we run as that owner
        return Seen("file", mode, "unreadable")


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def md5_of(file: IO[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _as_git(seen: Seen) -> tuple[str, bool, str]:
    return seen.kind, seen.kind == "file" and bool(seen.mode & 0o100), seen.md5


def parents(path: str) -> list[str]:
    """Folders above a path: `a/b/c` -> `a`, `a/b`: outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where, said = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")
        return f"{where}: {said}" if where else said
    return str(error).splitlines()[0] if str(error) else type(error).__name__
