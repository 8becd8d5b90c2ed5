"""The OpenAI-compatible wire format, with vLLM's additions (token ids in answers, tokenize, adapters by name)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from retro_dash.serving.sampling import Sampled

Decode = Callable[[int], str]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Body(BaseModel):
    """Fields that we do not know are ignored, as other servers do."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class StreamOptions(Body):
    include_usage: bool = False


class SamplingBody(Body):
    """What completions and chat have in common."""

    model: str | None = None
    temperature: float = Field(default=1.0, ge=0, le=100)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=-1)
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    n: Literal[1] | None = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    stream_interval: int = Field(default=1, ge=1)
    """Tokens in one event of a stream; the last event has what is left."""
    return_token_ids: bool = False

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []


class CompletionBody(SamplingBody):
    prompt: str | list[int] | list[str] | list[list[int]]
    max_tokens: int | None = Field(default=16, ge=0)
    logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: bool = False


class Message(Body):
    role: str
    content: str


class ChatBody(SamplingBody):
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = False
    top_logprobs: int | None = Field(default=0, ge=0, le=20)
    add_generation_prompt: bool = True
    plain_content: bool = False


class TokenizeBody(Body):
    """`plain_content` makes text such as `<|im_end|>` inside a prompt or a message ordinary text."""

    model: str | None = None
    prompt: str | None = None
    messages: list[Message] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool = True
    return_token_strs: bool = False
    plain_content: bool = False


class DetokenizeBody(Body):
    model: str | None = None
    tokens: list[int]


class LoadAdapterBody(Body):
    lora_name: Name
    lora_path: Name


class UnloadAdapterBody(Body):
    lora_name: Name


def error_body(message: str, kind: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def head(kind: str, model: str) -> dict[str, Any]:
    """The fields that open every answer; chunks of one stream share them."""
    prefix = "chatcmpl" if kind.startswith("chat") else "cmpl"
    return {"id": f"{prefix}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def completion_logprobs(tokens: Sequence[Sampled | None], ids: Sequence[int], decode: Decode) -> dict[str, Any]:
    """Parallel lists, one entry a token. A token without a logprob (the first of a prompt) has None."""
    texts = [decode(token) for token in ids]
    offsets = [sum(len(text) for text in texts[:i]) for i in range(len(texts))]
    top = [_top_by_text(token, decode) if token else None for token in tokens]
    return {
        "tokens": texts,
        "token_logprobs": [token.logprob if token else None for token in tokens],
        "top_logprobs": top,
        "text_offset": offsets,
    }


def chat_logprobs(tokens: Sequence[Sampled], decode: Decode) -> dict[str, Any]:
    return {
        "content": [
            {
                **_chat_logprob(token.token, token.logprob, decode),
                "top_logprobs": [_chat_logprob(other, logprob, decode) for other, logprob in token.top],
            }
            for token in tokens
        ]
    }


def _chat_logprob(token: int, logprob: float, decode: Decode) -> dict[str, Any]:
    text = decode(token)
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _top_by_text(token: Sampled, decode: Decode) -> dict[str, float]:
    """The sampled token is always among them, as in vLLM; the more likely of two tokens with one text wins."""
    top: dict[str, float] = {}
    for other, logprob in [*token.top, (token.token, token.logprob)]:
        top.setdefault(decode(other), logprob)
    return top
