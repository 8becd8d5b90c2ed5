"""Import in the terminal, on a real hub: chosen, looked at, stored, labelled."""

from __future__ import annotations

import asyncio
import json
import os
import zipfile
from pathlib import Path

import pytest
from conftest import Driven, Hub, terminal
from fixture_episodes import kitchen_episode

from data.errors import BadFile, Refused
from data.formats.entry import About, Entry
from data.formats.episodes import line
from retro_dash.client import HubClient
from retro_dash.folders import MOST_FILES
from retro_dash.packing import packed
from retro_dash.tui.curate import CuratePlace
from retro_dash.tui.editor import Area, Editor
from retro_dash.tui.importer import ImportScreen, path_of

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


def chats(path: Path, count: int, start: int = 0) -> Path:
    rows = [{**CHAT, "task_id": f"t{number}"} for number in range(start, start + count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def client(own_hub: Hub) -> HubClient:
    assert own_hub.address is not None
    return HubClient.at(own_hub.address)


async def importer(tui: Driven) -> ImportScreen:
    await tui.press("3")
    await tui.until(lambda: isinstance(tui.app.screen, CuratePlace), "not on Curate")
    await tui.press("I")
    await tui.until(lambda: isinstance(tui.app.screen, ImportScreen), "no import")
    screen = tui.app.screen
    assert isinstance(screen, ImportScreen)
    await tui.until(lambda: screen.query_one(Editor).display, "no field for a path")
    return screen


async def send(tui: Driven, path: str, format_: str = "") -> None:
    await tui.until(lambda: tui.app.screen.query_one(Editor).display, "no field for a path")
    areas = {str(one.name): one for one in tui.app.screen.query(Area)}
    areas["path"].text, areas["format"].text = path, format_
    await tui.press("enter")


@pytest.mark.parametrize("size", [(80, 24), (200, 50)], ids=["80x24", "200x50"])
def test_a_file_is_looked_at_imported_and_becomes_the_queue(
    own_hub: Hub, client: HubClient, tmp_path: Path, size: tuple[int, int]
) -> None:
    path = chats(tmp_path / "chats.jsonl", 3)
    with path.open("a") as file:
        file.write('{"messages": "no list"}\n')

    async def drive() -> None:
        async with terminal(own_hub, size) as tui:
            await tui.press("3")
            await tui.sees("press I")
            screen = await importer(tui)
            await tui.sees("Recordings of other programs")
            await send(tui, str(path))
            await tui.sees("Enter imports 3 episodes", "3  episodes", "1  dropped", "Dropped, and why", "row 4:")
            assert client.episodes().total == 0, "stored before somebody said so"
            await tui.press("enter")
            await tui.sees("✓ 3 episodes imported, 0 were here already, 1 dropped.", "Filter  run:import")
            assert client.episodes(screen.found).total == 3
            await tui.press("enter")
            place = tui.app.screen
            assert isinstance(place, CuratePlace)
            await tui.until(lambda: place.episode is not None, "no item")
            assert place.queue.filter_text == screen.found
            await tui.press("I")
            await send(tui, str(path))
            await tui.sees("Nothing new to import.", "3  here already")
            await tui.press("enter")
            assert isinstance(tui.app.screen, ImportScreen)

    asyncio.run(drive())


def test_a_folder_is_sent_whole_and_what_is_given_up_is_deleted(own_hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    (folder / "more").mkdir(parents=True)
    chats(folder / "one.jsonl", 2)
    chats(folder / "more" / "two.jsonl", 2, start=2)
    (folder / "readme.md").write_text("no recording")
    uploads = own_hub.home / "uploads"

    async def drive() -> None:
        async with terminal(own_hub) as tui:
            await importer(tui)
            await send(tui, f"'{folder}'")
            await tui.sees("Enter imports 4 episodes", "readme.md")
            assert list(uploads.iterdir())
            await tui.press("escape")
            await tui.until(lambda: not list(uploads.iterdir()), "what was sent is still there")
            assert isinstance(tui.app.screen, CuratePlace)

    asyncio.run(drive())


def test_what_cannot_be_imported_is_said_and_the_path_stays(own_hub: Hub, client: HubClient, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "nothing").mkdir()
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    os.mkfifo(tmp_path / "pipe")
    good = chats(tmp_path / "good.jsonl", 1)

    async def drive() -> None:
        async with terminal(own_hub, (120, 40)) as tui:
            screen = await importer(tui)
            for path, format_, words in (
                ("", "", "Which file or folder?"),
                (str(tmp_path / "gone.jsonl"), "", "does not exist"),
                (str(tmp_path / "empty.jsonl"), "", "The file is empty."),
                (str(tmp_path / "nothing"), "", "holds no files"),
                (str(tmp_path / "pipe"), "", "neither a file nor a folder"),
                (str(tmp_path / "photo.png"), "", "photo.png is none of the formats"),
                (str(good), "qif", "qif"),
                ("x" * 300, "", "cannot be read"),
                ("~nobody-of-this-name/x", "", "does not exist"),
                ("a\x00b", "", "does not exist"),
            ):
                await send(tui, path, format_)
                await tui.until(lambda words=words: words in tui.screen(), f"{path!r}: never saw {words!r}")
                await tui.until(lambda: screen.query_one(Editor).display, "the field is gone")
            assert screen.state is None
            await tui.press("escape")
            assert isinstance(tui.app.screen, CuratePlace)

    asyncio.run(drive())
    assert client.episodes().total == 0


def test_names_and_texts_of_files_stay_text(own_hub: Hub, client: HubClient, tmp_path: Path) -> None:
    folder = tmp_path / "[red]lo\x1b]0;gs\x07"
    folder.mkdir()
    name = os.fsdecode(b"\x1b[2J[bold] \xff\xe2\x80\xae.jsonl")
    chats(folder / name, 1)
    bad = '{"messages": "[@click=app.quit]\x1b[31m [/nope]"}\n'
    (folder / name).write_text((folder / name).read_text() + bad)

    async def drive() -> None:
        async with terminal(own_hub, (120, 40)) as tui:
            await importer(tui)
            await send(tui, str(folder))
            await tui.sees("Enter imports 1 episode,", "[red]lo�]0;gs�", "[@click=app.quit]�[31m [/nope]")
            await tui.press("escape")
            await tui.until(lambda: isinstance(tui.app.screen, CuratePlace), "still there")
            await tui.press("I")
            await send(tui, os.fsencode(folder / name).decode("utf-8", "surrogateescape"))
            await tui.sees("Enter imports 1 episode,", "�[2J[bold] ��.jsonl")
            assert not set(tui.screen()) & set("\x1b\x07\u202e")

    asyncio.run(drive())


def test_episodes_of_ours_keep_the_run_that_made_them(own_hub: Hub, client: HubClient, tmp_path: Path) -> None:
    path = tmp_path / "ours.jsonl"
    path.write_text(line(Entry(kitchen_episode("ep-1")), About()))

    async def drive() -> None:
        async with terminal(own_hub) as tui:
            screen = await importer(tui)
            await send(tui, str(path))
            await tui.sees("Enter imports 1 episode,")
            await tui.press("enter")
            await tui.sees("✓ 1 episode imported", "keep the runs that made them")
            assert screen.found == ""
            await tui.press("escape")
            await tui.sees("put a hot apple")

    asyncio.run(drive())
    assert client.episode("ep-1")["run_id"] == kitchen_episode("ep-1").run_id


def test_a_folder_becomes_a_zip_without_links_and_hidden_files(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    (folder / ".git").mkdir(parents=True)
    for name in ("a.jsonl", ".hidden", ".git/config"):
        (folder / name).write_text(name)
    (folder / "link").symlink_to("/etc/passwd")
    with packed(folder) as parcel, zipfile.ZipFile(parcel.file) as archive:
        assert (parcel.name, archive.namelist()) == ("logs", ["a.jsonl"])
        assert archive.read("a.jsonl") == b"a.jsonl"
    with packed(folder / "a.jsonl") as parcel:
        assert (parcel.name, b"".join(parcel.pieces())) == ("a.jsonl", b"a.jsonl")


def test_a_folder_of_too_many_files_is_refused_with_the_command_that_takes_it(tmp_path: Path) -> None:
    for number in range(MOST_FILES + 1):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(Refused, match="retro-dash import FOLDER"), packed(tmp_path):
        pass
    with pytest.raises(BadFile, match="does not exist"), packed(tmp_path / "gone"):
        pass


def test_a_path_as_it_is_typed_or_dropped() -> None:
    assert path_of("  'my logs/a.jsonl' ") == Path("my logs/a.jsonl")
    assert path_of('"a"') == Path("a")
    assert path_of("~/a") == Path.home() / "a"
    assert path_of(" \n") is None
    assert path_of("''") is None
