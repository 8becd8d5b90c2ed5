"""Models to train and the adapters that come out: LoRA through PEFT, or all weights.

Every trained parameter has the model's dtype (bf16 where the machine computes with it); the optimiser keeps the
float32 master copy. Adapters are PEFT folders of safetensors with `manifest.json` and the base model's fingerprint.
"""

from __future__ import annotations

import json
import shutil
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
from training.bases import BASE_FILE, check_adapter, fingerprint, is_adapter
from training.config import BatchConfig, LoraConfig, TrainConfig
from training.folders import publish
from training.fused_lora import use_fused_layers

TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab.*",
    "merges.txt",
)


def training_dtype(batch: BatchConfig) -> torch.dtype:
    """bf16 where asked for, or where `auto` finds that the machine computes with it."""
    if batch.precision == "auto":
        has_bf16 = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else _cpu_has_bf16()
        return torch.bfloat16 if has_bf16 else torch.float32
    return torch.bfloat16 if batch.precision == "bf16" else torch.float32


def open_model(model_dir: Path, config: TrainConfig, start: Path | None = None) -> nn.Module:
    """The model of one training job, with packed attention, trainable parameters set, on the GPU if there is one.

    `start` is a LoRA adapter to go on with (merged first where all weights are trained), or full weights that take
    the base's place. Raises BadFile when a folder is not what it should be, BadInput when `start` belongs to another
    base, or holds full weights that an adapter would be trained on.
    """
    dtype = training_dtype(config.batch)
    if start is not None:
        check_adapter(start, model_dir)
    if config.lora.enabled:
        base, model = _open_adapter(model_dir, config, start, dtype)
    else:
        base = model = _open_weights(model_dir, start, dtype)
    model.to(dtype)
    use_packed_attention(base)
    if config.batch.gradient_checkpointing:
        base.activation_checkpointing_enable()
        base.enable_input_require_grads()
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def save_trained(model: nn.Module, model_dir: Path, folder: Path, facts: dict[str, Any]) -> Path:
    """Publish the trained adapter (or full weights) as `folder`; `facts` go into its `training.json`."""

    def write(temporary: Path) -> None:
        model.save_pretrained(temporary, safe_serialization=True)  # type: ignore[operator]
        if not isinstance(model, PeftModel):
            _copy_tokenizer(model_dir, temporary)
        (temporary / BASE_FILE).write_text(
            json.dumps({"fingerprint": fingerprint(model_dir), "path": str(model_dir)})
        )
        (temporary / "training.json").write_text(json.dumps(facts, indent=1))

    return publish(folder, write)


def _open_adapter(
    model_dir: Path, config: TrainConfig, start: Path | None, dtype: torch.dtype
) -> tuple[Any, nn.Module]:
    """The base and the model with its adapter, a new one or the one to go on with."""
    if start is not None and not is_adapter(start):
        raise BadInput(
            f"{start} holds full weights, and an adapter trained on them would not fit {model_dir}. Set "
            "lora.enabled = false to train all weights further, or name that folder as the model."
        )
    base = _load_base(model_dir, dtype)
    if start is not None:
        return base, _load_adapter(base, start, config.lora.dropout)
    with _quiet_peft():
        return base, get_peft_model(base, use_fused_layers(_peft_config(config.lora, model_dir)))


def _open_weights(model_dir: Path, start: Path | None, dtype: torch.dtype) -> Any:
    """All weights to train: the base's, those of `start`, or the base's with the adapter of `start` merged in."""
    if start is None or not is_adapter(start):
        return _load_base(start or model_dir, dtype)
    # Merged in float32, as the embedded engine does: a small update added to bf16 weights would lose much of it.
    merged = _merge_adapter(_load_base(model_dir, torch.float32), start)
    return merged.requires_grad_(requires_grad=True)


def _copy_tokenizer(model_dir: Path, folder: Path) -> None:
    """Lay the base's tokenizer beside full weights, so that the folder is a model that can be served by itself."""
    for pattern in TOKENIZER_FILES:
        for path in model_dir.glob(pattern):
            shutil.copyfile(path, folder / path.name)


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
    with _fitting(folder):
        saved = PeftConfig.from_pretrained(str(folder))
        saved.lora_dropout = dropout
        return PeftModel.from_pretrained(
            base, folder, config=use_fused_layers(saved), is_trainable=True, autocast_adapter_dtype=False
        )


def _merge_adapter(base: Any, folder: Path) -> Any:
    with _fitting(folder):
        return PeftModel.from_pretrained(base, folder).merge_and_unload()


@contextmanager
def _fitting(folder: Path) -> Iterator[None]:
    """Say whose adapter it is when it does not fit the base."""
    try:
        with _quiet_peft():
            yield
    except (ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise BadInput(
            f"The adapter {folder} does not fit the base model, so it was made for another one: {str(error)[:300]}"
        ) from error


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
