"""Labels over one store: checked, told apart from repeats, stored once. The hub holds one `Curation`."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from data.errors import BadInput, Refused, UnknownName
from data.events import Event, LabelMade
from data.formats.entry import About, Entry
from data.store import Store
from data.types import Label, LabelTarget, Noun
from retro_dash.datasets import Datasets
from retro_dash.labels import (
    Change,
    LabelConflict,
    LabelRequest,
    Part,
    audit,
    check_annotator,
    check_target,
    check_value,
    part_of,
    parts_of,
    same_statement,
    steps,
)
from retro_dash.queues import Queues
from retro_dash.tagset import TagSets
from retro_dash.uploads import Uploads

LABELS_RUN = "labels"
"""Label events are numbered within a run of their own."""
REMEMBERED_EPISODES = 2000
MOST_COMPARED = 2000
"""Episodes that are looked through for a pair of reflections."""


class StoredLabel(Noun):
    """What became of a request."""

    label: Label
    is_new: bool
    """False when the same request had been stored before."""


class ReflectionText(Noun):
    """A reflection without what would give it away."""

    episode_id: str
    trial: int
    text: str


class BlindPair(Noun):
    """Two reflections to compare; the vote is a `preference` label on `this`."""

    instruction: str
    this: ReflectionText
    other: ReflectionText


class Curation:
    """Everything that annotators do. All methods may be called from any thread."""

    def __init__(self, home: Path, store: Store) -> None:
        self.store = store
        self.tagsets = TagSets(home / "curation")
        self.queues = Queues(store)
        self.datasets = Datasets(home, store, self.tagsets)
        self.uploads = Uploads(home, store)
        self._lock = threading.Lock()
        self._next_seq: int | None = None
        self._parts: OrderedDict[str, frozenset[Part]] = OrderedDict()

    def label(self, requests: Sequence[LabelRequest]) -> list[StoredLabel]:
        """Store all statements or none; when it returns they are on the disk.

        Raises BadInput or UnknownName for a statement that does not fit, LabelConflict (with the value that stands)
        when a newer one than `seen` is there, Refused when an id was used for another statement.
        """
        with self._lock:
            answers: list[StoredLabel] = []
            fresh: dict[str, Label] = {}
            for request in requests:
                request = request.model_copy(update={"annotator": check_annotator(request.annotator)})
                known = fresh.get(request.id) or self._known(request.id)
                if known is None:
                    known = fresh[request.id] = self._checked(request, fresh)
                    answers.append(StoredLabel(label=known, is_new=True))
                elif same_statement(known, request):
                    answers.append(StoredLabel(label=known, is_new=False))
                else:
                    raise Refused(f"The label id {request.id!r} was used for another statement. Make a new id.")
            self._append(list(fresh.values()))
        return answers

    def labels(
        self,
        episode_id: str | None = None,
        annotator: str | None = None,
        name: str | None = None,
        is_standing: bool = True,
    ) -> tuple[Label, ...]:
        """Labels that stand, or all that were ever made, oldest first."""
        conditions = {key: value for key, value in (("annotator", annotator), ("name", name)) if value is not None}
        read = self.store.current_labels if is_standing else self.store.labels
        return read(episode_id, **conditions)

    def audit(self, episode_id: str | None = None, annotator: str | None = None, limit: int = 200) -> list[Change]:
        """The newest `limit` changes, newest first: who, when, before, after."""
        return audit(self.labels(episode_id, annotator, is_standing=False))[::-1][:limit]

    def undo(self, annotator: str, id_: str) -> StoredLabel:
        """Take back the annotator's last statement, on whichever episode. `id_` is the id of the new label."""
        return self._step(annotator, id_, is_undo=True)

    def redo(self, annotator: str, id_: str) -> StoredLabel:
        """Put back what the annotator took back last."""
        return self._step(annotator, id_, is_undo=False)

    def gain(self, episode_id: str, trial: int) -> float | None:
        """What the reflection after a trial gained; None when it is not known."""
        reflections = self.store.episode(episode_id).reflections
        return next((r.gain for r in reflections if r.after_trial == trial), None)

    def blind_pair(self, annotator: str, filter_text: str = "") -> BlindPair | None:
        """Two reflections on failures of the same task that the annotator has not compared yet, in random order.

        Who wrote them and what came of them is left out.
        """
        asked = {frozenset(pair) for pair in self._compared(check_annotator(annotator))}
        by_task: dict[str, list[ReflectionText]] = defaultdict(list)
        for id_ in self.store.episode_ids(filter_text)[:MOST_COMPARED]:
            episode = self.store.episode(id_)
            for reflection in episode.reflections:
                this = ReflectionText(episode_id=id_, trial=reflection.after_trial, text=reflection.text)
                for other in by_task[episode.task.id]:
                    keys = frozenset(((this.episode_id, this.trial), (other.episode_id, other.trial)))
                    if this.text.strip() and other.text.strip() != this.text.strip() and keys not in asked:
                        first, second = random.sample((this, other), 2)
                        return BlindPair(instruction=episode.task.instruction, this=first, other=second)
                by_task[episode.task.id].append(this)
        return None

    def _compared(self, annotator: str) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
        for label in self.labels(annotator=annotator, name="preference"):
            if isinstance(label.value, dict):
                here = (label.target.episode_id, label.target.trial or 0)
                yield here, (str(label.value["episode_id"]), int(str(label.value["trial"])))

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

    # Inside

    def _step(self, annotator: str, id_: str, is_undo: bool) -> StoredLabel:
        annotator = check_annotator(annotator)
        known = self._known(id_)
        if known is not None:
            return StoredLabel(label=known, is_new=False)
        possible = steps(self.labels(annotator=annotator, is_standing=False))
        found = possible.undoable if is_undo else possible.redoable
        if not found:
            raise Refused(f"{annotator} has nothing left to {'undo' if is_undo else 'redo'}.")
        last = found[-1]
        request = LabelRequest(
            id=id_, target=last.target, name=last.name, annotator=annotator, undoes=last.id, value=None
        )
        return self.label([request])[0]

    def _checked(self, request: LabelRequest, fresh: dict[str, Label]) -> Label:
        self._check_seen(request, fresh)
        if request.undoes is not None:
            self._check_undo(request, fresh)
        else:
            parts = self._parts_of(request.target)
            check_value(request.name, request.value, request.target, parts, self.tagsets.current().names)
        return Label(at=datetime.now(UTC), **request.model_dump(exclude={"seen"}))

    def _check_seen(self, request: LabelRequest, fresh: dict[str, Label]) -> None:
        if "seen" not in request.model_fields_set:
            return
        conditions: dict[str, str | int] = {"part": request.target.part, "name": request.name}
        if request.target.trial is not None:
            conditions["trial"] = request.target.trial
        if request.target.turn is not None:
            conditions["turn"] = request.target.turn
        given = {**conditions, "annotator": request.annotator}
        history = [*self.store.labels(request.target.episode_id, **given)]
        history += [
            label
            for label in fresh.values()
            if (label.target, label.name, label.annotator) == (request.target, request.name, request.annotator)
        ]
        newest = history[-1].id if history else None
        if newest != request.seen:
            standing = self.store.current_labels(request.target.episode_id, **given)
            raise LabelConflict(standing[-1] if standing else None)

    def _check_undo(self, request: LabelRequest, fresh: dict[str, Label]) -> None:
        undone = fresh.get(str(request.undoes)) or self._known(str(request.undoes))
        if undone is None:
            raise UnknownName("label", str(request.undoes))
        if (undone.target, undone.name) != (request.target, request.name) or request.value is not None:
            raise BadInput(f"Taking back {undone.id!r} repeats its target and name, with the value null.")
        if undone.annotator != request.annotator:
            raise Refused(
                f"Only {undone.annotator} can take back the label {undone.id!r}. Say what you think yourself."
            )
        history = [*self.labels(annotator=request.annotator, is_standing=False), *fresh.values()]
        possible = steps(history)
        if all(undone.id != label.id for label in (*possible.undoable, *possible.redoable)):
            raise Refused(f"The label {undone.id!r} was already taken back.")

    def _parts_of(self, target: LabelTarget) -> frozenset[Part]:
        """What the target's episode has to label; read again when the target is not among what is remembered."""
        parts = self._parts.get(target.episode_id)
        if parts is None or part_of(target) not in parts:
            parts = self._parts[target.episode_id] = parts_of(self.store.episode(target.episode_id))
            while len(self._parts) > REMEMBERED_EPISODES:
                self._parts.popitem(last=False)
        check_target(target, parts)
        return parts

    def _known(self, id_: str) -> Label | None:
        return next(iter(self.store.labels(id=id_)), None)

    def _append(self, labels: Sequence[Label]) -> None:
        if not labels:
            return
        if self._next_seq is None:
            self._next_seq = (self.store.last_seq(LABELS_RUN) or 0) + 1
        events = [
            Event(run_id=LABELS_RUN, seq=self._next_seq + place, at=label.at, body=LabelMade(label=label))
            for place, label in enumerate(labels)
        ]
        try:
            self.store.append(events)
        except BaseException:
            self._next_seq = None  # Whether it was stored is not known; ask again before the next one.
            raise
        self._next_seq += len(labels)
