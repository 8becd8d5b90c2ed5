"""Models to train and the adapters that come out: LoRA through PEFT, or all weights.

Every trained parameter has the model's dtype (bf16 where the machine computes with it); the optimiser keeps the
float32 master copy. Adapters are PEFT folders of safetensors with `manifest.json` and the base model's fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from data.errors import BadFile, BadInput
from training.attention import use_packed_attention
from training.config import BatchConfig, LoraConfig, TrainConfig
from training.folders import problem_of, publish, refuse_pickles
from training.fused_lora import use_fused_layers

ADAPTER_FILE = "adapter_config.json"
BASE_FILE = "base_model.json"
"""Beside the adapter: the base's fingerprint, so that an adapter of another base is refused."""


def training_dtype(batch: BatchConfig) -> torch.dtype:
    """bf16 where asked for, or where `auto` finds that the machine computes with it."""
    if batch.precision == "auto":
        has_bf16 = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else _cpu_has_bf16()
        return torch.bfloat16 if has_bf16 else torch.float32
    return torch.bfloat16 if batch.precision == "bf16" else torch.float32


def open_model(model_dir: Path, config: TrainConfig, start: Path | None = None) -> nn.Module:
    """The model of one training job, with packed attention, trainable parameters set, on the GPU if there is one.

    `start` is a LoRA adapter to go on with, or full weights that take the base's place.
    Raises BadFile when a folder is not what it should be, BadInput when an adapter belongs to another base.
    """
    dtype = training_dtype(config.batch)
    is_adapter = start is not None and (start / ADAPTER_FILE).exists()
    base = _load_base(start if start is not None and not is_adapter else model_dir, dtype)
    model: nn.Module = base
    if is_adapter and start is not None:
        check_adapter(start, model_dir)
        model = _load_adapter(base, start, config.lora.dropout)
    elif config.lora.enabled:
        with _quiet_peft():
            model = get_peft_model(base, use_fused_layers(_peft_config(config.lora, model_dir)))
    model.to(dtype)
    use_packed_attention(base)
    if config.batch.gradient_checkpointing:
        base.activation_checkpointing_enable()
        base.enable_input_require_grads()
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def fingerprint(model_dir: Path) -> str:
    """SHA-256 over the model's config and the names and sizes of its weight files: enough to tell two bases apart."""
    digest = hashlib.sha256((model_dir / "config.json").read_bytes())
    for path in sorted(model_dir.glob("*.safetensors")):
        digest.update(f"{path.name} {path.stat().st_size}".encode())
        with path.open("rb") as stream:
            digest.update(stream.read(1 << 20))
    return digest.hexdigest()


def save_trained(model: nn.Module, model_dir: Path, folder: Path, facts: dict[str, Any]) -> Path:
    """Publish the trained adapter (or full weights) as `folder`; `facts` go into its `training.json`."""

    def write(temporary: Path) -> None:
        model.save_pretrained(temporary, safe_serialization=True)  # type: ignore[operator]
        (temporary / BASE_FILE).write_text(
            json.dumps({"fingerprint": fingerprint(model_dir), "path": str(model_dir)})
        )
        (temporary / "training.json").write_text(json.dumps(facts, indent=1))

    return publish(folder, write)


def check_adapter(folder: Path, model_dir: Path) -> None:
    """Refuse an adapter that is damaged, pickled or made for another base model.

    Raises BadFile or BadInput. An adapter without our fingerprint is checked by its shapes when it is loaded.
    """
    refuse_pickles(folder)
    if (folder / "manifest.json").exists() and (problem := problem_of(folder)):
        raise BadFile(f"The adapter {folder} is damaged: {problem}.")
    if not (folder / BASE_FILE).exists():
        return
    recorded = json.loads((folder / BASE_FILE).read_text())
    if recorded.get("fingerprint") != fingerprint(model_dir):
        raise BadInput(
            f"The adapter {folder} was trained on another base model ({recorded.get('path')}), not on {model_dir}. "
            "Start from that base, or leave start_adapters empty."
        )


def _load_base(folder: Path, dtype: torch.dtype) -> Any:
    if not (folder / "config.json").exists():
        raise BadFile(f"{folder} holds no model (there is no config.json): give the folder of a Hugging Face model.")
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    except (ValueError, OSError, SafetensorError) as error:
        raise BadFile(f"The model in {folder} cannot be loaded: {error}") from error


def _load_adapter(base: Any, folder: Path, dropout: float) -> nn.Module:
    """The adapter keeps its rank and targets; dropout is this run's, or its noise would get into the ratio."""
    try:
        with _quiet_peft():
            saved = PeftConfig.from_pretrained(str(folder))
            saved.lora_dropout = dropout
            adapted = PeftModel.from_pretrained(
                base, folder, config=use_fused_layers(saved), is_trainable=True, autocast_adapter_dtype=False
            )
    except (ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise BadInput(
            f"The adapter {folder} does not fit the base model, so it was made for another one: {str(error)[:300]}"
        ) from error
    return adapted


def _peft_config(lora: LoraConfig, model_dir: Path) -> PeftLoraConfig:
    targets = "all-linear" if lora.targets == ("all-linear",) else list(lora.targets)
    return PeftLoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
        base_model_name_or_path=str(model_dir),
    )


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """PEFT reads attributes that transformers has renamed; the warnings say nothing to us."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def _cpu_has_bf16() -> bool:
    """AMX or AVX512-BF16: without either, bf16 on a CPU is slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
