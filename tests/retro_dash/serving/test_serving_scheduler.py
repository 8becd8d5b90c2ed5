"""The scheduler gives each request what transformers would give it alone, whatever else runs and is cached."""

from __future__ import annotations

import queue
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from retro_dash.serving.detokenize import Detokenizer
from retro_dash.serving.fallback import TransformersRunner
from retro_dash.serving.kv_cache import CachedSequence, PrefixCache
from retro_dash.serving.llama import Llama
from retro_dash.serving.request import Request, Update
from retro_dash.serving.sampling import Sampled, Sampling
from retro_dash.serving.scheduler import Limits, Runner, Scheduler

VOCABULARY = 300
rng = random.Random(7)
SHARED = [rng.randrange(3, VOCABULARY) for _ in range(90)]
PROMPTS = [SHARED + [rng.randrange(3, VOCABULARY) for _ in range(rng.randrange(1, 40))] for _ in range(7)]


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module", params=["own forward", "transformers"])
def runner(request: pytest.FixtureRequest, model: Any) -> Runner:
    return Llama(model) if request.param == "own forward" else TransformersRunner(model)


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    made = Scheduler(Limits(kv_bytes=2**24, step_tokens=48))
    made.start()
    yield made
    made.stop()


class Asked:
    """A submitted request whose updates are collected."""

    def __init__(
        self, scheduler: Scheduler, runner: Runner, prompt: Sequence[int], tokenizer: Any = None, **wishes: Any
    ):
        self.updates: queue.Queue[Update] = queue.Queue()
        stops = wishes.pop("stops", ())
        detokenizer = Detokenizer(tokenizer or NoText(), stops, wishes.pop("include_stop", False))
        known = {"max_tokens": 12, "sampling": Sampling(0.0), "seed": None, **wishes}
        self.request = Request(list(prompt), detokenizer=detokenizer, listener=self.updates.put, **known)
        scheduler.submit(self.request, runner)

    def wait(self) -> tuple[list[Sampled], str, Update]:
        tokens: list[Sampled] = []
        text = ""
        while True:
            update = self.updates.get(timeout=60)
            tokens += update.tokens
            text += update.text
            if update.finish_reason or update.error:
                return tokens, text, update


class NoText:
    """For requests whose text does not matter."""

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return "x" * len(ids)


def reference(model: Any, prompt: Sequence[int], count: int) -> tuple[list[int], list[float]]:
    """Greedy tokens of `generate` and their log-softmax."""
    ids = torch.tensor([list(prompt)])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=count,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )[0]
    with torch.inference_mode():
        logprobs = model(out.unsqueeze(0)).logits[0].float().log_softmax(-1)
    new = out[len(prompt) :].tolist()
    return new, [logprobs[len(prompt) - 1 + i, token].item() for i, token in enumerate(new)]


def test_requests_that_arrive_together_get_what_generate_gives_each_alone(
    scheduler: Scheduler, runner: Runner, model: Any
) -> None:
    asked = [Asked(scheduler, runner, prompt) for prompt in PROMPTS]
    for prompt, one in zip(PROMPTS, asked, strict=True):
        tokens, _, last = one.wait()
        expected, logprobs = reference(model, prompt, 12)
        assert [token.token for token in tokens] == expected
        assert [token.logprob for token in tokens] == pytest.approx(logprobs, abs=1e-3)
        assert last.finish_reason == "length"
    assert scheduler.stats()["prefix_hit_rate"] > 0.6, "the 90 shared tokens should be computed once"


def test_a_turn_that_extends_a_cached_sequence_equals_one_computed_afresh(
    scheduler: Scheduler, runner: Runner, model: Any
) -> None:
    sequence = list(PROMPTS[0])
    for turn in range(4):
        tokens, _, _ = Asked(scheduler, runner, sequence, max_tokens=5).wait()
        expected, logprobs = reference(model, sequence, 5)
        assert [token.token for token in tokens] == expected, f"turn {turn}"
        assert [token.logprob for token in tokens] == pytest.approx(logprobs, abs=1e-3)
        sequence += expected + PROMPTS[turn + 1][90:]
    assert scheduler.stats()["prefix_hit_rate"] > 0.5
    assert scheduler.stats()["kv_cache_sequences"] == 1, "a trial that grows keeps one buffer"


def test_a_listener_that_wants_several_tokens_at_once_is_told_so_and_of_the_rest_at_the_end(
    scheduler: Scheduler, runner: Runner, model: Any
) -> None:
    asked = Asked(scheduler, runner, PROMPTS[0], tokens_per_update=5)
    told = [asked.updates.get(timeout=60) for _ in range(3)]
    assert [len(update.tokens) for update in told] == [5, 5, 2]
    assert [update.finish_reason for update in told] == [None, None, "length"]
    assert "".join(update.text for update in told) == "x" * 12
    assert [token.token for update in told for token in update.tokens] == reference(model, PROMPTS[0], 12)[0]


def test_a_seeded_request_does_not_depend_on_its_neighbours(scheduler: Scheduler, runner: Runner) -> None:
    wishes = {"sampling": Sampling(1.0, 0.9, 40), "seed": 5, "max_tokens": 20}
    alone = [token.token for token in Asked(scheduler, runner, PROMPTS[3], **wishes).wait()[0]]
    crowd = [Asked(scheduler, runner, prompt, sampling=Sampling(1.0)) for prompt in PROMPTS]
    among = [token.token for token in Asked(scheduler, runner, PROMPTS[3], **wishes).wait()[0]]
    other = [token.token for token in Asked(scheduler, runner, PROMPTS[3], **{**wishes, "seed": 6}).wait()[0]]
    assert among == alone
    assert other != alone
    for one in crowd:
        assert one.wait()[2].error is None


def test_a_prompt_is_scored_token_by_token(scheduler: Scheduler, runner: Runner, model: Any) -> None:
    Asked(scheduler, runner, PROMPTS[1]).wait()
    one = Asked(scheduler, runner, PROMPTS[1], max_tokens=0, scores_prompt=True, top_logprobs=3)
    one.wait()
    with torch.inference_mode():
        logprobs = model(torch.tensor([PROMPTS[1]])).logits[0].float().log_softmax(-1)
    expected = [logprobs[i, token].item() for i, token in enumerate(PROMPTS[1][1:])]
    assert [score.logprob for score in one.request.prompt_scores] == pytest.approx(expected, abs=1e-3)
    assert [score.token for score in one.request.prompt_scores] == PROMPTS[1][1:]
    best = logprobs[4].topk(3)
    assert [token for token, _ in one.request.prompt_scores[4].top] == best.indices.tolist()


def test_a_cancelled_request_stops_and_the_others_go_on(scheduler: Scheduler, runner: Runner) -> None:
    gone = Asked(scheduler, runner, PROMPTS[0], max_tokens=300)
    gone.updates.get(timeout=60)
    gone.request.cancelled.set()
    tokens, _, _ = Asked(scheduler, runner, PROMPTS[1]).wait()
    assert len(tokens) == 12
    assert gone.request.sampled < 300
    assert scheduler.stats()["running"] == 0


def test_a_stop_string_cuts_the_text_and_keeps_every_sampled_token(
    scheduler: Scheduler, runner: Runner, tiny_folder: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokens, text, _ = Asked(scheduler, runner, PROMPTS[2], tokenizer, max_tokens=30).wait()
    at = next(i for i in range(5, len(text) - 1) if text[i - 1 : i + 1] not in text[: i - 1])
    stop = text[at - 1 : at + 1]
    fewer, cut, last = Asked(scheduler, runner, PROMPTS[2], tokenizer, max_tokens=30, stops=[stop]).wait()
    assert cut == text[: text.index(stop)]
    assert (last.finish_reason, last.stop_reason) == ("stop", stop)
    assert [token.token for token in fewer] == [token.token for token in tokens[: len(fewer)]]
    assert stop in tokenizer.decode([token.token for token in fewer], skip_special_tokens=True)
    _, included, _ = Asked(
        scheduler, runner, PROMPTS[2], tokenizer, max_tokens=30, stops=[stop], include_stop=True
    ).wait()
    assert included == cut + stop


def test_a_failing_step_aborts_its_requests_with_a_sentence_and_the_next_one_works(runner: Runner) -> None:
    class Broken:
        bytes_per_token = 8
        attends_together = False

        def new_kv(self, capacity: int, source: Any = None, tokens: int = 0) -> Any:
            return None

        def forward(self, chunks: Any, groups: Any = ()) -> torch.Tensor:
            raise MemoryError("no room")

    scheduler = Scheduler(Limits())
    scheduler.start()
    assert "no room" in str(Asked(scheduler, Broken(), PROMPTS[0]).wait()[2].error)
    assert Asked(scheduler, runner, PROMPTS[0]).wait()[2].finish_reason == "length"
    waiting = Asked(scheduler, runner, PROMPTS[0], max_tokens=380)
    scheduler.stop()
    assert waiting.wait()[2].error == "The engine is shutting down."


def test_models_that_are_asked_together_keep_their_caches_apart(scheduler: Scheduler, model: Any) -> None:
    one, other = Llama(model), Llama(model)
    first, second = Asked(scheduler, one, PROMPTS[0]), Asked(scheduler, other, PROMPTS[0])
    assert [token.token for token in first.wait()[0]] == [token.token for token in second.wait()[0]]
    assert scheduler.stats()["prefix_hit_rate"] == 0.0
    assert scheduler.stats()["kv_cache_sequences"] == 2
    scheduler.forget(one)
    Asked(scheduler, other, PROMPTS[1]).wait()
    assert scheduler.stats()["kv_cache_sequences"] == 2, "one of the old two was forgotten, one is new"


def test_more_requests_than_memory_wait_for_their_turn(model: Any) -> None:
    runner = Llama(model)
    room_for_two = runner.bytes_per_token * (max(map(len, PROMPTS)) + 12) * 2
    scheduler = Scheduler(Limits(kv_bytes=room_for_two))
    scheduler.start()
    for one in [Asked(scheduler, runner, prompt) for prompt in PROMPTS]:
        assert one.wait()[2].finish_reason == "length"
    assert scheduler.stats()["kv_cache_bytes"] <= room_for_two
    scheduler.stop()


def test_a_request_that_outgrows_its_buffer_gets_a_larger_one(
    scheduler: Scheduler, runner: Runner, model: Any
) -> None:
    tokens, _, _ = Asked(scheduler, runner, PROMPTS[0][:5], max_tokens=400).wait()
    assert [token.token for token in tokens] == reference(model, PROMPTS[0][:5], 400)[0]


def test_the_cache_drops_the_least_recently_used_sequence_first() -> None:
    cache = PrefixCache(capacity_bytes=20)
    entries = [CachedSequence(1, np.array([i, i + 1]), None, 10, 2) for i in (10, 20, 30)]
    cache.add(entries[0])
    cache.add(entries[1])
    cache.use(entries[0])
    cache.add(entries[2])
    assert list(cache.entries) == [entries[2], entries[0]]
    assert cache.bytes == 20


def test_a_cached_sequence_that_another_covers_is_dropped() -> None:
    cache = PrefixCache(capacity_bytes=100)
    cache.add(CachedSequence(1, np.array([1, 2]), None, 10, 2))
    cache.add(CachedSequence(2, np.array([1, 2]), None, 10, 2))
    longer = CachedSequence(1, np.array([1, 2, 3]), None, 10, 3)
    cache.add(longer)
    assert [entry.model for entry in cache.entries] == [1, 2]
    assert cache.tokens == 5
