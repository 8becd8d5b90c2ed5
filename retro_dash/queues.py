"""Which episode an annotator reads next: ordering, leases, overlap, progress.

An episode is done for an annotator who gave it a verdict, and done for all when as many annotators as it needs did.
Giving it out leases it to the annotator for ten minutes; an abandoned lease returns it to the queue, and a verdict
that comes late anyway is one more annotation, never an overwrite.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from data.errors import BadInput
from data.rows import Verdict
from data.store import Store
from data.types import Episode, Noun

LEASE_SECONDS = 600.0
READ_LIMIT = 5000
"""Orders that have to read the episodes themselves take at most so many."""
PAUSE = timedelta(minutes=5)
"""A gap between two verdicts longer than this was a break, not work."""
SORTS = {"low_reward": "+reward,-created", "high_gain": "-gain,-created", "newest": "-created"}
ORDERS = ("shuffle", *SORTS, "repeats", "disagreement", "uncertainty")


ReviewState = Literal["pending", "in_review", "needs_second", "adjudication", "done"]


class QueueItem(Noun):
    episode_id: str
    state: ReviewState
    verdicts: int
    """How many annotators have given one."""
    needed: int
    lease_seconds: float
    """For so long nobody else gets it, unless it needs several annotators."""


class QueuePage(Noun):
    """The next items and how far the work is."""

    items: tuple[QueueItem, ...]
    total: int
    done: int
    """Episodes that have all the verdicts they need."""
    mine: int
    """Episodes of the queue that this annotator has given a verdict."""
    left_for_me: int
    per_minute: float | None
    """This annotator's verdicts per minute of work, over the last 50; None when there are too few."""
    eta_seconds: float | None
    states: dict[ReviewState, int]
    """Episodes of the queue by where they are on their way."""


class Leases:
    """Who is looking at what. Kept in memory: after a restart of the hub everything is free again."""

    def __init__(self, seconds: float = LEASE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._until: dict[str, dict[str, float]] = {}

    def take(self, episode_id: str, annotator: str) -> float:
        """Lease it, or renew the lease; returns how many seconds it lasts."""
        self._until.setdefault(episode_id, {})[annotator] = self._clock() + self._seconds
        return self._seconds

    def release(self, episode_id: str, annotator: str) -> None:
        self._until.get(episode_id, {}).pop(annotator, None)

    def held(self) -> dict[str, set[str]]:
        """By episode, the annotators whose lease has not run out."""
        now = self._clock()
        for episode_id, holders in list(self._until.items()):
            running = {annotator: until for annotator, until in holders.items() if until > now}
            if running:
                self._until[episode_id] = running
            else:
                del self._until[episode_id]
        return {episode_id: set(holders) for episode_id, holders in self._until.items()}


@dataclass(frozen=True)
class _Work:
    """What was done of a queue and what is being done, by episode."""

    verdicts: Mapping[str, Mapping[str, str]]
    """By annotator."""
    leased: Mapping[str, Collection[str]]
    decided: Collection[str]
    overlap: int
    overlap_share: float

    def needed(self, id_: str) -> int:
        """How many annotators an episode needs."""
        return self.overlap if self.overlap > 1 and share_of(id_) < self.overlap_share else 1

    def is_touched(self, id_: str) -> bool:
        return id_ in self.verdicts or id_ in self.leased or id_ in self.decided

    def is_open(self, id_: str, annotator: str) -> bool:
        """Whether the annotator may have it."""
        if not self.is_touched(id_):
            return True
        given = self.verdicts.get(id_, {})
        others = {*given, *self.leased.get(id_, ())} - {annotator}
        return annotator not in given and len(others) < self.needed(id_)

    def state(self, id_: str) -> ReviewState:
        given = tuple(self.verdicts.get(id_, {}).values())
        return review_state(given, self.needed(id_), id_ in self.decided, id_ in self.leased)


class Queues:
    """Queues over one store."""

    def __init__(self, store: Store, leases: Leases | None = None) -> None:
        self._store, self._leases = store, leases or Leases()
        self._lock = threading.Lock()
        self._signals: dict[tuple[str, str], float] = {}

    def next(
        self,
        annotator: str,
        filter_text: str = "",
        order: str = "shuffle",
        limit: int = 1,
        overlap: int = 1,
        overlap_share: float = 1.0,
        skip: Collection[str] = (),
    ) -> QueuePage:
        """Lease the next `limit` episodes to the annotator, those they already hold first, those to `skip` never.

        `overlap` annotators are wanted for a share `overlap_share` of the episodes (always the same ones), one for
        the others. Raises BadInput for an unknown order or a filter that does not read.
        """
        verdicts = self._store.verdicts()
        given: dict[str, dict[str, str]] = defaultdict(dict)
        for verdict in verdicts:
            given[verdict.episode_id][verdict.annotator] = verdict.value
        ids = self.ordered(filter_text, order, verdicts)
        with self._lock:
            work = _Work(dict(given), self._leases.held(), self._store.adjudicated(), overlap, overlap_share)
            open_ = [id_ for id_ in ids if work.is_open(id_, annotator)]
            wanted = [id_ for id_ in open_ if id_ not in skip]
            held = [id_ for id_ in wanted if annotator in work.leased.get(id_, ())]
            chosen = list(dict.fromkeys([*held, *wanted[: limit + len(held)]]))[:limit]
            items = tuple(self._lease(id_, annotator, work) for id_ in chosen)
        rate = verdicts_per_minute([verdict.at for verdict in verdicts if verdict.annotator == annotator])
        touched = [id_ for id_ in ids if work.is_touched(id_)]
        untouched = Counter({"pending": len(ids) - len(touched)})
        return QueuePage(
            items=items,
            total=len(ids),
            done=sum(len(given.get(id_, ())) >= work.needed(id_) for id_ in touched),
            mine=sum(annotator in given.get(id_, ()) for id_ in touched),
            left_for_me=len(open_),
            per_minute=rate,
            eta_seconds=len(open_) / rate * 60 if rate else None,
            states=dict(+(Counter(map(work.state, touched)) + untouched)),
        )

    def _lease(self, id_: str, annotator: str, work: _Work) -> QueueItem:
        return QueueItem(
            episode_id=id_,
            state=work.state(id_),
            verdicts=len(work.verdicts.get(id_, ())),
            needed=work.needed(id_),
            lease_seconds=self._leases.take(id_, annotator),
        )

    def release(self, annotator: str, episode_ids: Sequence[str]) -> None:
        """Give leased episodes back before their time."""
        with self._lock:
            for id_ in episode_ids:
                self._leases.release(id_, annotator)

    def ordered(self, filter_text: str, order: str, verdicts: Sequence[Verdict]) -> list[str]:
        """Ids of the filter, the most urgent first."""
        order = order.removeprefix("worst:")
        if order not in ORDERS:
            raise BadInput(f"A queue cannot be ordered by {order!r}. Known: {', '.join(ORDERS)}.")
        ids = list(self._store.episode_ids(filter_text, SORTS.get(order, "-created")))
        if order == "shuffle":
            return sorted(ids, key=share_of)
        if order == "disagreement":
            spread = disagreement(verdicts)
            return sorted(ids, key=lambda id_: -spread.get(id_, 0.0))
        if order in ("repeats", "uncertainty"):
            return self._by_signal(ids, order)
        return ids

    def _by_signal(self, ids: list[str], order: str) -> list[str]:
        if len(ids) > READ_LIMIT:
            raise BadInput(
                f"Ordering by {order} reads every episode, at most {READ_LIMIT}, and the filter finds {len(ids)}. "
                "Narrow the filter."
            )
        signal = repeated_actions if order == "repeats" else uncertainty
        for id_ in ids:
            if (order, id_) not in self._signals:
                episode = self._store.episode(id_, with_tokens=order == "uncertainty")
                self._signals[order, id_] = signal(episode)
        return sorted(ids, key=lambda id_: -self._signals[order, id_])


@lru_cache(maxsize=200_000)
def share_of(episode_id: str) -> float:
    """A number in [0, 1) that is always the same for an id: the place in a shuffle, the draw for the overlap."""
    return int.from_bytes(hashlib.sha256(episode_id.encode()).digest()[:7], "big") / 2**56


def disagreement(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Share of annotators outside the most frequent verdict, of every episode with one."""
    given: dict[str, Counter[str]] = defaultdict(Counter)
    for verdict in verdicts:
        given[verdict.episode_id][verdict.value] += 1
    return {id_: 1 - counts.most_common(1)[0][1] / counts.total() for id_, counts in given.items()}


def repeated_actions(episode: Episode) -> float:
    """Largest number of turns in one trial whose action that trial had already taken."""
    counts = [len(trial.turns) - len({turn.action for turn in trial.turns}) for trial in episode.trials]
    return float(max(counts, default=0))


def uncertainty(episode: Episode) -> float:
    """Mean negative log-probability of the sampled tokens (natural logarithm); -inf when none were recorded."""
    completions = [turn.completion for trial in episode.trials for turn in trial.turns]
    logprobs = [value for completion in completions if completion for value in completion.logprobs or ()]
    return -sum(logprobs) / len(logprobs) if logprobs else -math.inf


def verdicts_per_minute(times: Sequence[datetime]) -> float | None:
    """Speed over the last 50 verdicts, breaks left out."""
    gaps = [after - before for before, after in pairwise(sorted(times)[-51:])]
    worked = [gap.total_seconds() for gap in gaps if gap < PAUSE]
    seconds = sum(worked)
    return len(worked) / seconds * 60 if len(worked) >= 3 and seconds > 0 else None


def review_state(verdicts: Collection[str], needed: int, is_adjudicated: bool, is_leased: bool) -> ReviewState:
    """Where an episode is on its way."""
    if is_adjudicated:
        return "done"
    if len(set(verdicts)) > 1:
        return "adjudication"
    if len(verdicts) >= needed:
        return "done"
    if is_leased:
        return "in_review"
    return "needs_second" if verdicts else "pending"
