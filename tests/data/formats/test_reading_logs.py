"""Logs of other programs become episodes: what is kept, what is dropped, and that the reason is said."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from data.errors import BadFile
from data.formats import detect_format
from data.formats.entry import Dropped, Entry
from data.formats.transcripts import command_turns, cut_verdict, numbered_turns
from data.types import StopReason

ROOM = "You are in the middle of a room. You see a desk 1.\nYour task is to: put a pen in desk."
PLANNER = {
    "instruction": "",
    "input": f"Interact with a household to solve a task.\nHere is the task:\n{ROOM}\n> ",
    "output": "think: I look for a pen.\nOK.\n> go to desk 1\nOn the desk 1, you see a pen 1.\n"
    "> take pen 1 from desk 1\nYou pick up the pen 1 from the desk 1.\n\nSTATUS: OK",
    "type": "planner",
}
REFLECTOR = {
    "instruction": "",
    "input": 'Devise a new plan. Give your plan after "Plan".\nQuestion: How many singers are there?\n'
    "Thought 1: I count.\nAction 1: execute[SELECT 1]\nObservation 1: [(1,)]\nThought 2: Done.\nAction 2: submit\n"
    "Observation 2: [(1,)]\n\nSTATUS: FAIL\nREWARD: 0.25\n\nPlans from past attempts:\nTrial #0: Go.\n\n\nNew plan:",
    "output": "Count the singer table.",
    "type": "reflector",
    "last_reward": 0.25,
    "current_reward": 1.0,
}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def entries(path: Path) -> list[Entry]:
    return [item for item in detect_format(path).read(path) if isinstance(item, Entry)]


def dropped(path: Path) -> list[Dropped]:
    return [item for item in detect_format(path).read(path) if isinstance(item, Dropped)]


def test_a_planner_row_of_retroact_is_a_trial_whose_verdict_is_no_longer_text(tmp_path: Path):
    (entry,) = entries(write(tmp_path / "rows.jsonl", PLANNER))
    (trial,) = entry.episode.trials
    assert entry.episode.task.env == "alfworld"
    assert entry.episode.task.instruction == "put a pen in desk."
    assert [(turn.thought, turn.action) for turn in trial.turns] == [
        ("I look for a pen.", "go to desk 1"),
        ("", "take pen 1 from desk 1"),
    ]
    assert trial.turns[1].observation == "You pick up the pen 1 from the desk 1."
    assert (trial.success, trial.reward) == (True, 1.0)
    assert trial.prompt == PLANNER["input"]


def test_a_reflector_row_of_retroact_is_a_failed_trial_its_reflection_and_what_came_of_it(tmp_path: Path):
    (entry,) = entries(write(tmp_path / "rows.jsonl", REFLECTOR))
    failed, following = entry.episode.trials
    (reflection,) = entry.episode.reflections
    assert entry.episode.task.env == "intercode_sql"
    assert entry.episode.task.instruction == "How many singers are there?"
    assert [turn.action for turn in failed.turns] == ["execute[SELECT 1]", "submit"]
    assert (failed.reward, failed.success, following.success) == (0.25, False, True)
    assert following.turns == ()
    assert (reflection.text, reflection.gain) == ("Count the singer table.", 0.75)


def test_retroact_as_one_json_array_is_the_same(tmp_path: Path):
    lines = entries(write(tmp_path / "rows.jsonl", PLANNER, REFLECTOR))
    array = tmp_path / "all.json"
    array.write_text(json.dumps([PLANNER, REFLECTOR]))
    assert [e.episode.id for e in entries(array)] == [e.episode.id for e in lines]


def test_a_bad_row_is_dropped_with_its_number_and_reason_and_the_good_ones_stay(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    good = json.dumps(PLANNER)
    bad = [
        json.dumps({**PLANNER, "output": ""}),
        "{not json",
        json.dumps({**PLANNER, "type": "judge"}),
        json.dumps({**PLANNER, "input": "nothing here"}),
        json.dumps({"input": 3}),
        '{"input": NaN}',
    ]
    path.write_text("\n".join([good, *bad, good[:40]]), encoding="utf-8")
    assert len(entries(path)) == 1
    assert [(item.row, item.reason) for item in dropped(path)] == [
        (2, "the output holds no turn"),
        (3, "the row is not JSON"),
        (4, "the type 'judge' is not planner or reflector"),
        (5, "the input names no task or question"),
        (6, "the row has no input and output texts"),
        (7, "the row is not JSON"),
        (8, "the row is cut"),
    ]


def test_the_verdict_is_cut_only_from_the_end():
    ending = cut_verdict("STATUS: OK\n> look\nSTATUS: FAIL\nREWARD: 0.5\n")
    assert (ending.status, ending.reward) == ("FAIL", 0.5)
    assert ending.text.strip() == "STATUS: OK\n> look"
    assert cut_verdict("The STATUS: OK is no verdict.").status is None


def test_a_thought_without_an_action_is_a_malformed_turn():
    turns = numbered_turns("Thought 1: a\nThought 2: b\nAction 2: look\nObservation 2: x\ny\nAction 3: go")
    assert [(t.thought, t.action, t.observation, t.is_malformed) for t in turns] == [
        ("a", "", "", True),
        ("b", "look", "x\ny", False),
        ("", "go", "", False),
    ]
    assert command_turns("> think: a\nOK.\n> think: b\nOK.")[0].is_malformed


def hotpot(trial: int, status: str, *reflections: str, question: str = "Which river?") -> dict[str, object]:
    text = f"Thought 1: Search.\nAction 1: Search[Nile]\nObservation 1: A river.\nAction 2: Finish[{trial}]"
    return {
        "trial": trial,
        "status": status,
        "question": question,
        "correct_answer": "Nile",
        "reflections": reflections,
        "text": text,
    }


def test_hotpotqa_rows_of_one_question_are_one_episode_up_to_the_first_success(tmp_path: Path):
    rows = [hotpot(1, "incorrect"), hotpot(3, "correct", "Look.", "Read."), hotpot(2, "halted", "Look.")]
    path = write(tmp_path / "runs.jsonl", *rows, hotpot(4, "correct"), hotpot(1, "halted"), hotpot(1, "lost"))
    (entry,) = entries(path)
    assert [trial.stop_reason for trial in entry.episode.trials] == [
        StopReason.FAILED,
        StopReason.TURN_LIMIT,
        StopReason.SOLVED,
    ]
    assert [(r.after_trial, r.text, r.gain) for r in entry.episode.reflections] == [
        (1, "Look.", 0.0),
        (2, "Read.", 1.0),
    ]
    assert {item.reason for item in dropped(path)} == {
        "the log prints an already solved question again",
        "a second row for the same question and trial",
        "the status or the trial's number is not known",
    }


def test_alfworld_results_of_a_folder_become_outcomes_and_reflections(tmp_path: Path):
    easy = {"name": "env_1", "memory": [], "is_success": True}
    for number, (memory, success) in enumerate([(["A"], False), (["A", "B"], False), (["A", "B"], True)]):
        rows = [{"name": "env_0", "memory": memory, "is_success": success}, easy]
        (tmp_path / f"env_results_trial_{number}.json").write_text(json.dumps(rows))
    first, second = entries(tmp_path)
    assert [trial.success for trial in first.episode.trials] == [False, False, True]
    assert [(r.after_trial, r.text) for r in first.episode.reflections] == [(1, "A"), (2, "B")]
    assert [trial.success for trial in second.episode.trials] == [True]
    assert second.episode.reflections == ()


EXAMPLES = (
    "Interact with a household to solve a task. Here are two examples.\nYour task is to: wait.\n> think: x\nOK."
)
ROOM = "You are in the middle of a room.\nYour task is to: put a mug in desk 1."


def room_block(number: int, history: str, status: str) -> str:
    """As alfworld_trial.py writes it into `trial_N.log`."""
    prompt = f"{EXAMPLES}\n\nYour memory for the task below:\nTrial 0:\nTake it.\nHere is the task:\n{ROOM}"
    return f"\n#####\n\nEnvironment #{number}:\n{prompt}\n{history}\n\nSTATUS: {status}\n\n#####\n"


def test_the_log_beside_alfworld_results_gives_their_trials_turns(tmp_path: Path):
    for number, success in enumerate((False, True)):
        rows = [{"name": "env_0", "memory": ["Take it."], "is_success": success}]
        (tmp_path / f"env_results_trial_{number}.json").write_text(json.dumps(rows))
    (tmp_path / "trial_0.log").write_text(room_block(0, "> think: look\nOK.\n> go to desk 1\nA mug 1.", "FAIL"))
    (tmp_path / "trial_1.log").write_text(
        room_block(0, "> take mug 1\nYou take it.", "OK") + "\n-----\nTOTAL: 1\n-----"
    )
    (entry,) = entries(tmp_path)
    first, second = entry.episode.trials
    assert (entry.episode.task.instruction, first.opening, entry.notes) == ("put a mug in desk 1.", ROOM, ())
    assert [(turn.thought, turn.action, turn.observation) for turn in first.turns] == [
        ("look", "go to desk 1", "A mug 1.")
    ]
    assert [(turn.action, turn.reward) for turn in second.turns] == [("take mug 1", 1.0)]
    assert [(r.after_trial, r.text, r.gain) for r in entry.episode.reflections] == [(1, "Take it.", 1.0)]


def test_an_alfworld_log_alone_is_one_trial_a_room(tmp_path: Path):
    path = tmp_path / "trial_1.log"
    repeated = "\n#####\n\nEnvironment #1: Success\n\n#####\n"
    path.write_text(room_block(0, "> go to desk 1\nA mug 1.", "FAIL") + repeated + room_block(2, "> x\ny", "MAYBE"))
    (entry,) = entries(path)
    assert [turn.action for turn in entry.episode.trials[0].turns] == ["go to desk 1"]
    assert [item.reason for item in dropped(path)] == [
        "the log only says that an earlier trial solved this room",
        "the environment's block has no STATUS line",
    ]


FRAME = f"\n{40 * '#'}\nBEGIN TRIAL {{}}\nTrial summary: …\n{39 * '#'}\n"
CORRECT, INCORRECT = (f"------------- BEGIN {word} AGENTS -------------\n\n" for word in ("CORRECT", "INCORRECT"))
TOLD = (
    "You have attempted to answer following question before and failed. Use them.\nReflections:\n- Look.\n- Read.\n"
)


def test_a_hotpotqa_text_log_is_the_same_episode_as_its_json_lines(tmp_path: Path):
    played = "Thought 1: t\nAction 1: Finish[{}]\nObservation 1: Answer is {}"
    rows = [
        {**hotpot(1, "incorrect"), "text": played.format("Rhine", "INCORRECT")},
        {**hotpot(2, "correct", "Look.", "Read."), "text": played.format("Nile", "CORRECT")},
    ]
    question = rows[0]["question"]
    log = tmp_path / "100_questions_2_trials.txt"
    log.write_text(
        f"{FRAME.format(1)}{CORRECT}{INCORRECT}Question: {question}\n{rows[0]['text']}\nCorrect answer: Nile\n\n"
        f"{FRAME.format(2)}{CORRECT}Question: {question}{TOLD}{rows[1]['text']}\nCorrect answer: Nile\n\n{INCORRECT}"
    )
    (entry,), (same,) = entries(log), entries(write(tmp_path / "runs.jsonl", *rows))
    assert entry.episode.id == same.episode.id
    assert entry.episode.trials[1].turns == same.episode.trials[1].turns
    assert [(r.text, r.gain) for r in entry.episode.reflections] == [("Look.\n\nRead.", 1.0)]


def test_a_chain_of_thought_log_has_unnumbered_turns_and_reflects_at_the_end(tmp_path: Path):
    wrong = "Thought: t\nAction: Finish[Rhine]\nObservation: Answer is INCORRECT\nReflections: Read."
    asked = "Context: The Nile is long. Question: Which river?"
    log = tmp_path / "log.txt"
    log.write_text(
        f"{FRAME.format(1)}{INCORRECT}{asked}\n{wrong}\nCorrect answer: Nile\n\n{FRAME.format(2)}{CORRECT}{asked}\n"
        "Thought: t\nAction: Finish[Nile]\nObservation: Answer is CORRECT\nCorrect answer: Nile\n\nQuestion: cut he"
    )
    (entry,) = entries(log)
    assert [[turn.action for turn in trial.turns] for trial in entry.episode.trials] == [
        ["Finish[Rhine]"],
        ["Finish[Nile]"],
    ]
    assert entry.episode.trials[0].opening == "The Nile is long.\n\nQuestion: Which river?"
    assert [(r.text, r.gain) for r in entry.episode.reflections] == [("Read.", 1.0)]
    assert [item.reason for item in dropped(log)] == ["the log is cut in this block"]


def test_a_link_among_the_results_is_refused(tmp_path: Path):
    (tmp_path / "env_results_trial_0.json").symlink_to("/etc/passwd")
    with pytest.raises(BadFile, match="link"):
        entries(tmp_path)


RESULT = {
    "environment": "ic_sql",
    "task_id": 7,
    "query": "How many?",
    "turn_history": {"actions": ["SHOW TABLES"], "observations": ["[]"], "rewards": [1], "valid_action": [True]},
    "summary": {"max_reward": 1.0, "turns_max": 10},
}


def test_intercode_results_are_read_as_lines_and_as_the_original_object(tmp_path: Path):
    (entry,) = entries(write(tmp_path / "a.jsonl", RESULT))
    original = tmp_path / "b.json"
    original.write_text(json.dumps({"0": RESULT, "1": {**RESULT, "query": "Which?"}}, indent=1))
    assert next(e.episode.id for e in entries(original)) == entry.episode.id
    assert len(entries(original)) == 2
    assert entry.episode.trials[0].turns[0].action == "execute[SHOW TABLES]"


def test_an_intercode_row_whose_lists_differ_in_length_is_dropped(tmp_path: Path):
    history = {**RESULT["turn_history"], "rewards": []}  # type: ignore[dict-item]
    path = write(tmp_path / "a.jsonl", RESULT, {**RESULT, "turn_history": history})
    assert [item.reason for item in dropped(path)] == ["the lists of the turn history do not fit each other"]


def test_gzip_is_read_and_a_cut_one_keeps_what_was_whole(tmp_path: Path):
    packed = gzip.compress("".join(json.dumps({**PLANNER, "row": n, "x": n}) + "\n" for n in range(500)).encode())
    whole, cut = tmp_path / "whole.jsonl.gz", tmp_path / "cut.jsonl.gz"
    whole.write_bytes(packed)
    cut.write_bytes(packed[: len(packed) // 2])
    assert len(entries(whole)) == 500
    assert 0 < len(entries(cut)) < 500
    assert "cut" in dropped(cut)[-1].reason


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01\x02\x03",
        b"\x1f\x8b\x08broken",
        b"[1, 2",
        b"PAR1 no parquet",
        b"hello\nworld\n",
        b'{"a": 1}\n',
        b"[]",
    ],
)
def test_a_file_that_is_nothing_known_is_refused_in_a_sentence(tmp_path: Path, content: bytes):
    path = tmp_path / "strange.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=r"strange\.jsonl"):
        detect_format(path)


def test_deep_nesting_is_a_dropped_row_not_a_crash(tmp_path: Path):
    path = tmp_path / "deep.jsonl"
    path.write_text(json.dumps(PLANNER) + "\n" + "[" * 100_000 + "]" * 100_000 + "\n")
    assert [item.reason for item in dropped(path)] == ["the row is not JSON"]


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path):
    line = json.dumps(PLANNER).encode() + b"\n"
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb") as file:
        file.write(line)
        file.write(b" " * (65 * 2**20) + b"\n")
        file.write(line)
    assert [item.reason for item in dropped(path)] == ["the row is longer than 64 MiB"]
    assert len(entries(path)) == 2
