"""The models that one engine serves: a base, LoRA adapters merged into copies of it, and full-weight folders.

An active LoRA costs 2-4 times on a CPU, so an adapter is merged into its own copy of the weights. The least recently
used copies are dropped and merged again when they are asked for. Only safetensors are read, never code from a folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from data.errors import BadFile, BadInput, RetroDashError, Unavailable, UnknownName
from retro_dash.serving.fallback import TransformersRunner
from retro_dash.serving.llama import SUPPORTED_TYPES, Llama
from retro_dash.serving.scheduler import Runner

_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".ckpt", ".pt2"}


@dataclass(frozen=True)
class ServedModel:
    """A name in `/v1/models`."""

    name: str
    path: Path
    is_adapter: bool = False
    parent: str | None = None


class Models:
    """Loads, merges and drops weights by name. Loading happens in the caller's thread, one at a time."""

    def __init__(self, folder: Path, name: str, dtype: str = "auto", device: str = "auto", copies: int = 4) -> None:
        """`copies` bounds the weights kept beside the base's. Raises `BadFile` for a folder that is no such model."""
        self.folder = folder.resolve()
        self.base = ServedModel(name, self.folder)
        self.device = torch.device(
            "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
        )
        self.dtype = _dtype(dtype, self.device)
        self._copies = copies
        self._lock = threading.RLock()
        self._registered: dict[str, ServedModel] = {}
        self._loaded: OrderedDict[str, Runner] = OrderedDict()
        _check_weights(self.folder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
        model = _load(self.folder, self.dtype)
        config = model.config.get_text_config()
        self.context_length: int = config.max_position_embeddings
        self.vocab_size: int = config.vocab_size
        self.end_tokens = _end_tokens(self.folder, self.tokenizer)
        self._base_runner = _runner(model.to(self.device))
        del model
        _give_back()

    @property
    def served(self) -> list[ServedModel]:
        return [self.base, *self._registered.values()]

    @property
    def loaded(self) -> list[str]:
        """Names whose own copy of the weights is in memory."""
        return list(self._loaded)

    def find(self, name: str) -> ServedModel:
        """Raises `UnknownName`, listing what is served."""
        for model in self.served:
            if model.name == name:
                return model
        raise UnknownName("model", name, [model.name for model in self.served])

    def runner(self, name: str, on_drop: Callable[[Runner], None]) -> Runner:
        """The weights of a name, loaded and merged when they are not in memory; `on_drop` hears of what had to go."""
        served = self.find(name)
        if served is self.base:
            return self._base_runner
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._make(served)
                while len(self._loaded) > self._copies:
                    on_drop(self._loaded.popitem(last=False)[1])
                _give_back()
            self._loaded.move_to_end(name)
            return self._loaded[name]

    def register(self, name: str, path: Path, on_drop: Callable[[Runner], None]) -> ServedModel:
        """Checks, loads and names an adapter or full-weight folder.

        Raises `BadInput` for a name in use and `BadFile` for a folder that is not an adapter of this base model.
        """
        with self._lock:
            if name in {model.name for model in self.served}:
                raise BadInput(f"A model called {name!r} is already served. Unload it first or use a new name.")
            path = path.resolve()
            if not path.is_dir():
                raise BadFile(
                    f"{path} is not a folder. Give the folder of a PEFT adapter or of a full set of weights."
                )
            is_adapter = (path / "adapter_config.json").is_file()
            if is_adapter:
                _check_adapter(path, self.base)
            else:
                _check_weights(path)
            _refuse_pickles(path)
            self._registered[name] = ServedModel(name, path, is_adapter, self.base.name if is_adapter else None)
            try:
                self.runner(name, on_drop)
            except Exception:
                del self._registered[name]
                raise
            return self._registered[name]

    def unregister(self, name: str) -> Runner | None:
        """Takes a name out of service; returns its weights when they were in memory. Raises `UnknownName`."""
        with self._lock:
            if name not in self._registered:
                raise UnknownName("adapter", name, self._registered)
            del self._registered[name]
            return self._loaded.pop(name, None)

    def _make(self, served: ServedModel) -> Runner:
        try:
            if not served.is_adapter:
                return _runner(self._same_vocabulary(_load(served.path, self.dtype), served.path).to(self.device))
            from peft import PeftModel

            # Merged in float32: adding a small update to bf16 weights would lose much of it.
            base = _load(self.folder, torch.float32)
            merged = PeftModel.from_pretrained(base, served.path, is_trainable=False).merge_and_unload()
            return _runner(merged.to(self.device, self.dtype))
        except RetroDashError:
            raise
        except Exception as error:
            cause = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BadFile(
                f"{served.path} could not be loaded onto {self.base.name} ({cause}). "
                "It was probably made for another model; nothing was changed."
            ) from error

    def _same_vocabulary(self, model: Any, path: Path) -> Any:
        size = model.config.get_text_config().vocab_size
        if size != self.vocab_size:
            raise BadFile(
                f"{path} has {size} tokens in its vocabulary and {self.base.name} has {self.vocab_size}; "
                "only weights with the base model's tokenizer can be served beside it."
            )
        return model


def find_model(model: str) -> Path:
    """A local folder as it is; anything else is a hub id. Raises `Unavailable` when that cannot be downloaded."""
    if Path(model).is_dir():
        return Path(model)
    try:
        from huggingface_hub import snapshot_download

        patterns = ["*.safetensors", "*.json", "*.jinja", "tokenizer.model", "*.txt"]
        return Path(snapshot_download(model, allow_patterns=patterns))
    except Exception as error:
        raise Unavailable(
            f"{model!r} is not a local folder, and it could not be downloaded as a hub id ({type(error).__name__}). "
            "Give the path of a transformers folder, or check the name and the network."
        ) from error


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto":
        dtypes = {"bfloat16": torch.bfloat16, "float32": torch.float32}
        return dtypes[name]
    fast = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def _load(folder: Path, dtype: torch.dtype) -> Any:
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, trust_remote_code=False, use_safetensors=True, local_files_only=True
        )
    except Exception as error:
        raise BadFile(f"{folder} could not be loaded as a causal language model ({error}).") from error
    model.requires_grad_(False)
    model.eval()  # type: ignore[no-untyped-call]
    return model


def _runner(model: Any) -> Runner:
    config = model.config
    windowed = getattr(config, "use_sliding_window", False) or (
        config.model_type == "mistral" and config.sliding_window is not None
    )
    scaled = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default") not in (
        "default",
        "llama3",
        "linear",
    )
    if config.model_type in SUPPORTED_TYPES and not windowed and not scaled and config.hidden_act == "silu":
        return Llama(model)
    return TransformersRunner(model)


def _give_back() -> None:
    """Returns to the system what loading and merging has freed: the C library keeps most of it, 300 MiB a copy."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # Only glibc has it.
        ctypes.CDLL(None).malloc_trim(0)


def _end_tokens(folder: Path, tokenizer: Any) -> frozenset[int]:
    ends = {tokenizer.eos_token_id}
    if (folder / "generation_config.json").is_file():
        named = GenerationConfig.from_pretrained(folder).eos_token_id
        ends |= set(named) if isinstance(named, list) else {named}
    return frozenset(end for end in ends if end is not None)


def _refuse_pickles(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.suffix in _PICKLES:
            raise BadFile(f"{path} could run code when it is loaded; only safetensors are accepted. Remove it first.")
        if not path.resolve().is_relative_to(folder):
            raise BadFile(f"{path} points outside of its folder; copy the file instead.")


def _check_weights(folder: Path) -> None:
    config = _read_json(folder / "config.json")
    if "auto_map" in config:
        raise BadFile(f"{folder / 'config.json'} asks for code of its own (auto_map), which is never run.")
    if not list(folder.glob("*.safetensors")):
        raise BadFile(f"{folder} has no .safetensors file. Only safetensors are served.")


def _check_adapter(folder: Path, base: ServedModel) -> None:
    config = _read_json(folder / "adapter_config.json")
    if not (folder / "adapter_model.safetensors").is_file():
        raise BadFile(f"{folder} has no adapter_model.safetensors. Only safetensors are served.")
    if config.get("peft_type") != "LORA" or "auto_map" in config:
        raise BadFile(f"{folder} is not a plain LoRA adapter (peft_type {config.get('peft_type')!r}).")
    named = str(config.get("base_model_name_or_path") or "")
    known = {base.name.lower(), base.path.name.lower()}
    if Path(named).name.lower() not in known:
        raise BadFile(
            f"{folder} is an adapter of {named or 'an unnamed model'}, and this engine serves {base.name}. "
            "Serve it with its own base model."
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise BadFile(f"{path} is missing or cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise BadFile(f"{path} is not JSON ({error}).") from error
    if not isinstance(content, dict):
        raise BadFile(f"{path} should hold a JSON object.")
    return content
