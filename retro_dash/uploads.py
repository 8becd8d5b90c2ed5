"""Files that a page sends to be imported: stored under a name of ours, previewed, imported in the background."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from data.errors import BadInput, Refused, RetroDashError, UnknownName
from data.formats.entry import FileFormat
from data.store import Store
from data.types import Noun
from retro_dash.ids import new_id
from retro_dash.importing import Imported, ImportPreview, choose_format, import_file, preview

LARGEST = 4 * 2**30
MOST_WAITING = 20
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

    def __init__(self, home: Path, store: Store) -> None:
        self._folder, self._store = home / "uploads", store
        self._lock = threading.Lock()
        self._states: dict[str, ImportState] = {}
        self._files: dict[str, tuple[Path, FileFormat]] = {}

    async def receive(self, name: str, chunks: AsyncIterator[bytes]) -> Path:
        """Write an upload to a file of ours. Raises Refused when it is too large or too many wait."""
        if len(self._states) >= MOST_WAITING:
            raise Refused(f"{MOST_WAITING} uploads wait already. Import them or give them up first.")
        self._folder.mkdir(parents=True, exist_ok=True)
        # Only the ending of the given name is used, and only a known one.
        suffix = "".join(s for s in SUFFIXES if s in name.lower()[-20:])[:16]
        path = self._folder / f"{new_id('upload')}{suffix or '.jsonl'}"
        size = 0
        with path.open("wb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > LARGEST:
                    file.close()
                    path.unlink()
                    raise Refused(f"The file is larger than {LARGEST // 2**30} GiB. Use: retro-dash import FILE")
                file.write(chunk)
        return path

    def look(self, path: Path, name: str, format_: str | None) -> ImportState:
        """Preview a received file. A file that is not understood is deleted, and BadFile says why."""
        try:
            if path.stat().st_size == 0:
                raise BadInput("The file is empty.")
            found = choose_format(path, format_)
            seen = preview(path, found, self._store.known_episodes).model_copy(update={"file": Path(name).name[:200]})
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        state = ImportState(id=path.name.partition(".")[0], state="ready", preview=seen)
        with self._lock:
            self._states[state.id] = state
            self._files[state.id] = (path, found)
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
            self._files.pop(id_)[0].unlink(missing_ok=True)
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

    def _change(self, id_: str, **changes: object) -> None:
        with self._lock:
            self._states[id_] = self._states[id_].model_copy(update=changes)
