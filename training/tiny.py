"""A model from scratch that learns in a minute on a CPU: a small Llama and a word-level tokenizer of given texts.

For tests, demonstrations and first experiments; the folder is an ordinary Hugging Face model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END = "<|end|>"
SPEAKERS = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""One token names the speaker and one ends a reply: three tokens between a reply and the next."""


WORDS = r" ?[A-Za-z]+| ?\d|\s+|[^\sA-Za-z\d]"
"""Spaces go in front of words and every digit stands alone, so that names such as `shelf 12` are short and spelt."""


def build_tokenizer(
    texts: Iterable[str], vocabulary: int = 2048, names: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """A tokenizer whose words are those of `texts`, with single bytes for whatever else comes, so nothing is lost.

    With `names`, each of these with its article and number (`a shelf 12`) is one word, and so is all that `texts` say
    between two of them: short sequences for the smallest models, which then learn to act without learning to spell.
    """
    pattern = rf" ?\b(?:an? )?(?:{'|'.join(names)})\b(?: \d+)?" if names else WORDS
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, *SPEAKERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    ready = {"tokenizer_object": tokenizer, "eos_token": END, "pad_token": END}
    wrapped = PreTrainedTokenizerFast(**ready)  # type: ignore[no-untyped-call]
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def create_model(
    folder: Path,
    texts: Iterable[str],
    *,
    vocabulary: int = 2048,
    names: Sequence[str] = (),
    width: int = 192,
    head_size: int = 32,
    layers: int = 4,
    context: int = 2048,
    seed: int = 0,
) -> Path:
    """Write an untrained model (about 2 million parameters by default) and its tokenizer to `folder`."""
    tokenizer = build_tokenizer(texts, vocabulary, names)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 16 * 16,
        num_hidden_layers=layers,
        num_attention_heads=max(width // head_size, 1),
        num_key_value_heads=max(width // head_size // 2, 1),
        max_position_embeddings=context,
        tie_word_embeddings=True,
        # The default of 0.02 suits wide models; here attention would hardly see its keys for thousands of steps.
        initializer_range=width**-0.5,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
