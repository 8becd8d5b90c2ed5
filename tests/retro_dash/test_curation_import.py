"""Files go into the store once, with a preview; a refused one leaves the store as it was."""

from __future__ import annotations

import asyncio
import json
import os
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from curation_examples import NOW, fill, make_episode
from fastapi import FastAPI
from fastapi.testclient import TestClient

from data.errors import BadFile, Refused, UnknownName
from data.events import Event, LabelMade
from data.formats.entry import About, Entry
from data.formats.episodes import line
from data.store import Store
from data.types import Label, LabelTarget
from retro_dash.api import add_api
from retro_dash.cli import main
from retro_dash.folders import place_for, unpack
from retro_dash.importing import choose_format, import_file, preview
from retro_dash.service import Service
from retro_dash.settings import Settings
from retro_dash.uploads import KEPT_SECONDS, MOST_WAITING, ImportState, Uploads

SHARED = Path(os.environ.get("RETRO_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the shared data is not at {SHARED}")
CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "home") as store:
        yield store


@pytest.fixture
def client(store: Store, tmp_path: Path) -> Iterator[TestClient]:
    service = Service(Settings(home=tmp_path / "home"), store)
    app = FastAPI()
    add_api(app, service)
    yield TestClient(app)
    service.close()


def chats(path: Path, count: int, start: int = 0) -> Path:
    rows = [{**CHAT, "task_id": f"t{n}"} for n in range(start, start + count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_importing_twice_or_going_on_after_a_stop_adds_only_what_is_missing(store: Store, tmp_path: Path):
    some, more = chats(tmp_path / "some.jsonl", 3), chats(tmp_path / "more.jsonl", 5)
    found = choose_format(some)
    assert import_file(some, found, store).stored == 3
    seen = preview(more, found, store.known_episodes)
    assert (seen.episodes, seen.known) == (5, 3)
    done = import_file(more, found, store)
    assert (done.stored, done.known) == (2, 3)
    assert import_file(more, found, store).run_id is None
    assert store.episode_rows("source:messages").total == 5
    assert [run.state for run in store.runs(kinds=("import",))] == ["finished", "finished"]


def test_a_preview_stores_nothing(store: Store, tmp_path: Path):
    path = chats(tmp_path / "some.jsonl", 3)
    preview(path, choose_format(path), store.known_episodes)
    assert store.last_position() == 0


def test_labels_travel_with_the_episodes_and_strangers_among_them_are_left_out(store: Store, tmp_path: Path):
    episode = make_episode("e1")
    here, elsewhere = LabelTarget(episode_id="e1", part="episode"), LabelTarget(episode_id="e2", part="episode")
    made = {"name": "verdict", "value": "good", "annotator": "kim", "at": episode.created_at}
    labels = tuple(
        Label.model_validate({"id": id_, "target": where, **made}) for id_, where in (("a", here), ("b", elsewhere))
    )
    path = tmp_path / "own.jsonl"
    path.write_text(line(Entry(episode, labels), About()) + "\n")
    import_file(path, choose_format(path), store)
    assert [label.id for label in store.labels()] == ["a"]
    assert store.events_since(0, episode_id="e1")[-1].kind == "label_made"
    assert store.episode("e1") == episode
    assert store.episode_rows("label:good").total == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "verdict", "value": "splendid"},
        {
            "name": "rewrite",
            "value": {"words": "x"},
            "target": {"episode_id": "e1", "part": "reflection", "trial": 1},
        },
        {"name": "judgement", "value": {"reason": "no verdict"}},
        {"name": "tags", "value": {"loop": 1}},
        {"name": "note", "value": "x", "annotator": "\x1b[31m"},
        {"name": "verdict", "value": None, "undoes": "mine"},
    ],
)
def test_a_label_that_nobody_could_give_here_is_left_out_and_takes_nothing_back(
    wrong: dict[str, object], store: Store, tmp_path: Path
):
    fill(store, make_episode("e0"))
    on = LabelTarget(episode_id="e0", part="episode")
    mine = Label(id="mine", target=on, name="verdict", value="good", annotator="kim", at=NOW)
    store.append([Event(run_id="labels", seq=1, at=NOW, body=LabelMade(label=mine))])
    given = {"target": {"episode_id": "e1", "part": "episode"}, "annotator": "kim", "at": NOW, "id": "x"}
    old_tag = Label.model_validate({**given, "id": "old", "name": "tags", "value": ["no longer in the set"]})
    path = tmp_path / "own.jsonl"
    labels = (Label.model_validate({**given, **wrong}), old_tag)
    path.write_text(line(Entry(make_episode("e1"), labels), About()) + "\n")
    seen = preview(path, choose_format(path), store.known_episodes)
    assert (seen.labels, list(seen.notes.values())) == (1, [1])
    import_file(path, choose_format(path), store)
    assert [label.id for label in store.current_labels()] == ["mine", "old"]


@pytest.mark.parametrize(
    "beyond",
    [
        lambda row: row.update(seed=10**30),
        lambda row: row["trials"][0]["turns"][1].update(index=10**12),
        lambda row: row.update(created_at="0001-01-01T00:00:00+14:00"),
    ],
)
def test_an_episode_that_does_not_fit_the_store_is_left_out_and_the_others_are_stored(
    beyond: Callable[[dict], None], store: Store, tmp_path: Path
):
    rows = [json.loads(make_episode(id_).model_dump_json()) for id_ in ("e1", "e2", "e3")]
    beyond(rows[1])
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = import_file(path, choose_format(path), store)
    assert (done.stored, list(done.refused.values())) == (2, [1])
    assert set(store.episode_ids()) == {"e1", "e3"}
    assert [run.state for run in store.runs()] == ["finished"]


def test_half_a_character_is_a_dropped_row(store: Store, tmp_path: Path):
    path = tmp_path / "half.jsonl"
    rows = [make_episode(id_).model_dump_json() for id_ in ("e1", "e2")]
    path.write_text(
        rows[0].replace("smollm2", r"\ud800", 1) + "\n" + rows[1].replace("smollm2", r"\ud83d\ude00") + "\n"
    )
    seen = preview(path, choose_format(path), store.known_episodes)
    assert (seen.episodes, seen.dropped) == (1, 1)
    import_file(path, choose_format(path), store)
    assert store.episode("e2").planner == "\U0001f600"


def test_an_upload_is_previewed_then_imported_and_its_file_is_gone_then(client: TestClient, tmp_path: Path):
    data = chats(tmp_path / "some.jsonl", 4).read_bytes()
    made = client.post("/api/v1/imports", params={"name": "../../etc/passwd.jsonl"}, content=data)
    assert made.status_code == 201, made.text
    state = made.json()
    assert (state["preview"]["file"], state["preview"]["episodes"]) == ("passwd.jsonl", 4)
    folder = tmp_path / "home" / "uploads"
    assert [child.name.startswith("upload-") for child in folder.iterdir()] == [True]
    address = f"/api/v1/imports/{state['id']}"
    assert client.post(f"{address}/start").status_code == 202
    for _ in range(1500):
        state = client.get(address).json()
        if state["state"] == "imported" and not list(folder.iterdir()):
            break
        time.sleep(0.02)
    assert (state["state"], state["result"]["stored"]) == ("imported", 4)
    assert list(folder.iterdir()) == []
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404


@pytest.mark.parametrize("content", [b"", b"no rows here", b"\x1f\x8bbroken", b'{"a": 1}\n'])
def test_an_upload_that_is_not_understood_is_refused_and_leaves_nothing(
    client: TestClient, store: Store, tmp_path: Path, content: bytes
):
    answer = client.post("/api/v1/imports", content=content)
    assert answer.status_code == 422
    assert store.last_position() == 0
    assert list((tmp_path / "home" / "uploads").iterdir()) == []


def finished(client: TestClient, address: str) -> dict[str, Any]:
    """The upload once it is imported."""
    client.post(f"{address}/start").raise_for_status()
    for _ in range(1500):
        state = client.get(address).json()
        if state["state"] != "importing":
            return dict(state)
        time.sleep(0.02)
    raise AssertionError("the import does not end")


def chat_rows(count: int, start: int = 0) -> bytes:
    return b"".join(json.dumps({**CHAT, "task_id": f"t{n}"}).encode() + b"\n" for n in range(start, start + count))


ROOMS = [json.dumps({"name": f"env_{n}", "memory": ["Look in the fridge."], "is_success": n == 0}) for n in range(3)]


def test_what_was_previewed_and_left_makes_room_after_an_hour_and_a_new_hub_begins_with_none(
    store: Store, tmp_path: Path
):
    now = [0.0]
    uploads = Uploads(tmp_path / "home", store, lambda: now[0])

    def send() -> ImportState:
        async def body() -> AsyncIterator[bytes]:
            yield json.dumps(CHAT).encode()

        return uploads.look(asyncio.run(uploads.receive("a.jsonl", body())), "a.jsonl", None)

    first, *_ = [send() for _ in range(MOST_WAITING)]
    with pytest.raises(Refused, match="wait already"):
        send()
    now[0] = KEPT_SECONDS + 1
    send()
    with pytest.raises(UnknownName):
        uploads.state(first.id)
    assert len(list((tmp_path / "home/uploads").iterdir())) == 1
    Uploads(tmp_path / "home", store)
    assert not (tmp_path / "home/uploads").exists()


def test_several_files_are_one_import_and_a_bad_one_among_them_is_said_so(client: TestClient, store: Store):
    parts = {"logs/a.jsonl": chat_rows(3), "b.jsonl": chat_rows(3, 2), "../notes.txt": b"no rows here"}
    query = [("name", name) for name in parts] + [("size", len(content)) for content in parts.values()]
    made = client.post("/api/v1/imports", params=query, content=b"".join(parts.values()))
    assert made.status_code == 201, made.text
    seen = made.json()["preview"]
    assert (seen["file"], seen["episodes"], seen["same"], seen["dropped"]) == ("3 files", 6, 1, 1)
    assert [row["excerpt"] for row in seen["first_dropped"]] == ["notes.txt"]
    state = finished(client, f"/api/v1/imports/{made.json()['id']}")
    assert (state["state"], state["result"]["stored"]) == ("imported", 5)
    assert len(store.runs(kinds=("import",))) == 1


@pytest.mark.parametrize("sizes", [(3,), (3, 30), (3, 2), (-1, 7)])
def test_sizes_that_do_not_fit_the_body_are_refused_and_leave_nothing(
    client: TestClient, tmp_path: Path, sizes: tuple[int, ...]
):
    query = [("name", "a.jsonl"), ("name", "b.jsonl"), *(("size", size) for size in sizes)]
    assert client.post("/api/v1/imports", params=query, content=b"{}\n{}\n").status_code == 422
    folder = tmp_path / "home" / "uploads"
    assert not folder.exists() or list(folder.iterdir()) == []


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_of_run_logs_is_read_as_the_folder_that_it_was(client: TestClient, store: Store, tmp_path: Path):
    logs = {f"run/env_results_trial_{n}.json": f"[{', '.join(ROOMS)}]".encode() for n in range(2)}
    path = zipped(tmp_path / "run.zip", {**logs, "../../evil.jsonl": chat_rows(1)})
    made = client.post("/api/v1/imports", params={"name": "run.zip"}, content=path.read_bytes())
    assert made.status_code == 201, made.text
    assert sorted(made.json()["preview"]["environments"].values()) == [1, 3]
    state = finished(client, f"/api/v1/imports/{made.json()['id']}")
    assert state["result"]["stored"] == 4
    assert client.delete(f"/api/v1/imports/{state['id']}").status_code == 204
    assert list((tmp_path / "home" / "uploads").iterdir()) == []
    assert not list(tmp_path.rglob("evil.jsonl"))


def test_a_zip_that_unpacks_to_too_much_or_is_cut_leaves_nothing(client: TestClient, tmp_path: Path):
    whole = zipped(tmp_path / "a.zip", {"a.jsonl": chat_rows(400)}).read_bytes()
    for content in (whole[:-30], whole[:200], zipped(tmp_path / "b.zip", {}).read_bytes()):
        assert client.post("/api/v1/imports", params={"name": "a.zip"}, content=content).status_code == 422
    assert list((tmp_path / "home" / "uploads").iterdir()) == []
    with pytest.raises(BadFile, match="more than"):
        unpack(tmp_path / "a.zip", tmp_path / "unpacked", largest=1000)
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.slow
def test_a_small_zip_of_very_much_is_refused_before_it_fills_the_disk(tmp_path: Path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.jsonl", "w") as file:
        for _ in range(300):
            file.write(bytes(2**20))
    with pytest.raises(BadFile, match="more than an import may be"):
        unpack(bomb, tmp_path / "unpacked")
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.zip"]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a.jsonl", "a.jsonl"),
        ("../../etc/passwd", "etc/passwd"),
        ("/abs/x.json", "abs/x.json"),
        ("C:\\x\\y.json", "C_/x/y.json"),
        ("one/two/three/four/five.json", "two/three/four/five.json"),
        ("..", "file"),
        ("", "file"),
        ("a\x00b\x1b[31m.json", "a_b_31m.json"),
    ],
)
def test_a_name_of_somebody_else_leads_nowhere_but_below_the_folder(tmp_path: Path, name: str, place: str):
    assert place_for(tmp_path, name) == tmp_path / place


def test_two_files_of_one_name_both_have_a_place(tmp_path: Path):
    place_for(tmp_path, "a/x.json").write_text("1")
    assert place_for(tmp_path, "a/x.json") == tmp_path / "a" / "2-x.json"
    assert place_for(tmp_path, "a/x.json/y.json") == tmp_path / "y.json"


def test_the_command_reads_folders_and_zips(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "files"
    folder.mkdir()
    chats(folder / "a.jsonl", 2)
    chats(folder / "b.jsonl", 2, 5)
    packed = zipped(tmp_path / "c.zip", {"c.jsonl": chat_rows(3, 4)})
    code, answer = command(tmp_path / "home", capsys, "import", str(folder), str(packed))
    assert code == 0
    assert [(one["imported"]["stored"], one["imported"]["known"]) for one in answer] == [(4, 0), (1, 2)]


def test_a_missing_file_is_said_so(tmp_path: Path):
    with pytest.raises(BadFile, match="does not exist"):
        choose_format(tmp_path / "none.jsonl")


def command(home: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict]]:
    code = main([*words, "--home", str(home), "--json"])
    lines = capsys.readouterr().out.splitlines()
    return code, [json.loads(text) for text in lines if text.startswith("{")]


def test_the_commands_do_the_whole_way_from_a_file_to_a_dataset_and_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    home, path = tmp_path / "home", chats(tmp_path / "some.jsonl", 3)
    assert command(home, capsys, "import", str(path), "--dry-run")[1][0]["episodes"] == 3
    assert command(home, capsys, "import", str(path))[1][0]["imported"]["stored"] == 3
    with Store.open(home) as store:
        fill(store, make_episode("e1"))
    code, answer = command(home, capsys, "label", "--annotator", "kim", "e1", "verdict", "expert")
    assert (code, answer[0]["is_new"]) == (0, True)
    assert command(home, capsys, "label", "--annotator", "kim", "e1", "verdict", "splendid")[0] == 2
    assert command(home, capsys, "label", "--audit")[1][0]["after"] == "expert"
    _, answer = command(home, capsys, "dataset", "freeze", "first", "--filter", "label:expert", "--share", "0")
    hash_ = answer[0]["hash"]
    assert answer[0]["counts"]["labels"] == 1
    assert command(home, capsys, "lint", "--dataset", hash_)[0] == 0
    assert command(home, capsys, "lint", "--dataset", hash_, "--limit", "9")[0] == 2
    _, answer = command(home, capsys, "lint", "--filter", "label:expert", "--limit", "9")
    assert "too_long" in {finding["kind"] for finding in answer[0]["findings"]}
    out = tmp_path / "out.jsonl"
    assert command(home, capsys, "export", "messages", "--dataset", hash_, "--to", str(out))[0] == 0
    assert {json.loads(text)["dataset_hash"] for text in out.read_text().splitlines()} == {hash_}
    assert command(home, capsys, "label", "--annotator", "kim", "--undo")[0] == 0
    assert command(home, capsys, "label", "--list")[1] == []


# Files at hand: rows, episodes, trials, turns, reflections, dropped.
COUNTS = {
    "alfworld/retroact_sft.jsonl.gz": (607, 607, 754, 8911, 147, 0),
    "alfworld/reflexion_base_run_logs": (623, 89, 233, 0, 102, 0),
    "alfworld/reflexion_reflexion_run_logs": (1335, 89, 207, 0, 118, 0),
    "hotpotqa/reflexion_react_base_5_trials.jsonl.gz": (342, 67, 239, 897, 0, 103),
    "hotpotqa/reflexion_react_reflexion_7_trials.jsonl.gz": (464, 67, 281, 1152, 177, 183),
    "intercode/sql/retroact_sft.jsonl.gz": (626, 626, 692, 3354, 66, 0),
    "intercode/sql/retroact_rl.jsonl.gz": (435, 435, 507, 2555, 72, 0),
    "intercode/sql/results_gpt-4_multiturn.jsonl.gz": (686, 686, 686, 3945, 0, 0),
    "intercode/sql/results_gpt-3.5_react.jsonl.gz": (686, 686, 686, 3657, 0, 0),
    "intercode/bash/results_gpt-4_multiturn.jsonl.gz": (133, 133, 133, 759, 0, 0),
    "intercode/bash/results_gpt-3.5_react.jsonl.gz": (133, 133, 133, 626, 0, 0),
}


@needs_shared
@pytest.mark.parametrize("name", sorted(COUNTS))
def test_every_run_log_at_hand_is_understood_with_these_counts(name: str):
    path = SHARED / name
    seen = preview(path, choose_format(path), lambda ids: set())
    assert (seen.rows, seen.episodes, seen.trials, seen.turns, seen.reflections, seen.dropped) == COUNTS[name]
