"""A chosen theme is remembered, and a file that cannot be read is ignored with a word."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from conftest import Driven, Hub

from retro_dash.tui.app import RetroDash
from retro_dash.tui.choices import choices_file, read_theme, write_theme


@pytest.fixture(autouse=True)
def _no_theme_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEXTUAL_THEME", raising=False)


async def begin(hub: Hub, file: Path, choose: str = "", says: str = "") -> str:
    """Start the terminal, choose a theme, leave; the theme that it began with."""
    app = RetroDash(lambda: hub.address, file)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        tui = Driven(app, pilot)
        began_with = app.theme
        await tui.sees("Nothing has been played yet.", "type to narrow", seconds=60)
        if says:
            await tui.sees(says)
        if choose:
            app.theme = choose
            await tui.until(lambda: read_theme(file) == choose, "the theme is not in the file")
    return began_with


def test_the_next_terminal_begins_with_the_theme_that_was_chosen(hub: Hub, tmp_path: Path) -> None:
    file = choices_file(tmp_path / "home")
    first = asyncio.run(begin(hub, file, choose="retro-light"))
    assert first != "retro-light"
    assert asyncio.run(begin(hub, file)) == "retro-light"
    assert [path.name for path in file.parent.iterdir()] == ["tui.json"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{", "is not JSON"),
        (b"\xff\x00", "is not JSON"),
        (b"", "is not JSON"),
        (b"[" * 4000, "is not JSON"),
        (b'["retro-light"]', "names no"),
        (b'{"theme": 3}', "names no"),
        (json.dumps({"theme": "no\x1b[2J[/such]"}).encode(), "There is no theme"),
    ],
)
def test_a_broken_file_is_ignored_with_a_word_and_a_new_choice_mends_it(
    hub: Hub, tmp_path: Path, text: bytes, says: str
) -> None:
    file = tmp_path / "tui.json"
    file.write_bytes(text)
    asyncio.run(begin(hub, file, choose="retro-light", says=says))
    assert asyncio.run(begin(hub, file)) == "retro-light"


def test_a_file_that_cannot_be_written_is_said(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "tui.json").mkdir()

    async def drive() -> None:
        app = RetroDash(lambda: hub.address, tmp_path / "tui.json")
        async with app.run_test(size=(160, 40), notifications=True) as pilot:
            tui = Driven(app, pilot)
            await tui.sees("is ignored")
            app.theme = "retro-light"
            await tui.sees("The theme is not remembered")

    asyncio.run(drive())
    assert [path.name for path in tmp_path.iterdir()] == ["tui.json"]


def test_a_hub_elsewhere_has_its_choices_in_the_users_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert choices_file(None) == tmp_path / "retro-dash" / "tui.json"
    monkeypatch.setenv("XDG_CONFIG_HOME", "not/whole")
    monkeypatch.setenv("HOME", str(tmp_path / "kim"))
    assert choices_file(None) == tmp_path / "kim" / ".config" / "retro-dash" / "tui.json"
    write_theme(choices_file(None), "nord")
    assert read_theme(choices_file(None)) == "nord"
    assert read_theme(choices_file(tmp_path / "home")) == ""
