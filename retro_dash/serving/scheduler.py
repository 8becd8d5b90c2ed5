"""Continuous batching: one loop that packs the next tokens of all running requests into one forward pass.

In every step decoding sequences contribute one token each and prompts share a token budget. A request is admitted
with the longest computed prefix that any finished or running sequence has; it waits while a running one is about to
compute more of that prefix, so requests that arrive together compute their shared instructions once.

All keys and values together stay below one limit: those of running and finished sequences, and the copies that groups
read side by side. The oldest finished sequences go first, then the copies; a running request that needs more room
than there is waits, and goes on later. Only a request that runs alone may hold more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from retro_dash.serving.attention import KEYS, multiple
from retro_dash.serving.cascade import Group
from retro_dash.serving.kv_cache import CachedSequence, PrefixCache, common_prefix
from retro_dash.serving.llama import Chunk
from retro_dash.serving.request import Request, Update
from retro_dash.serving.sampling import Sampled, sample, score
from retro_dash.serving.sharing import Sharing

log = logging.getLogger(__name__)
_WORTH_SHARING = 64
"""Tokens of common prefix below which sharing costs more than it saves."""
_WORTH_WAITING = 16
"""Tokens of prefix that another request is about to compute, for which a request waits."""
_SHARE_OF_COPIES, _SHARE_OF_SPARE = 3, 8
"""Groups may hold one part in so many of the limit, and new ones leave one part in so many free."""
_AHEAD = 256
"""Tokens of a reply for which a request gets room at once."""
_RATE_SECONDS = 10.0


class Runner(Protocol):
    """A model that can run a packed step."""

    @property
    def bytes_per_token(self) -> int: ...
    @property
    def attends_together(self) -> bool:
        """Whether a group shares one copy of its prefix."""
        ...

    def new_kv(self, capacity: int, source: Any = None, tokens: int = 0) -> Any: ...
    def forward(self, chunks: Sequence[Chunk], groups: Sequence[Group] = ()) -> Tensor: ...


@dataclass
class Limits:
    """What one engine may use."""

    kv_bytes: int = 2 * 2**30
    """For keys and values of all models together, wherever they lie."""
    running: int = 64
    step_tokens: int = 512
    """Prompt tokens in one step, so that decoding requests never wait long."""


@dataclass(eq=False)
class _Running:
    request: Request
    runner: Runner
    buffer: CachedSequence
    length: int
    """Known tokens: the prompt and what was sampled."""
    scored: int = 0
    """Prompt tokens that already have their logprob (requests with `scores_prompt`)."""

    @property
    def left(self) -> int:
        return self.length - self.buffer.computed

    @property
    def most_tokens(self) -> int:
        return len(self.request.prompt_ids) + self.request.max_tokens

    @property
    def known(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        return self.buffer.ids[: self.length]


class Scheduler:
    """Owns the running requests and the prefix cache. Its public methods may be called from any thread."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.cache = PrefixCache(limits.kv_bytes)
        self._waiting: deque[tuple[Request, Runner]] = deque()
        self._running: list[_Running] = []
        self._sharing = Sharing(_WORTH_SHARING)
        self._last_model: int | None = None
        self._forgotten: list[int] = []
        self._work = threading.Condition()
        self._stopped = False
        self._hit_tokens = 0
        self._prompt_tokens = 0
        self._emitted: deque[tuple[float, int]] = deque()
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the loop after the step in progress; what still runs is aborted."""
        with self._work:
            self._stopped = True
            self._work.notify()
        self._thread.join()

    def submit(self, request: Request, runner: Runner) -> None:
        with self._work:
            self._waiting.append((request, runner))
            self._work.notify()

    def forget(self, runner: Runner) -> None:
        """Drops cached sequences of a model that is unloaded."""
        with self._work:
            self._forgotten.append(id(runner))
            self._work.notify()

    def uses(self, runner: Runner) -> bool:
        """Whether a request of this model is running or waiting."""
        with self._work:
            return any(r.runner is runner for r in self._running) or any(r is runner for _, r in self._waiting)

    @property
    def held_bytes(self) -> int:
        """All keys and values: of finished and of running sequences, and what groups hold beside them."""
        return self.cache.bytes + self._in_use + self._sharing.bytes

    @property
    def _in_use(self) -> int:
        return sum(running.buffer.bytes for running in self._running)

    def stats(self) -> dict[str, float | int]:
        now = time.monotonic()
        with self._work:
            recent = sum(count for at, count in self._emitted if at > now - _RATE_SECONDS)
            return {
                "running": len(self._running),
                "waiting": len(self._waiting),
                "tokens_per_second": recent / _RATE_SECONDS,
                "kv_cache_tokens": self.cache.tokens,
                "kv_cache_sequences": len(self.cache),
                "kv_cache_bytes": self.held_bytes,
                "kv_limit_bytes": self.limits.kv_bytes,
                "prefix_hit_rate": self._hit_tokens / self._prompt_tokens if self._prompt_tokens else 0.0,
            }

    def _loop(self) -> None:
        while True:
            with self._work:
                while not (self._waiting or self._running or self._stopped or self._forgotten):
                    self._work.wait()
                if self._stopped:
                    break
            try:
                with self._work:
                    self._forget_unloaded()
                    self._drop_cancelled()
                    self._admit()
                self._step()
            except Exception as error:
                log.exception("A step failed; its requests are aborted")
                self._abort_all(f"The engine failed in a step ({type(error).__name__}: {error}).")
        self._abort_all("The engine is shutting down.")

    def _forget_unloaded(self) -> None:
        for model in self._forgotten:
            self.cache.forget(model)
            self._sharing.forget(model)
        self._forgotten.clear()

    def _drop_cancelled(self) -> None:
        self._waiting = deque(pair for pair in self._waiting if not pair[0].cancelled.is_set())
        for running in [running for running in self._running if running.request.cancelled.is_set()]:
            self._release(running)

    def _release(self, running: _Running) -> None:
        self._running.remove(running)
        self._sharing.leave(running.buffer)
        if not any(other.runner is running.runner for other in self._running):
            self._sharing.forget(id(running.runner))
        if running.buffer.computed:
            self.cache.add(running.buffer)
        self._make_room(0)

    def _make_room(self, size: int) -> None:
        """Room for so many bytes more: the oldest finished sequences go, and where that is too little the copies."""
        if self._in_use + self._sharing.bytes + size > self.limits.kv_bytes:
            self._sharing.clear()
        self.cache.shrink(self._in_use + self._sharing.bytes + size)

    def _abort_all(self, reason: str) -> None:
        with self._work:
            requests = [running.request for running in self._running] + [request for request, _ in self._waiting]
            self._running.clear()
            self._waiting.clear()
            self._sharing.clear()
        for request in requests:
            request.fail(reason)

    # Admission

    def _admit(self) -> None:
        kept: deque[tuple[Request, Runner]] = deque()
        while self._waiting:
            request, runner = self._waiting.popleft()
            try:
                admitted = len(self._running) < self.limits.running and self._try_admit(request, runner)
            except Exception as error:
                log.exception("A request could not be admitted")
                request.fail(f"The engine could not begin this request ({type(error).__name__}: {error}).")
                continue
            if not admitted:
                kept.append((request, runner))
        self._waiting = kept

    def _try_admit(self, request: Request, runner: Runner) -> bool:
        prompt = np.asarray(request.prompt_ids + request.sampled_ids, dtype=np.int64)
        scores = request.scores_prompt and not request.sampled
        source, hit = self._longest_prefix(prompt, id(runner)) if not scores else (None, 0)
        mine = [running for running in self._running if running.runner is runner]
        coming = max((common_prefix(running.known, prompt) for running in mine if running.left > 1), default=0)
        if not scores and coming - hit >= _WORTH_WAITING:
            return False
        capacity = multiple(len(prompt) + min(request.max_tokens - request.sampled, _AHEAD), KEYS)
        size = capacity * runner.bytes_per_token
        if self._running and self._in_use + size > self.limits.kv_bytes:
            return False
        self._hit_tokens += hit
        self._prompt_tokens += len(prompt)
        buffer = self._buffer(runner, source, hit, capacity)
        buffer.ids[: len(prompt)] = prompt
        self._running.append(_Running(request, runner, buffer, len(prompt)))
        return True

    def _longest_prefix(self, prompt: np.ndarray[Any, Any], model: int) -> tuple[CachedSequence | None, int]:
        """The sequence that holds most of the prompt, and how much; one token is always left to compute."""
        best: tuple[CachedSequence | None, int] = (None, 0)
        for entry in [*self.cache.entries, *(running.buffer for running in self._running)]:
            # To be better it must go on where the best one so far ends: one id tells most of them.
            if entry.model == model and entry.computed > best[1] and entry.ids[best[1]] == prompt[best[1]]:
                hit = min(common_prefix(entry.tokens, prompt), len(prompt) - 1)
                if hit > best[1]:
                    best = entry, hit
        return best

    def _buffer(self, runner: Runner, source: CachedSequence | None, hit: int, capacity: int) -> CachedSequence:
        size = capacity * runner.bytes_per_token
        if source is None:
            self._make_room(size)
        else:
            self.cache.use(source)
            is_mine = hit == source.computed and self.cache.take(source)
            if is_mine and capacity <= source.capacity:
                return source
            self._make_room(size + source.bytes if is_mine else size)
        kv = runner.new_kv(capacity, source.kv if source else None, hit)
        ids = np.zeros(capacity, dtype=np.int64)
        return CachedSequence(id(runner), ids, kv, size, hit)

    # One step

    def _step(self) -> None:
        batch = self._next_batch()
        if not batch:
            return
        chunks = [self._chunk(running, count) for running, count in batch]
        runner = batch[0][0].runner
        logits = runner.forward(chunks, self._groups(batch) if runner.attends_together else ())
        row = 0
        ready: list[tuple[_Running, int]] = []
        for (running, count), chunk in zip(batch, chunks, strict=True):
            if running.request.scores_prompt:
                self._score_prompt(running, logits[row : row + count])
            running.buffer.computed += count
            row += count if chunk.wants_all_logits else 1
            if running.left == 0:
                ready.append((running, row - 1))
        self._sample(ready, logits)

    def _groups(self, batch: Sequence[tuple[_Running, int]]) -> list[Group]:
        decoding = [i for i, (running, _) in enumerate(batch) if running.left == 1]
        sequences = [batch[i][0].buffer for i in decoding]
        with self._work:
            limit, token_bytes = self.limits.kv_bytes, batch[0][0].runner.bytes_per_token
            room = min(limit // _SHARE_OF_COPIES, limit - self._in_use)
            new_room = min(room, limit - self._in_use - limit // _SHARE_OF_SPARE)
            groups = self._sharing.groups(sequences, decoding, token_bytes, room, new_room)
            self.cache.shrink(self._in_use + self._sharing.bytes)
        return groups

    def _next_batch(self) -> list[tuple[_Running, int]]:
        """The sequences of one model with how many tokens each computes; models take turns."""
        models = list(dict.fromkeys(id(running.runner) for running in self._running))
        if not models:
            return []
        turn = models.index(self._last_model) + 1 if self._last_model in models else 0
        self._last_model = models[turn % len(models)]
        mine = [running for running in self._running if id(running.runner) == self._last_model]
        batch = [(running, 1) for running in mine if running.left == 1]
        budget = self.limits.step_tokens
        for running in mine:
            if running.left > 1 and budget > 0:
                count = min(running.left, budget)
                budget -= count
                batch.append((running, count))
        return batch

    def _chunk(self, running: _Running, count: int) -> Chunk:
        start = running.buffer.computed
        ids: list[int] = running.buffer.ids[start : start + count].tolist()
        return Chunk(running.buffer.kv, start, ids, wants_all_logits=running.request.scores_prompt)

    def _score_prompt(self, running: _Running, logits: Tensor) -> None:
        """Logprobs of the prompt's own tokens: row i of the chunk predicts token i + 1."""
        start = running.buffer.computed
        prompt = running.request.prompt_ids
        following = prompt[start + 1 : start + 1 + len(logits)]
        if following:
            rows = logits[: len(following)]
            tops = [running.request.top_logprobs] * len(following)
            running.request.prompt_scores += score(rows, torch.tensor(following, device=rows.device), tops)

    def _sample(self, ready: Sequence[tuple[_Running, int]], logits: Tensor) -> None:
        for running, _ in [pair for pair in ready if pair[0].request.max_tokens == 0]:
            self._finish(running, Update(finish_reason="length"))
        ready = [pair for pair in ready if pair[0].request.max_tokens > 0]
        if not ready:
            return
        requests = [running.request for running, _ in ready]
        sampled = sample(
            logits[[row for _, row in ready]],
            [request.sampling for request in requests],
            [request.generator for request in requests],
            [request.top_logprobs for request in requests],
        )
        with self._work:
            self._emitted.append((time.monotonic(), len(ready)))
            while self._emitted[0][0] < time.monotonic() - _RATE_SECONDS:
                self._emitted.popleft()
        for (running, _), result in zip(ready, sampled, strict=True):
            self._append(running, result)

    def _append(self, running: _Running, result: Sampled) -> None:
        update = running.request.take(result)
        if update.finish_reason is None:
            if running.length == running.buffer.capacity and not self._grow(running):
                running.request.tell(update)
                return
            running.buffer.ids[running.length] = result.token
            running.length += 1
            running.request.tell(update)
        else:
            self._finish(running, update)

    def _finish(self, running: _Running, update: Update) -> None:
        with self._work:
            self._release(running)
        running.request.tell(update)

    def _grow(self, running: _Running) -> bool:
        """Go on in a buffer of twice the size; without room for it the request waits again, and this is False."""
        old, runner = running.buffer, running.runner
        capacity = multiple(min(2 * old.capacity, running.most_tokens), KEYS)
        size = capacity * runner.bytes_per_token
        with self._work:
            if len(self._running) > 1 and self._in_use + size > self.limits.kv_bytes:
                self._release(running)
                self._waiting.appendleft((running.request, runner))
                return False
            self._make_room(size)
            self._sharing.leave(old)
        kv = runner.new_kv(capacity, old.kv, old.computed)
        ids = np.zeros(capacity, dtype=np.int64)
        ids[: running.length] = old.ids[: running.length]
        running.buffer = CachedSequence(old.model, ids, kv, size, old.computed)
        return True
