"""Importing files: a preview of what is understood, then the episodes into the store, once.

The whole file is read before anything is written, so a file that is refused leaves the store as it was. Episode ids
follow from the content: importing again, or going on after a stop, adds only what is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import Protocol, TypeVar

from pydantic import Field

from data.errors import BadFile, BadInput
from data.events import EpisodeStarted, Event, EventBody, LabelMade, RunCreated, RunStateChanged
from data.formats import detect_format, file_format
from data.formats.entry import Dropped, Entry, FileFormat
from data.types import Label, Noun, Run, RunState
from retro_dash.folders import folder_format
from retro_dash.ids import new_id
from retro_dash.labels import Part, check_annotator, check_target, check_value, parts_of

T = TypeVar("T")
BATCH = 256
MOST_TURNS = 10_000
MOST_DROPPED_SHOWN = 100
Progress = Callable[[int], None]
"""Called with the number of episodes read, or stored, so far."""


class DroppedRow(Noun):
    row: int
    reason: str
    excerpt: str


class ImportPreview(Noun):
    """What a file holds, as it would be understood."""

    file: str
    format: str
    title: str
    rows: int
    """Rows that became something or were dropped; several may make one episode."""
    episodes: int
    same: int
    """Episodes that the file holds twice, word for word: stored once."""
    known: int
    """Of the different ones, those that the store has already."""
    trials: int
    turns: int
    reflections: int
    solved: int
    labels: int
    environments: dict[str, int]
    dropped: int
    reasons: dict[str, int]
    """Why rows were dropped, the most frequent first."""
    notes: dict[str, int]
    """What was understood differently from how it was written, or left out, and in how many episodes."""
    first_dropped: tuple[DroppedRow, ...]


class Imported(Noun):
    """What an import did."""

    run_id: str | None
    """None when there was nothing new."""
    stored: int
    known: int
    dropped: int
    """Rows."""
    refused: dict[str, int] = Field(default_factory=dict)
    """Why episodes did not fit the store, and how many."""


class EpisodeStore(Protocol):
    """What an import needs of the store: the store itself, or the hub's client."""

    def append(self, events: Sequence[Event]) -> int: ...

    def known_episodes(self, ids: Sequence[str]) -> set[str]: ...


def choose_format(path: Path, name: str | None = None) -> FileFormat:
    """The named format, else the one that the file looks like; for a folder one that reads all that is in it.

    Raises UnknownName, BadFile.
    """
    if not path.exists():
        raise BadFile(f"{path} does not exist.")
    if path.is_dir():
        return folder_format(path, name)
    return file_format(name) if name else detect_format(path)


def preview(
    path: Path, found: FileFormat, known: Callable[[Sequence[str]], set[str]], progress: Progress | None = None
) -> ImportPreview:
    """Read the whole file without storing anything. Raises BadFile when it cannot be read at all."""
    sums: Counter[str] = Counter()
    environments: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    dropped: list[DroppedRow] = []
    ids: set[str] = set()
    for item in found.read(path):
        if isinstance(item, Dropped):
            reasons[item.reason] += 1
            if len(dropped) < MOST_DROPPED_SHOWN:
                dropped.append(DroppedRow(row=item.row, reason=item.reason, excerpt=item.excerpt))
            continue
        episode = item.episode
        sums["rows"] += item.rows
        sums["episodes"] += 1
        sums["same"] += episode.id in ids
        ids.add(episode.id)
        sums["trials"] += len(episode.trials)
        sums["turns"] += sum(len(trial.turns) for trial in episode.trials)
        sums["reflections"] += len(episode.reflections)
        sums["solved"] += any(trial.success for trial in episode.trials)
        labels = len(own_labels(item))
        sums["labels"] += labels
        if labels < len(item.labels):
            notes["labels that are about something else, or that nobody could give here, are left out"] += 1
        environments[episode.task.env] += 1
        notes.update(item.notes)
        if progress is not None and sums["episodes"] % BATCH == 0:
            progress(sums["episodes"])
    return ImportPreview(
        file=path.name,
        format=found.name,
        title=found.title,
        rows=sums["rows"] + reasons.total(),
        known=sum(len(known(batch)) for batch in _batches(sorted(ids), 1000)),
        environments=dict(environments.most_common()),
        dropped=reasons.total(),
        reasons=dict(reasons.most_common()),
        notes=dict(notes.most_common()),
        first_dropped=tuple(dropped),
        **{name: sums[name] for name in ("episodes", "same", "trials", "turns", "reflections", "solved", "labels")},
    )


def import_file(
    path: Path, found: FileFormat, store: EpisodeStore, name: str = "", progress: Progress | None = None
) -> Imported:
    """Store every episode that is not there yet, under a new import run. Read the file with `preview` first."""
    run_id = new_id("import")
    numbers = count()
    sums: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    is_begun = False

    def send(bodies: Sequence[EventBody]) -> None:
        store.append([Event(run_id=run_id, seq=next(numbers), at=_now(), body=body) for body in bodies])

    def begin() -> None:
        run = Run(
            id=run_id,
            kind="import",
            name=name or path.name,
            config={"file": path.name, "format": found.name},
            state=RunState.RUNNING,
            created_at=_now(),
            started_at=_now(),
        )
        send([RunCreated(run=run)])

    for entries in _parts(_entries(found, path, sums)):
        known = store.known_episodes([entry.episode.id for entry in entries])
        fresh = {entry.episode.id: entry for entry in entries if entry.episode.id not in known}
        sums["known"] += len(entries) - len(fresh)
        if fresh and not is_begun:
            begin()
            is_begun = True
        if fresh:
            sums["stored"] += _keep(send, list(fresh.values()), run_id, refused)
        if progress is not None:
            progress(sums["stored"])
    if is_begun:
        send([RunStateChanged(state=RunState.FINISHED)])
    return Imported(
        run_id=run_id if sums["stored"] else None,
        stored=sums["stored"],
        known=sums["known"],
        dropped=sums["dropped"],
        refused=dict(refused.most_common()),
    )


def _keep(
    send: Callable[[Sequence[EventBody]], None], entries: Sequence[Entry], run_id: str, refused: Counter[str]
) -> int:
    """Store episodes with their labels in one write, so that an import that goes on finds both or none.

    Where one does not fit the store (a number or a date beyond its range) the others are stored all the same.
    Returns how many.
    """
    labels = [LabelMade(label=label) for entry in entries for label in own_labels(entry)]
    try:
        send([*(_of_run(entry, run_id) for entry in entries), *labels])
        return len(entries)
    except BadInput as error:
        if len(entries) == 1:
            refused[str(error)[:200]] += 1
            return 0
    return sum(_keep(send, [entry], run_id, refused) for entry in entries)


def own_labels(entry: Entry) -> list[Label]:
    """The entry's labels that are about it and that could be given here. None may take back another one."""
    parts = parts_of(entry.episode)
    return [label for label in entry.labels if _is_fit(label, entry.episode.id, parts)]


def _is_fit(label: Label, episode_id: str, parts: Collection[Part]) -> bool:
    """Tags need not be in the set of today: a label keeps the words of its time."""
    tags = [str(tag) for tag in label.value] if label.name == "tags" and isinstance(label.value, list) else []
    try:
        check_target(label.target, parts)
        check_value(label.name, label.value, label.target, parts, tags)
        is_named = check_annotator(label.annotator) == label.annotator
    except BadInput:
        return False
    return is_named and label.undoes is None and label.target.episode_id == episode_id


def _entries(found: FileFormat, path: Path, sums: Counter[str]) -> Iterator[Entry]:
    for item in found.read(path):
        if isinstance(item, Dropped):
            sums["dropped"] += 1
        else:
            yield item


def _of_run(entry: Entry, run_id: str) -> EpisodeStarted:
    """Episodes of other programs belong to the import run; ours keep the run that made them."""
    is_foreign = entry.episode.run_id == "import"
    return EpisodeStarted(
        episode=entry.episode.model_copy(update={"run_id": run_id}) if is_foreign else entry.episode
    )


def _parts(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """As many episodes as one write may hold: up to `BATCH`, fewer where they are long."""
    part: list[Entry] = []
    turns = 0
    for entry in entries:
        own = sum(len(trial.turns) for trial in entry.episode.trials)
        if part and (len(part) == BATCH or turns + own > MOST_TURNS):
            yield part
            part, turns = [], 0
        part.append(entry)
        turns += own
    if part:
        yield part


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _now() -> datetime:
    return datetime.now(UTC)
