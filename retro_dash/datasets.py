"""Datasets: a filter, evaluators and the labels of the day, frozen under the hash of their content.

    HOME/datasets/HASH/episodes.jsonl   our own format: every episode with the labels that stood
    HOME/datasets/HASH/dataset.json     filter, evaluators, split, counts, tag set, lint
    HOME/datasets/HASH/card.md          the same for people; a Hugging Face dataset card

The folder is made aside and renamed, so it is there whole or not at all, and its hash is checked when it is read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from data.errors import BadFile, BadInput, UnknownName
from data.events import DatasetFrozen, Event
from data.formats.entry import About, Dropped, Entry
from data.formats.episodes import line, read
from data.lint import LintReport, lint
from data.lint_texts import episode_texts
from data.store import Store
from data.types import DatasetVersion, Episode, Label, Noun, Task
from envs import ENVIRONMENTS
from retro_dash.dataset_card import write_card
from retro_dash.evaluators import parse_evaluator, passes
from retro_dash.ids import new_id
from retro_dash.tagset import TagSets
from retro_dash.training_view import POSITIVE, final_values, training_view
from training.config import BatchConfig

HASH_LENGTH = 20


class Split(BaseModel):
    """Which tasks are kept for evaluation: always whole tasks, drawn by their id and the seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(default=0.1, ge=0, lt=1)
    seed: int = 0

    def is_evaluation(self, task_id: str) -> bool:
        digest = hashlib.sha256(f"{self.seed} {task_id}".encode()).digest()
        return int.from_bytes(digest[:7], "big") / 2**56 < self.share


class DatasetRequest(BaseModel):
    """What to freeze."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=120)
    filter: str = ""
    evaluators: tuple[str, ...] = ()
    split: Split = Split()
    max_length: int = Field(default_factory=lambda: BatchConfig().max_length, ge=2)
    """Tokens of the longest sample that training keeps whole; lint names what is longer."""


class DatasetDetails(Noun):
    """A dataset with everything that its folder says."""

    version: DatasetVersion
    evaluators: tuple[str, ...]
    split: Split
    tagset_version: int
    lint: LintReport
    card: str


class DatasetDiff(Noun):
    """From one version to another."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    """Episodes in both whose labels or content differ."""
    counts: dict[str, tuple[int, int]]
    filters: tuple[str, str]


class Datasets:
    """The datasets of one home."""

    def __init__(self, home: Path, store: Store, tagsets: TagSets) -> None:
        self._folder, self._store, self._tagsets = home / "datasets", store, tagsets

    def select(self, request: DatasetRequest) -> Iterator[Entry]:
        """The episodes that the filter and the evaluators keep, ordered by id, with their standing labels.

        Episodes that are still running or that people discarded are left out. Raises BadInput.
        """
        evaluators = [parse_evaluator(spec) for spec in request.evaluators]
        for episode_id in sorted(self._store.episode_ids(request.filter)):
            episode = self._store.episode(episode_id, with_tokens=True)
            labels = self._store.current_labels(episode_id)
            is_discarded = not training_view(episode, final_values(labels))
            if episode.state != "running" and not is_discarded and passes(episode, labels, evaluators):
                yield Entry(episode, labels)

    def check(self, request: DatasetRequest) -> LintReport:
        """Lint what would be frozen, without freezing it."""
        return _lint(list(self.select(request)), request)

    def freeze(self, request: DatasetRequest) -> DatasetVersion:
        """Make the version, or find it when the same content was frozen before. Raises BadInput when it is empty."""
        part = self._folder / new_id("part")
        part.mkdir(parents=True)
        try:
            return self._freeze(request, part)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _freeze(self, request: DatasetRequest, part: Path) -> DatasetVersion:
        entries = list(self.select(request))
        if not entries:
            raise BadInput(f"Nothing is left of {request.filter!r} to freeze. Widen the filter or the evaluators.")
        tagset = self._tagsets.current().version
        digest = hashlib.sha256()
        with (part / "episodes.jsonl").open("w", encoding="utf-8") as file:
            for entry in entries:
                row = line(entry, About(tagset_version=tagset)) + "\n"
                digest.update(row.encode())
                file.write(row)
        digest.update(request.split.model_dump_json().encode())
        version = DatasetVersion(
            hash=digest.hexdigest()[:HASH_LENGTH],
            name=request.name,
            filter=request.filter,
            episode_ids=tuple(entry.episode.id for entry in entries),
            label_ids=tuple(label.id for entry in entries for label in entry.labels),
            counts=count_entries(entries, request.split),
            created_at=datetime.now(UTC),
        )
        known = next((old for old in self._store.datasets() if old.hash == version.hash), None)
        if known is not None and (self._folder / version.hash).is_dir():
            return known
        report = _lint(entries, request)
        details = DatasetDetails(
            version=version,
            evaluators=request.evaluators,
            split=request.split,
            tagset_version=tagset,
            lint=report,
            card=write_card(version, request.evaluators, request.split.share, request.split.seed, tagset, report),
        )
        (part / "card.md").write_text(details.card, encoding="utf-8")
        (part / "dataset.json").write_text(details.model_dump_json(indent=1, exclude={"card"}), encoding="utf-8")
        target = self._folder / version.hash
        if not target.is_dir():
            part.rename(target)
        frozen = DatasetFrozen(dataset=version)
        self._store.append([Event(run_id=f"dataset-{version.hash}", seq=0, at=version.created_at, body=frozen)])
        return version

    def details(self, hash_: str) -> DatasetDetails:
        """Everything about a version; a unique beginning of the hash is enough. Raises UnknownName, BadFile."""
        folder = self._folder / self._full(hash_)
        try:
            text = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
            return DatasetDetails.model_validate({**text, "card": (folder / "card.md").read_text(encoding="utf-8")})
        except (OSError, ValueError) as error:
            raise BadFile(f"The dataset folder {folder} is damaged ({error}). Freeze it again.") from error

    def entries(self, hash_: str) -> list[Entry]:
        """The episodes and labels of a version. Raises BadFile when they are not what the hash says."""
        full = self._full(hash_)
        path = self._folder / full / "episodes.jsonl"
        split = self.details(full).split
        digest = hashlib.sha256(path.read_bytes() + split.model_dump_json().encode())
        found = list(read(path))
        if digest.hexdigest()[:HASH_LENGTH] != full or any(isinstance(item, Dropped) for item in found):
            raise BadFile(f"The dataset {full} was changed after it was frozen. Freeze it again from its filter.")
        return [item for item in found if isinstance(item, Entry)]

    def training_episodes(self, hash_: str) -> list[Episode]:
        """What a run trains on: the training tasks, with rewrites and verdicts applied. Raises BadInput for none."""
        split = self.details(hash_).split
        made = [
            seen
            for entry in self.entries(hash_)
            if not split.is_evaluation(entry.episode.task.id) and entry.episode.task.env in ENVIRONMENTS
            for seen in training_view(entry.episode, final_values(entry.labels))
        ]
        if not made:
            raise BadInput(f"The dataset {hash_} has no training episodes of an environment that is known here.")
        return made

    def evaluation_tasks(self, hash_: str) -> list[Task]:
        """The tasks that are kept for evaluation. Raises BadInput when there are none."""
        split = self.details(hash_).split
        tasks = {entry.episode.task.id: entry.episode.task for entry in self.entries(hash_)}
        kept = [task for task in tasks.values() if split.is_evaluation(task.id)]
        if not kept:
            raise BadInput(f"The dataset {hash_} keeps no task for evaluation. Freeze it with a larger share.")
        return kept

    def diff(self, old: str, new: str) -> DatasetDiff:
        """What the second version has more, less or different. Raises UnknownName, BadFile."""
        before, after = self.details(old).version, self.details(new).version
        lines = [{entry.episode.id: _content(entry) for entry in self.entries(hash_)} for hash_ in (old, new)]
        common = lines[0].keys() & lines[1].keys()
        return DatasetDiff(
            added=tuple(sorted(lines[1].keys() - common)),
            removed=tuple(sorted(lines[0].keys() - common)),
            changed=tuple(sorted(id_ for id_ in common if lines[0][id_] != lines[1][id_])),
            counts={
                name: (before.counts.get(name, 0), after.counts.get(name, 0))
                for name in sorted(before.counts.keys() | after.counts.keys())
                if before.counts.get(name, 0) != after.counts.get(name, 0)
            },
            filters=(before.filter, after.filter),
        )

    def _full(self, hash_: str) -> str:
        versions = self._store.datasets()
        found = [version.hash for version in versions if hash_ and version.hash.startswith(hash_)]
        if len(found) != 1:
            raise UnknownName("dataset", hash_, [f"{version.hash} ({version.name})" for version in versions])
        return found[0]


def count_entries(entries: Sequence[Entry], split: Split) -> dict[str, int]:
    """What a dataset holds and what it would train."""
    counts: Counter[str] = Counter(episodes=len(entries))
    tasks: dict[bool, set[str]] = {False: set(), True: set()}
    for entry in entries:
        episode = entry.episode
        is_evaluation = split.is_evaluation(episode.task.id)
        tasks[is_evaluation].add(episode.task.id)
        counts["evaluation_episodes" if is_evaluation else "training_episodes"] += 1
        counts["trials"] += len(episode.trials)
        counts["turns"] += sum(len(trial.turns) for trial in episode.trials)
        counts["reflections"] += len(episode.reflections)
        counts["solved"] += any(trial.success for trial in episode.trials)
        counts["labels"] += len(entry.labels)
        counts["rewrites"] += sum(label.name == "rewrite" for label in entry.labels)
        counts["positive_verdicts"] += sum(_is_positive(label) for label in entry.labels)
    return {**counts, "training_tasks": len(tasks[False]), "evaluation_tasks": len(tasks[True])}


def _is_positive(label: Label) -> bool:
    return label.name == "verdict" and label.value in POSITIVE


def _lint(entries: Sequence[Entry], request: DatasetRequest) -> LintReport:
    """Lint with the dataset's own split: what its evaluation part holds must not be in the training part."""
    parts = {False: "train", True: "evaluation"}
    texts = []
    for entry in entries:
        task = entry.episode.task
        part = parts[request.split.is_evaluation(task.id)] if task.split in ("train", "") else task.split
        moved = entry.episode.model_copy(update={"task": task.model_copy(update={"split": part})})
        texts += list(episode_texts(Entry(moved)))
    return lint(texts, limit=request.max_length)


def _content(entry: Entry) -> tuple[str, frozenset[str]]:
    return entry.episode.model_dump_json(), frozenset(label.model_dump_json() for label in entry.labels)
