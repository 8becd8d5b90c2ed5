"""Chats of other programs become trials, and ours come back with what their format can hold."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.formats import detect_format, file_format
from data.formats.alpaca import rows as alpaca_rows
from data.formats.chat import Conversation
from data.formats.entry import Dropped, Entry
from data.formats.messages import rows as message_rows
from data.formats.sharegpt import rows as sharegpt_rows
from data.types import EpisodeState, StopReason, Trial

ASK, REPLY = (
    {"role": "user", "content": "Find the pen."},
    {"role": "assistant", "content": "Thought: a\nAction: look"},
)
words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=20).map(str.strip)
actions = words.filter(lambda text: bool(text) and not text.lower().startswith(("thought", "action")))


def read(path: Path, *rows: object) -> list[Entry | Dropped]:
    if rows:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return list(detect_format(path).read(path))


def one_trial(path: Path, row: object) -> Trial:
    (entry,) = read(path, row)
    assert isinstance(entry, Entry), entry
    (trial,) = entry.episode.trials
    return trial


def test_messages_become_turns_with_prompt_and_observations(tmp_path: Path):
    system = {"role": "system", "content": "You act."}
    row = {
        "messages": [
            system,
            ASK,
            REPLY,
            {"role": "tool", "content": "A desk."},
            {"role": "assistant", "content": "go"},
        ]
    }
    trial = one_trial(tmp_path / "a.jsonl", row)
    assert trial.prompt == "You act.\n\nFind the pen."
    assert [(t.thought, t.action, t.observation) for t in trial.turns] == [("a", "look", "A desk."), ("", "go", "")]


def test_tool_calls_and_lists_of_text_parts_are_read(tmp_path: Path):
    call = {"type": "function", "function": {"name": "search", "arguments": '{"q": "Nile"}'}}
    parts = {"role": "user", "content": [{"type": "text", "text": "Find"}, {"type": "text", "text": "it"}]}
    row = {"messages": [parts, {"role": "assistant", "content": None, "tool_calls": [call]}]}
    trial = one_trial(tmp_path / "a.jsonl", row)
    assert (trial.prompt, trial.turns[0].action) == ("Find\nit", 'search({"q": "Nile"})')


@pytest.mark.parametrize(
    ("more", "state", "stop"),
    [
        ({}, EpisodeState.STOPPED, StopReason.STOPPED),
        ({"reward": 1.0}, EpisodeState.SOLVED, StopReason.SOLVED),
        ({"score": 0.5}, EpisodeState.FAILED, StopReason.FAILED),
        ({"reward": 0.9, "success": True}, EpisodeState.SOLVED, StopReason.SOLVED),
    ],
)
def test_a_chat_is_scored_only_when_it_says_so(tmp_path: Path, more: dict, state: EpisodeState, stop: StopReason):
    (entry,) = read(tmp_path / "a.jsonl", {"messages": [ASK, REPLY], **more})
    assert isinstance(entry, Entry)
    assert (entry.episode.state, entry.episode.trials[0].stop_reason) == (state, stop)


def test_fields_that_are_not_understood_are_named(tmp_path: Path):
    (entry,) = read(tmp_path / "a.jsonl", {"messages": [ASK, REPLY], "weight": 3})
    assert isinstance(entry, Entry)
    assert entry.notes == ("field 'weight' left out",)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": []}, "the row has no list of messages"),
        ({"messages": [ASK]}, "no message is the assistant's"),
        ({"messages": [{"role": "ghost", "content": "x"}]}, "a message has the unknown role"),
        ({"messages": [ASK, {"role": "assistant"}]}, "a message has neither text nor a tool call"),
        ([1], "the row is not an object"),
    ],
)
def test_a_chat_that_makes_no_sense_is_dropped_with_the_reason(tmp_path: Path, row: object, reason: str):
    _, bad = read(tmp_path / "a.jsonl", {"messages": [ASK, REPLY]}, row)
    assert isinstance(bad, Dropped)
    assert (bad.row, bad.reason[: len(reason)]) == (2, reason)


def test_sharegpt_alpaca_and_parquet_say_the_same_as_messages(tmp_path: Path):
    expected = one_trial(tmp_path / "m.jsonl", {"messages": [ASK, REPLY]})
    share = {
        "conversations": [{"from": "human", "value": "Find the pen."}, {"from": "gpt", "value": REPLY["content"]}]
    }
    alpaca = {"instruction": "Find the pen.", "input": "", "output": REPLY["content"]}
    pq.write_table(pa.Table.from_pylist([{"messages": [ASK, REPLY]}]), tmp_path / "p.parquet")
    for path, row in (("s.json", share), ("a.jsonl", alpaca), ("p.parquet", None)):
        rows = [row] if row else []
        (entry,) = read(tmp_path / path, *rows)
        assert isinstance(entry, Entry)
        trial = entry.episode.trials[0]
        assert (trial.prompt, [(t.thought, t.action) for t in trial.turns]) == (expected.prompt, [("a", "look")])


def test_a_trajectory_of_another_agent_is_read_by_its_steps(tmp_path: Path):
    call = {"tool_call_id": "1", "function_name": "bash", "arguments": {"command": "ls"}}
    steps = [
        {"step_id": 1, "source": "user", "message": "List files."},
        {"step_id": 2, "source": "agent", "message": "old", "is_copied_context": True},
        {
            "step_id": 3,
            "source": "agent",
            "message": "I list.",
            "tool_calls": [call],
            "observation": {"results": [{"source_call_id": "1", "content": "a.txt"}]},
        },
    ]
    document = {
        "schema_version": "ATIF-v1.6",
        "agent": {"name": "x", "version": "1", "model_name": "m"},
        "steps": steps,
    }
    (entry,) = read(tmp_path / "t.json", document)
    assert isinstance(entry, Entry)
    (turn,) = entry.episode.trials[0].turns
    assert (turn.thought, turn.action, turn.observation) == ("I list.", 'bash({"command": "ls"})', "a.txt")
    assert entry.episode.planner == "m"


def test_our_trajectories_with_a_changed_extra_are_dropped_not_guessed(tmp_path: Path):
    ours = {"episode_id": "e", "episode": {"id": "e"}}
    row = {"schema_version": "ATIF-v1.8", "steps": [], "extra": {"retro_dash": ours}}
    (bad,) = read(tmp_path / "t.jsonl", row)
    assert isinstance(bad, Dropped)
    assert "were changed" in bad.reason


@settings(max_examples=50, deadline=None)
@given(turns=st.lists(st.tuples(words, actions, words), min_size=1, max_size=4), prompt=words.filter(bool))
def test_what_a_chat_format_can_hold_comes_back_equal(
    turns: list[tuple[str, str, str]], prompt: str, tmp_path_factory: pytest.TempPathFactory
):
    messages: list[tuple[str, str]] = [("user", prompt)]
    for place, (thought, action, observation) in enumerate(turns):
        messages.append(("assistant", f"Thought: {thought}\nAction: {action}" if thought else f"Action: {action}"))
        if place + 1 < len(turns):
            messages.append(("user", observation))
    chat = Conversation(
        episode_id="e",
        task_id="t",
        env="hotpotqa",
        split="dev",
        role="planner",
        trial=2,
        messages=tuple(messages),
        reward=0.5,
        success=False,
        is_positive=True,
    )
    folder = tmp_path_factory.mktemp("chats")
    for name, rows in (("m", message_rows), ("s", sharegpt_rows)):
        (entry,) = read(folder / f"{name}.jsonl", *rows(chat))
        assert isinstance(entry, Entry)
        (trial,) = entry.episode.trials
        wanted = [(a, b, c if k + 1 < len(turns) else "") for k, (a, b, c) in enumerate(turns)]
        assert [(t.thought, t.action, t.observation) for t in trial.turns] == wanted
        assert (trial.prompt, trial.reward, trial.success, trial.index) == (prompt, 0.5, False, 2)
        assert (entry.episode.task.id, entry.episode.task.env, entry.episode.task.split) == ("t", "hotpotqa", "dev")
    assert [row["output"] for row in alpaca_rows(chat)] == [text for role, text in messages if role == "assistant"]


def test_a_rollout_of_verl_is_a_trial_with_its_score(tmp_path: Path):
    path = tmp_path / "12.jsonl"
    rows = [{"input": "2 + 2?", "output": "4", "gts": "4", "score": 1.0, "step": 12}, {"input": "x", "score": 0}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = detect_format(path)
    entry, dropped = found.read(path)
    assert found.name == "verl"
    assert isinstance(entry, Entry)
    assert isinstance(dropped, Dropped)
    (trial,) = entry.episode.trials
    assert (trial.prompt, trial.turns[0].action, trial.reward, trial.success) == ("2 + 2?", "4", 1.0, True)
    assert "field 'gts' left out" in entry.notes


def test_a_trajectory_of_swe_agent_is_an_unscored_trial_of_its_steps(tmp_path: Path):
    path = tmp_path / "django__django-11099.traj"
    step = {"action": "ls -F\n", "observation": "setup.py", "response": "I look.\nls -F", "thought": "I look."}
    history = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": [{"type": "text", "text": "Fix the issue."}]},
        {"role": "assistant", "content": "I look.\nls -F"},
        {"role": "user", "content": "setup.py"},
    ]
    document = {"environment": "swe_main", "trajectory": [step, {"response": "Done"}], "history": history}
    path.write_text(json.dumps({**document, "info": {"exit_status": "submitted"}}, indent=2))
    found = detect_format(path)
    (entry,) = found.read(path)
    assert found.name == "swe_agent"
    assert isinstance(entry, Entry)
    (trial,) = entry.episode.trials
    assert (entry.episode.task.id, trial.opening) == ("django__django-11099", "Fix the issue.")
    assert trial.prompt == "You are a helpful assistant.\n\nFix the issue."
    first, second = trial.turns
    assert (first.thought, first.action, first.observation) == ("I look.", "ls -F", "setup.py")
    assert second.is_malformed
    assert trial.stop_reason is StopReason.STOPPED
    assert entry.notes == ("ended with 'submitted', which says nothing of success",)


@pytest.mark.parametrize("steps", [[], ["x"], None])
def test_a_trajectory_without_steps_is_dropped(tmp_path: Path, steps: object):
    path = tmp_path / "x.traj"
    path.write_text(json.dumps({"trajectory": steps, "history": [], "info": {}}))
    (dropped,) = file_format("swe_agent").read(path)
    assert isinstance(dropped, Dropped)
