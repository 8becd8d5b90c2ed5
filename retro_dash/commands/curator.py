"""One way to curate for the commands: through the hub of the home when one runs, else its store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from zipfile import ZipFile

from pydantic import BaseModel

from data.errors import BadInput
from data.events import Event
from data.lint import LintReport
from data.store import Store
from data.types import DatasetVersion, Episode, Label
from retro_dash.address import find_hub
from retro_dash.agreement import Agreement, JudgeAgreement, agreement, judge_agreement
from retro_dash.client import HubClient
from retro_dash.curation import Curation
from retro_dash.datasets import DatasetDetails, DatasetDiff, DatasetRequest
from retro_dash.exporting import HF_FILES, export
from retro_dash.labelling import StoredLabel
from retro_dash.labels import Change, LabelRequest
from retro_dash.settings import Settings
from retro_dash.wire import part

PATIENCE_SECONDS = 900.0
"""Freezing and exporting a large store takes its time."""


class Curator(Protocol):
    """What the commands of curation need."""

    def append(self, events: Sequence[Event]) -> int: ...

    def known_episodes(self, ids: Sequence[str]) -> set[str]: ...

    def send_labels(self, requests: Sequence[LabelRequest]) -> list[StoredLabel]: ...

    def find_labels(self, episode_id: str | None, annotator: str | None, name: str | None) -> list[Label]: ...

    def audit(self, episode_id: str | None, annotator: str | None, limit: int) -> list[Change]: ...

    def step(self, verb: str, annotator: str, id_: str) -> StoredLabel: ...

    def agreement(self, name: str) -> Agreement: ...

    def judge_agreement(self) -> Sequence[JudgeAgreement]: ...

    def whole_episodes(self, filter_text: str = "") -> Iterator[Episode]: ...

    def datasets(self) -> list[DatasetVersion]: ...

    def freeze(self, request: DatasetRequest) -> DatasetVersion: ...

    def check(self, request: DatasetRequest) -> LintReport: ...

    def details(self, hash_: str) -> DatasetDetails: ...

    def diff(self, old: str, new: str) -> DatasetDiff: ...

    def export(self, format_: str, filter_text: str, dataset: str | None, path: Path) -> int | None: ...

    def training_episodes(self, hash_: str) -> list[Episode]: ...


@contextmanager
def open_curator(settings: Settings) -> Iterator[Curator]:
    """The curator of the home."""
    address = find_hub(settings.home)
    if address is not None:
        with HubClient.at(address, timeout=PATIENCE_SECONDS) as hub:
            yield RemoteCurator(hub)
        return
    with Store.open(settings.home) as store:
        yield LocalCurator(Curation(settings.home, store))


class LocalCurator:
    """On the store itself."""

    def __init__(self, curation: Curation) -> None:
        self._curation = curation
        self.append, self.known_episodes = curation.store.append, curation.store.known_episodes
        self.send_labels = curation.label
        self.freeze, self.check = curation.datasets.freeze, curation.datasets.check
        self.details, self.diff = curation.datasets.details, curation.datasets.diff
        self.training_episodes = curation.datasets.training_episodes

    def find_labels(self, episode_id: str | None, annotator: str | None, name: str | None) -> list[Label]:
        return list(self._curation.labels(episode_id, annotator, name))

    def audit(self, episode_id: str | None, annotator: str | None, limit: int) -> list[Change]:
        return self._curation.audit(episode_id, annotator, limit)

    def step(self, verb: str, annotator: str, id_: str) -> StoredLabel:
        return (self._curation.labelling.undo if verb == "undo" else self._curation.labelling.redo)(annotator, id_)

    def agreement(self, name: str) -> Agreement:
        return agreement(self._curation.labels(), name)

    def judge_agreement(self) -> Sequence[JudgeAgreement]:
        return judge_agreement(self._curation.labels())

    def whole_episodes(self, filter_text: str = "") -> Iterator[Episode]:
        return (self._curation.store.episode(id_) for id_ in self._curation.store.episode_ids(filter_text))

    def datasets(self) -> list[DatasetVersion]:
        return list(self._curation.store.datasets())

    def export(self, format_: str, filter_text: str, dataset: str | None, path: Path) -> int | None:
        entries, about = self._curation.chosen(filter_text, dataset)
        return export(format_, entries, path, about).rows


class RemoteCurator:
    """On a running hub."""

    def __init__(self, hub: HubClient) -> None:
        self._wire = hub.wire
        self.append, self.whole_episodes, self.datasets = hub.append, hub.whole_episodes, hub.datasets

    def known_episodes(self, ids: Sequence[str]) -> set[str]:
        return set(self._wire.json("POST", "/episodes/known", json={"ids": list(ids)}))

    def send_labels(self, requests: Sequence[LabelRequest]) -> list[StoredLabel]:
        body = {"labels": [request.model_dump(mode="json", exclude_unset=True) for request in requests]}
        return [StoredLabel.model_validate(stored) for stored in self._wire.json("POST", "/labels", json=body)]

    def find_labels(self, episode_id: str | None, annotator: str | None, name: str | None) -> list[Label]:
        query = {"episode": episode_id, "annotator": annotator, "name": name}
        return [Label.model_validate(label) for label in self._wire.items("/labels", query)]

    def audit(self, episode_id: str | None, annotator: str | None, limit: int) -> list[Change]:
        query = _given({"episode": episode_id, "annotator": annotator, "limit": limit})
        return [Change.model_validate(change) for change in self._wire.json("GET", "/labels/audit", params=query)]

    def step(self, verb: str, annotator: str, id_: str) -> StoredLabel:
        body = {"annotator": annotator, "id": id_}
        return StoredLabel.model_validate(self._wire.json("POST", f"/labels/{verb}", json=body))

    def agreement(self, name: str) -> Agreement:
        return Agreement.model_validate(self._wire.json("GET", "/agreement", params={"name": name}))

    def judge_agreement(self) -> Sequence[JudgeAgreement]:
        return [JudgeAgreement.model_validate(one) for one in self._wire.json("GET", "/agreement/judges")]

    def freeze(self, request: DatasetRequest) -> DatasetVersion:
        return DatasetVersion.model_validate(self._wire.json("POST", "/datasets", json=_body(request)))

    def check(self, request: DatasetRequest) -> LintReport:
        return LintReport.model_validate(self._wire.json("POST", "/datasets/check", json=_body(request)))

    def details(self, hash_: str) -> DatasetDetails:
        return DatasetDetails.model_validate(self._wire.json("GET", f"/datasets/{part(hash_)}"))

    def diff(self, old: str, new: str) -> DatasetDiff:
        return DatasetDiff.model_validate(self._wire.json("GET", f"/datasets/{part(old)}/diff/{part(new)}"))

    def export(self, format_: str, filter_text: str, dataset: str | None, path: Path) -> int | None:
        """The hub does not say how many rows it wrote."""
        if path.exists():
            raise BadInput(f"{path} already exists: name a new file.")
        query = _given({"filter": filter_text, "dataset": dataset})
        made = path.with_name(f".{path.name}.part")
        with self._wire.download(f"/exports/{part(format_)}", params=query) as pieces, made.open("wb") as file:
            file.writelines(pieces)
        if format_ == "hf":  # A folder travels zipped; only the files that it has are taken out.
            packed = made.rename(path.with_name(f".{path.name}.zip"))
            made.mkdir()
            with ZipFile(packed) as archive:
                for name in HF_FILES:
                    (made / name).write_bytes(archive.read(name))
            packed.unlink()
        made.rename(path)
        return None

    def training_episodes(self, hash_: str) -> list[Episode]:
        lines = self._wire.json("GET", f"/datasets/{part(hash_)}/training")
        return [Episode.model_validate(episode) for episode in lines]


def _given(query: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in query.items() if value is not None}


def _body(request: BaseModel) -> dict[str, Any]:
    return request.model_dump(mode="json")
