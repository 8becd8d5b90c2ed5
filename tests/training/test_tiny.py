"""The model from scratch: small, ordinary, and its tokenizer loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.tiny import build_tokenizer, create_model

TEXTS = ["You are in the middle of a room.\n> go to shelf 12\nOn the shelf 12, you see a mug 3.\n"] * 5
TOKENIZER = build_tokenizer(TEXTS, 400)


NAMING = build_tokenizer(["You see a shelf 12, and a mug 3.\n> go to shelf 12"] * 5, 400, names=("shelf", "mug"))


@given(st.text())
@example("a shelf, no a mug 12, a mugger and an shelf 3")
def test_any_text_comes_back_from_its_tokens(text: str) -> None:
    for tokenizer in (TOKENIZER, NAMING):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_a_name_with_its_article_and_number_is_one_token_and_so_is_what_stands_between_names() -> None:
    ids = NAMING.encode("You see a shelf 12, and a mug 3.\n> go to shelf 12", add_special_tokens=False)
    assert [NAMING.decode([i]) for i in ids] == [
        "You see",
        " a shelf 12",
        ", and",
        " a mug 3",
        ".\n> go to",
        " shelf 12",
    ]


def test_known_words_are_one_token_and_every_digit_stands_alone() -> None:
    assert TOKENIZER.tokenize("go to shelf 12") == ["go", "Ġto", "Ġshelf", "Ġ1", "2"]


def test_the_default_model_has_about_two_million_parameters_and_loads_as_any_other(tmp_path: Path) -> None:
    create_model(tmp_path, TEXTS)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    wide = create_model(tmp_path / "wide", TEXTS, vocabulary=300, width=64, layers=1)
    assert AutoModelForCausalLM.from_pretrained(wide).config.num_key_value_heads == 1
    assert model.config.vocab_size == len(tokenizer)
    # A full vocabulary of 2,048 adds 0.3 million to what these few words need.
    layers = sum(p.numel() for p in model.model.layers.parameters())
    assert layers + 2048 * 192 == pytest.approx(2.0e6, rel=0.15)
    assert tokenizer.eos_token_id == model.config.eos_token_id


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    one, two = (create_model(tmp_path / name, TEXTS, seed=3) for name in ("a", "b"))
    assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
