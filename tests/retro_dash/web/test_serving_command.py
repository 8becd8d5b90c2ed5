"""`retro-dash serving`: what the Serving page shows and does, as a command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_runs import RunSite, found_site

from retro_dash.cli import main

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RunSite]:
    with found_site(tmp_path) as site:
        yield site


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """`command("load", "planner@r1")`: the exit code and what was printed."""

    def call(*words: str) -> tuple[int, str]:
        code = main(["serving", "--home", str(tmp_path), *words])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


def test_engine_memory_and_adapters_are_said_in_the_words_of_the_page(site: RunSite, command: Command) -> None:
    code, text = command()
    assert code == 0
    assert "○ stopped  no model" in text
    assert "retro-dash web --engine embedded" in text
    assert "Memory  Shared: training and serving use it at the same time. Run RetroAct, longer" in text
    [line] = [line for line in text.splitlines() if "planner@train-done" in line]
    assert line.split()[-4:] == ["alfworld", "RetroAct:", "66.7", "+33.3"]
    assert "\x1b" not in text


def test_as_json_everything_that_the_page_knows(site: RunSite, command: Command) -> None:
    code, text = command("--json")
    whole: dict[str, Any] = json.loads(text)
    assert (code, whole["engine"]["state"]) == (0, "stopped")
    assert set(whole) == {"engine", "live", "runs", "machine", "memory", "adapters"}
    assert whole["runs"]["running"] == 1
    assert whole["memory"]["total"] > 0
    planner = next(row for row in whole["adapters"] if row["adapter"]["name"] == "planner@train-done")
    assert (planner["adapter"]["role"], planner["is_served"]) == ("planner", False)
    assert planner["scores"][0]["run_id"] == "evaluate-done"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("load", "planner@train-done"), 4, "No engine runs here"),
        (("unload", "planner@train-done"), 4, "No engine runs here"),
        (("load", "no-such\x1b[31m"), 2, "There is no adapter called 'no-such\\x1b[31m'"),
        (("load", "../../etc"), 3, "There is nothing there."),
        (("load",), 2, "Which adapter?"),
        (("show", "planner@train-done"), 2, "retro-dash serving load planner@train-done"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    site: RunSite, command: Command, words: tuple[str, ...], code: int, says: str
) -> None:
    assert command(*words)[0] == code
    text = command(*words)[1]
    assert says in text
    assert text.startswith("retro-dash: ")
    error = json.loads(command(*words, "--json")[1].splitlines()[0])
    assert says in error["detail"]


def test_without_a_dashboard_it_says_how_to_start_one(command: Command) -> None:
    code, text = command()
    assert code == 4
    assert "Start it with: retro-dash web" in text
