"""What annotators do over one store, in one place. The hub holds one `Curation`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from data.errors import BadInput
from data.formats.entry import About, Entry
from data.store import Store
from data.types import Label
from retro_dash.agreement import VoteComparison, compare_votes
from retro_dash.datasets import Datasets
from retro_dash.labelling import Labelling, StoredLabel
from retro_dash.labels import Change, LabelRequest, audit, check_annotator
from retro_dash.pairs import BlindPair, blind_pair
from retro_dash.queues import Queues
from retro_dash.tagset import TagSets
from retro_dash.uploads import Uploads


class Curation:
    """Everything that annotators do. All methods may be called from any thread."""

    def __init__(self, home: Path, store: Store) -> None:
        self.store = store
        self.tagsets = TagSets(home / "curation")
        self.labelling = Labelling(store, self.tagsets)
        self.queues = Queues(store)
        self.datasets = Datasets(home, store, self.tagsets)
        self.uploads = Uploads(home, store)

    def label(self, requests: Sequence[LabelRequest]) -> list[StoredLabel]:
        """Store all statements or none; see `Labelling.label`."""
        return self.labelling.label(requests)

    def labels(
        self,
        episode_id: str | None = None,
        annotator: str | None = None,
        name: str | None = None,
        is_standing: bool = True,
        after: str | None = None,
        limit: int | None = None,
    ) -> tuple[Label, ...]:
        """Labels that stand, or all that were ever made, oldest first, from the one behind the label `after` on."""
        conditions = {key: value for key, value in (("annotator", annotator), ("name", name)) if value is not None}
        read = self.store.current_labels if is_standing else self.store.labels
        return read(episode_id, after=after, limit=limit, **conditions)

    def audit(
        self,
        episode_id: str | None = None,
        annotator: str | None = None,
        limit: int = 200,
        before: str | None = None,
    ) -> list[Change]:
        """The newest `limit` changes, newest first: who, when, before, after. `before`: those older than this label.

        Raises BadInput when there is no such label.
        """
        changes = audit(self.labels(episode_id, annotator, is_standing=False))[::-1]
        if before is not None:
            place = next((number for number, one in enumerate(changes) if one.label.id == before), None)
            if place is None:
                raise BadInput(f"There is no label {before!r} to go on from. Begin again without a cursor.")
            changes = changes[place + 1 :]
        return changes[:limit]

    def votes(self) -> VoteComparison:
        """The blind votes that stand against what the reflections gained."""
        votes = self.labels(name="preference")
        others = {str(label.value["episode_id"]) for label in votes if isinstance(label.value, dict)}
        gains = self.store.gains([*others, *(label.target.episode_id for label in votes)])
        return compare_votes(votes, lambda episode_id, trial: gains.get((episode_id, trial)))

    def blind_pair(self, annotator: str, filter_text: str = "") -> BlindPair | None:
        """Two reflections on failures of the same task that the annotator has not compared yet, or None."""
        return blind_pair(self.store, check_annotator(annotator), filter_text)

    def chosen(self, filter_text: str = "", dataset: str | None = None) -> tuple[Iterator[Entry], About]:
        """The episodes of a dataset, or else of a filter, with the labels that stand, and what an export says."""
        tagset = self.tagsets.current().version
        if dataset is not None:
            details = self.datasets.details(dataset)
            about = About(dataset_hash=details.version.hash, tagset_version=details.tagset_version)
            return iter(self.datasets.entries(dataset)), about
        ids = self.store.episode_ids(filter_text)
        entries = (Entry(self.store.episode(id_, with_tokens=True), self.store.current_labels(id_)) for id_ in ids)
        return entries, About(tagset_version=tagset)
