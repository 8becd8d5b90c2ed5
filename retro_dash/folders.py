"""Many files as one import: a folder whose files are read one by one, and a zip that becomes such a folder."""

from __future__ import annotations

import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile, ZipInfo

from data.errors import BadFile
from data.formats import detect_format, file_format
from data.formats.entry import Dropped, FileFormat, Found
from data.formats.source import ZIP

MOST_FILES = 2000
LARGEST = 4 * 2**30
"""Bytes of a zip's files."""
PLENTY, MOST_RATIO = 256 * 2**20, 200
"""What unpacks to more than `PLENTY` and to more than so many times its size is a bomb: logs pack 5 to 20 : 1."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


class Source(NamedTuple):
    """A file or folder that one format reads whole, or why none does."""

    path: Path
    format: FileFormat | None
    refusal: str = ""


def folder_format(folder: Path, name: str | None = None) -> FileFormat:
    """A format that reads everything in a folder and below it, each part by the named format or the one that it looks
    like; a file that is not understood is a dropped row. Raises BadFile when nothing is."""
    sources = list(_sources(folder, name))
    understood = [source.format for source in sources if source.format is not None]
    if not understood:
        why = sources[0].refusal if sources else "it holds no files."
        raise BadFile(f"Nothing in {folder.name} is understood: {why}")
    titles = ", ".join(dict.fromkeys(found.title for found in understood))
    names = {found.name for found in understood}

    def read(_: Path) -> Iterator[Found]:
        for source in sources:
            yield from _read(source, source.path.relative_to(folder).as_posix())

    if len(sources) == 1 and sources[0].path == folder:
        return understood[0]
    return FileFormat(
        name=names.pop() if len(names) == 1 else "folder",
        title=f"{len(sources)} files: {titles}",
        detect=lambda head: False,
        read=read,
    )


def _sources(folder: Path, name: str | None) -> Iterator[Source]:
    for place in [folder, *sorted(child for child in folder.rglob("*") if child.is_dir() and not child.is_symlink())]:
        whole = _format_of(place)
        if whole is not None and name in (None, whole.name):
            yield Source(place, whole)
            continue
        for file in sorted(place.iterdir()):
            if file.is_file() and not file.is_symlink() and not file.name.startswith("."):
                try:
                    yield Source(file, file_format(name) if name else detect_format(file))
                except BadFile as error:
                    yield Source(file, None, str(error))


def _format_of(folder: Path) -> FileFormat | None:
    try:
        return detect_format(folder)
    except BadFile:  # No format of folders; its files may be read one by one.
        return None


def _read(source: Source, name: str) -> Iterator[Found]:
    if source.format is None:
        yield Dropped(0, source.refusal, name)
        return
    try:
        for found in source.format.read(source.path):
            yield (
                Dropped(found.row, found.reason, f"{name}: {found.excerpt}") if isinstance(found, Dropped) else found
            )
    except BadFile as error:  # The other files are good all the same.
        yield Dropped(0, str(error), name)


def is_zip(path: Path) -> bool:
    """Whether it is a zip of files; a format that is a zip itself (Inspect's) is none."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(4) != ZIP.encode():
            return False
    try:
        detect_format(path)
    except BadFile:
        return True
    return False


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """The path itself, or for a zip of files the folder that it becomes, as long as it is needed. Raises BadFile."""
    if not is_zip(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="retro-zip-") as folder:
        unpack(path, Path(folder) / path.stem)
        yield Path(folder) / path.stem


def unpack(path: Path, folder: Path, largest: int = LARGEST) -> None:
    """Write a zip's files under `folder`, under names that lead nowhere else.

    Raises BadFile for a zip that is damaged, encrypted, too large, or holds too many files; the folder is then gone.
    """
    folder.mkdir(parents=True)
    try:
        with ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len(members) > MOST_FILES:
                raise BadFile(
                    f"{path.name} holds {len(members)} files, and {MOST_FILES} are the most. Send them in parts."
                )
            left = min(largest, max(PLENTY, MOST_RATIO * path.stat().st_size))
            for member in members:
                left -= _unpack_one(archive, member, place_for(folder, member.filename), left)
    except (BadZipFile, RuntimeError, zlib.error, EOFError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise BadFile(
            f"{path.name} cannot be unpacked ({error}). Zip the files again, without a password."
        ) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _unpack_one(archive: ZipFile, member: ZipInfo, to: Path, room: int) -> int:
    """Returns the bytes written. What the zip says of sizes is not believed."""
    size = 0
    with archive.open(member) as packed, to.open("xb") as file:
        while chunk := packed.read(2**20):
            size += len(chunk)
            if size > room:
                raise BadFile("The zip unpacks to more than an import may be: refused. Send it in parts.")
            file.write(chunk)
    return size


def place_for(folder: Path, name: str) -> Path:
    """Where under `folder` a file goes that somebody else named: at most three folders deep, plain characters only.

    Nothing is there yet, and the folder that it goes into is made.
    """
    parts = [_UNSAFE.sub("_", part)[-100:] for part in PurePosixPath(name.replace("\\", "/")).parts]
    *folders, last = [part for part in parts if part.strip("._")][-4:] or ["file"]
    place = folder.joinpath(*folders)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):  # A file has the name that is here a folder's.
        place = folder
    numbered = (place / (last if number == 1 else f"{number}-{last}") for number in count(1))
    return next(path for path in numbered if not path.exists())
