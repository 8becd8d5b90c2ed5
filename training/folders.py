"""Folders that are whole or not there: adapters and checkpoints.

A folder is written under a temporary name, synced, given a manifest of sizes and SHA-256 sums as its last file and
renamed. One without a valid manifest is ignored and swept. Only safetensors and JSON go in; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from data.errors import BadFile, TrainingError

MANIFEST = "manifest.json"
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt", ".pt2"}


def publish(folder: Path, write: Callable[[Path], None]) -> Path:
    """Have `write` fill a temporary folder, then make it `folder` in one step.

    Raises TrainingError when the disk refuses (full, read-only); what was there before stays.
    """
    temporary = folder.parent / f".tmp-{folder.name}-{os.getpid()}"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write(temporary)
        names = sorted(path.relative_to(temporary).as_posix() for path in temporary.rglob("*") if path.is_file())
        files = {name: _fingerprint(temporary / name) for name in names}
        for name in names:
            _sync(temporary / name)
        (temporary / MANIFEST).write_text(json.dumps({"files": files}, indent=1))
        _sync(temporary / MANIFEST)
        _sync(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        _sync(folder.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise TrainingError(
            f"{folder} could not be written: {error}. Older checkpoints beside it are whole: "
            "free some space and resume the run."
        ) from error
    return folder


def problem_of(folder: Path) -> str | None:
    """Why a published folder is not whole; None when every file is there and unchanged."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return "it has no readable manifest"
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if _fingerprint(path) != expected:
            return f"{name} was changed or cut off"
    return None


def refuse_pickles(folder: Path) -> None:
    """Raise BadFile when a folder holds a file that could run code when loaded."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in PICKLES or path.name == "training_args.bin":
            raise BadFile(f"{path} is a pickle, which can run code when loaded: convert it to safetensors first.")


def newest_whole(parent: Path, prefix: str) -> Path | None:
    """The highest-numbered folder `prefix-N` that is whole; others are swept."""
    for leftover in parent.glob(f".tmp-{prefix}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    numbered = {
        int(p.name.rsplit("-", 1)[1]): p for p in parent.glob(f"{prefix}-*") if p.name[len(prefix) + 1 :].isdigit()
    }
    for _, folder in sorted(numbered.items(), reverse=True):
        if problem_of(folder) is None:
            return folder
        shutil.rmtree(folder, ignore_errors=True)
    return None


def keep_newest(parent: Path, prefix: str, count: int) -> None:
    """Remove all but the `count` highest-numbered folders `prefix-N`."""
    numbered = sorted(parent.glob(f"{prefix}-*"), key=lambda path: int(path.name.rsplit("-", 1)[1]))
    for folder in numbered[:-count]:
        shutil.rmtree(folder, ignore_errors=True)


def _fingerprint(path: Path) -> dict[str, str | int]:
    with path.open("rb") as stream:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
