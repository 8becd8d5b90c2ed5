"""Killed writers, full and read-only disks, second owners, damaged files, other versions: nothing stored is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_examples import (
    Numbered,
    empty_episode,
    label_made,
    played_episode,
    reflection_written,
    trial_started,
    turn_taken,
)

from data.errors import BadInput, Refused, StorageError
from data.events import EpisodeStarted
from data.journal import Journal
from data.store import Store

REPOSITORY = Path(__file__).resolve().parents[2]
WRITER = """
import sys
sys.path[:0] = sys.argv[2:4]
from pathlib import Path
from store_examples import *
from data.store import Store

with Store.open(Path(sys.argv[1])) as store:
    print("open", flush=True)
    name = sys.argv[4]
    run = Numbered(name)
    bodies = [EpisodeStarted(episode=empty_episode(name, run_id=name)), trial_started(1, name)]
    for index in range(1, 100_000):
        bodies += [turn_taken(1, index, name), label_made(f"{name}-{index}")]
        for body in bodies:
            event = run(body)
            store.append([event])
            print(event.seq, flush=True)
        bodies = []
        if index % 7 == 0:
            store.checkpoint()
"""


def start_writer(home: Path, name: str) -> subprocess.Popen[str]:
    """A process that appends turns and labels for ever, printing each number once it is acknowledged."""
    command = [sys.executable, "-c", WRITER, str(home), str(REPOSITORY), str(REPOSITORY / "tests/data"), name]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "open\n"
    return writer


def killed_writer(home: Path, name: str, acknowledgements: int, seconds: float) -> list[int]:
    """Numbers that a writer had printed when it was killed, `seconds` after so many of them."""
    writer = start_writer(home, name)
    assert writer.stdout is not None
    seen = [int(writer.stdout.readline()) for _ in range(acknowledgements)]
    time.sleep(seconds)
    writer.send_signal(signal.SIGKILL)
    output, _ = writer.communicate()
    return seen + [int(line) for line in output.splitlines() if line]


@pytest.mark.slow
def test_twenty_killed_writers_lose_and_double_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    moments = random.Random(0)
    for kill in range(20):
        name = f"writer-{kill}"
        acknowledged = killed_writer(tmp_path, name, moments.randrange(40), moments.uniform(0, 0.01))
        with Store.open(tmp_path) as store:
            assert store.recovery is None
            stored = [event.seq for event in store.events_since(0, run_id=name, limit=100_000)]
            assert stored == list(range(len(stored)))
            assert len(acknowledged) <= len(stored) <= len(acknowledged) + 1
            if len(stored) > 1:
                turns = store.turns(name, 1)
                assert [turn.index for turn in turns] == list(range(1, (len(stored) - 1) // 2 + 1))
            labels = [label.id for label in store.labels() if label.id.startswith(f"{name}-")]
            assert labels == [f"{name}-{index}" for index in range(1, (len(stored) - 2) // 2 + 1)]


def test_a_second_process_is_refused_with_the_first_ones_pid_even_after_a_snapshot(tmp_path: Path) -> None:
    writer = start_writer(tmp_path, "writer")
    try:
        with pytest.raises(Refused, match=f"PID {writer.pid}") as refusal:
            Store.open(tmp_path)
        assert "\n" not in str(refusal.value)
    finally:
        writer.kill()
        writer.communicate()
    with Store.open(tmp_path) as store:
        store.snapshot(tmp_path / "copy.duckdb")
        (tmp_path / "retro.duckdb").open().close()  # drops DuckDB's own lock of the file, and must not matter
        with pytest.raises(Refused, match=f"PID {os.getpid()}"):
            Store.open(tmp_path)


# Versions -----------------------------------------------------------------------------------------------------------

MIGRATION = "ALTER TABLE episodes ADD COLUMN stars INTEGER; UPDATE episodes SET stars = 3"


def fill(home: Path, labels: int = 1, migrations: tuple[str, ...] = ()) -> None:
    run = Numbered("play")
    with Store.open(home, migrations) as store:
        store.append([run(body) for body in played_episode((0.0, 1.0))])
        store.append([run(label_made(f"label-{index}")) for index in range(labels)])


def test_an_older_store_is_copied_aside_and_brought_up_to_date(tmp_path: Path) -> None:
    fill(tmp_path)
    with Store.open(tmp_path, (MIGRATION,)) as store:
        assert store.episode_rows("outcome:solved").total == 1
        assert len(store.labels()) == 1
    (backup,) = (tmp_path / "backups").iterdir()
    restored = tmp_path / "restored"
    restored.mkdir()
    shutil.copy(backup, restored / "retro.duckdb")
    with Store.open(restored) as store:
        assert store.episode("e1").trials[1].success
    with Store.open(tmp_path, (MIGRATION,)) as store:
        assert store.episode_rows().total == 1
    assert list((tmp_path / "backups").iterdir()) == [backup]


def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    fill(tmp_path)
    Store.open(tmp_path, (MIGRATION,)).close()
    before = (tmp_path / "retro.duckdb").read_bytes()
    with pytest.raises(
        StorageError, match=r"has version 2, and this program knows versions up to 1: update Retro Dash"
    ):
        Store.open(tmp_path)
    assert (tmp_path / "retro.duckdb").read_bytes() == before


def test_a_migration_that_fails_leaves_the_old_store(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(StorageError, match=r"could not be brought from version 1 to 3.*It is unchanged; a copy is"):
        Store.open(tmp_path, (MIGRATION, "ALTER TABLE nowhere ADD COLUMN x INTEGER"))
    with Store.open(tmp_path) as store:
        assert store.episode_rows().total == 1


# Disks --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 MiB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_is_nearly_full_refuses_writes_keeps_reading_and_recovers_by_itself(small_disk: Path) -> None:
    home = small_disk / "home"
    fill(home)
    run = Numbered("more")
    with Store.open(home) as store:
        filler = small_disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 2**20))
        label = run(label_made("late"))
        with pytest.raises(StorageError, match=r"is full .*free some space"):
            store.append([label])
        assert store.read_only_reason is not None
        assert store.episode("e1").trials[1].success
        filler.unlink()
        assert store.append([label]) == 1
        assert store.read_only_reason is None
        assert {found.id for found in store.labels()} == {"label-0", "late"}


def big_batch(run: Numbered, megabytes: int) -> list:
    """Turns of text that does not compress."""
    noise = random.Random(0)
    bodies = [EpisodeStarted(episode=empty_episode("big")), trial_started(1, "big")]
    bodies += [turn_taken(1, index, "big", noise.randbytes(2**19).hex()) for index in range(1, megabytes + 1)]
    return [run(body) for body in bodies]


def test_a_disk_that_fills_up_in_the_middle_of_a_write_loses_nothing_that_was_stored(small_disk: Path) -> None:
    home = small_disk / "home"
    fill(home, labels=5)
    with Store.open(home) as store:
        filler = small_disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 9 * 2**20))
        run = Numbered("big")
        batch = big_batch(run, 30)
        with pytest.raises(StorageError, match=r"is full .*free some space") as refusal:
            store.append(batch)
        assert "\n" not in str(refusal.value)
        assert store.known_episodes(["e1", "big"]) == {"e1"}
        assert len(store.current_labels()) == 1
        assert len(store.labels()) == 5
        filler.unlink()
        assert store.append(batch[:5]) == 5
        assert len(store.turns("big", 1)) == 3
    with Store.open(home) as store:
        assert store.recovery is None
        assert len(store.turns("big", 1)) == 3


def test_a_read_only_disk_is_one_sentence(small_disk: Path) -> None:
    fill(small_disk / "home")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for home in (small_disk / "home", small_disk / "new"):
        with pytest.raises(
            StorageError, match=r"cannot be opened \(Read-only file system\): make the folder writable"
        ):
            Store.open(home)


def test_a_home_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(StorageError, match=r"cannot be opened \((File exists|Not a directory)\)"):
        Store.open(tmp_path / "home")


# Damage -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A home whose writer was killed, with a log that was not yet moved into the database."""
    home = tmp_path_factory.mktemp("left") / "home"
    acknowledged = killed_writer(home, "writer", 2 + 2 * 20, 0)  # six turns and labels after its last checkpoint
    assert (home / "retro.duckdb.wal").stat().st_size > 4000
    return home, acknowledged


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_log_loses_no_label(left_behind: tuple[Path, list[int]], tmp_path: Path, damage: str) -> None:
    source, acknowledged = left_behind
    size = (source / "retro.duckdb.wal").stat().st_size
    labels = max(0, (len(acknowledged) - 2) // 2)
    recovered = 0
    for position in range(0, size, max(512, size // 25)):
        home = tmp_path / f"{position}"
        shutil.copytree(source, home)
        log = bytearray((home / "retro.duckdb.wal").read_bytes())
        if damage == "cut":
            del log[position:]
        else:
            log[position] ^= 0x10
        (home / "retro.duckdb.wal").write_bytes(log)
        with Store.open(home) as store:
            assert len(store.labels()) >= labels, position
            if store.recovery is not None:
                recovered += 1
                kept = store.recovery.quarantine / "retro.duckdb.wal"
                assert kept.read_bytes() == log
                assert "back from the journal" in str(store.recovery)
        with Store.open(home) as store:
            assert store.recovery is None
        shutil.rmtree(home)
    assert recovered > 5 or damage == "cut"


def test_a_log_with_a_bad_entry_is_used_up_to_it(left_behind: tuple[Path, list[int]], tmp_path: Path) -> None:
    source, _ = left_behind
    home = tmp_path / "home"
    shutil.copytree(source, home)
    log = bytearray((home / "retro.duckdb.wal").read_bytes())
    log[len(log) * 3 // 4] ^= 0x10
    (home / "retro.duckdb.wal").write_bytes(log)
    with Store.open(home) as store:
        assert store.recovery is not None
        assert "the first" in store.recovery.restored_from
        labels, turns = len(store.labels()), len(store.turns("writer", 1))
        assert labels // 2 < turns <= labels + 1


@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_a_log_that_the_database_already_holds_is_set_aside(tmp_path: Path, share: float) -> None:
    """What a crash between the end of a checkpoint and the removal of its log leaves behind."""
    run = Numbered("play")
    with Store.open(tmp_path) as store:
        for body in [*played_episode((0.0, 1.0)), label_made("l1"), label_made("l2")]:
            store.append([run(body)])
        log = (tmp_path / "retro.duckdb.wal").read_bytes()
    (tmp_path / "retro.duckdb.wal").write_bytes(log[: int(share * len(log))])
    with Store.open(tmp_path) as store:
        assert store.recovery is not None
        assert store.recovery.restored_from == "the database without its log"
        assert [label.id for label in store.labels()] == ["l1", "l2"]
        assert store.episode("e1").trials[1].success
        assert store.last_seq("play") == 10


def test_a_database_that_is_no_database_is_restored_from_the_newest_backup(tmp_path: Path) -> None:
    run = Numbered("play")
    with Store.open(tmp_path) as store:
        store.append([run(body) for body in played_episode((0.0, 1.0))])
        store.append([run(label_made("before"))])
        store.snapshot(tmp_path / "backups/daily.duckdb")
        store.append([run(label_made("after"))])
    (tmp_path / "retro.duckdb").write_bytes(b"not a database" * 2000)
    with Store.open(tmp_path) as store:
        assert store.recovery is not None
        assert store.recovery.restored_from == "the backup daily.duckdb"
        assert store.recovery.labels_replayed == 1
        assert store.episode_rows("outcome:solved").total == 1
        assert [label.id for label in store.labels()] == ["before", "after"]


def test_labels_are_rebuilt_from_the_journal_alone(tmp_path: Path) -> None:
    fill(tmp_path, labels=30)
    (tmp_path / "retro.duckdb").unlink()
    with Store.open(tmp_path) as store:
        assert len(store.labels()) == 30
        assert len(store.current_labels()) == 1


def test_a_torn_or_foreign_journal_line_stops_nothing(tmp_path: Path) -> None:
    fill(tmp_path, labels=3)
    journal = tmp_path / "journal/labels.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + b"\xff\x00 not json\n" + lines[1] + lines[2][:20])
    (tmp_path / "retro.duckdb").unlink()
    run = Numbered("later")
    with Store.open(tmp_path) as store:
        assert [label.id for label in store.labels()] == ["label-0", "label-1"]
        store.append([run(label_made("next"))])
    (tmp_path / "retro.duckdb").unlink()
    with Store.open(tmp_path) as store:
        assert [label.id for label in store.labels()] == ["label-0", "label-1", "next"]


def test_a_label_is_in_the_journal_when_append_returns_and_not_when_it_was_refused(tmp_path: Path) -> None:
    run = Numbered("labels")
    with Store.open(tmp_path) as store:
        store.append([run(label_made("kept"))])
        with pytest.raises(BadInput):
            store.append([run(label_made("refused")), run(turn_taken(1, 1, "nowhere"))])
        lines = (tmp_path / "journal/labels.jsonl").read_text().splitlines()
    assert [json.loads(line)["body"]["label"]["id"] for line in lines] == ["kept"]


def test_a_label_that_the_journal_cannot_take_is_not_stored(tmp_path: Path) -> None:
    run = Numbered("labels")
    with Store.open(tmp_path) as store:
        (tmp_path / "journal/labels.jsonl").mkdir(parents=True)
        label = run(label_made("late"))
        with pytest.raises(StorageError, match="did not take the write"):
            store.append([label])
        assert store.labels() == ()
        (tmp_path / "journal/labels.jsonl").rmdir()
        assert store.append([label]) == 1


def test_what_the_database_refused_is_cut_from_the_journal_again(tmp_path: Path) -> None:
    run = Numbered("labels")
    journal = Journal(tmp_path / "journal/labels.jsonl")
    kept = run(label_made("kept"))
    journal.write([kept])
    journal.cut(journal.write([run(label_made("refused"))]))
    assert journal.read().events == (kept,)


def test_a_snapshot_is_a_whole_store(tmp_path: Path) -> None:
    fill(tmp_path / "home")
    copy = tmp_path / "copy/retro.duckdb"
    with Store.open(tmp_path / "home") as store:
        episode = store.episode("e1", with_tokens=True)
        assert store.snapshot(copy) == copy
        with pytest.raises(BadInput, match="already exists"):
            store.snapshot(copy)
    with Store.open(copy.parent) as store:
        assert store.episode("e1", with_tokens=True) == episode
        assert len(store.current_labels("e1")) == 1
        store.append([Numbered("again")(reflection_written(2))])
        with pytest.raises(BadInput, match="There is already an episode called 'e1'"):
            store.append([Numbered("other")(EpisodeStarted(episode=empty_episode()))])
