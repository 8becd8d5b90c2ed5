"""SQL on a copy of the store: answered, bounded, unable to touch anything."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from curation_examples import fill, make_episode

from data.errors import BadInput, Refused
from data.store import Store
from retro_dash.query import query

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    with Store.open(home) as store:
        fill(store, make_episode("e1"), make_episode("e2", (0.0, 0.5)))
        return store.snapshot(home / "copy.duckdb")


def test_a_question_is_answered_with_its_columns(copy: Path):
    answer = query(copy, "SELECT id, last_reward FROM episodes ORDER BY id")
    assert answer.columns == ("id", "last_reward")
    assert answer.rows == (("e1", 1.0), ("e2", 0.5))
    assert not answer.is_cut


def test_values_that_json_lacks_are_told_as_text(copy: Path):
    (row,) = query(copy, "SELECT 1/0.0, DATE '2026-11-20', NULL, [1, 2], {'a': 1}, 'nan'::DOUBLE").rows
    assert row == ("inf", "2026-11-20", None, [1, 2], {"a": 1}, "nan")


def test_more_rows_than_asked_for_are_cut_and_said_so(copy: Path):
    answer = query(copy, "SELECT * FROM range(100)", most_rows=10)
    assert (len(answer.rows), answer.is_cut) == (10, True)
    assert not query(copy, "SELECT * FROM range(10)", most_rows=10).is_cut


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DROP TABLE episodes", "read-only"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled"),
        ("ATTACH '{folder}/other.duckdb' AS other", "disabled"),
        ("COPY (SELECT 1) TO '{folder}/out.csv'", "disabled"),
        ("INSTALL httpfs", "disabled"),
        ("LOAD httpfs", "disabled"),
        ("SET enable_external_access = true", "locked"),
        ("SELECT * FROM nothing", "does not exist"),
        ("SELEC 1", "syntax error"),
        ("  ", "needs some SQL"),
        ("SELECT '" + "x" * 100_001 + "'", "longer than"),
    ],
)
def test_what_is_no_question_is_refused_with_the_databases_words(copy: Path, tmp_path: Path, sql: str, said: str):
    with pytest.raises(BadInput, match=said):
        query(copy, sql.replace("{folder}", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_a_query_that_takes_too_long_is_stopped(copy: Path):
    begun = time.monotonic()
    with pytest.raises(Refused, match="longer than 2 seconds"):
        query(copy, "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range % 7 = b.range % 11", 2)
    assert time.monotonic() - begun < 4


def test_a_text_too_large_for_memory_does_not_take_the_machine_with_it(copy: Path):
    with pytest.raises((BadInput, Refused), match="emory"):
        query(copy, "SELECT length(repeat('x', 4000000000))")


def test_a_file_that_is_no_store_is_refused(tmp_path: Path):
    (tmp_path / "other.txt").write_text("hello")
    with pytest.raises(BadInput, match="is no store"):
        query(tmp_path / "other.txt", "SELECT 1")


def test_the_command_prints_a_table_and_json_without_terminal_codes(tmp_path: Path):
    with Store.open(tmp_path) as store:
        fill(store, make_episode("e1"))

    def ask(*words: str) -> str:
        command = [sys.executable, "-m", "retro_dash.cli", "query", "--home", str(tmp_path), *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout

    sql = "SELECT id, 'a' || chr(27) || '[31m' AS hostile FROM episodes"
    assert ask(sql).split() == ["id", "hostile", "e1", "a·[31m"]
    assert json.loads(ask("--json", sql)) == {"id": "e1", "hostile": "a\x1b[31m"}
