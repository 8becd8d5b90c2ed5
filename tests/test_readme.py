"""The README's promises: its paths, its commands and its options exist."""

import re
import shlex
from pathlib import Path

import pytest

from retro_dash.cli import COMMANDS, _parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    lines = [
        line.partition("  #")[0].strip()
        for block in re.findall(r"```bash\n(.*?)```", README, re.S)
        for line in block.splitlines()
    ]
    return [line for line in lines if line.startswith("retro-dash ")]


def test_every_path_of_the_file_map_exists():
    tree = re.search(r"## Where things are\n\n```\n(.*?)```", README, re.S)
    assert tree
    paths = [line.split()[0] for line in tree.group(1).splitlines() if line and not line.startswith(" ")]
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_picture_is_there():
    assert [path for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README) if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_readme_parses(command: str):
    words = shlex.split(command)[1:]
    assert _parser(words).parse_args(words).command in COMMANDS


def test_every_command_is_named_in_the_readme_or_its_doctor():
    unnamed = [name for name in COMMANDS if f"retro-dash {name}" not in README]
    assert unnamed == []


def test_every_make_target_of_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"make ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.M), target
