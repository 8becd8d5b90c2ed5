"""What a client of a hub asks about labels, tags, agreement and datasets; a part of `retro_dash.client.HubClient`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue

from data.types import DatasetVersion, Label
from retro_dash.wire import Wire, part

READING_SECONDS = 600.0
"""Freezing reads every chosen episode with its tokens."""


class CurationCalls:
    """Over one line to a hub."""

    wire: Wire

    # Labels

    def label(self, requests: Sequence[dict[str, JsonValue]]) -> list[dict[str, Any]]:
        """Store statements as in `retro_dash.labels.LabelRequest`; sending the same ids again is harmless."""
        return list(self.wire.json("POST", "/labels", json={"labels": list(requests)}))

    def labels(
        self, episode_id: str | None = None, annotator: str | None = None, history: bool = False
    ) -> list[Label]:
        """Labels that stand, oldest first; with `history` every one that was ever made."""
        wanted = {"episode": episode_id, "annotator": annotator, "history": history or None}
        return [Label.model_validate(label) for label in self.wire.items("/labels", wanted)]

    def step_label(self, verb: Literal["undo", "redo"], annotator: str, id_: str) -> Label:
        """Take back the annotator's last statement, or put it back; `id_` is the id of the label that says so."""
        answer = self.wire.object("POST", f"/labels/{verb}", json={"annotator": annotator, "id": id_})
        return Label.model_validate(answer["label"])

    def tagset(self) -> dict[str, Any]:
        """`version`, and `tags` with `name`, `meaning` and `key` of each."""
        return self.wire.object("GET", "/tagset")

    def replace_tagset(self, version: int, tags: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """Make these the tags of the next version. Raises Refused when `version` is no longer the newest."""
        return self.wire.object("PUT", "/tagset", json={"version": version, "tags": list(tags)})

    def label_queue(
        self,
        annotator: str,
        filter_text: str = "",
        order: str = "shuffle",
        limit: int = 1,
        skip: Sequence[str] = (),
    ) -> dict[str, Any]:
        """The annotator's next episodes, none of `skip`, and the progress: `retro_dash.queues.QueuePage`."""
        params = {"annotator": annotator, "filter": filter_text, "order": order, "limit": limit, "skip": list(skip)}
        return self.wire.object("GET", "/queue", params=params)

    def agreement(self, name: str = "verdict") -> dict[str, Any]:
        """How far annotators agree on a label, and where they do not: `retro_dash.agreement.Agreement`."""
        return self.wire.object("GET", "/agreement", params={"name": name})

    def judges(self) -> list[dict[str, Any]]:
        """Language models as judges against people: `retro_dash.agreement.JudgeAgreement`."""
        return list(self.wire.json("GET", "/agreement/judges"))

    def votes(self) -> dict[str, Any]:
        """Blind votes against what came of the reflections: `retro_dash.agreement.VoteComparison`."""
        return self.wire.object("GET", "/agreement/votes")

    def blind_pair(self, annotator: str, filter_text: str = "") -> dict[str, Any] | None:
        """Two reflections to compare, as in `retro_dash.pairs.BlindPair`; None when none is left."""
        params = {"annotator": annotator, "filter": filter_text}
        pair: dict[str, Any] | None = self.wire.json("GET", "/agreement/pair", params=params)
        return pair

    # Datasets

    def datasets(self) -> list[DatasetVersion]:
        """Every frozen version."""
        return [DatasetVersion.model_validate(version) for version in self.wire.json("GET", "/datasets")]

    def dataset(self, hash_: str) -> dict[str, Any]:
        """A version with its lint and its card: `retro_dash.datasets.DatasetDetails`."""
        return self.wire.object("GET", f"/datasets/{part(hash_)}")

    def dataset_diff(self, old: str, new: str) -> dict[str, Any]:
        """What the second version has more, less or different: `retro_dash.datasets.DatasetDiff`."""
        return self.wire.object("GET", f"/datasets/{part(old)}/diff/{part(new)}")

    def evaluators(self) -> list[str]:
        """What can keep episodes out of a version."""
        return [str(one) for one in self.wire.json("GET", "/datasets/evaluators")]

    def check_dataset(self, request: dict[str, JsonValue]) -> dict[str, Any]:
        """Lint what would be frozen; `request` as in `retro_dash.datasets.DatasetRequest`."""
        return self.wire.object("POST", "/datasets/check", json=request, timeout=READING_SECONDS)

    def freeze(self, request: dict[str, JsonValue]) -> DatasetVersion:
        """Freeze a filter with the labels as they stand now; the same content again is the same version."""
        answer = self.wire.object("POST", "/datasets", json=request, timeout=READING_SECONDS)
        return DatasetVersion.model_validate(answer)

    # Files of other programs

    def import_formats(self) -> dict[str, str]:
        """What can be read: title by name."""
        formats: dict[str, str] = self.wire.json("GET", "/formats")["import"]
        return formats

    def upload(self, path: Path, format_: str = "") -> dict[str, Any]:
        """Send a file or folder of this machine and say what is understood; `start_import` stores it.

        Returns `retro_dash.uploads.ImportState`. Raises BadFile for what cannot be read, here or there.
        """
        from retro_dash.packing import packed  # It knows the formats, which a client that sends nothing does without.

        with packed(path) as parcel:
            params = {"name": parcel.name, **({"format": format_} if format_ else {})}
            return self.wire.object(
                "POST", "/imports", params=params, content=parcel.pieces(), timeout=READING_SECONDS
            )

    def start_import(self, id_: str) -> dict[str, Any]:
        return self.wire.object("POST", f"/imports/{part(id_)}/start")

    def import_state(self, id_: str) -> dict[str, Any]:
        return self.wire.object("GET", f"/imports/{part(id_)}")

    def forget_import(self, id_: str) -> None:
        """Give up what was sent. Raises Refused while it is being imported."""
        self.wire.delete(f"/imports/{part(id_)}")
