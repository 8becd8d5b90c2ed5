"""Questions about events: what followed a position, and what a new batch of them meets in the store."""

from __future__ import annotations

from data.cells import aware
from data.cursor import Cursor, column, known, records
from data.episode_queries import tallies
from data.label_queries import label_roots
from data.names import Names, Stored
from data.rows import StoredEvent


def events_since(
    cursor: Cursor, position: int, run_id: str | None, episode_id: str | None, limit: int
) -> tuple[StoredEvent, ...]:
    rows = records(
        cursor,
        """SELECT * FROM events WHERE position > $position AND ($run IS NULL OR run_id = $run)
        AND ($episode IS NULL OR episode_id = $episode) ORDER BY position LIMIT $limit""",
        {"position": position, "run": run_id, "episode": episode_id, "limit": limit},
    )
    return tuple(StoredEvent(at=aware(row.pop("happened_at")), **row) for row in rows)


def last_seq(cursor: Cursor, run_id: str) -> int | None:
    return column(cursor, "SELECT max(seq) FROM events WHERE run_id = ?", [run_id])[0]  # type: ignore[no-any-return]


def last_position(cursor: Cursor) -> int:
    return column(cursor, "SELECT coalesce(max(position), 0) FROM events")[0]  # type: ignore[no-any-return]


def stored_seqs(cursor: Cursor, runs: dict[str, tuple[int, int]]) -> set[tuple[str, int]]:
    """Which events of each run are there, between its lowest and highest sequence number asked for."""
    seqs: set[tuple[str, int]] = set()
    for run_id, bounds in runs.items():
        found = column(cursor, "SELECT seq FROM events WHERE run_id = ? AND seq BETWEEN ? AND ?", [run_id, *bounds])
        seqs.update((run_id, seq) for seq in found)
    return seqs


def stored(cursor: Cursor, names: Names) -> Stored:
    """What the store holds of a batch's names."""
    return Stored(
        seqs=stored_seqs(cursor, names.seqs),
        tallies=tallies(cursor, sorted(names.episodes)),
        runs=known(cursor, "runs", "id", sorted(names.runs)),
        labels=label_roots(cursor, sorted(names.labels)),
        adapters=known(cursor, "adapters", "name", sorted(names.adapters)),
        datasets=known(cursor, "datasets", "hash", sorted(names.datasets)),
    )
