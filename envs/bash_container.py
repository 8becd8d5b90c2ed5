"""A copy of a file tree in a Docker container, whose commands run there with the programs of an image."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import time
from collections.abc import Mapping
from typing import IO

from envs.bash_shell import account_files, surroundings
from envs.bash_trees import FOLDERS, SYSTEM_NAMES, Entry, Seen, Snapshot, Tree, md5, md5_of, parents
from envs.sandbox import Limits, SandboxResult, Slot, refuse_unpassable
from envs.sandbox_docker import Container

_MOST_BYTES = 1 << 28
"""What is read of the files of one top folder; what lies behind counts as gone."""
_OWN_NAMES = frozenset({".dockerenv"})


class ContainerCopy:
    """Implements `envs.bash_shell.Copy`."""

    prefix = ""

    def __init__(self, tree: Tree, slot: Slot, limits: Limits, image: str) -> None:
        """Raises as `Container` does."""
        self.limits = limits
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
        found: dict[str, Seen] = {}
        for top in sorted(self._container.top_names() - SYSTEM_NAMES - _OWN_NAMES):
            with self._container.archive(f"/{top}") as stream:
                found |= unpack(stream)
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


def unpack(stream: IO[bytes]) -> dict[str, Seen]:
    """Path -> what is there, of the tar stream of one top folder or file."""
    found: dict[str, Seen] = {}
    read = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
            for member in tar:
                name = member.name.strip("/")
                read += member.size
                if read > _MOST_BYTES:
                    break
                if not SYSTEM_NAMES.intersection(name.split("/")):
                    found[name] = _look(tar, member, found)
    except tarfile.ReadError:  # no such file: the stream is empty
        pass
    return found


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
