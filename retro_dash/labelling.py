"""Labels on their way into one store: checked, told apart from repeats, stored once, many with one write."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from data.errors import BadInput, Refused, RetroDashError, UnknownName
from data.events import Event, LabelMade
from data.store import Store
from data.types import Label, LabelTarget, Noun
from retro_dash.labels import (
    LabelConflict,
    LabelRequest,
    Part,
    check_annotator,
    check_target,
    check_value,
    part_of,
    same_statement,
    steps,
)
from retro_dash.tagset import TagSets

LABELS_RUN = "labels"
"""Label events are numbered within a run of their own."""
REMEMBERED_EPISODES = 2000


class StoredLabel(Noun):
    """What became of a request."""

    label: Label
    is_new: bool
    """False when the same request had been stored before."""


@dataclass
class _Waiting:
    """Requests of one caller, until they are stored or refused."""

    requests: Sequence[LabelRequest]
    answers: list[StoredLabel] = field(default_factory=list)
    error: Exception | None = None
    is_done: bool = False


class _Index:
    """Ids of all labels, and the newest of every target, name and annotator, undos included."""

    def __init__(self, labels: Sequence[Label]) -> None:
        self.ids: set[str] = set()
        self.newest: dict[tuple[LabelTarget, str, str], str] = {}
        self.position = 0
        self.add(labels)

    def add(self, labels: Sequence[Label]) -> None:
        self.ids.update(label.id for label in labels)
        self.newest.update({(label.target, label.name, label.annotator): label.id for label in labels})


class Labelling:
    """The only way for labels into a store. All methods may be called from any thread."""

    def __init__(self, store: Store, tagsets: TagSets) -> None:
        self._store, self._tagsets = store, tagsets
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._labels_index: _Index | None = None
        self._next_seq: int | None = None
        self._parts: OrderedDict[str, frozenset[Part]] = OrderedDict()
        self._parts_lock = threading.Lock()

    def label(self, requests: Sequence[LabelRequest]) -> list[StoredLabel]:
        """Store all statements or none; when it returns they are on the disk.

        Raises BadInput or UnknownName for a statement that does not fit, LabelConflict (with the value that stands)
        when a newer one than `seen` is there, Refused when an id was used for another statement.
        """
        for request in requests:
            with suppress(RetroDashError):  # Read before it is one's turn: others need not wait for it.
                self._parts_of(request.target)
        mine = _Waiting(requests)
        self._waiting.append(mine)
        with self._lock:
            # Who comes first stores what has gathered meanwhile: many annotators, one write to the disk.
            if not mine.is_done:
                self._store_waiting()
        if mine.error is not None:
            raise mine.error
        return mine.answers

    def undo(self, annotator: str, id_: str) -> StoredLabel:
        """Take back the annotator's last statement, on whichever episode. `id_` is the id of the new label."""
        return self._step(annotator, id_, is_undo=True)

    def redo(self, annotator: str, id_: str) -> StoredLabel:
        """Put back what the annotator took back last."""
        return self._step(annotator, id_, is_undo=False)

    # Inside

    def _step(self, annotator: str, id_: str, is_undo: bool) -> StoredLabel:
        annotator = check_annotator(annotator)
        known = self._known(id_)
        if known is not None:
            return StoredLabel(label=known, is_new=False)
        possible = steps(self._store.labels(annotator=annotator))
        found = possible.undoable if is_undo else possible.redoable
        if not found:
            raise Refused(f"{annotator} has nothing left to {'undo' if is_undo else 'redo'}.")
        last = found[-1]
        request = LabelRequest(
            id=id_, target=last.target, name=last.name, annotator=annotator, undoes=last.id, value=None
        )
        return self.label([request])[0]

    def _store_waiting(self) -> None:
        """Check and store every waiting request; those that are refused do not touch the others."""
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        fresh: dict[str, Label] = {}
        for waiting in batch:
            own: dict[str, Label] = {}
            try:
                waiting.answers = [self._answer(request, {**fresh, **own}, own) for request in waiting.requests]
                fresh |= own
            except Exception as error:
                waiting.error = error
        try:
            self._append(list(fresh.values()))
        except Exception as error:
            for waiting in batch:
                waiting.error = waiting.error or error
        for waiting in batch:
            waiting.is_done = True

    def _answer(self, request: LabelRequest, fresh: dict[str, Label], own: dict[str, Label]) -> StoredLabel:
        request = request.model_copy(update={"annotator": check_annotator(request.annotator)})
        known = fresh.get(request.id) or self._known(request.id)
        if known is None:
            label = own[request.id] = self._checked(request, fresh)
            return StoredLabel(label=label, is_new=True)
        if not same_statement(known, request):
            raise Refused(f"The label id {request.id!r} was used for another statement. Make a new id.")
        return StoredLabel(label=known, is_new=False)

    def _checked(self, request: LabelRequest, fresh: dict[str, Label]) -> Label:
        self._check_seen(request, fresh)
        if request.undoes is not None:
            self._check_undo(request, fresh)
        else:
            parts = self._parts_of(request.target)
            check_value(request.name, request.value, request.target, parts, self._tagsets.current().names)
        return Label(at=datetime.now(UTC), **request.model_dump(exclude={"seen"}))

    def _check_seen(self, request: LabelRequest, fresh: dict[str, Label]) -> None:
        if "seen" not in request.model_fields_set:
            return
        key = (request.target, request.name, request.annotator)
        in_batch = [label.id for label in fresh.values() if (label.target, label.name, label.annotator) == key]
        newest = in_batch[-1] if in_batch else self._index().newest.get(key)
        if newest != request.seen:
            standing = self._standing(request)
            raise LabelConflict(fresh.get(standing.id, standing) if standing else None)

    def _standing(self, request: LabelRequest) -> Label | None:
        """The label of the request's target, name and annotator that stands."""
        labels = self._store.current_labels(request.target.episode_id, name=request.name, annotator=request.annotator)
        return next((label for label in labels if label.target == request.target), None)

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
        history = [*self._store.labels(annotator=request.annotator), *fresh.values()]
        possible = steps(history)
        if all(undone.id != label.id for label in (*possible.undoable, *possible.redoable)):
            raise Refused(f"The label {undone.id!r} was already taken back.")

    def _parts_of(self, target: LabelTarget) -> frozenset[Part]:
        """What the target's episode has to label; read again when the target is not among what is remembered."""
        parts = self._parts.get(target.episode_id)
        if parts is None or part_of(target) not in parts:
            parts = self._store.parts(target.episode_id)
            with self._parts_lock:
                self._parts[target.episode_id] = parts
                while len(self._parts) > REMEMBERED_EPISODES:
                    self._parts.popitem(last=False)
        check_target(target, parts)
        return parts

    def _known(self, id_: str) -> Label | None:
        return next(iter(self._store.labels(id=id_)), None) if id_ in self._index().ids else None

    def _index(self) -> _Index:
        """What is known of all labels; read again when others wrote labels since (an import, a script)."""
        position = self._store.last_position()
        if self._labels_index is None or position != self._labels_index.position:
            index = self._labels_index
            kinds = {event.kind for event in self._store.events_since(index.position, limit=1000)} if index else set()
            if index is None or "label_made" in kinds or position - index.position > 1000:
                index = self._labels_index = _Index(self._store.labels())
            index.position = position
            return index
        return self._labels_index

    def _append(self, labels: Sequence[Label]) -> None:
        if not labels:
            return
        if self._next_seq is None:
            self._next_seq = (self._store.last_seq(LABELS_RUN) or 0) + 1
        events = [
            Event(run_id=LABELS_RUN, seq=self._next_seq + place, at=label.at, body=LabelMade(label=label))
            for place, label in enumerate(labels)
        ]
        try:
            self._store.append(events)
        except BaseException:
            self._next_seq = None  # Whether it was stored is not known; ask again before the next one.
            raise
        self._next_seq += len(labels)
        index = self._labels_index
        if index is not None:
            index.add(labels)
            index.position = self._store.last_position()
