"""Keys and values stay below the limit that was given, wherever they lie, and nobody's tokens change for it."""

from __future__ import annotations

import queue
import random
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from retro_dash.serving.cascade import Group
from retro_dash.serving.detokenize import Detokenizer
from retro_dash.serving.kv_cache import CachedSequence
from retro_dash.serving.llama import Chunk, Llama
from retro_dash.serving.model import kv_gib, most_memory
from retro_dash.serving.request import Request, Update
from retro_dash.serving.sampling import Sampling
from retro_dash.serving.scheduler import Limits, Scheduler
from retro_dash.serving.sharing import Sharing

VOCABULARY, SHARED = 300, 90
rng = random.Random(11)


def tokens(count: int) -> list[int]:
    return [rng.randrange(3, VOCABULARY) for _ in range(count)]


class Scales(Llama):
    """A model that weighs, after every step, all keys and values that are alive."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.heaviest, self.heaviest_copies = 0, 0
        self._buffers: weakref.WeakSet[Tensor] = weakref.WeakSet()

    @property
    def buffers(self) -> int:
        return sum(buffer.nbytes for buffer in self._buffers)

    def new_kv(self, capacity: int, source: Tensor | None = None, tokens: int = 0) -> Tensor:
        kv = super().new_kv(capacity, source, tokens)
        self._buffers.add(kv)
        return kv

    def forward(self, chunks: Sequence[Chunk], groups: Sequence[Group] = ()) -> Tensor:
        logits = super().forward(chunks, groups)
        copies = sum(group.prefix.kv.nbytes + tails(group).nbytes for group in groups)
        self.heaviest_copies = max(self.heaviest_copies, copies)
        self.heaviest = max(self.heaviest, self.buffers + copies)
        return logits


def tails(group: Group) -> Tensor:
    assert group.prefix.tails is not None
    return group.prefix.tails.data


class NoText:
    """For requests whose text does not matter."""

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return "x" * len(ids)


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)


@pytest.fixture
def scales(model: Any) -> Scales:
    return Scales(model)


def ask(scheduler: Scheduler, runner: Llama, prompts: Sequence[list[int]], count: int) -> list[list[int]]:
    """The greedy tokens of all prompts, asked at once."""
    queues: list[queue.Queue[Update]] = [queue.Queue() for _ in prompts]
    for prompt, updates in zip(prompts, queues, strict=True):
        text = Detokenizer(NoText(), (), False)
        scheduler.submit(
            Request(prompt, count, Sampling(0.0), None, text, updates.put, tokens_per_update=count), runner
        )
    answers = []
    for updates in queues:
        update = updates.get(timeout=60)
        assert update.finish_reason == "length", update.error
        answers.append([token.token for token in update.tokens])
    return answers


def generate(model: Any, prompt: Sequence[int], count: int) -> list[int]:
    ids = torch.tensor([list(prompt)])
    wishes = {"max_new_tokens": count, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    new: list[int] = model.generate(ids, attention_mask=torch.ones_like(ids), **wishes)[0, len(prompt) :].tolist()
    return new


def test_the_copies_of_groups_count_and_the_oldest_sequences_make_room_for_them(model: Any, scales: Scales) -> None:
    # Seven trials of up to 256 tokens, and copies of 90 + 8 × 64 or × 128: all of it would not fit.
    limit = (7 * 256 + 700) * scales.bytes_per_token
    scheduler = Scheduler(Limits(kv_bytes=limit, step_tokens=64))
    scheduler.start()
    shared = tokens(SHARED)
    trials = [shared + tokens(rng.randrange(1, 30)) for _ in range(7)]
    for _ in range(4):
        answers = ask(scheduler, scales, trials, 10)
        assert answers == [generate(model, trial, 10) for trial in trials]
        trials = [trial + answer + tokens(20) for trial, answer in zip(trials, answers, strict=True)]
    assert scales.heaviest_copies > 0, "they should have decoded together"
    assert scales.heaviest <= limit
    assert scheduler.stats()["kv_cache_bytes"] == scales.buffers, "while nothing runs, copies hold nothing"
    assert scheduler.stats()["kv_limit_bytes"] == limit
    scheduler.stop()


def test_a_trial_that_goes_on_takes_over_what_it_held(scales: Scales) -> None:
    scheduler = Scheduler(Limits(kv_bytes=2**30))
    scheduler.start()
    trial = tokens(SHARED)
    for _ in range(3):
        trial += ask(scheduler, scales, [trial], 5)[0] + tokens(100)
    scheduler.stop()
    # The last turn: 90 + 2 × 105 + 5 tokens in buffers of 64; the turn before it is gone once it was copied.
    assert scales.heaviest == 320 * scales.bytes_per_token


def test_a_request_that_outgrows_the_limit_waits_and_goes_on_where_it_was(model: Any, scales: Scales) -> None:
    # Three begin with 320 tokens each; none of them can have the 448 that it needs at the end beside the others.
    limit = 1000 * scales.bytes_per_token
    scheduler = Scheduler(Limits(kv_bytes=limit))
    scheduler.start()
    prompts = [tokens(5) for _ in range(4)]
    answers = ask(scheduler, scales, prompts, 400)
    scheduler.stop()
    assert answers == [generate(model, prompt, 400) for prompt in prompts]
    assert scales.heaviest <= limit


def test_sequences_whose_tails_have_no_room_stay_alone() -> None:
    kv = torch.zeros(1, 2, 1, 1024, 1)
    shared = tokens(100)

    def sequence(own: int) -> CachedSequence:
        return CachedSequence(1, np.array(shared + tokens(own)), kv, 0, 100 + own)

    sequences = [sequence(own) for own in (30, 500, 40)]
    places = [3, 5, 8]
    sharing = Sharing(64)
    room = 8 * (100 + 8 * 576)
    every = sharing.groups(sequences, places, 8, room, room)
    assert [list(group.members) for group in every] == [[3, 5, 8]]
    assert sharing.bytes == room, "eight slots for 501 tokens and an eighth more, in steps of 64"
    assert sharing.groups(sequences, places, 8, room, 0) == every, "what it has it may keep"
    short = sharing.groups(sequences, places, 8, room - 1, room - 1)
    assert [list(group.members) for group in short] == [[3, 8]]
    assert sharing.bytes == 8 * (100 + 8 * 64)
    assert sharing.groups(sequences, places, 8, 8 * 600, 8 * 600) == []
    assert sharing.bytes == 0


def test_what_an_engine_holds_at_most_counts_the_base_four_adapters_and_the_limit(tmp_path: Path) -> None:
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(100 * 2**20)
    # The file, five times 135 MiB of weights, 2048 MiB of keys and values, 460.8 MiB of libraries and scratch.
    assert most_memory(tmp_path, 12 * 2**30) / 2**20 == pytest.approx(100 + 675 + 2048 + 460.8)


def test_keys_and_values_may_take_a_sixth_of_the_machine_from_one_to_eight_gib() -> None:
    assert [kv_gib(gib * 2**30) for gib in (2, 12, 24, 512)] == [1, 2, 4, 8]
