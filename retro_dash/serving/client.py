"""A small synchronous client of any OpenAI-compatible server. Whatever goes wrong becomes one `EngineError`."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from data.errors import EngineError
from retro_dash.serving.load import Throughput, read_vllm_metrics

OnText = Callable[[str], None]
ShouldStop = Callable[[], bool]
_ATTEMPTS = 3
_WORTH_A_RETRY = (429, 500, 502, 503, 504)
_UNSEEN = 64
"""Tokens in one event of a stream that nobody watches."""
_CONTROL = re.compile(r"([<\[])(?=[^\s<>\[\]]{1,60}[>\]])")
"""`<|im_end|>`, `</s>`, `[INST]` and their like."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LOOK_SECONDS = 5.0
"""The longest that a look at a server waits: health, load, what it serves."""


@dataclass(frozen=True)
class ModelCard:
    """A model or adapter that the server offers."""

    name: str
    context_length: int | None = None
    parent: str | None = None
    """The base model of an adapter."""


@dataclass(frozen=True)
class EngineCompletion:
    """What was sampled. Token ids and logprobs are None from servers that give none."""

    text: str
    token_ids: tuple[int, ...] | None
    logprobs: tuple[float, ...] | None
    finish_reason: str
    """`stop`, `length`, or `abort` when `should_stop` said so."""
    seconds: float = 0.0


@dataclass(frozen=True)
class Capabilities:
    """What a server can do. Without exact tokens it can act and make imitation data, but nothing for RL."""

    exact_tokens: bool
    """Takes token ids, and gives sampled ids with their logprobs."""
    tokenizes: bool
    detail: str


class EngineClient:
    """One server. Safe to use from several threads.

    `timeout` is the longest silence (s), `deadline` the longest request (s). Every method raises `EngineError`.
    """

    def __init__(self, url: str, api_key: str | None = None, timeout: float = 120.0, deadline: float = 900.0) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._deadline = deadline
        self._load_path = "/stats"
        self._throughput = Throughput()
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout, connect=5.0),
            limits=httpx.Limits(max_connections=256, max_keepalive_connections=64),
            trust_env=urlsplit(self.url).hostname not in _LOOPBACK,
        )

    def close(self) -> None:
        self._http.close()

    def is_healthy(self) -> bool:
        """Whether the server answers now; never raises."""
        try:
            return self._http.get("/health", timeout=_LOOK_SECONDS).is_success
        except httpx.HTTPError:
            return False

    def models(self, timeout: float | None = None) -> list[ModelCard]:
        """What the server offers, asked for at most `timeout` s where that is given."""
        answer = self._ask("GET", "/v1/models", timeout=timeout)
        cards = _field(answer, "data", list, "/v1/models")
        return [
            ModelCard(str(card["id"]), card.get("max_model_len"), card.get("parent"))
            for card in cards
            if isinstance(card, dict) and "id" in card
        ]

    def tokenize(
        self,
        prompt: str | Sequence[Mapping[str, str]],
        *,
        model: str,
        add_special_tokens: bool = False,
        add_generation_prompt: bool = True,
        plain_content: bool = True,
    ) -> list[int]:
        """Ids of a text, or of messages through the model's chat template.

        With `plain_content`, control tokens spelled out in the text or the messages stay ordinary text; for a server
        that cannot do that, they get a space after their first character.
        """
        body: dict[str, Any] = {
            "model": model,
            "plain_content": plain_content,
            "add_special_tokens": add_special_tokens,
        }
        if isinstance(prompt, str):
            body["prompt"] = prompt
        else:
            body |= {
                "messages": [dict(message) for message in prompt],
                "add_generation_prompt": add_generation_prompt,
            }
        answer = self._ask("POST", "/tokenize", body)
        if plain_content and not answer.get("plain_content"):
            # A server that does not know the wish, vLLM for one, would take spelled-out control tokens for real ones.
            changed = _defused(body)
            answer = answer if changed == body else self._ask("POST", "/tokenize", changed)
        ids: list[int] = _field(answer, "tokens", list, "/tokenize")
        return ids

    def detokenize(self, token_ids: Sequence[int], *, model: str) -> str:
        answer = self._ask("POST", "/detokenize", {"model": model, "tokens": list(token_ids)})
        text: str = _field(answer, "prompt", str, "/detokenize")
        return text

    def complete(
        self,
        prompt_ids: Sequence[int],
        *,
        model: str,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        ignore_eos: bool = False,
        on_text: OnText | None = None,
        should_stop: ShouldStop | None = None,
    ) -> EngineCompletion:
        """Samples after `prompt_ids`, with exact ids and logprobs; text is shown to `on_text` as it comes."""
        body = {
            **_sampling(model, max_tokens, temperature, seed, stop),
            "prompt": list(prompt_ids),
            "logprobs": 0,
            "return_token_ids": True,
            "ignore_eos": ignore_eos,
            "stream_interval": 1 if on_text else _UNSEEN,
        }
        collected = _Collected("/v1/completions", max_tokens, on_text)
        self._stream(body, collected, should_stop)
        completion = collected.completion()
        if completion.token_ids is None or completion.logprobs is None:
            raise EngineError(
                f"{self.url} gave no token ids or no logprobs, so its tokens cannot be recorded exactly. "
                "Use it as a chat server, or use the embedded engine or vLLM."
            )
        return completion

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        model: str,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        on_text: OnText | None = None,
        should_stop: ShouldStop | None = None,
    ) -> EngineCompletion:
        """The answer to a chat; for servers that give no token ids."""
        body = {
            **_sampling(model, max_tokens, temperature, seed, stop),
            "messages": [dict(message) for message in messages],
        }
        collected = _Collected("/v1/chat/completions", max_tokens, on_text)
        self._stream(body, collected, should_stop)
        return collected.completion()

    def load_adapter(self, name: str, path: str) -> None:
        """Raises `EngineError` with the server's reason when it refuses the folder or the name."""
        self._send("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})

    def unload_adapter(self, name: str) -> None:
        self._send("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    def stats(self) -> dict[str, Any]:
        """Load of the embedded engine, or of vLLM from its metrics; empty from servers that tell neither.

        Raises `EngineError` when the server does not answer soon.
        """
        answer = self._look(self._load_path)
        if answer.status_code == 404 and self._load_path == "/stats":
            self._load_path = "/metrics"  # Asked again and again: a server that has no /stats is not asked twice.
            answer = self._look(self._load_path)
        if not answer.is_success:
            return {}
        if self._load_path == "/metrics":
            return dict(read_vllm_metrics(answer.text, self._throughput, time.monotonic()))
        try:
            load = answer.json()
        except ValueError:
            return {}
        return load if isinstance(load, dict) else {}

    def _look(self, path: str) -> httpx.Response:
        try:
            return self._http.get(path, timeout=_LOOK_SECONDS)
        except httpx.HTTPError as error:
            raise self._fault(error) from error

    def capabilities(self, model: str) -> Capabilities:
        """Tries one token and says what came back."""
        try:
            self.complete([1], model=model, max_tokens=1, temperature=0.0)
            tokens, detail = True, "Gives token ids and logprobs: good for everything."
        except EngineError as error:
            tokens, detail = False, f"No exact tokens: good for acting and imitation data, not for RL. ({error})"
        try:
            self.tokenize("a", model=model)
        except EngineError:
            return Capabilities(False, False, f"{detail} No /tokenize.")
        return Capabilities(tokens, True, detail)

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """One whole JSON object."""
        try:
            answer = self._send(method, path, body, timeout).json()
        except ValueError as error:
            raise EngineError(
                f"{self.url}{path} did not answer with JSON. Is it an OpenAI-compatible server?"
            ) from error
        if not isinstance(answer, dict):
            raise EngineError(f"{self.url}{path} answered a {type(answer).__name__}, not a JSON object.")
        return answer

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> httpx.Response:
        """A whole answer that is no refusal. GET is tried again after a network fault; nothing else is."""
        patience = httpx.USE_CLIENT_DEFAULT if timeout is None else timeout
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response = self._http.request(method, path, json=body, timeout=patience)
                break
            except httpx.HTTPError as error:
                if attempt == _ATTEMPTS or method != "GET" or not _is_early(error):
                    raise self._fault(error) from error
                _pause(attempt)
        if not response.is_success:
            raise EngineError(self._refusal(response.status_code, response.content))
        return response

    def _stream(self, body: dict[str, Any], collected: _Collected, should_stop: ShouldStop | None) -> None:
        """Reads a streamed answer to its end; starts again only while nothing has come."""
        until = time.monotonic() + self._deadline
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._http.stream("POST", collected.path, json={**body, "stream": True}) as response:
                    if response.status_code in _WORTH_A_RETRY and attempt < _ATTEMPTS:
                        _pause(attempt, response.headers.get("retry-after"))
                        continue
                    if not response.is_success:
                        raise EngineError(self._refusal(response.status_code, response.read()))
                    self._read(response, collected, should_stop, until)
                    return
            except httpx.HTTPError as error:
                if attempt == _ATTEMPTS or collected.started:
                    raise self._fault(error) from error
                _pause(attempt)

    def _read(
        self, response: httpx.Response, collected: _Collected, should_stop: ShouldStop | None, until: float
    ) -> None:
        for line in response.iter_lines():
            if should_stop is not None and should_stop():
                collected.finish_reason = "abort"
                return
            if time.monotonic() > until:
                raise EngineError(
                    f"{self.url} took longer than {self._deadline:.0f} s for one answer; it was given up."
                )
            if line.startswith("data:"):
                content = line.removeprefix("data:").strip()
                if content == "[DONE]":
                    break
                collected.take(content, self.url)
        if collected.finish_reason is None:
            raise EngineError(
                f"{self.url} cut its answer off after {len(collected.text)} characters. See its log, then try again."
            )

    def _fault(self, error: httpx.HTTPError) -> EngineError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return EngineError(
                f"No engine answers at {self.url}. Wait if it is starting again, start it, or check the address."
            )
        if isinstance(error, httpx.TimeoutException):
            return EngineError(f"{self.url} was silent for too long ({type(error).__name__}). See the engine's log.")
        return EngineError(f"The connection to {self.url} broke ({type(error).__name__}). See the engine's log.")

    def _refusal(self, status: int, content: bytes) -> str:
        try:
            answer = json.loads(content)
            error = answer.get("error", answer)
            message = error["message"] if isinstance(error, dict) else str(error)
        except (ValueError, KeyError, AttributeError):
            message = content[:200].decode(errors="replace") or "no message"
        if status in (401, 403):
            message = f"{message} Check the API key."
        return f"The engine at {self.url} refused (HTTP {status}): {message}"


class _Collected:
    """A streamed answer as far as it has come."""

    def __init__(self, path: str, max_tokens: int, on_text: OnText | None) -> None:
        self.path = path
        self.text = ""
        self.finish_reason: str | None = None
        self.started = False
        self._max_tokens = max_tokens
        self._on_text = on_text
        self._token_ids: list[int] = []
        self._logprobs: list[float] = []
        self._since = time.monotonic()

    def take(self, content: str, url: str) -> None:
        """Adds one event. Raises `EngineError` for an error event and for what is not a chunk of an answer."""
        try:
            chunk = json.loads(content)
            if chunk.get("error"):
                raise EngineError(f"The engine at {url} failed: {chunk['error'].get('message', chunk['error'])}")
            for choice in chunk["choices"]:
                self._add(choice)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(f"{url} sent something that is not a chunk of an answer: {content[:120]!r}.") from error
        if len(self._token_ids) > self._max_tokens or len(self.text) > 200 * self._max_tokens:
            raise EngineError(
                f"{url} sent more than the {self._max_tokens} tokens that were asked for; it was cut off."
            )

    def completion(self) -> EngineCompletion:
        nothing_yet = self.finish_reason == "abort" and not self.text
        exact = len(self._token_ids) == len(self._logprobs) and (bool(self._token_ids) or nothing_yet)
        return EngineCompletion(
            text=self.text,
            token_ids=tuple(self._token_ids) if exact else None,
            logprobs=tuple(self._logprobs) if exact else None,
            finish_reason=self.finish_reason or "stop",
            seconds=time.monotonic() - self._since,
        )

    def _add(self, choice: dict[str, Any]) -> None:
        piece = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        ids = choice.get("token_ids") or []
        logprobs = (choice.get("logprobs") or {}).get("token_logprobs") or []
        self.started = self.started or bool(piece or ids)
        self._token_ids += [int(token) for token in ids]
        self._logprobs += [float(logprob) for logprob in logprobs]
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if piece:
            self.text += piece
            if self._on_text is not None:
                self._on_text(piece)


def _sampling(
    model: str, max_tokens: int, temperature: float, seed: int | None, stop: Sequence[str]
) -> dict[str, Any]:
    body: dict[str, Any] = {"model": model, "max_tokens": max_tokens, "temperature": temperature}
    if seed is not None:
        body["seed"] = seed
    if stop:
        body["stop"] = list(stop)
    return body


def _defused(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a tokenize request with nothing in its texts that could be a control token."""
    if "prompt" in body:
        return {**body, "prompt": _CONTROL.sub(r"\1 ", body["prompt"])}
    messages = [{**message, "content": _CONTROL.sub(r"\1 ", message["content"])} for message in body["messages"]]
    return {**body, "messages": messages}


def _field(answer: Mapping[str, Any], name: str, kind: type, path: str) -> Any:
    value = answer.get(name)
    if not isinstance(value, kind):
        raise EngineError(f"{path} answered without {name!r}. Is it an OpenAI-compatible server?")
    return value


def _is_early(error: httpx.HTTPError) -> bool:
    return not isinstance(error, httpx.ReadTimeout)


def _pause(attempt: int, retry_after: str | None = None) -> None:
    """Waits 0.5 s, 1 s, 2 s, ..., each times 0.5 to 1.5, so that many callers do not come back at once."""
    wanted = float(retry_after) if retry_after and retry_after.isdigit() else 0.5 * 2 ** (attempt - 1)
    time.sleep(min(wanted, 10.0) * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not secrecy
