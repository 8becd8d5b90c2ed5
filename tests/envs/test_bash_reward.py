"""InterCode's Bash reward, worked by hand."""

from __future__ import annotations

import math

import pytest

from envs.bash_reward import score, similarity
from envs.bash_trees import Seen, Snapshot, git_changes


def seen(md5: str, mode: int = 0o644) -> Seen:
    return Seen("file", mode, md5)


FOLDER = Seen("dir", 0o755, "")
START: Snapshot = {"site": FOLDER, "site/a.txt": seen("aa"), "site/b.txt": seen("bb")}


def test_the_same_files_and_output_score_one() -> None:
    result = score(START, START, START, "x y", "x y")
    assert result.reward == 1.0
    assert (result.changes, result.contents, result.output) == (0.33, 0.33, 0.33)


def test_one_missing_change_keeps_a_sixth_of_the_first_part_and_two_keep_nothing() -> None:
    # 0.33 (1 - erf 1) = 0.33 * 0.1573 = 0.0519; 0.33 (1 - erf 2) = 0.33 * 0.00468 = 0.0015
    one = score(START, START, {**START, "site/c.txt": seen("cc")}, "", "")
    assert (one.changes, one.reward) == (0.05, 0.72)
    assert one.missing == (("site/c.txt", "??"),)
    two = score(START, START, {"site": FOLDER}, "", "")
    assert (two.changes, two.reward) == (0.0, 0.67)


def test_contents_of_new_files_count_by_their_share() -> None:
    gold = {**START, "site/c.txt": seen("cc"), "site/d.txt": seen("dd")}
    agent = {**gold, "site/d.txt": seen("other")}
    result = score(START, agent, gold, "", "")
    # 0.33 * 1/2 = 0.165, rounded to 0.17 or 0.16 by binary fractions: 0.165 is a little above
    assert result.contents == round(0.33 * 0.5, 2)
    assert result.wrong == ("site/d.txt",)


def test_published_calls_a_wrong_edit_of_an_old_file_right_and_strict_does_not() -> None:
    gold = {**START, "site/a.txt": seen("right")}
    agent = {**START, "site/a.txt": seen("wrong")}
    assert score(START, agent, gold, "", "", "published").reward == 1.0
    assert score(START, agent, gold, "", "", "strict").reward == 0.67


def test_published_sees_only_the_executable_bit_and_strict_every_bit() -> None:
    gold = {**START, "site/a.txt": seen("aa", 0o600)}
    assert score(START, START, gold, "", "", "published").reward == 1.0
    assert score(START, START, gold, "", "", "strict").reward == 0.72
    executable = {**START, "site/a.txt": seen("aa", 0o755)}
    assert score(START, START, executable, "", "", "published").reward == 0.72


def test_git_names_a_new_folder_once_and_no_empty_folder() -> None:
    after = {
        **START,
        "new": FOLDER,
        "new/deep": FOLDER,
        "new/deep/x": seen("x"),
        "new/y": seen("y"),
        "empty": FOLDER,
        "site/sub": FOLDER,
        "site/sub/z": seen("z"),
    }
    assert git_changes(START, after) == {("new/", "??"), ("site/sub/", "??")}


def test_strict_wants_the_lines_in_order_where_published_counts_words() -> None:
    assert score(START, START, START, "bb\naa", "aa\nbb", "published").reward == 1.0
    assert score(START, START, START, "bb\naa", "aa\nbb", "strict").output == round(0.33 * 0.9, 2)
    assert score(START, START, START, "  aa   7 \n", "aa 7", "strict").reward == 1.0


def test_similarity_is_the_cosine_of_tf_idf_vectors() -> None:
    # words: aa in both (idf 1), bb and cc in one (idf ln(3/2) + 1); cos = 1 / (1 + idf^2)
    idf = math.log(1.5) + 1
    assert similarity("aa bb", "aa cc") == pytest.approx(1 / (1 + idf * idf))
    assert similarity("AA aa bb", "bb aa aa") == pytest.approx(1.0)
    assert similarity("aa", "bb") == 0.0


def test_without_words_the_outputs_must_be_equal() -> None:
    assert similarity("", "") == 1.0
    assert similarity("7\n", "7\n") == 1.0
    assert similarity("7\n", "8\n") == 0.0
    assert similarity("", "word") == 0.0
