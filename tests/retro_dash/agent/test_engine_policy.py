"""Dialogues as one growing token sequence, on a token server that counts."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from data.errors import EngineError
from data.types import Completion, Task, Trial
from retro_dash.agent.briefing import Briefing
from retro_dash.agent.engine_policy import EnginePolicy
from retro_dash.agent.prompts import Message
from retro_dash.agent.sampling import Sampling
from retro_dash.agent.token_server import SampledTokens, find_glue

END, USER, ASSISTANT, NEWLINE = 1, 2, 3, 4


class LetterServer:
    """A token server whose tokens are letters and whose model says `hi` and then ends its turn."""

    def __init__(self, forgets_history: bool = False) -> None:
        self.prompts: list[list[int]] = []
        self._forgets_history = forgets_history

    def context_length(self, model: str) -> int:
        return 500

    def tokenize(self, model: str, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def tokenize_chat(self, model: str, messages: Sequence[Message]) -> list[int]:
        ids: list[int] = []
        for message in messages[-2:] if self._forgets_history else messages:
            ids += [ASSISTANT if message.role == "assistant" else USER, *self.tokenize(model, message.content)]
            ids += [END, NEWLINE]
        return [*ids, ASSISTANT]

    def sample(self, model, prompt_ids, sampling, max_tokens, on_text, should_stop) -> SampledTokens:
        self.prompts.append(list(prompt_ids))
        return SampledTokens("hi", (ord("h"), ord("i"), END), (-0.5, -0.25, -0.125), "stop")


def briefing() -> Briefing:
    task = Task(id="t", env="alfworld", split="valid", instruction="do it")
    trial = Trial(index=1, prompt="", opening="a room", started_at=datetime.now(UTC))
    return Briefing(task, [Message("system", "s"), Message("user", "u")], trial, [])


def test_the_glue_between_turns_is_read_off_the_chat_template():
    glue = find_glue(LetterServer(), "m")
    assert glue.after_reply == (END, NEWLINE, USER)
    assert glue.before_reply == (END, NEWLINE, ASSISTANT)


def test_a_template_that_rewrites_history_is_refused():
    with pytest.raises(EngineError, match="cannot be extended"):
        find_glue(LetterServer(forgets_history=True), "m")


def test_each_prompt_extends_the_one_before_and_what_was_sampled():
    server = LetterServer()
    dialogue = EnginePolicy("m", server).begin(briefing(), Sampling())
    for observation in ("one", "two"):
        dialogue.put(dialogue.reply())
        dialogue.tell(observation)
    dialogue.reply()
    first, second, third = server.prompts
    assert second[: len(first)] == first
    assert second[len(first) : len(first) + 3] == [ord("h"), ord("i"), END]
    assert third[: len(second)] == second


def test_joining_context_and_sampled_ids_gives_the_whole_sequence():
    server = LetterServer()
    dialogue = EnginePolicy("m", server).begin(briefing(), Sampling())
    joined: list[int] = []
    for observation in ("one", "two", "three"):
        completion = dialogue.reply()
        assert completion.context_ids is not None
        assert completion.token_ids is not None
        joined += [*completion.context_ids, *completion.token_ids]
        assert joined == [*server.prompts[-1], *completion.token_ids]
        dialogue.put(completion)
        dialogue.tell(observation)


def test_a_sampled_end_of_turn_is_not_added_again():
    server = LetterServer()
    dialogue = EnginePolicy("m", server).begin(briefing(), Sampling())
    dialogue.put(dialogue.reply())
    dialogue.tell("x")
    dialogue.reply()
    after = server.prompts[1][len(server.prompts[0]) :]
    assert after == [ord("h"), ord("i"), END, NEWLINE, USER, ord("x"), END, NEWLINE, ASSISTANT]


def test_a_persons_words_become_context_with_the_end_of_turn_added():
    server = LetterServer()
    dialogue = EnginePolicy("m", server).begin(briefing(), Sampling())
    dialogue.put(Completion(policy="human", text="yo"))
    dialogue.tell("x")
    completion = dialogue.reply()
    after = server.prompts[0][-9:]
    assert after == [ord("y"), ord("o"), END, NEWLINE, USER, ord("x"), END, NEWLINE, ASSISTANT]
    assert completion.context_ids == tuple(server.prompts[0])
