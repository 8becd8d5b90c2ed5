"""Completion and chat answers over HTTP, whole or streamed, from what the scheduler emits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request as HttpRequest
from fastapi import Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse

from data.errors import BadInput, EngineError
from retro_dash.serving import protocol
from retro_dash.serving.detokenize import Detokenizer
from retro_dash.serving.models import Models
from retro_dash.serving.request import Request, Update
from retro_dash.serving.sampling import Sampled, Sampling
from retro_dash.serving.scheduler import Scheduler
from retro_dash.serving.tokens import encode_chat, encode_text

_WAITING = ": waiting\n\n"
"""A comment in the event stream."""


@dataclass(eq=False)
class _Pending:
    """A request on its way through the scheduler, and its updates as they come back to the event loop."""

    request: Request
    updates: asyncio.Queue[Update]
    text: str = ""
    tokens: list[Sampled] = field(default_factory=list)
    last: Update = field(default_factory=Update)

    async def next(self) -> Update:
        """Raises `EngineError` when the scheduler gave up on the request."""
        update = await self.updates.get()
        if update.error:
            raise EngineError(update.error)
        self.text += update.text
        self.tokens += update.tokens
        self.last = update
        return update

    async def finish(self) -> None:
        while self.last.finish_reason is None:
            await self.next()


class Answers:
    """Checks a body, hands its prompts to the scheduler, and writes the answer."""

    def __init__(self, models: Models, scheduler: Scheduler) -> None:
        self._models = models
        self._scheduler = scheduler

    async def complete(self, body: protocol.CompletionBody, http: HttpRequest) -> Response:
        model = self._model_name(body)
        prompts = await run_in_threadpool(self._prompts, body.prompt)
        wanted = 16 if body.max_tokens is None else body.max_tokens
        scores = body.echo and body.logprobs is not None
        if wanted == 0 and not body.echo:
            raise BadInput(
                "max_tokens is 0 and echo is off, so there is nothing to answer. Ask for a token or set echo."
            )
        pending = [self._pending(body, ids, wanted, body.logprobs or 0, scores) for ids in prompts]
        await self._submit(model, pending)
        head = protocol.head("text_completion", model)
        if body.stream:
            return StreamingResponse(self._stream_completion(body, head, pending), media_type="text/event-stream")
        await _finish_all(pending, http)
        choices = [self._completion_choice(body, index, one) for index, one in enumerate(pending)]
        return JSONResponse({**head, "choices": choices, "usage": _usage(pending)})

    async def chat(self, body: protocol.ChatBody, http: HttpRequest) -> Response:
        model = self._model_name(body)
        messages = [message.model_dump() for message in body.messages]
        ids = await run_in_threadpool(
            encode_chat,
            self._models.tokenizer,
            messages,
            add_generation_prompt=body.add_generation_prompt,
            plain_content=body.plain_content,
        )
        wanted = body.max_completion_tokens or body.max_tokens or max(self._models.context_length - len(ids), 1)
        top = (body.top_logprobs or 0) if body.logprobs else 0
        one = self._pending(body, ids, wanted, top, False)
        await self._submit(model, [one])
        if body.stream:
            head = protocol.head("chat.completion.chunk", model)
            return StreamingResponse(self._stream_chat(body, head, one), media_type="text/event-stream")
        await _finish_all([one], http)
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": one.text},
            "logprobs": protocol.chat_logprobs(one.tokens, self._decode) if body.logprobs else None,
            **_ending(one.last),
            "token_ids": [token.token for token in one.tokens] if body.return_token_ids else None,
        }
        return JSONResponse(
            {
                **protocol.head("chat.completion", model),
                "choices": [choice],
                "usage": _usage([one]),
                "prompt_token_ids": ids if body.return_token_ids else None,
            }
        )

    def _model_name(self, body: protocol.SamplingBody) -> str:
        return self._models.find(body.model).name if body.model else self._models.base.name

    def _prompts(self, prompt: str | list[int] | list[str] | list[list[int]]) -> list[list[int]]:
        if isinstance(prompt, str):
            many: Sequence[str | list[int]] = [prompt]
        elif prompt and isinstance(prompt[0], int):
            many = [prompt]
        else:
            many = prompt  # type: ignore[assignment]
        tokenizer = self._models.tokenizer
        ids = [encode_text(tokenizer, one, add_special_tokens=True) if isinstance(one, str) else one for one in many]
        if not ids or not all(ids):
            raise BadInput("The prompt is empty. Give at least one token.")
        wrong = [token for one in ids for token in one if not 0 <= token < self._models.vocab_size]
        if wrong:
            raise BadInput(f"Token id {wrong[0]} is not in the vocabulary of {self._models.vocab_size}.")
        return ids

    def _pending(
        self, body: protocol.SamplingBody, ids: list[int], max_tokens: int, top_logprobs: int, scores: bool
    ) -> _Pending:
        context = self._models.context_length
        if len(ids) + max_tokens > context:
            raise BadInput(
                f"The prompt has {len(ids)} tokens and max_tokens is {max_tokens}, "
                f"more than the context of {context} together. Shorten the prompt or ask for fewer tokens."
            )
        loop = asyncio.get_running_loop()
        updates: asyncio.Queue[Update] = asyncio.Queue()
        tokenizer = self._models.tokenizer
        request = Request(
            prompt_ids=ids,
            max_tokens=max_tokens,
            sampling=Sampling(body.temperature, body.top_p, max(body.top_k, 0)),
            seed=body.seed,
            detokenizer=Detokenizer(tokenizer, body.stops, body.include_stop_str_in_output, body.skip_special_tokens),
            listener=lambda update: _tell(loop, updates, update),
            end_tokens=frozenset() if body.ignore_eos else self._models.end_tokens,
            stop_tokens=frozenset(body.stop_token_ids or ()),
            top_logprobs=top_logprobs,
            scores_prompt=scores,
            tokens_per_update=body.stream_interval if body.stream else max_tokens or 1,
        )
        return _Pending(request, updates)

    async def _submit(self, model: str, pending: Sequence[_Pending]) -> None:
        runner = await run_in_threadpool(self._models.runner, model, self._scheduler.forget)
        for one in pending:
            self._scheduler.submit(one.request, runner)

    def _decode(self, token: int) -> str:
        text: str = self._models.tokenizer.decode([token])
        return text

    def _completion_choice(self, body: protocol.CompletionBody, index: int, one: _Pending) -> dict[str, Any]:
        """The whole answer to one prompt; with echo the prompt comes first, in text and logprobs."""
        prompt = one.request.prompt_ids
        text, ids = one.text, [token.token for token in one.tokens]
        tokens: list[Sampled | None] = [*one.tokens]
        logprob_ids = ids
        if body.echo:
            text = self._models.tokenizer.decode(prompt, skip_special_tokens=body.skip_special_tokens) + text
            tokens = [None, *one.request.prompt_scores, *tokens]
            logprob_ids = [*prompt, *ids]
        wants = body.logprobs is not None
        return {
            "index": index,
            "text": text,
            "logprobs": protocol.completion_logprobs(tokens, logprob_ids, self._decode) if wants else None,
            **_ending(one.last),
            "token_ids": ids if body.return_token_ids else None,
            "prompt_token_ids": prompt if body.return_token_ids else None,
        }

    async def _stream_completion(
        self, body: protocol.CompletionBody, head: dict[str, Any], pending: Sequence[_Pending]
    ) -> AsyncIterator[str]:
        try:
            async for news in _merged(pending):
                if news is None:
                    yield _WAITING
                    continue
                index, update, is_first = news
                one = pending[index]
                tokens: list[Sampled | None] = [*update.tokens]
                ids = [token.token for token in update.tokens]
                text, logprob_ids = update.text, ids
                if is_first and body.echo:
                    prompt = one.request.prompt_ids
                    text = self._models.tokenizer.decode(prompt, skip_special_tokens=body.skip_special_tokens) + text
                    tokens, logprob_ids = [None, *one.request.prompt_scores, *tokens], [*prompt, *ids]
                wants = body.logprobs is not None
                choice = {
                    "index": index,
                    "text": text,
                    "logprobs": protocol.completion_logprobs(tokens, logprob_ids, self._decode) if wants else None,
                    **_ending(update),
                }
                if body.return_token_ids:
                    choice["token_ids"] = ids
                    choice["prompt_token_ids"] = one.request.prompt_ids if is_first else None
                yield _event({**head, "choices": [choice]})
            if body.stream_options and body.stream_options.include_usage:
                yield _event({**head, "choices": [], "usage": _usage(pending)})
        except EngineError as error:
            yield _event(protocol.error_body(str(error), "InternalServerError", 500))
        finally:
            _cancel(pending)
        yield "data: [DONE]\n\n"

    async def _stream_chat(self, body: protocol.ChatBody, head: dict[str, Any], one: _Pending) -> AsyncIterator[str]:
        try:
            async for news in _merged([one]):
                if news is None:
                    yield _WAITING
                    continue
                _, update, is_first = news
                delta = {"role": "assistant", "content": update.text} if is_first else {"content": update.text}
                choice = {
                    "index": 0,
                    "delta": delta,
                    "logprobs": protocol.chat_logprobs(update.tokens, self._decode) if body.logprobs else None,
                    **_ending(update),
                }
                chunk = {**head, "choices": [choice]}
                if body.return_token_ids:
                    choice["token_ids"] = [token.token for token in update.tokens]
                    chunk["prompt_token_ids"] = one.request.prompt_ids if is_first else None
                yield _event(chunk)
            if body.stream_options and body.stream_options.include_usage:
                yield _event({**head, "choices": [], "usage": _usage([one])})
        except EngineError as error:
            yield _event(protocol.error_body(str(error), "InternalServerError", 500))
        finally:
            _cancel([one])
        yield "data: [DONE]\n\n"


def _tell(loop: asyncio.AbstractEventLoop, updates: asyncio.Queue[Update], update: Update) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(updates.put_nowait, update)


def _ending(update: Update) -> dict[str, Any]:
    return {"finish_reason": update.finish_reason, "stop_reason": update.stop_reason}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _usage(pending: Sequence[_Pending]) -> dict[str, int]:
    prompt_tokens = sum(len(one.request.prompt_ids) for one in pending)
    return protocol.usage(prompt_tokens, sum(len(one.tokens) for one in pending))


def _cancel(pending: Sequence[_Pending]) -> None:
    for one in pending:
        one.request.cancelled.set()


async def _finish_all(pending: Sequence[_Pending], http: HttpRequest) -> None:
    """Waits for all answers; a client that goes away, or one failure, cancels them."""
    work = asyncio.gather(*(one.finish() for one in pending))
    gone = asyncio.ensure_future(_disconnected(http))
    both: set[asyncio.Future[Any]] = {work, gone}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            raise EngineError("The client went away before the answer was complete.")
        await work
    finally:
        gone.cancel()
        _cancel(pending)


async def _disconnected(http: HttpRequest) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


async def _merged(pending: Sequence[_Pending]) -> AsyncIterator[tuple[int, Update, bool] | None]:
    """Updates of all prompts as they come: (index, update, whether it is that prompt's first).

    None after every half second of silence, so that a client sees a living server and a server a vanished client.
    """
    waits = {asyncio.ensure_future(one.next()): index for index, one in enumerate(pending)}
    seen: set[int] = set()
    try:
        while waits:
            done, _ = await asyncio.wait(waits, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                yield None
            for task in done:
                index = waits.pop(task)
                update = task.result()
                yield index, update, index not in seen
                seen.add(index)
                if update.finish_reason is None:
                    waits[asyncio.ensure_future(pending[index].next())] = index
    finally:
        for task in waits:
            task.cancel()
