"""A hub whose disk fills up or turns read-only under it, and a second hub on its home: nothing stored is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hub_process import ROOT, Hub, settled, turns_of

from retro_dash.service import bundled_tasks

LONG_TASK = next(task for task in bundled_tasks("alfworld", "valid") if "large" in task.id)


@pytest.fixture
def start_hub() -> Iterator[type[Hub]]:
    """Makes hubs and kills the ones that are left."""
    made: list[Hub] = []

    class Kept(Hub):
        def __init__(self, home: Path) -> None:
            super().__init__(home)
            made.append(self)

    yield Kept
    for hub in made:
        hub.clear()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 60 MiB in memory."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


class FailingDisk:
    """An ext4 file system in a file. Like a real one with a bad sector, it turns read-only when told of an error."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.image = folder / "failing", folder / "image"
        self.folder.mkdir()
        with self.image.open("wb") as file:
            file.truncate(60 * 2**20)
        self._do("mkfs.ext4", "-q", "-O", "^has_journal", self.image)
        self.mount()

    def mount(self) -> None:
        self._do("mount", "-o", "loop,errors=remount-ro", self.image, self.folder)

    def fail(self) -> None:
        device = os.stat(self.folder).st_dev
        name = os.path.basename(os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("as if a sector were bad")

    def unmount(self) -> None:
        self._do("umount", "-l", self.folder)

    def _do(self, *command: str | Path) -> None:
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip(f"there is no {command[0]} here")
        if done.returncode:
            pytest.skip(f"a disk that fails cannot be made here: {done.stderr.strip()}")


@pytest.fixture
def failing_disk(tmp_path: Path) -> Iterator[FailingDisk]:
    disk = FailingDisk(tmp_path)
    yield disk
    disk.unmount()


def retro_dash(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "retro_dash.cli", words[0], "--home", str(home), *words[1:]]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def begin(client: httpx.Client) -> str:
    """A live episode that runs by itself, with a few turns behind it."""
    body = {"env": "alfworld", "task_id": LONG_TASK.id, "planner": "expert", "trial_limit": 3}
    episode_id = str(client.post("/live", json=body).raise_for_status().json()["episode_id"])
    client.post(f"/live/{episode_id}/run_episode").raise_for_status()
    while len(turns_of(client, episode_id)) < 4:
        time.sleep(0.05)
    return episode_id


def refusals(client: httpx.Client, episode_id: str) -> list[str]:
    """What the hub says to everybody who wants something stored: one sentence each, as a problem document."""
    label = {"id": "l1", "target": {"episode_id": episode_id, "part": "episode"}, "name": "verdict", "value": "good"}
    bodies = [
        ("/live", {"env": "alfworld", "task_id": LONG_TASK.id}),
        ("/labels", {"labels": [{**label, "annotator": "kim"}]}),
        (f"/live/{episode_id}/fork", {"trial": 1, "turn": 2}),
    ]
    answers = [client.post(path, json=body) for path, body in bodies]
    assert {answer.status_code for answer in answers} == {507}
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    return [str(answer.json()["detail"]) for answer in answers]


@pytest.mark.slow
def test_a_disk_that_fills_up_under_an_episode_stops_it_with_a_sentence_and_it_goes_on_when_there_is_room(
    start_hub: type[Hub], small_disk: Path
) -> None:
    hub = start_hub(small_disk / "home")
    hub.start()
    client = hub.api()
    episode_id = begin(client)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 2**20))
    state = settled(client, episode_id)
    assert state["phase"] != "finished"
    assert f"The disk of {hub.home} is full" in state["error"]
    assert "free some space" in state["error"]
    assert "\n" not in state["error"]
    before = turns_of(client, episode_id)
    assert len(before) >= 4
    assert all("is full" in detail for detail in refusals(client, episode_id))
    assert "is full" in client.get("/status").json()["storage"]["read_only"]
    listed = client.get("/episodes").raise_for_status().json()
    assert listed["rows"][0]["id"] == episode_id
    client.post(f"/live/{episode_id}/step").raise_for_status()
    assert "is full" in settled(client, episode_id)["error"]
    assert turns_of(client, episode_id) == before

    filler.unlink()
    client.post(f"/live/{episode_id}/run_episode").raise_for_status()
    state = settled(client, episode_id)
    assert (state["phase"], state["error"]) == ("finished", None)
    after = turns_of(client, episode_id)
    assert {key: after[key] for key in before} == before
    assert client.get("/status").json()["storage"]["read_only"] is None
    assert hub.end() == 0
    hub.start()
    assert turns_of(hub.api(), episode_id) == after


@pytest.mark.slow
def test_on_a_full_disk_a_command_that_stores_is_refused_and_one_that_reads_answers(small_disk: Path) -> None:
    home, words = small_disk / "home", ("play", "--env", "alfworld", "--count", "1", "--json")
    played = retro_dash(home, *words)
    assert played.returncode == 0, played.stderr
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 2**20))
    refused = retro_dash(home, *words)
    assert refused.returncode == 7
    (line,) = refused.stderr.strip().splitlines()
    assert f"The disk of {home} is full" in line
    listed = retro_dash(home, "episodes", "--json")
    assert listed.returncode == 0, listed.stderr
    assert json.loads(played.stdout)["episode_id"] in listed.stdout


@pytest.mark.slow
def test_a_disk_that_turns_read_only_under_an_episode_stops_it_with_a_sentence_and_loses_nothing(
    start_hub: type[Hub], failing_disk: FailingDisk
) -> None:
    hub = start_hub(failing_disk.folder / "home")
    hub.start()
    client = hub.api()
    episode_id = begin(client)
    failing_disk.fail()
    state = settled(client, episode_id)
    assert f"The disk of {hub.home} is read-only" in state["error"]
    assert "make it writable" in state["error"]
    before = turns_of(client, episode_id)
    assert all("is read-only" in detail for detail in refusals(client, episode_id))
    assert "is read-only" in client.get("/status").json()["storage"]["read_only"]
    assert client.get(f"/episodes/{episode_id}").raise_for_status().json()["turn_counts"]
    assert hub.end() == 0
    again = retro_dash(hub.home, "web", "--port", "0", "--engine", "none")
    assert again.returncode == 7
    assert again.stderr.strip().count("\n") == 0
    assert "Read-only file system" in again.stderr

    failing_disk.unmount()
    failing_disk.mount()
    hub.start()
    client = hub.api()
    after = turns_of(client, episode_id)
    assert {key: after.get(key) for key in before} == before
    client.post(f"/live/{episode_id}/run_episode").raise_for_status()
    assert settled(client, episode_id)["phase"] == "finished"


@pytest.mark.slow
def test_a_second_hub_on_the_same_home_says_where_the_first_one_is_and_leaves_it_alone(
    start_hub: type[Hub], tmp_path: Path
) -> None:
    hub = start_hub(tmp_path)
    hub.start()
    client = hub.api()
    episode_id = begin(client)
    assert hub.process is not None
    second = retro_dash(tmp_path, "web", "--port", "0", "--engine", "none")
    assert second.returncode == 3
    (line,) = second.stderr.strip().splitlines()
    assert f"already runs on {tmp_path} (process {hub.process.pid})" in line
    assert f"{str(client.base_url).removesuffix('/api/v1/')}/?token=" in line
    assert settled(client, episode_id)["phase"] == "finished"
