"""File trees as data: laid out as written, refused when broken, seen again as they are."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from data.errors import BadFile
from envs.bash_trees import Tree, lay_out, read_tree, snapshot
from envs.sandbox import Slot

SELF = Slot(os.geteuid(), os.getegid())
ENTRIES: list[dict[str, Any]] = [
    {"path": "/a/b/deep.txt", "type": "file", "mode": "0o600", "mtime": 1_700_000_000, "text": "é\n"},
    {"path": "/a", "type": "dir", "mode": "0o750", "mtime": 1_600_000_000},
    {"path": "/a/bytes", "type": "file", "base64": "AP8=", "size": 2},
    {"path": "/a/out", "type": "link", "target": "/etc/shadow"},
]


def tree(*entries: dict[str, Any]) -> Tree:
    return Tree.model_validate({"entries": entries})


def test_a_tree_is_laid_out_with_its_contents_modes_and_times(tmp_path: Path) -> None:
    lay_out(tree(*ENTRIES), tmp_path, SELF)
    deep = tmp_path / "a/b/deep.txt"
    assert deep.read_text() == "é\n"
    assert stat.S_IMODE(deep.stat().st_mode) == 0o600
    assert deep.stat().st_mtime == 1_700_000_000
    assert (tmp_path / "a/bytes").read_bytes() == b"\x00\xff"
    assert (tmp_path / "a").stat().st_mtime == 1_600_000_000
    assert os.readlink(tmp_path / "a/out") == "/etc/shadow"


def test_a_snapshot_follows_no_link_and_reads_only_files(tmp_path: Path) -> None:
    lay_out(tree(*ENTRIES), tmp_path, SELF)
    os.mkfifo(tmp_path / "a/pipe")
    (tmp_path / "a/loop").symlink_to("..")
    found = snapshot(tmp_path)
    assert found["a/bytes"].md5 == hashlib.md5(b"\x00\xff").hexdigest()
    assert {path: found[path].kind for path in found if path.startswith("a/")} == {
        "a/b": "dir",
        "a/b/deep.txt": "file",
        "a/bytes": "file",
        "a/out": "link",
        "a/pipe": "other",
        "a/loop": "link",
    }


def test_folders_of_the_system_are_not_seen(tmp_path: Path) -> None:
    lay_out(tree(*ENTRIES), tmp_path, SELF)
    for name in ("usr", "root", "a/bin"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "x").touch()
    assert not [path for path in snapshot(tmp_path) if path.split("/")[0] in ("usr", "root") or "bin" in path]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"path": "/../etc/x", "type": "file"}, "not an absolute path inside"),
        ({"path": "a/x", "type": "file"}, "not an absolute path inside"),
        ({"path": "/a\0b", "type": "file"}, "not an absolute path inside"),
        ({"path": "/", "type": "dir"}, "not an absolute path inside"),
        ({"path": "/usr/bin/ls", "type": "file"}, "folder of the system"),
        ({"path": "/a", "type": "link"}, "has no target"),
        ({"path": "/a", "type": "device"}, "type"),
        ({"path": "/a", "type": "file", "mode": "rwx"}, "invalid literal"),
        ({"path": "/a", "type": "file", "base64": "%%%"}, "base64|Only|Non-base64|padding"),
    ],
)
def test_a_broken_entry_is_refused_with_a_sentence(entry: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"entries": [entry]}))
    with pytest.raises(BadFile, match=said):
        read_tree(path)


@pytest.mark.parametrize("raw", [b"", b"[1]", b"{", b"\xff\xfe", b'{"entries": 7}', b"[" * 100_000])
def test_what_is_not_a_tree_is_refused(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(raw)
    with pytest.raises(BadFile, match="not a file tree"):
        read_tree(path)


def test_a_missing_tree_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="option trees"):
        read_tree(tmp_path / "none.json")


@pytest.mark.parametrize("inner", ["/a/x", "//a/./x", "/a/b/c/x"])
@pytest.mark.parametrize("above", [{"type": "link", "target": "/etc"}, {"type": "file"}])
def test_an_entry_behind_a_link_or_file_is_refused_so_that_nothing_is_written_outside(
    above: dict[str, Any], inner: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"entries": [{"path": inner, "type": "file"}, {"path": "/a", **above}]}))
    with pytest.raises(BadFile, match=r"bad\.json.*behind a link"):
        read_tree(path)


def test_a_name_too_long_for_the_disk_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="cannot be made"):
        lay_out(tree({"path": "/" + "x" * 300, "type": "file"}), tmp_path, SELF)
