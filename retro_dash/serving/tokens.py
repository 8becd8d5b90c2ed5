"""Prompts as token ids. Text that people or environments wrote can be kept from acting as control tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from data.errors import BadInput

_PRIVATE_USE = 0xE000


def encode_text(tokenizer: Any, text: str, *, add_special_tokens: bool, plain_content: bool = False) -> list[int]:
    """With `plain_content`, text such as `<|im_end|>` becomes ordinary tokens and not the control token."""
    ids: list[int] = tokenizer(
        text, add_special_tokens=add_special_tokens, split_special_tokens=plain_content, verbose=False
    )["input_ids"]
    return ids


def encode_chat(
    tokenizer: Any, messages: Sequence[dict[str, str]], *, add_generation_prompt: bool, plain_content: bool = False
) -> list[int]:
    """The chat template's ids. Raises `BadInput` when the model has no template or it refuses the messages."""
    if tokenizer.chat_template is None:
        raise BadInput("This model has no chat template. Use /v1/completions with a prompt.")
    special = {
        token.content: chr(_PRIVATE_USE + i) for i, token in enumerate(tokenizer.added_tokens_decoder.values())
    }
    hidden = re.compile("|".join(re.escape(token) for token in sorted(special, key=len, reverse=True)) or "(?!)")
    if plain_content:
        # Control tokens in contents hide behind private characters while the template is filled in and cut up.
        messages = [
            {**message, "content": hidden.sub(lambda found: special[found.group()], message["content"])}
            for message in messages
        ]
    try:
        text: str = tokenizer.apply_chat_template(
            messages, add_generation_prompt=add_generation_prompt, tokenize=False
        )
    except Exception as error:
        raise BadInput(f"The chat template refused the messages ({error}).") from error
    if not plain_content:
        return encode_text(tokenizer, text, add_special_tokens=False)
    shown = {private: token for token, private in special.items()}
    ids: list[int] = []
    for part in re.split(f"({hidden.pattern})", text):
        if part in special:
            ids.append(tokenizer.convert_tokens_to_ids(part))
        elif part:
            content = "".join(shown.get(character, character) for character in part)
            ids += encode_text(tokenizer, content, add_special_tokens=False, plain_content=True)
    return ids
