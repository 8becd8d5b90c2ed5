"""The commands of curation on a running hub do what they do on the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from curation_examples import fill, make_episode, target
from fastapi import FastAPI
from fastapi.testclient import TestClient

from data.errors import Refused, UnknownName
from data.store import Store
from retro_dash.api import add_api
from retro_dash.client import HubClient
from retro_dash.commands.curator import LocalCurator, RemoteCurator
from retro_dash.curation import Curation
from retro_dash.datasets import DatasetRequest, Split
from retro_dash.exporting import HF_FILES
from retro_dash.importing import choose_format, import_file
from retro_dash.labels import LabelRequest
from retro_dash.service import Service
from retro_dash.settings import Settings


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    store = Store.open(tmp_path / "home")
    fill(store, make_episode("e1"), make_episode("e2", (0.0, 0.0)))
    service = Service(Settings(home=tmp_path / "home"), store)
    yield service
    service.close()


@pytest.fixture
def hub(service: Service) -> RemoteCurator:
    """The real client on the real application, without a socket between them."""
    app = FastAPI()
    add_api(app, service)
    hub = HubClient("http://testserver", "token")
    hub.wire.http = TestClient(app, base_url="http://testserver/api/v1")
    return RemoteCurator(hub)


def verdict(value: str = "good", id_: str = "l1") -> LabelRequest:
    return LabelRequest(id=id_, target=target(), name="verdict", value=value, annotator="kim")


def test_labels_datasets_and_reports_are_the_same_on_the_hub_as_on_the_store(hub: RemoteCurator, service: Service):
    local = LocalCurator(Curation(service.settings.home, service.store))
    assert hub.send_labels([verdict()])[0].is_new
    assert hub.find_labels("e1", "kim", None) == local.find_labels("e1", "kim", None) != []
    assert hub.audit(None, None, 10) == local.audit(None, None, 10)
    request = DatasetRequest(name="first", split=Split(share=0))
    hash_ = hub.freeze(request).hash
    assert hub.datasets() == local.datasets()
    assert hub.details(hash_) == local.details(hash_)
    assert hub.check(request) == local.check(request)
    assert hub.training_episodes(hash_) == local.training_episodes(hash_)
    assert hub.step("undo", "kim", "u1").label.undoes == "l1"
    other = hub.freeze(request).hash
    assert hub.diff(hash_, other) == local.diff(hash_, other)
    assert hub.diff(hash_, other).changed == ("e1",)


def test_refusals_of_the_hub_are_the_same_errors(hub: RemoteCurator):
    hub.send_labels([verdict()])
    with pytest.raises(Refused, match="used for another"):
        hub.send_labels([verdict("bad")])
    with pytest.raises(UnknownName, match="no dataset"):
        hub.details("zzz")


def test_an_import_through_the_hub_asks_it_what_it_knows(hub: RemoteCurator, service: Service, tmp_path: Path):
    path = tmp_path / "chats.jsonl"
    chat = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    path.write_text(json.dumps(chat))
    assert import_file(path, choose_format(path), hub).stored == 1
    assert import_file(path, choose_format(path), hub).stored == 0
    assert service.store.episode_rows("source:messages").total == 1


@pytest.mark.parametrize("format_", ["episodes", "csv", "hf"])
def test_an_export_through_the_hub_is_the_same_file(
    hub: RemoteCurator, service: Service, tmp_path: Path, format_: str
):
    here, there = tmp_path / "here", tmp_path / "there"
    LocalCurator(Curation(service.settings.home, service.store)).export(format_, "", None, here)
    hub.export(format_, "", None, there)
    names = HF_FILES if format_ == "hf" else [""]
    assert [(here / name).read_bytes() for name in names] == [(there / name).read_bytes() for name in names]


def test_a_run_on_a_dataset_knows_its_hash_and_gets_the_labels_applied(hub: RemoteCurator, service: Service):
    rewrite = LabelRequest(
        id="r", target=target("e2", "turn", 1, 2), name="rewrite", value={"action": "look"}, annotator="kim"
    )
    hub.send_labels([rewrite])
    hash_ = hub.freeze(DatasetRequest(name="first", split=Split(share=0))).hash
    lines = list(service.run_dataset("train", {}, "", None, None, 0, hash_[:8]))
    assert [json.loads(line)["id"] for line in lines] == ["e1", "e2", "e2/turn-1-2-rewrite"]


def test_whole_episodes_may_hold_every_kind_of_line_break(hub: RemoteCurator, service: Service):
    odd = make_episode("odd", (0.0,), ("a\u2028b", "c\x85d\u2029\x0b"))
    fill(service.store, odd)
    assert list(hub.whole_episodes("id:odd")) == [odd]
