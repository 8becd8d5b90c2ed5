"""The real-server option, against a MariaDB that the test starts in its own folder."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from quickest import quickest

from data.errors import BadConfig, Unavailable
from envs.intercode_sql import KIND
from envs.sql_catalog import open_dump
from envs.sql_reward import sql_reward
from envs.sql_server import VARIABLE, ServerSession
from envs.sql_sqlite import SqliteSession
from envs.sql_tasks import bundled_dump

SHARED = Path(os.environ.get("RETRO_SHARED_DATA", "../shared/data")) / "intercode" / "sql"
PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb")
MISSING = [name for name in PROGRAMS if shutil.which(name) is None] + ["PyMySQL"] * (find_spec("pymysql") is None)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def load(folder: Path, dump: Path) -> None:
    client = [
        "mariadb",
        "--no-defaults",
        f"--socket={folder}/s.sock",
        "--user=root",
        "--default-character-set=utf8mb4",
    ]
    subprocess.run(client, input=gzip.decompress(dump.read_bytes()), check=True, timeout=120, capture_output=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A fresh MariaDB with the bundled databases: its URL and its folder."""
    folder = tmp_path_factory.mktemp("db")  # short: a socket's path has 108 bytes at most
    user = ["--user=root"] if os.geteuid() == 0 else []
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--datadir={folder}/data", *user, "--skip-test-db",
         "--auth-root-authentication-method=normal"],
        check=True, timeout=120, capture_output=True,
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        ["mariadbd", "--no-defaults", f"--datadir={folder}/data", f"--socket={folder}/s.sock", f"--port={port}",
         *user, "--bind-address=127.0.0.1", f"--pid-file={folder}/pid", "--lower-case-table-names=1",
         "--innodb-flush-log-at-trx-commit=0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (folder / "s.sock").exists():
            assert process.poll() is None, "mariadbd ended"
            assert time.monotonic() < deadline, "mariadbd did not start"
            time.sleep(0.1)
        load(folder, bundled_dump())
        yield f"mysql://root@127.0.0.1:{port}", folder
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def session(server: tuple[str, Path]) -> Iterator[ServerSession]:
    opened = ServerSession(server[0], "city_library", seconds=1.0)
    yield opened
    opened.close()
    opened.close()


def test_a_task_is_played_on_the_server_that_the_option_names(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, server[0])
    task = next(t for t in KIND.bundled("train") if t.id == "city_library-02")
    environment = KIND.open(task, {"database": server[0]})
    environment.start()
    assert environment.step("execute[SHOW TABLES]").observation.startswith("[('author',), ('book',)")
    assert environment.step("execute[SELECT name FROM branch]").is_valid
    assert environment.step("submit").reward == 1.0
    assert environment.view()["database"] == "city_library"
    environment.close()


def test_every_bundled_gold_gives_the_same_rows_on_the_server_as_in_the_embedded_engine(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    catalog = open_dump(bundled_dump(), tmp_path)
    tasks = [task for split in KIND.splits for task in KIND.bundled(split)]
    for name in catalog.names:
        embedded, real = SqliteSession(catalog, name), ServerSession(server[0], name)
        for task in (task for task in tasks if task.metadata["database"] == name):
            gold = str(task.metadata["gold"])
            ours, theirs = embedded.run(gold), real.run(gold)
            assert sorted(map(str, ours.rows or ())) == sorted(map(str, theirs.rows or ("none",))), task.id
            if "ORDER BY" in gold:
                assert sql_reward(ours.rows, theirs.rows) == 1.0, task.id
        embedded.close()
        real.close()


def test_the_schema_is_the_servers_with_its_keys(session: ServerSession, tmp_path: Path) -> None:
    ours, theirs = open_dump(bundled_dump(), tmp_path).schema("city_library"), session.schema
    assert set(theirs.tables) == set(ours.tables)
    for name, table in ours.tables.items():
        assert [(c.name, c.key, c.is_nullable) for c in theirs.tables[name].columns] == [
            (c.name, c.key, c.is_nullable) for c in table.columns
        ]
        assert theirs.tables[name].primary_key == table.primary_key
        assert set(theirs.tables[name].foreign_keys) == set(table.foreign_keys)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO branch VALUES (9, 'x', 'y', 1)",
        "DROP TABLE branch",
        "CREATE DATABASE x",
        "SELECT 1 INTO/**/OUTFILE '/tmp/retro-dash-outfile'",
        "SELECT LOAD_FILE('/etc/passwd')",
        "SELECT SLEEP(100)",
        "SELECT BENCHMARK(1000000000, MD5('x'))",
        "WITH x AS (SELECT 1) DELETE FROM branch",
        "SELECT nothing FROM branch",
        "SELECT 1; DROP TABLE branch",
        "GRANT ALL ON *.* TO 'x'@'%'",
        "KILL 1",
        "SELECT '\ud800'",
    ],
)
def test_writing_and_reaching_out_is_refused_and_nothing_changes(session: ServerSession, statement: str) -> None:
    assert session.run(statement).error
    assert session.run("SELECT COUNT(*) FROM branch").rows == [(5,)]
    assert not Path("/tmp/retro-dash-outfile").exists()


def test_a_session_stays_read_only_whatever_it_is_told(session: ServerSession) -> None:
    assert session.run("SET SESSION TRANSACTION READ WRITE").observation() == "None"
    assert session.run("START TRANSACTION READ WRITE").observation() == "None"
    connection = session._connection
    with connection.cursor() as cursor, pytest.raises(Exception, match="READ ONLY"):
        cursor.execute("DELETE FROM loan")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT COUNT(*) FROM loan a, loan b, loan c, loan d, loan e, loan f",
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
        "SELECT a.* FROM loan a, loan b, loan c, loan d",
    ],
)
def test_a_runaway_query_ends_within_its_limit_and_a_second(session: ServerSession, query: str) -> None:
    answer = quickest(lambda: session.run(query), session.seconds + 1.0)
    assert answer.error or answer.rows
    assert session.run("SELECT COUNT(*) FROM branch").rows == [(5,)]


def test_a_server_or_database_that_is_not_there_is_a_sentence(server: tuple[str, Path]) -> None:
    with pytest.raises(Unavailable, match="cannot be used"):
        ServerSession("mysql://root@127.0.0.1:9", "city_library")
    with pytest.raises(Unavailable, match="nothing_here"):
        ServerSession(server[0], "nothing_here")
    with pytest.raises(BadConfig, match="mysql://"):
        ServerSession("mysql://", "x")


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/data is not here")
def test_recorded_rewards_are_reproduced_on_the_server(server: tuple[str, Path]) -> None:
    from benchmarks.intercode_sql import compare_golds, compare_recorded, server_sessions

    load(server[1], SHARED / "ic_spider_dbs.sql.gz")
    tasks = json.loads((SHARED / "ic_spider_dev.json").read_text("utf-8"))
    with server_sessions(server[0]) as sessions:
        golds = compare_golds(tasks, sessions)
        recorded = compare_recorded(SHARED / "results_gpt-4_multiturn.jsonl.gz", tasks, sessions)
    assert (golds["run"], golds["score_one"]) == (686, 686)
    assert recorded["rewards_agree"] / recorded["compared"] >= 0.985
