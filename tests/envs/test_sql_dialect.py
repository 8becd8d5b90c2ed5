from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from envs import sql_functions
from envs.sql_binder import SqlError
from envs.sql_catalog import open_dump
from envs.sql_dialect import parse, translate
from envs.sql_functions import compare, mysql_number, timestampdiff
from envs.sql_schema import Schema
from envs.sql_show import show
from envs.sql_sqlite import convert_rows

DUMP = """
USE `zoo`;
CREATE TABLE `keeper` (`id` int NOT NULL AUTO_INCREMENT, `name` varchar(20) DEFAULT NULL, `since` date DEFAULT NULL,
  PRIMARY KEY (`id`));
CREATE TABLE `animal` (`id` int NOT NULL, `name` varchar(20) DEFAULT NULL, `keeper_id` int DEFAULT NULL,
  `weight` decimal(8,2) DEFAULT NULL, `age` varchar(5) DEFAULT NULL, `seen` datetime DEFAULT NULL,
  `speed` float(5,1) DEFAULT NULL, PRIMARY KEY (`id`), KEY `k` (`keeper_id`));
INSERT INTO `keeper` VALUES (1,'Ann','2019-03-01'),(2,'Björn','2021-12-24'),(3,'cy',NULL);
INSERT INTO `animal` VALUES (1,'lion',1,190.50,'9','2024-01-02 10:00:00',60.0),(2,'ibis',1,1.25,'10',NULL,50.5),
  (3,'Lion',2,180.00,'4','2024-02-01 00:00:00',NULL);
"""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Schema, sqlite3.Connection]:
    folder: Path = tmp_path_factory.mktemp("zoo")
    (folder / "zoo.sql").write_text(DUMP, "utf-8")
    catalog = open_dump(folder / "zoo.sql", folder / "cache")
    connection = sqlite3.connect(catalog.file("zoo"))
    sql_functions.register(connection)
    return catalog.schema("zoo"), connection


def rows(zoo: tuple[Schema, sqlite3.Connection], query: str) -> str:
    """The answer of a translated query, as an observation shows it."""
    schema, connection = zoo
    translation = translate(parse(query), schema)
    found: list[Any] = [list(row) for row in connection.execute(translation.sql).fetchall()]
    return str(convert_rows(found, translation.outputs))


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ('SELECT id FROM animal WHERE name = "LION"', "[(1,), (3,)]"),
        ("SELECT id FROM keeper WHERE name = 'bjorn'", "[(2,)]"),
        ("SELECT id FROM keeper WHERE name = 'CY  '", "[(3,)]"),
        ("SELECT DISTINCT name FROM animal", "[('lion',), ('ibis',)]"),
        ("SELECT COUNT(DISTINCT name) FROM animal", "[(2,)]"),
        ("SELECT id FROM animal WHERE age > 9", "[(2,)]"),
        ("SELECT id FROM animal WHERE age BETWEEN 5 AND 10", "[(1,), (2,)]"),
        ("SELECT id FROM animal WHERE age > '5'", "[(1,)]"),
        ("SELECT id FROM animal WHERE UPPER(name) = 'lion'", "[(1,), (3,)]"),
        ("SELECT AVG(weight), SUM(id), AVG(id) FROM animal",
         "[(Decimal('123.916667'), Decimal('6'), Decimal('2.0000'))]"),
        ("SELECT 1 / 3, 7 DIV 2, 7 % 2, 2 * 1.5", "[(Decimal('0.3333'), 3, 1, Decimal('3.0'))]"),
        ("SELECT AVG(speed) FROM animal", "[(55.25,)]"),
        ("SELECT since FROM keeper WHERE id = 1", "[(datetime.date(2019, 3, 1),)]"),
        ("SELECT seen FROM animal WHERE seen = '2024-2-1'", "[(datetime.datetime(2024, 2, 1, 0, 0),)]"),
        ("SELECT id FROM animal WHERE seen > '2024-01-31'", "[(3,)]"),
        ("SELECT YEAR(since), MONTH(since), DAYNAME(since) FROM keeper WHERE id = 2", "[(2021, 12, 'Friday')]"),
        ("SELECT DATE_FORMAT(since, '%d.%m.%y %M') FROM keeper WHERE id = 1", "[('01.03.19 March',)]"),
        ("SELECT DATEDIFF('2024-03-01', '2024-02-01')", "[(29,)]"),
        ("SELECT since + INTERVAL 1 MONTH FROM keeper WHERE id = 1", "[('2019-04-01',)]"),
        ("SELECT DATE_SUB('2024-03-31', INTERVAL 1 MONTH)", "[('2024-02-29',)]"),
        ("SELECT STR_TO_DATE('May 3, 2020', '%M %d, %Y')", "[('2020-05-03',)]"),
        ("SELECT CONCAT(name, '-', id), CONCAT('a', NULL), CONCAT_WS('/', 'a', NULL, 'b') FROM animal WHERE id = 2",
         "[('ibis-2', None, 'a/b')]"),
        ("SELECT IF(id > 1, 'many', 'one'), IFNULL(seen, 'never') FROM animal WHERE id = 2", "[('many', 'never')]"),
        ("SELECT LEFT(name, 2), RIGHT(name, 2), LPAD(id, 3, '0'), LENGTH('é') FROM animal WHERE id = 1",
         "[('li', 'on', '001', 2)]"),
        ("SELECT SUBSTRING_INDEX('a,b,c', ',', 2), LOCATE('b', 'abc'), CHAR_LENGTH('é')", "[('a,b', 2, 1)]"),
        ("SELECT GREATEST(1, 3), LEAST(1, 3), ROUND(2.567, 1), TRUNCATE(2.567, 1)", "[(3, 1, Decimal('2.6'), 2.5)]"),
        ("SELECT name FROM animal WHERE name REGEXP '^l' ORDER BY id", "[('lion',), ('Lion',)]"),
        ("SELECT GROUP_CONCAT(id SEPARATOR '-') FROM animal", "[('1-2-3',)]"),
        ("SELECT CAST('12abc' AS SIGNED), CAST('7.46' AS DECIMAL(5,1))", "[(12, Decimal('7.5'))]"),
        ("SELECT keeper_id, COUNT(*) AS n FROM animal GROUP BY keeper_id HAVING n > 1", "[(1, 2)]"),
        ("SELECT T1.name FROM keeper AS T1 LEFT JOIN animal AS T2 ON T1.id = T2.keeper_id WHERE T2.id IS NULL",
         "[('cy',)]"),
        ("SELECT name FROM animal ORDER BY weight DESC LIMIT 1, 1", "[('Lion',)]"),
        ("SELECT name FROM (SELECT name, weight FROM animal) ORDER BY weight LIMIT 1", "[('ibis',)]"),
        ("WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n",
         "[(1,), (2,), (3,)]"),
        ("SELECT id FROM animal UNION SELECT id FROM keeper ORDER BY id DESC LIMIT 1", "[(3,)]"),
        ("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
         "[('animal',), ('keeper',)]"),
        ("SELECT zoo.keeper.name FROM zoo.keeper WHERE id = 1", "[('Ann',)]"),
        ("SELECT ROW_NUMBER() OVER (ORDER BY weight) FROM animal", "[(1,), (2,), (3,)]"),
        ("SELECT name FROM keeper WHERE id <=> NULL", "[]"),
        ("SELECT COUNT(DISTINCT name, keeper_id), COUNT(DISTINCT name, seen) FROM animal", "[(3, 2)]"),
        ("SELECT COUNT(DISTINCT name, 1) FROM animal", "[(2,)]"),
        ("SELECT 1 = '1a', NULL IS NULL, NOT 1", "[(1, 1, 0)]"),
    ],
)  # fmt: skip
def test_a_mysql_query_answers_as_mysql_would(
    zoo: tuple[Schema, sqlite3.Connection], query: str, answer: str
) -> None:
    assert rows(zoo, query) == answer


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("SELECT nam FROM animal", "Unknown column 'nam' in 'field list'"),
        ("SELECT T1.nam FROM animal AS T1", "Unknown column 'T1.nam' in 'field list'"),
        ("SELECT name FROM animal WHERE nam = 1", "Unknown column 'nam' in 'where clause'"),
        ("SELECT 1 FROM animal a JOIN keeper k ON a.k = k.id", "Unknown column 'a.k' in 'on clause'"),
        ("SELECT name FROM animal GROUP BY nam", "Unknown column 'nam' in 'group statement'"),
        ("SELECT name FROM animal ORDER BY nam", "Unknown column 'nam' in 'order clause'"),
        ("SELECT name FROM animal GROUP BY name HAVING nam > 1", "Unknown column 'nam' in 'having clause'"),
        ("SELECT name FROM animal GROUP BY name HAVING weight > 1", "Unknown column 'weight' in 'having clause'"),
        ("SELECT id FROM animal JOIN keeper ON keeper_id = keeper.id", "Column 'id' in field list is ambiguous"),
        ("SELECT x.* FROM animal", "Unknown table 'x'"),
        ("SELECT 1 FROM lions", "Table 'zoo.lions' doesn't exist"),
        ("SELECT 1 FROM mysql.user", "Table 'mysql.user' doesn't exist"),
        ("SELECT 1 FROM sqlite_master", "Table 'zoo.sqlite_master' doesn't exist"),
        ("SELECT rowid FROM animal", "Unknown column 'rowid' in 'field list'"),
        ("SELECT `nam` FROM animal", "Unknown column 'nam' in 'field list'"),
        ("SELECT 1 FROM animal FULL OUTER JOIN keeper ON 1",
         "FULL OUTER JOIN does not exist in MySQL; use a UNION of a LEFT JOIN and a RIGHT JOIN"),
        ("SELECT 1 UNION SELECT 1, 2", "The used SELECT statements have a different number of columns"),
        ("SELECT 1 FROM animal, animal", "Not unique table/alias: 'animal'"),
        ("SELECT load_extension('x')", "FUNCTION zoo.load_extension does not exist"),
        ("SELECT SLEEP(10)", "FUNCTION zoo.SLEEP does not exist"),
        ("SELECT a FROM pragma_table_info('animal')", "FUNCTION zoo.pragma_table_info does not exist"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_named_as_mysql_names_it(
    zoo: tuple[Schema, sqlite3.Connection], query: str, error: str
) -> None:
    with pytest.raises(SqlError) as found:
        rows(zoo, query)
    assert str(found.value).lower() == error.lower()


@pytest.mark.parametrize(
    ("query", "near"),
    [
        ("SELECT a b c FROM t", "near 'c FROM t' at line 1"),
        ("SELECT AVG(rank) FROM animal", "near ') FROM animal' at line 1"),
        ("SELECT name FROM\nanimal WHERE WHERE", "at line 2"),
        ("SELECT 'abc", "near 'SELECT 'abc'"),
        ("SELECT 1; DROP TABLE animal", "near 'DROP TABLE animal'"),
    ],
)
def test_a_syntax_error_says_where(query: str, near: str) -> None:
    with pytest.raises(SqlError) as found:
        parse(query)
    assert str(found.value).startswith("You have an error in your SQL syntax; check the manual")
    assert near in str(found.value)


@pytest.mark.parametrize(
    "query", ["SELECT " + "(" * 3000 + "1", "SELECT " + "NOT (" * 400 + "1" + ")" * 400, "x" * 10_000_000]
)
def test_hostile_nesting_and_length_are_an_error_and_not_a_crash(query: str) -> None:
    with pytest.raises(SqlError):
        parse(query)


def test_a_second_row_of_a_scalar_subquery_is_an_error(zoo: tuple[Schema, sqlite3.Connection]) -> None:
    with pytest.raises(sqlite3.OperationalError, match="step"):
        rows(zoo, "SELECT (SELECT name FROM animal)")
    assert rows(zoo, "SELECT (SELECT name FROM animal WHERE id = 2)") == "[('ibis',)]"
    assert rows(zoo, "SELECT id FROM animal WHERE name = (SELECT name FROM animal WHERE id = 3)") == "[(1,), (3,)]"
    query = "SELECT k.name, (SELECT a.name FROM animal AS a WHERE a.keeper_id = k.id AND a.age = 4) FROM keeper AS k"
    assert rows(zoo, query) == "[('Ann', None), ('Björn', 'Lion'), ('cy', None)]"


def test_the_collation_ignores_case_accents_and_trailing_blanks_only() -> None:
    assert compare("Éa ", "ea") == 0
    assert compare(" a", "a") != 0
    assert compare("a", "b") < 0 < compare("b", "A")


def test_months_between_dates_are_whole_months_in_both_directions() -> None:
    assert timestampdiff("month", "2024-01-15", "2024-03-14") == 1
    assert timestampdiff("month", "2024-03-14", "2024-01-15") == -1
    assert timestampdiff("year", "2000-02-29", "2024-02-28") == 23
    assert timestampdiff("day", "no date", "2024-02-28") is None


def test_a_date_is_its_digits_in_arithmetic() -> None:
    assert mysql_number("2024-01-02 03:04:05") == 20240102030405


@pytest.mark.parametrize(
    ("statement", "observation"),
    [
        ("show tables", "[('animal',), ('keeper',)]"),
        ("SHOW TABLES LIKE 'k%'", "[('keeper',)]"),
        ("SHOW FULL TABLES", "[('animal', 'BASE TABLE'), ('keeper', 'BASE TABLE')]"),
        ("SHOW DATABASES", "[('zoo',)]"),
        ("DESC keeper", "[('id', 'int', 'NO', 'PRI', None, 'auto_increment'), "
         "('name', 'varchar(20)', 'YES', '', None, ''), ('since', 'date', 'YES', '', None, '')]"),
        ("DESCRIBE `zoo`.`keeper` name", "[('name', 'varchar(20)', 'YES', '', None, '')]"),
        ("SHOW COLUMNS FROM animal LIKE 'keeper%'", "[('keeper_id', 'int', 'YES', 'MUL', None, '')]"),
        ("DESC lions", "Error executing query: Table 'zoo.lions' doesn't exist"),
        ("USE zoo", "None"),
        ("USE mysql", "Error executing query: Access denied for user 'retro'@'localhost' to database 'mysql'"),
        ("SET sql_mode = ''", "None"),
        ("DROP TABLE animal",
         "Error executing query: DROP command denied to user 'retro'@'localhost' for table 'animal'"),
        ("/* x */ insert into animal values (1)",
         "Error executing query: INSERT command denied to user 'retro'@'localhost' for table 'animal'"),
    ],
)  # fmt: skip
def test_looking_statements_answer_as_mysql_and_writing_ones_are_denied(
    zoo: tuple[Schema, sqlite3.Connection], statement: str, observation: str
) -> None:
    answer = show(statement, zoo[0], ["zoo"])
    assert answer is not None
    assert answer.observation() == observation


@pytest.mark.parametrize(
    "statement", ["ATTACH DATABASE 'x' AS y", "PRAGMA table_info(animal)", "VACUUM", "It seems", ""]
)
def test_what_is_no_mysql_is_a_syntax_error(zoo: tuple[Schema, sqlite3.Connection], statement: str) -> None:
    answer = show(statement, zoo[0], ["zoo"])
    assert answer is not None
    assert "You have an error in your SQL syntax" in str(answer.error)
