"""What a terminal sends to be imported: a file as it is, a folder as a zip of the files in it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from data.errors import BadFile, Refused
from retro_dash.folders import LARGEST, MOST_FILES

PIECE = 2**20


class Parcel(NamedTuple):
    """An open file and how it is called."""

    name: str
    file: IO[bytes]

    def pieces(self) -> Iterator[bytes]:
        while piece := self.file.read(PIECE):
            yield piece


@contextmanager
def packed(path: Path) -> Iterator[Parcel]:
    """Open what lies at `path` to be sent. Raises BadFile where nothing can be read, Refused where it is too much."""
    try:
        if path.is_dir():
            with _zipped(path) as file:
                yield Parcel(_words(path.resolve().name), file)
        elif path.is_file():
            if path.stat().st_size > LARGEST:
                raise Refused(f"{path} is larger than {LARGEST // 2**30} GiB. Use: retro-dash import FILE")
            with path.open("rb") as file:
                yield Parcel(_words(path.name), file)
        elif path.exists():  # A pipe or a device would be read for ever.
            raise BadFile(f"{path} is neither a file nor a folder.")
        else:
            raise BadFile(f"{path} does not exist.")
    except OSError as error:  # Also while it is being sent.
        raise BadFile(f"{path} cannot be read: {error.strerror or error}.") from error


@contextmanager
def _zipped(folder: Path) -> Iterator[IO[bytes]]:
    """Links and hidden files are left out, as `retro-dash import FOLDER` does."""
    files = _files_of(folder)
    with tempfile.TemporaryFile() as made:
        with ZipFile(made, "w") as archive:
            for file in files:
                member = ZipInfo(_words(file.relative_to(folder)))
                member.compress_type = ZIP_DEFLATED
                with file.open("rb") as source, archive.open(member, "w", force_zip64=True) as target:
                    while piece := source.read(PIECE):
                        target.write(piece)
        made.seek(0)
        yield made


def _files_of(folder: Path) -> list[Path]:
    """Raises BadFile for an empty folder, Refused for more than an import may hold."""
    files: list[Path] = []
    size = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(place, name)
            if not name.startswith(".") and file.is_file() and not file.is_symlink():
                files.append(file)
                size += file.stat().st_size
        if len(files) > MOST_FILES or size > LARGEST:
            most = f"{MOST_FILES} files or {LARGEST // 2**30} GiB"
            raise Refused(f"{folder} holds more than {most}. Use: retro-dash import FOLDER")
    if not files:
        raise BadFile(f"{folder} holds no files.")
    return files


def _words(name: str | Path) -> str:
    """A name that is no text is no reason to stop: the hub names its copies itself."""
    return os.fsencode(name).decode("utf-8", "replace")
