"""Question files in the official and the hub's format, whole and broken."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from data.errors import BadFile
from envs.hotpotqa import read

OFFICIAL: dict[str, Any] = {
    "_id": "5a1",
    "question": " Who? ",
    "answer": "Ada",
    "type": "bridge",
    "level": "hard",
    "supporting_facts": [["A", 0], ["B", 1]],
    "context": [["A", ["One."]], ["B", ["Two.", " Three."]]],
}
HUB: dict[str, Any] = {
    "id": "5a1",
    "question": " Who? ",
    "answer": "Ada",
    "type": "bridge",
    "level": "hard",
    "supporting_facts": {"title": ["A", "B"], "sent_id": [0, 1]},
    "context": {"title": ["A", "B"], "sentences": [["One."], ["Two.", " Three."]]},
}


def write(path: Path, content: str) -> Path:
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


def changed(**fields: Any) -> dict[str, Any]:
    return copy.deepcopy(OFFICIAL) | fields


@pytest.mark.parametrize("name", ["dev.json", "dev.json.gz", "dev.jsonl", "dev.jsonl.gz"])
@pytest.mark.parametrize("row", [OFFICIAL, HUB])
def test_both_formats_read_alike_from_every_kind_of_file(tmp_path: Path, name: str, row: dict[str, Any]) -> None:
    content = json.dumps(row) + "\n" if ".jsonl" in name else json.dumps([row])
    (task,) = read(write(tmp_path / name, content), {})
    assert (task.id, task.env, task.split, task.instruction) == ("5a1", "hotpotqa", "dev", "Who?")
    assert task.turn_limit is None
    assert task.metadata == {key: OFFICIAL[key] for key in ("answer", "type", "level", "supporting_facts", "context")}


def test_a_folder_gives_the_questions_of_its_files_that_have_paragraphs(tmp_path: Path) -> None:
    for name, row in (("train.jsonl", OFFICIAL), ("dev.json.gz", HUB), ("simplified.json", {"question": "?"})):
        content = json.dumps(row) if ".jsonl" in name else json.dumps([row])
        write(tmp_path / name, content)
    (tmp_path / "notes.txt").write_text("no questions")
    (tmp_path / "broken.json").write_text("{")
    assert [task.split for task in read(tmp_path, {})] == ["dev", "train"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile, match="no file of HotpotQA questions"):
        read(tmp_path / "empty", {})


def test_a_dialect_brings_its_turn_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "dev.json", json.dumps([OFFICIAL]))
    assert [read(path, {"dialect": name})[0].turn_limit for name in ("retroact", "react", "reflexion")] == [5, 7, 6]


def test_a_supporting_fact_past_the_end_of_its_paragraph_is_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "dev.json", json.dumps([changed(supporting_facts=[["A", 0], ["B", 2]])]))
    assert read(path, {})[0].metadata["supporting_facts"] == [["A", 0]]


@pytest.mark.parametrize(
    ("row", "missing"),
    [
        (changed(context=None), "`context` is missing or empty"),
        (changed(context=[]), "`context` is missing or empty"),
        (changed(context=[["A", "One."]]), "paragraph 1 of `context` is not"),
        (changed(context=[["A", ["One."]], ["A", ["Two."]]]), "two paragraphs of `context` have the title 'A'"),
        (changed(question=""), "`question` is missing"),
        (changed(answer=7), "`answer` is missing or not text"),
        (changed(_id=None), "`_id`"),
        (changed(supporting_facts=[["C", 0]]), "names a paragraph that `context` does not have"),
        (changed(supporting_facts=[["A", "0"]]), "is not [title, sentence index]"),
        (changed(supporting_facts=[["A", True]]), "is not [title, sentence index]"),
        (changed(supporting_facts="A"), "`supporting_facts` is not a list"),
        (changed(context={"title": ["A"], "sentences": []}), "needs two lists of one length"),
        ("text", "expected an object"),
        (None, "expected an object"),
    ],
)
def test_a_broken_row_is_named_with_what_is_missing(tmp_path: Path, row: Any, missing: str) -> None:
    path = write(tmp_path / "dev.json", json.dumps([changed(_id="fine"), row]))
    with pytest.raises(BadFile) as error:
        read(path, {})
    assert "dev.json, row 2: " in str(error.value)
    assert missing in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON"),
        (b"[]", "holds no questions"),
        (b'{"a": 1}', "holds a JSON dict"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"[" * 100_000, "is not JSON"),
        (b'[{"_id": "1"', "is not JSON"),
    ],
)
def test_a_file_that_is_not_hotpotqas_is_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "dev.json"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=said):
        read(path, {})


def test_files_that_cannot_be_opened_are_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(BadFile, match=path.name):
            read(path, {})
    path = tmp_path / "dev.json.gz"
    path.write_bytes(gzip.compress(json.dumps([OFFICIAL]).encode())[:-12])
    with pytest.raises(BadFile, match="cannot be read"):
        read(path, {})
    lines = write(tmp_path / "dev.jsonl", json.dumps(OFFICIAL) + "\n{broken\n")
    with pytest.raises(BadFile, match="line 2 is not JSON"):
        read(lines, {})
    twice = write(tmp_path / "twice.json", json.dumps([OFFICIAL, OFFICIAL]))
    with pytest.raises(BadFile, match="row 2: the id '5a1' is used twice"):
        read(twice, {})
