"""`retro-dash runs`: what the Train page shows and does, as commands."""

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
    """`command("log", "-")`: the exit code and what was printed."""

    def call(*words: str) -> tuple[int, str]:
        code = main(["runs", "--home", str(tmp_path), *words])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


def states(site: RunSite) -> dict[str, str]:
    return {run.id: run.state.value for run in site.service.store.runs(("train", "evaluate", "collect"))}


def test_runs_are_listed_by_state_as_lines_and_as_json(site: RunSite, command: Command) -> None:
    _, text = command()
    assert "train-done  finished    train     " in text
    assert "It ran out of memory. Last line of its log: Killed" in text
    assert "\x1b" not in text
    _, text = command("--state", "finished", "--limit", "2", "--json")
    assert {json.loads(line)["id"] for line in text.splitlines()} == {"train-done", "evaluate-done"}


def test_a_run_is_shown_with_its_newest_values_and_its_report(site: RunSite, command: Command) -> None:
    _, text = command("show", "train-done")
    assert "planner/tokens_per_second" in text
    assert "(step 300)" in text
    shown: dict[str, Any] = json.loads(command("show", "evaluate-done", "--json")[1])
    assert shown["run"]["state"] == "finished"
    assert [arm["arm"]["name"] for arm in shown["report"]["arms"]] == ["base", "RetroAct"]
    _, text = command("log", "train-live", "--lines", "2")
    assert text == "step 119\nstep 120\n"


def test_a_queued_run_is_stopped_and_taken_up_again(site: RunSite, command: Command) -> None:
    queued = site.service.jobs.queue()[0]
    assert command("stop", queued)[0] == 0
    assert states(site)[queued] == "cancelled"
    assert command("resume", queued)[0] == 0
    assert states(site)[queued] == "queued"


def test_an_unknown_run_and_a_missing_name_are_said_in_a_sentence(site: RunSite, command: Command) -> None:
    code, text = command("stop", "train-nowhere")
    assert code != 0
    assert "train-nowhere" in text
    code, text = command("stop")
    assert code != 0
    assert "Which run?" in text


def test_without_a_hub_runs_are_listed_and_a_verb_says_how_to_start_one(tmp_path: Path, command: Command) -> None:
    assert command() == (0, "")
    code, text = command("stop", "-")
    assert code != 0
    assert "retro-dash web" in text
