"""A copy of a file tree in a Docker container, whose commands run there with the programs of an image."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO

from envs.bash_shell import account_files, surroundings
from envs.bash_trees import FOLDERS, SYSTEM_NAMES, Entry, Seen, Snapshot, Tree, md5, md5_of, parents
from envs.sandbox import Limits, SandboxResult, Slot, refuse_unpassable
from envs.sandbox_docker import Container

_MOST_BYTES = 1 << 28
"""What is read of all files; those behind it count as gone."""
_MOST_TOPS = 40
"""Names under the root that are looked into; each is a call of the daemon. Of more only the names are known."""
_OWN_NAMES = frozenset({".dockerenv"})


class ContainerCopy:
    """Implements `envs.bash_shell.Copy`."""

    prefix = ""

    def __init__(self, tree: Tree, slot: Slot, limits: Limits, image: str) -> None:
        """Raises as `Container` does."""
        self.limits = limits
        self._tops = frozenset(tree.tops)
        self._found: Snapshot | None = None
        self._container = Container(image, pack(tree, slot), slot, limits, surroundings(self.prefix))

    def run(self, script: str) -> SandboxResult:
        refuse_unpassable([script])
        self._found = None
        return self._container.run(script)

    def look(self) -> Snapshot:
        """As `bash_trees.snapshot` sees a folder: what lies under the root but for folders of the system."""
        if self._found is None:
            self._found = self._read_files()
        return self._found

    def close(self) -> None:
        self._container.close()

    def _read_files(self) -> Snapshot:
        names = self._container.top_names() - SYSTEM_NAMES - _OWN_NAMES
        tops = sorted(names, key=lambda name: (name not in self._tops, name))
        found = {name: Seen("other", 0, "") for name in tops[_MOST_TOPS:]}
        left = _MOST_BYTES
        for top in tops[:_MOST_TOPS]:
            with self._container.archive(f"/{top}") as stream:
                seen, read = unpack(stream, left)
            found |= seen
            left -= read
        return found


def pack(tree: Tree, slot: Slot) -> bytes:
    """The tree as a tar archive to be laid over an image's root; files and root are the slot's user's."""
    entries = {entry.name: entry for entry in tree.entries}
    folders = {parent for name in entries for parent in parents(name)} | {"", *FOLDERS}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", encoding="utf-8", errors="surrogateescape") as tar:
        for name in sorted(folders | entries.keys(), key=lambda name: name.split("/")):
            header, content = _describe(name, entries.get(name))
            if name != "tmp":  # root's, so that it cannot be removed
                header.uid, header.gid = slot.uid, slot.gid
            tar.addfile(header, io.BytesIO(content))
        for name, text in account_files(slot).items():
            header = tarfile.TarInfo(f"./etc/{name}")
            header.size = len(text)
            tar.addfile(header, io.BytesIO(text.encode()))
    return archive.getvalue()


def _describe(name: str, entry: Entry | None) -> tuple[tarfile.TarInfo, bytes]:
    """The header and content of a path of the tree; None stands for a folder that only others lie in."""
    header = tarfile.TarInfo(f"./{name}")
    header.mtime = time.time()
    if entry is None or entry.type == "dir":
        header.type = tarfile.DIRTYPE
        header.mode = FOLDERS.get(name, 0o755) if entry is None else entry.permissions
    elif entry.type == "link":
        header.type, header.linkname, header.mode = tarfile.SYMTYPE, entry.target or "", 0o777
        return header, b""
    else:
        header.mode, header.size = entry.permissions, len(entry.content)
    if entry is not None and entry.mtime is not None:
        header.mtime = entry.mtime
    return header, entry.content if entry is not None and entry.type == "file" else b""


def unpack(stream: IO[bytes], most: int = _MOST_BYTES) -> tuple[dict[str, Seen], int]:
    """What the tar stream of one top folder or file holds: path -> what is there, and the bytes of its files. Ends
    when they would be more than `most`."""
    found: dict[str, Seen] = {}
    size = 0
    with suppress(tarfile.ReadError), tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as tar:
        # An empty stream, of a name that is not there, is a ReadError.
        for member in tar:
            name = member.name.strip("/")
            size += member.size
            if size > most:
                break
            if not SYSTEM_NAMES.intersection(name.split("/")):
                found[name] = _look(tar, member, found)
    return found, size


def _look(tar: tarfile.TarFile, member: tarfile.TarInfo, found: Mapping[str, Seen]) -> Seen:
    mode = stat.S_IMODE(member.mode)
    if member.isdir():
        return Seen("dir", mode, "")
    if member.issym():
        return Seen("link", 0o777, md5(os.fsencode(member.linkname)))
    if member.islnk():
        return found.get(member.linkname.strip("/"), Seen("other", mode, ""))
    content = tar.extractfile(member) if member.isfile() else None
    return Seen("other", mode, "") if content is None else Seen("file", mode, md5_of(content))
