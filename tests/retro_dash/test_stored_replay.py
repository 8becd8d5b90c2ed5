"""An episode of another machine is played again where its options say, or the report says what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.store import Store
from envs import environment_kind
from retro_dash.cli import main
from retro_dash.importing import choose_format, import_file
from retro_dash.service import Service
from retro_dash.settings import Settings

BASH = environment_kind("intercode_bash")


@pytest.mark.skipif(not BASH.check().works, reason=BASH.check().detail)
def test_an_imported_episode_replays_on_the_trees_that_it_names_and_says_when_they_are_gone(tmp_path: Path) -> None:
    trees, tasks, shared = tmp_path / "trees", tmp_path / "tasks.json", tmp_path / "shared.jsonl"
    trees.mkdir()
    entry = {"path": "/den/a.txt", "type": "file", "text": "one\n"}
    (trees / "den.json").write_text(json.dumps({"entries": [entry]}))
    tasks.write_text(json.dumps([{"query": "How many lines?", "gold": "wc -l /den/a.txt", "tree": "den"}]))
    play = ["play", "--home", str(tmp_path / "there"), "--engine", "none", "--env", BASH.name]
    assert main([*play, "--tasks", str(tasks), "--trees", str(trees), "--trials", "1"]) == 0
    with Store.open(tmp_path / "there") as store:
        episode = store.episode(store.episode_ids("")[0], with_tokens=True)
    shared.write_text(episode.model_dump_json() + "\n")
    service = Service(Settings(home=tmp_path / "here"), Store.open(tmp_path / "here"))
    try:
        import_file(shared, choose_format(shared), service.store)
        report = service.replay(episode.id)
        assert report.is_reproducible, report.summary
        trees.rename(tmp_path / "gone")
        report = service.replay(episode.id)
        assert (report.compared, report.is_reproducible) == (0, False)
        assert "it must be a folder with NAME.json file trees" in report.summary
    finally:
        service.close()
