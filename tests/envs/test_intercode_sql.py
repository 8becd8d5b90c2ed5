from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from quickest import quickest

from data.errors import BadConfig, BadFile, Refused, UnknownName
from data.types import StopReason, Task
from envs import sandbox
from envs.base import Environment
from envs.intercode_sql import KIND, LONGEST_OBSERVATION, NO_CODE, statement_of
from envs.sql_catalog import open_dump
from envs.sql_options import SqlOptions
from envs.sql_server import VARIABLE, name_server, named_server
from envs.sql_sqlite import SqliteSession
from envs.sql_tasks import bundled_dump, read_tasks

SHARED = Path(os.environ.get("RETRO_SHARED_DATA", "../shared/data")) / "intercode" / "sql"
needs_sandbox = pytest.mark.skipif(not sandbox.probe().works, reason=sandbox.probe().detail)
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="shared/data is not here")
pytestmark = needs_sandbox


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("RETRO_HOME")
    os.environ["RETRO_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    if before is None:
        del os.environ["RETRO_HOME"]
    else:
        os.environ["RETRO_HOME"] = before


def task(name: str) -> Task:
    return next(t for split in KIND.splits for t in KIND.bundled(split) if t.id == name)


def with_gold(gold: str) -> Task:
    model = task("city_library-02")
    return model.model_copy(update={"metadata": {**model.metadata, "gold": gold}})


@pytest.fixture
def library() -> Iterator[Environment]:
    """The task `List the names of all branches.`"""
    environment = KIND.open(task("city_library-02"), {})
    assert environment.start() == "Question: List the names of all branches."
    yield environment
    environment.close()
    environment.close()


@pytest.fixture(scope="module")
def session() -> Iterator[SqliteSession]:
    opened = SqliteSession(open_dump(bundled_dump()), "city_library", seconds=1.0, memory_bytes=256 << 20)
    yield opened
    opened.close()


def outcome(environment: Environment) -> dict[str, Any]:
    found = environment.view()["outcome"]
    assert isinstance(found, dict)
    return found


def test_only_a_submitted_gold_answer_solves_the_task(library: Environment) -> None:
    first = library.step("execute[SELECT name FROM branch;  ]")
    assert first.observation.startswith("[('Harbour Library',), ('Old Town Library',)")
    assert (first.reward, first.stop, first.is_valid) == (0.0, None, True)
    assert library.view()["outcome"] is None
    last = library.step("submit")
    assert (last.observation, last.reward, last.stop) == (first.observation, 1.0, StopReason.SOLVED)
    assert outcome(library)["gold_query"] == "SELECT name FROM branch"
    with pytest.raises(Refused, match="has ended"):
        library.step("submit")


def test_a_partly_right_answer_scores_its_overlap_and_fails(library: Environment) -> None:
    library.step("execute[SELECT name FROM branch WHERE branch_id > 1]")
    last = library.step("submit")
    assert last.stop == StopReason.FAILED
    assert last.reward == pytest.approx(4 / 5)
    assert outcome(library)["answer"]["row_count"] == 4


def test_a_reversed_answer_scores_by_the_form_that_the_option_names() -> None:
    rewards = {}
    for form in ("paper", "intercode"):
        environment = KIND.open(with_gold("SELECT branch_id FROM branch"), {"reward": form})
        environment.start()
        environment.step("execute[SELECT branch_id FROM branch ORDER BY branch_id DESC]")
        rewards[form] = environment.step("submit").reward
        environment.close()
    assert rewards == {"paper": 0.0, "intercode": -1.0}


def test_the_last_query_that_ran_is_what_counts_and_an_error_scores_nothing(library: Environment) -> None:
    library.step("execute[SELECT name FROM branch]")
    error = library.step("execute[SELECT nam FROM branch]")
    assert error.observation == "Error executing query: Unknown column 'nam' in 'field list'"
    assert not error.is_valid
    assert library.step("submit").reward == 0.0


def test_an_action_without_sql_is_refused_in_intercodes_words_and_does_not_touch_the_answer(
    library: Environment,
) -> None:
    library.step("execute[SELECT name FROM branch]")
    for action in ("SELECT 1", "execute[]", "execute[SELECT 1", "", "think about it", "execute[;]"):
        wrong = library.step(action)
        assert (wrong.observation, wrong.is_valid) == (NO_CODE, False)
    assert library.step("SUBMIT").reward == 1.0


def test_huge_and_odd_actions_are_answered(library: Environment) -> None:
    bodies = [
        "a" * 10_000_000,
        "'\\" * 5_000_000,
        "'\\" * 9_900,
        "/*" * 9_900,
        "SHOW TABLES " + " " * 19_000 + "x",
        "(" * 19_000,
    ]
    for body in bodies:
        assert not library.step(f"execute[{body}]").is_valid, body[:20]


def test_not_submitting_shows_what_it_would_have_scored_only_after_the_last_turn() -> None:
    environment = KIND.open(task("city_library-02").model_copy(update={"turn_limit": 2}), {})
    environment.start()
    environment.step("execute[SELECT name FROM branch]")
    assert environment.view()["outcome"] is None
    assert environment.step("execute[SELECT name FROM branch]").reward == 0.0
    assert (outcome(environment)["would_score"], outcome(environment)["reward"]) == (1.0, 0.0)
    environment.close()


def test_submitting_without_a_query_scores_nothing_and_single_use_is_enforced(library: Environment) -> None:
    with pytest.raises(Refused, match="already started"):
        library.start()
    last = library.step("submit")
    assert (last.observation, last.reward) == ("None", 0.0)
    fresh = KIND.open(task("city_library-02"), {})
    with pytest.raises(Refused, match="not started"):
        fresh.step("submit")
    fresh.close()


def test_observations_are_cut_to_rows_and_characters_but_the_whole_answer_is_scored() -> None:
    environment = KIND.open(with_gold("SELECT member_id FROM member"), {"observation_rows": 3})
    environment.start()
    assert environment.step("execute[SELECT member_id FROM member]").observation == "[(1,), (2,), (3,)]"
    assert len(environment.step("execute[SELECT * FROM " + "x" * 500 + "]").observation) == 350
    long = environment.step("execute[SELECT REPEAT('x', 100000)]").observation
    assert len(long) == LONGEST_OBSERVATION
    environment.step("execute[SELECT member_id FROM member]")
    assert environment.step("submit").reward == 1.0
    environment.close()


def test_the_view_shows_schema_and_last_result_as_json(library: Environment) -> None:
    library.step("execute[SELECT name, opened_year FROM branch LIMIT 1]")
    view = library.view()
    assert view["database"] == "city_library"
    assert view["last_result"] == {
        "columns": ["name", "opened_year"],
        "rows": [["Harbour Library", 1992]],
        "row_count": 1,
        "error": None,
    }
    tables: Any = view["tables"]
    assert [t["name"] for t in tables] == ["branch", "author", "book", "copy", "member", "loan"]
    assert tables[2]["columns"][2] == {"name": "author_id", "type": "int", "key": "MUL"}
    assert tables[2]["foreign_keys"] == ["author_id → author (author_id)"]
    assert view["turns_left"] == 9
    assert len(json.dumps(view)) < 8000


@pytest.mark.parametrize(
    ("action", "statement"),
    [
        ("execute[SELECT 1]", "SELECT 1"),
        ("  Execute [SELECT ']']  ", "SELECT ']'"),
        ("execute[SELECT ';' AS a; DROP TABLE b]", "SELECT ';' AS a"),
        ("execute[SELECT\n1]", "SELECT\n1"),
        ("execute[SELECT 1\0]", "SELECT 1"),
        ("execute[ ]", None),
        ("submit", None),
    ],
)
def test_the_statement_is_what_stands_before_the_first_semicolon_outside_quotes(
    action: str, statement: str | None
) -> None:
    assert statement_of(action) == statement


HOSTILE = [
    "ATTACH DATABASE '/tmp/x' AS x",
    "PRAGMA writable_schema = 1",
    "SELECT load_extension('/tmp/x.so')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/x', 'y')",
    "SELECT * FROM pragma_database_list",
    "SELECT sql FROM sqlite_master",
    "SELECT fts3_tokenizer('simple')",
    "SELECT zeroblob(2000000000)",
    "SELECT randomblob(2000000000)",
    "VACUUM INTO '/tmp/x'",
    "INSERT INTO branch VALUES (9, 'x', 'y', 1)",
    "WITH x AS (SELECT 1) DELETE FROM branch",
    "SELECT * FROM branch INTO OUTFILE '/tmp/x'",
    "SELECT LOAD_FILE('/etc/passwd')",
    "CREATE TABLE x (a int)",
    "DROP TABLE branch",
    "\0\x01\x1b[31m",
    "SELECT '\ud800'",
    "execute[" * 1000,
    "SELECT " + "a" * 10_000_000,
    "SELECT 1 " + "UNION SELECT 1 " * 1200,
]


def test_hostile_statements_are_errors_and_the_database_stays_as_it_was(session: SqliteSession) -> None:
    for statement in HOSTILE:
        answer = session.run(statement)
        assert answer.error or statement.startswith("SELECT 1 UNION"), statement[:80]
    assert session.run("SELECT COUNT(*) FROM branch").rows == [(5,)]
    assert not Path("/tmp/x").exists()


@pytest.mark.parametrize("raw", [
    "ATTACH DATABASE '/engine/x' AS x", "PRAGMA table_info(branch)", "DELETE FROM branch", "CREATE TABLE x (a)",
    "CREATE TEMP TABLE x (a)", "SELECT load_extension('x')", "SELECT zeroblob(100)", "VACUUM", "BEGIN IMMEDIATE",
    "SELECT * FROM pragma_database_list",
])  # fmt: skip
def test_the_child_itself_refuses_what_is_not_reading_even_in_sqlites_own_dialect(
    session: SqliteSession, raw: str
) -> None:
    assert "error" in session.ask(raw)
    assert session.ask("SELECT COUNT(*) FROM branch")["rows"] == [[5]]


RUNAWAY = [
    "SELECT LENGTH(REPEAT('x', 4000000000))",
    "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
    "SELECT COUNT(*) FROM loan a, loan b, loan c, loan d, loan e, loan f",
    "SELECT COUNT(*) FROM loan a, loan b, loan c WHERE CONCAT(a.loan_id, b.loan_id, c.loan_id) = 'x'",
    "SELECT a.* FROM loan a, loan b, loan c, loan d",
]


@pytest.mark.parametrize("query", RUNAWAY)
def test_a_runaway_query_ends_within_its_limit_and_a_second(session: SqliteSession, query: str) -> None:
    answer = quickest(lambda: session.run(query), session.seconds + 1.0, prepare=lambda: session.run("SELECT 1"))
    assert answer.error or answer.rows == [(None,)]
    assert session.run("SELECT COUNT(*) FROM branch").rows == [(5,)]


def test_a_loop_is_stopped_politely_without_losing_the_child(session: SqliteSession) -> None:
    session.run("SELECT 1")
    child = session._child
    assert "interrupted" in str(session.run(RUNAWAY[1]).error)
    assert session._child is child


def test_a_long_answer_is_refused_without_losing_the_child() -> None:
    patient = SqliteSession(open_dump(bundled_dump()), "city_library", seconds=60.0)
    patient.run("SELECT 1")
    child = patient._child
    assert "more than 100,000 rows" in str(patient.run("SELECT a.loan_id FROM loan a, loan b, loan c").error)
    assert "8 MiB" in str(patient.run("SELECT REPEAT('x', 9000) FROM loan a, loan b").error)
    assert patient._child is child
    patient.close()


@pytest.mark.parametrize("raw", [
    "SELECT length(printf('%.*c', 2000000000, 'x'))",
    "SELECT length(replace(printf('%.*c', 9000000, 'x'), 'x', 'yyyyyyyyyyyyyyyyyyyyyyyy'))",
    "SELECT group_concat(printf('%.*c', 9000000, 'x')) FROM loan",
    "WITH RECURSIVE n(i) AS (SELECT printf('%.*c', 9000000, 'x') UNION ALL SELECT i FROM n) SELECT length(i) FROM n",
])  # fmt: skip
def test_large_scalar_calls_are_stopped_by_limits_or_by_the_kill(session: SqliteSession, raw: str) -> None:
    reply = quickest(lambda: session.ask(raw), session.seconds + 1.0, prepare=lambda: session.run("SELECT 1"))
    assert "error" in reply
    assert session.ask("SELECT 1")["rows"] == [[1]]


def test_a_child_that_was_killed_from_outside_is_replaced(session: SqliteSession) -> None:
    session.run("SELECT 1")
    child = session._child
    assert child is not None
    child.kill()
    assert "Out of memory" in str(session.run("SELECT 2").error)
    assert session.run("SELECT 3").rows == [(3,)]


def test_closing_leaves_no_process(session: SqliteSession) -> None:
    other = SqliteSession(session.catalog, "bike_share")
    other.run("SELECT 1")
    child = other._child
    assert child is not None
    assert child.is_alive()
    other.close()
    other.close()
    assert not child.is_alive()


def test_every_bundled_task_has_a_question_a_hardness_and_a_source() -> None:
    tasks = [t for split in KIND.splits for t in KIND.bundled(split)]
    assert len(tasks) >= 60
    assert len({t.id for t in tasks}) == len(tasks)
    assert {t.metadata["hardness"] for t in tasks} == {"easy", "medium", "hard", "extra"}
    assert {t.metadata["database"] for t in tasks} == {"city_library", "bike_share", "health_clinic", "music_label"}
    assert all(t.metadata["is_gold_empty"] is False for t in tasks)
    with pytest.raises(UnknownName, match="valid"):
        KIND.bundled("test")


def test_every_bundled_gold_gives_rows() -> None:
    opened: dict[str, SqliteSession] = {}
    for split in KIND.splits:
        for one in KIND.bundled(split):
            name = str(one.metadata["database"])
            opened.setdefault(name, SqliteSession(open_dump(bundled_dump()), name))
            answer = opened[name].run(str(one.metadata["gold"]))
            assert answer.rows, (one.id, answer.error)
    for one_session in opened.values():
        one_session.close()


def write_tasks(folder: Path, rows: object) -> Path:
    (folder / "zoo.sql").write_text("USE zoo; CREATE TABLE a (x int); INSERT INTO a VALUES (1);", "utf-8")
    (folder / "mine.json").write_text(json.dumps(rows), "utf-8")
    return folder


def test_tasks_are_read_from_a_folder_with_its_dump_and_empty_golds_are_flagged(tmp_path: Path) -> None:
    rows = [
        {"query": "All?", "gold": "SELECT x FROM a", "db": "ZOO", "hardness": "easy"},
        {"query": "None?", "gold": "SELECT x FROM a WHERE x > 1", "db": "zoo"},
        {"query": "Wrong?", "gold": "SELECT y FROM a", "db": "zoo"},
    ]
    tasks = KIND.read(write_tasks(tmp_path, rows), {})
    assert [(t.id, t.split, t.metadata["is_gold_empty"]) for t in tasks] == [
        ("mine-0", "mine", False),
        ("mine-1", "mine", True),
        ("mine-2", "mine", False),
    ]
    environment = KIND.open(tasks[0], {})
    environment.start()
    environment.step("execute[SELECT x FROM a]")
    assert environment.step("submit").reward == 1.0
    environment.close()


@pytest.mark.parametrize("rows", [{}, [], ["x"], [{"query": "a"}], [{"query": 1, "gold": "a", "db": "zoo"}]])
def test_a_file_that_holds_no_tasks_is_refused(tmp_path: Path, rows: object) -> None:
    with pytest.raises(BadFile):
        KIND.read(write_tasks(tmp_path, rows) / "mine.json", {})


def test_unreadable_files_and_missing_dumps_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_bytes(b"\x00\xff[")
    (tmp_path / "bad.json.gz").write_bytes(gzip.compress(b"[]")[:-4])
    for name in ("bad.json", "bad.json.gz", "nothing.json"):
        with pytest.raises(BadFile):
            KIND.read(tmp_path / name, {"database": "x.sql"})
    (tmp_path / "good.json").write_text('[{"query": "a", "gold": "SELECT 1", "db": "zoo"}]')
    with pytest.raises(BadConfig, match="database"):
        KIND.read(tmp_path / "good.json", {})
    (tmp_path / "d.sql").write_text("USE other; CREATE TABLE a (x int);")
    with pytest.raises(UnknownName, match="zoo"):
        KIND.read(tmp_path / "good.json", {})


def test_a_dump_of_another_name_is_not_even_read(tmp_path: Path) -> None:
    secret = tmp_path / "shadow"
    secret.write_text("root:hash")
    with pytest.raises(BadFile, match=r"must be a file called \.sql or \.sql\.gz") as refused:
        KIND.open(task("city_library-02"), {"database": str(secret)})
    assert "hash" not in str(refused.value)


SERVER = "mysql://ann:pass@db.example:3307"


def test_a_server_is_used_only_when_it_is_named_and_no_option_holds_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(Refused, match=r"db\.example:3307 \(user ann\) is used only when it is named"):
        KIND.open(task("city_library-02"), {"database": "mysql://ann@db.example:3307"})
    monkeypatch.setenv(VARIABLE, "mysql://other@db.example:3307")
    with pytest.raises(Refused, match="used only when it is named"):
        named_server("mysql://ann@db.example:3307")
    stored = name_server(SERVER)
    assert stored == "mysql://ann@db.example:3307"
    assert named_server(stored) == SERVER
    with pytest.raises(BadConfig, match="holds a password") as refused:
        named_server(SERVER)
    assert ":pass" not in str(refused.value)
    assert named_server(name_server("mysql://[::1]")) == "mysql://[::1]"


@pytest.mark.parametrize("url", ["mysql://", "mysql://db:port", "mysql://db:99999", "mysql://[::1", "http://db"])
def test_what_is_no_url_of_a_server_is_a_sentence(url: str) -> None:
    with pytest.raises(BadConfig, match="mysql://user:password@host:port"):
        name_server(url)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reward": "raw"}, "reward"),
        ({"query_seconds": 0}, "query_seconds"),
        ({"colour": "red"}, "colour"),
        ({"observation_rows": "many"}, "observation_rows"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        KIND.open(task("city_library-02"), options)


def test_the_host_is_refused_to_root_even_when_asked_for() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root is refused")
    environment = KIND.open(task("city_library-02"), {"unsafe_run_model_code_on_host": True})
    environment.start()
    with pytest.raises(Refused, match="root"):
        environment.step("execute[SELECT 1]")
    environment.close()


@needs_shared
@pytest.mark.slow
def test_every_shared_gold_runs_and_scores_one_against_itself_and_recorded_rewards_are_reproduced() -> None:
    from benchmarks.intercode_sql import compare_golds, compare_recorded, sqlite_sessions

    dump = SHARED / "ic_spider_dbs.sql.gz"
    tasks = json.loads((SHARED / "ic_spider_dev.json").read_text("utf-8"))
    with sqlite_sessions(dump) as sessions:
        golds = compare_golds(tasks, sessions)
        assert (golds["count"], golds["run"], golds["score_one"]) == (686, 686, 686)
        recorded = compare_recorded(SHARED / "results_gpt-4_multiturn.jsonl.gz", tasks, sessions)
    assert recorded["compared"] > 3500
    assert recorded["rewards_agree"] / recorded["compared"] >= 0.975


@needs_shared
@pytest.mark.slow
def test_shared_tasks_with_an_empty_gold_answer_are_flagged() -> None:
    tasks = read_tasks(SHARED, SqlOptions())
    flagged = [t for t in tasks if t.metadata["is_gold_empty"]]
    assert len(tasks) == 686
    assert len(flagged) == 49
    assert sum(t.metadata["database"] == "wta_1" for t in flagged) == 26
