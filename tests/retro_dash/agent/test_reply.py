"""The form of one planner turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retro_dash.agent.reply import Malformed, Reply, format_reply, parse_reply


def test_a_thought_and_an_action_are_read():
    assert parse_reply("Thought: look first.\nAction: go to fridge 1") == Reply("look first.", "go to fridge 1")


def test_the_thought_may_be_left_out():
    assert parse_reply("Action: look") == Reply("", "look")


def test_numbered_labels_of_react_are_understood():
    assert parse_reply("Thought 1: hm\nAction 1: Search[Rome]") == Reply("hm", "Search[Rome]")


def test_an_action_may_span_lines():
    reply = parse_reply("Action: execute[SELECT 1\nFROM t]")
    assert reply == Reply("", "execute[SELECT 1\nFROM t]")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no action"),
        ("Thought: only thinking", "no action"),
        ("Action:   ", "no action"),
        ("I will go to the fridge", "instead of a label"),
        ("Action: look\nAction: look", "more than one action"),
        ("Action: look\nThought: afterwards", "thought follows"),
    ],
)
def test_a_reply_without_exactly_one_action_gets_a_correction(text: str, why: str):
    parsed = parse_reply(text)
    assert isinstance(parsed, Malformed)
    assert why in parsed.correction


@given(st.text(), st.text())
def test_what_is_formatted_reads_back(thought: str, action: str):
    parsed = parse_reply(format_reply(thought, action))
    if (
        isinstance(parsed, Reply)
        and "\n" not in action.strip()
        and not any(c in action for c in "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
    ):
        assert parsed == Reply(" ".join(thought.split()), action.strip())


@given(st.text())
def test_any_text_is_a_reply_or_a_correction(text: str):
    assert isinstance(parse_reply(text), Reply | Malformed)
