"""The names in a batch of events, and what the store holds of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from data.events import (
    AdapterPublished,
    DatasetFrozen,
    EpisodeStarted,
    Event,
    LabelMade,
    MetricsLogged,
    RunCreated,
    RunStateChanged,
)
from data.tally import Tally


@dataclass(frozen=True)
class Names:
    """What a batch of events is about: ids to look up before it is projected."""

    seqs: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Lowest and highest sequence number of each run."""
    episodes: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    labels: set[str] = field(default_factory=set)
    adapters: set[str] = field(default_factory=set)
    datasets: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Stored:
    """What the projection has to know of the store before it starts."""

    seqs: set[tuple[str, int]]
    """Identities of this batch's events that were applied before."""
    tallies: dict[str, Tally]
    """Of the batch's episodes, by id."""
    runs: set[str]
    labels: dict[str, tuple[str, int]]
    """Root and effect of the batch's labels and of those that they take back, by id."""
    adapters: set[str]
    datasets: set[str]


def names_in(events: Iterable[Event]) -> Names:
    """The names that a batch mentions."""
    names = Names()
    for event in events:
        low, high = names.seqs.get(event.run_id, (event.seq, event.seq))
        names.seqs[event.run_id] = (min(low, event.seq), max(high, event.seq))
        match event.body:
            case EpisodeStarted(episode=episode):
                names.episodes.add(episode.id)
            case LabelMade(label=label):
                names.labels.update(id_ for id_ in (label.id, label.undoes) if id_ is not None)
            case RunCreated(run=run):
                names.runs.add(run.id)
            case RunStateChanged():
                names.runs.add(event.run_id)
            case MetricsLogged():
                pass
            case AdapterPublished(adapter=adapter):
                names.adapters.add(adapter.name)
            case DatasetFrozen(dataset=dataset):
                names.datasets.add(dataset.hash)
            case body:
                names.episodes.add(body.episode_id)
    return names
