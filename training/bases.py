"""Which base model an adapter or a set of full weights was made from. Without torch: the hub asks too."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from data.errors import BadFile, BadInput
from training.folders import problem_of, refuse_pickles

ADAPTER_FILE = "adapter_config.json"
BASE_FILE = "base_model.json"
"""Beside the adapter: the base's fingerprint, so that an adapter of another base is refused."""


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a LoRA adapter; otherwise it holds full weights."""
    return (folder / ADAPTER_FILE).exists()


def fingerprint(model_dir: Path) -> str:
    """SHA-256 over the model's config and the names and sizes of its weight files: enough to tell two bases apart."""
    digest = hashlib.sha256((model_dir / "config.json").read_bytes())
    for path in sorted(model_dir.glob("*.safetensors")):
        digest.update(f"{path.name} {path.stat().st_size}".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(1 << 20))
    return digest.hexdigest()


def check_adapter(folder: Path, model_dir: Path) -> None:
    """Refuse an adapter or full weights that are damaged, pickled or made from another base model.

    Raises BadFile or BadInput. An adapter without our fingerprint is checked by its shapes when it is loaded.
    """
    refuse_pickles(folder)
    if (folder / "manifest.json").exists() and (problem := problem_of(folder)):
        raise BadFile(f"{folder} is damaged: {problem}.")
    check_base(folder, model_dir)


def check_base(folder: Path, model_dir: Path) -> None:
    """Raise BadFile when a folder holds nothing to start from, BadInput when it was made from another base."""
    if not is_adapter(folder) and not (folder / "config.json").exists():
        raise BadFile(f"{folder} holds neither an adapter nor full weights: correct start_adapters.")
    if not (folder / BASE_FILE).exists():
        return
    recorded = json.loads((folder / BASE_FILE).read_text())
    if recorded.get("fingerprint") != fingerprint(model_dir):
        raise BadInput(
            f"{folder} was trained on another base model ({recorded.get('path')}), not on {model_dir}. "
            "Start from that base, or leave start_adapters empty."
        )
