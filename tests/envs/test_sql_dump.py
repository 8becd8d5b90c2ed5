from __future__ import annotations

import gzip
import sqlite3
from pathlib import Path

import pytest

from data.errors import BadFile, UnknownName
from envs.sql_catalog import open_dump
from envs.sql_dump import read_dump, read_rows
from envs.sql_schema import ForeignKey
from envs.sql_tasks import bundled_dump
from envs.sql_worlds import dump

SMALL = """
-- a comment with a ' quote
CREATE DATABASE `zoo`; USE `zoo`;
/*!40101 SET NAMES utf8 */;
CREATE TABLE `keeper` (
  `id` int NOT NULL AUTO_INCREMENT,
  `name` varchar(20) COLLATE utf8mb4_general_ci DEFAULT 'no, one',
  PRIMARY KEY (`id`)
) ENGINE=InnoDB;
CREATE TABLE `animal` (
  `id` int NOT NULL,
  `keeper_id` int DEFAULT NULL,
  `weight` decimal(8,2) DEFAULT NULL,
  `born` date DEFAULT NULL,
  `code` char(3) NOT NULL DEFAULT '',
  PRIMARY KEY (`id`),
  UNIQUE KEY `u` (`code`(2)),
  KEY `k` (`keeper_id`),
  CONSTRAINT `f` FOREIGN KEY (`keeper_id`) REFERENCES `keeper` (`id`)
);
INSERT INTO `keeper` VALUES (1,'O\\'Hara; (x)'),(2,'two''s\\nline'),(3,NULL);
INSERT INTO `animal` (id, code) VALUES (7,'abc');
INSERT INTO `animal` VALUES (8,1,12.50,'2020-01-02',_binary 'xyz');
"""


def written(folder: Path, text: str | bytes, name: str = "d.sql") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_dump_gives_schema_keys_and_rows_with_quotes_escapes_and_column_lists(tmp_path: Path) -> None:
    zoo = read_dump(written(tmp_path, SMALL))["zoo"]
    assert zoo.rows["keeper"] == [(1, "O'Hara; (x)"), (2, "two's\nline"), (3, None)]
    assert zoo.rows["animal"] == [(7, None, None, None, "abc"), (8, 1, 12.5, "2020-01-02", b"xyz")]
    animal = zoo.tables["animal"]
    assert [(c.name, c.type, c.is_nullable, c.key) for c in animal.columns] == [
        ("id", "int", False, "PRI"),
        ("keeper_id", "int", True, "MUL"),
        ("weight", "decimal(8,2)", True, ""),
        ("born", "date", True, ""),
        ("code", "char(3)", False, "UNI"),
    ]
    assert animal.foreign_keys == (ForeignKey(("keeper_id",), "keeper", ("id",)),)
    assert zoo.tables["keeper"].columns[0].extra == "auto_increment"
    assert zoo.tables["keeper"].columns[1].default == "no, one"


def test_the_same_dump_gzipped_gives_the_same(tmp_path: Path) -> None:
    plain, packed = written(tmp_path, SMALL), written(tmp_path, gzip.compress(SMALL.encode()), "d.sql.gz")
    assert read_dump(plain) == read_dump(packed)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CREATE TABLE t (a int); INSERT INTO t VALUES (1,2);", "2 values for 1 columns"),
        ("CREATE TABLE t (a int); INSERT INTO t VALUES (1", "cut off"),
        ("CREATE TABLE t (a int); INSERT INTO t VALUES ('x);", "never closed"),
        ("CREATE TABLE t (a int); INSERT INTO t VALUES (1) oops;", "follows the last row"),
        ("CREATE TABLE t (a int); INSERT INTO t VALUES (NOW());", "no value can be read"),
        ("CREATE TABLE t (a int); INSERT INTO t SELECT 1;", "cannot be read"),
        ("INSERT INTO t VALUES (1);", "before its CREATE TABLE"),
        ("CREATE TABLE t ();", "no columns"),
        ("SELECT 1;", "no CREATE TABLE"),
        ("", "no CREATE TABLE"),
        (b"\xff\xfe\x00bad", "not UTF-8"),
    ],
)
def test_a_broken_dump_is_refused_with_a_sentence(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(BadFile, match=said):
        read_dump(written(tmp_path, text))


def test_a_dump_that_is_no_gzip_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be read"):
        read_dump(written(tmp_path, "plain", "d.sql.gz"))
    with pytest.raises(BadFile, match="cannot be read"):
        open_dump(tmp_path / "nothing.sql", tmp_path / "cache")


def test_the_line_of_a_mistake_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="line 3"):
        read_dump(written(tmp_path, "CREATE TABLE t (a int);\n\nINSERT INTO t VALUES (1,2);"))


def test_rows_with_a_missing_comma_are_refused() -> None:
    with pytest.raises(ValueError, match="comma"):
        read_rows("(1 2)", 2)


def test_a_catalog_is_made_once_for_each_content(tmp_path: Path) -> None:
    path, cache = written(tmp_path, SMALL), tmp_path / "cache"
    first = open_dump(path, cache)
    stamp = first.file("ZOO").stat().st_mtime_ns
    assert open_dump(path, cache) == first
    assert first.file("zoo").stat().st_mtime_ns == stamp
    other = open_dump(written(tmp_path, SMALL + "-- changed\n"), cache)
    assert other.folder != first.folder
    assert [p.name for p in cache.iterdir() if p.name.startswith("making")] == []
    with pytest.raises(UnknownName, match="farm"):
        first.file("farm")


def test_a_dump_whose_rows_break_its_own_primary_key_leaves_nothing_behind(tmp_path: Path) -> None:
    text = "CREATE TABLE t (a int NOT NULL, PRIMARY KEY (a)); INSERT INTO t VALUES (1),(1);"
    with pytest.raises(BadFile, match="UNIQUE"):
        open_dump(written(tmp_path, text), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_database_name_cannot_leave_the_cache_folder(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="letters"):
        open_dump(written(tmp_path, "USE `../../evil`; CREATE TABLE t (a int);"), tmp_path / "cache")
    assert not (tmp_path / "evil.sqlite").exists()


def test_the_bundled_dump_is_what_the_generator_writes_and_keeps_its_foreign_keys() -> None:
    assert gzip.decompress(bundled_dump().read_bytes()).decode() == dump()
    for name, contents in read_dump(bundled_dump()).items():
        assert 5 <= len(contents.tables) <= 6, name
        for table in contents.tables.values():
            for key in table.foreign_keys:
                place = [c.name for c in table.columns].index(key.columns[0])
                known = {row[0] for row in contents.rows[key.table]}
                used = {row[place] for row in contents.rows[table.name]} - {None}
                assert used <= known, (name, table.name, key)


def test_the_sqlite_file_keeps_types_and_compares_text_as_mysql(tmp_path: Path) -> None:
    from envs import sql_functions

    file = open_dump(written(tmp_path, SMALL), tmp_path / "cache").file("zoo")
    connection = sqlite3.connect(file)
    sql_functions.register(connection)
    assert connection.execute("SELECT id FROM keeper WHERE name = 'o''HARA; (X)  '").fetchall() == [(1,)]
    assert connection.execute("SELECT typeof(weight), typeof(id) FROM animal WHERE id = 8").fetchone() == (
        "real",
        "integer",
    )
    connection.close()
