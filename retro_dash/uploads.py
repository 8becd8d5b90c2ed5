"""Files that a page sends to be imported: stored under a name of ours, previewed, imported in the background."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import IO, Literal

from data.errors import BadFile, BadInput, Refused, RetroDashError, UnknownName
from data.formats.entry import FileFormat
from data.store import Store
from data.types import Noun
from retro_dash.folders import MOST_FILES, is_zip, place_for, unpack
from retro_dash.ids import new_id
from retro_dash.importing import Imported, ImportPreview, choose_format, import_file, preview

LARGEST = 4 * 2**30
MOST_WAITING = 20
KEPT_SECONDS = 3600.0
"""For so long a preview waits for somebody to import it."""
SUFFIXES = (".gz", ".jsonl", ".json", ".parquet")


class ImportState(Noun):
    """One upload."""

    id: str
    state: Literal["ready", "importing", "imported", "failed"]
    preview: ImportPreview
    stored: int = 0
    """Episodes stored so far."""
    result: Imported | None = None
    error: str | None = None


class Uploads:
    """The uploads of one home. They are deleted when they are imported or given up."""

    def __init__(self, home: Path, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._store, self._clock = home / "uploads", store, clock
        self._lock = threading.Lock()
        self._states: dict[str, ImportState] = {}
        self._files: dict[str, tuple[Path, FileFormat]] = {}
        self._received: dict[str, float] = {}
        shutil.rmtree(self._folder, ignore_errors=True)  # What a killed hub left; nobody can name it any more.

    async def receive(self, name: str, chunks: AsyncIterator[bytes]) -> Path:
        """Write an upload to a file of ours. Raises Refused when it is too large or too many wait."""
        # Only the ending of the given name is used, and only a known one.
        suffix = "".join(s for s in SUFFIXES if s in name.lower()[-20:])[:16]
        path = self._new_place(suffix or ".jsonl")
        try:
            with path.open("wb") as file:
                await _write(chunks, file, LARGEST)
        except BaseException:
            _delete(path)
            raise
        return path

    async def receive_several(self, names: Sequence[str], sizes: Sequence[int], chunks: AsyncIterator[bytes]) -> Path:
        """Write files that come one behind the other into a folder of ours.

        Raises BadInput when names and sizes do not fit the body, Refused when it is too large or too many wait.
        """
        if len(names) != len(sizes) or not 1 <= len(names) <= MOST_FILES:
            raise BadInput(f"Give a name and a size for each file, {MOST_FILES} files at most.")
        if sum(sizes) > LARGEST:
            raise Refused(f"The files are larger than {LARGEST // 2**30} GiB. Use: retro-dash import FOLDER")
        folder = self._new_place("")
        folder.mkdir()
        try:
            await _write_several(folder, names, sizes, chunks)
        except BaseException:
            _delete(folder)
            raise
        return folder

    def _new_place(self, suffix: str) -> Path:
        self._forget_old()
        if sum(state.state in ("ready", "importing") for state in self._states.values()) >= MOST_WAITING:
            raise Refused(f"{MOST_WAITING} uploads wait already. Import them or give them up first.")
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"{new_id('upload')}{suffix}"

    def _forget_old(self) -> None:
        """Delete what was previewed and then left: a tab was closed."""
        with self._lock:
            for id_, state in list(self._states.items()):
                if state.state == "ready" and self._clock() - self._received[id_] > KEPT_SECONDS:
                    self._discard(id_)
                    del self._states[id_]

    def look(self, path: Path, name: str, format_: str | None) -> ImportState:
        """Preview what was received. What is not understood is deleted, and BadFile says why, with the name given."""
        shown = Path(name).name[:200]
        try:
            if path.is_file() and path.stat().st_size == 0:
                raise BadInput("The file is empty.")
            if is_zip(path):
                path = _unpacked(path)
            found = choose_format(path, format_)
            seen = preview(path, found, self._store.known_episodes).model_copy(update={"file": shown})
        except BaseException as error:
            _delete(path)
            if isinstance(error, BadFile):
                raise BadFile(str(error).replace(path.name, shown)) from error
            raise
        state = ImportState(id=path.name.partition(".")[0], state="ready", preview=seen)
        with self._lock:
            self._states[state.id] = state
            self._files[state.id] = (path, found)
            self._received[state.id] = self._clock()
        return state

    def state(self, id_: str) -> ImportState:
        """Raises UnknownName."""
        with self._lock:
            if id_ not in self._states:
                raise UnknownName("upload", id_, self._states)
            return self._states[id_]

    def start(self, id_: str) -> ImportState:
        """Begin to import what was previewed. Pressing twice starts it once."""
        state = self.state(id_)
        with self._lock:
            if state.state != "ready":
                return state
            self._states[id_] = state.model_copy(update={"state": "importing"})
        threading.Thread(target=self._import, args=(id_,), daemon=True, name=f"import {id_}").start()
        return self.state(id_)

    def forget(self, id_: str) -> None:
        """Delete an upload. Raises Refused while it is being imported."""
        if self.state(id_).state == "importing":
            raise Refused("This file is being imported. Wait until it is done.")
        with self._lock:
            self._discard(id_)
            del self._states[id_]

    def _import(self, id_: str) -> None:
        path, found = self._files[id_]
        name = self._states[id_].preview.file

        def progress(stored: int) -> None:
            self._change(id_, stored=stored)

        try:
            result = import_file(path, found, self._store, name, progress)
            self._change(id_, state="imported", result=result)
        except RetroDashError as error:
            self._change(id_, state="failed", error=str(error))
        except Exception as error:  # The state must end, whatever broke.
            self._change(id_, state="failed", error=f"{type(error).__name__} while importing; see the hub's log.")
            raise
        finally:
            with self._lock:
                self._discard(id_)

    def _discard(self, id_: str) -> None:
        """Delete what was received, once: an import that has just ended may be forgotten at the same moment."""
        self._received.pop(id_, None)
        if id_ in self._files:
            _delete(self._files.pop(id_)[0])

    def _change(self, id_: str, **changes: object) -> None:
        with self._lock:
            self._states[id_] = self._states[id_].model_copy(update=changes)


async def _write(chunks: AsyncIterator[bytes], file: IO[bytes], most: int) -> None:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise Refused(f"The file is larger than {most // 2**30} GiB. Use: retro-dash import FILE")
        file.write(chunk)


async def _write_several(
    folder: Path, names: Sequence[str], sizes: Sequence[int], chunks: AsyncIterator[bytes]
) -> None:
    rest = b""
    for name, size in zip(names, sizes, strict=True):
        with place_for(folder, name).open("xb") as file:
            left = size
            while left:
                rest = rest or await anext(chunks, b"")
                if not rest:
                    raise BadInput(f"The body ends {left} bytes before the end of its files. Send it again.")
                file.write(rest[:left])
                left, rest = left - len(rest[:left]), rest[left:]
    if rest or await anext(chunks, b""):
        raise BadInput("The body goes on behind its last file. Send it again.")


def _unpacked(archive: Path) -> Path:
    """The folder that a zip becomes; the zip itself is gone."""
    folder = archive.with_name(archive.name.partition(".")[0])
    try:
        unpack(archive, folder)
    finally:
        archive.unlink()
    return folder


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
