"""The episodes of an annotator's queue, one at a time; those that were seen stay within reach."""

from __future__ import annotations

from typing import Any, NamedTuple

from data.types import Label
from retro_dash.client import HubClient
from retro_dash.tui.columns import whole_episode

ORDERS = {
    "shuffle": "shuffled",
    "low_reward": "worst first: low reward",
    "repeats": "worst first: repeated actions",
    "high_gain": "highest reflection gain",
    "disagreement": "most disagreement",
    "uncertainty": "model least sure",
    "newest": "newest first",
}
"""Orders of the queue, in the words of the page."""
MOST_SKIPPED = 200
"""As many as the hub takes."""


class Item(NamedTuple):
    """An episode with its alignment and every label that was ever said of it."""

    episode: dict[str, Any]
    alignment: dict[str, Any]
    labels: list[Label]


def item_of(hub: HubClient, episode_id: str) -> Item:
    return Item(*whole_episode(hub, episode_id), hub.labels(episode_id, history=True))


class Queue:
    """One sitting over one filter, in one order."""

    def __init__(self, filter_text: str = "", order: str = "shuffle") -> None:
        self.filter_text, self.order = filter_text, order
        self.progress: dict[str, Any] = {}
        self._trail: list[str] = []
        self._at = -1

    def next(self, hub: HubClient, annotator: str) -> Item | None:
        """The one after this: where we were before, a new one, or one that was passed over. None at the end."""
        if self._at < len(self._trail) - 1:
            return self._load(hub, self._trail[self._at + 1])
        self.progress = hub.label_queue(annotator, self.filter_text, self.order, skip=self._trail[-MOST_SKIPPED:])
        if not self.progress["items"] and self.progress["left_for_me"]:
            self.progress = hub.label_queue(annotator, self.filter_text, self.order)
        items = self.progress["items"]
        return self._load(hub, items[0]["episode_id"]) if items else None

    def back(self, hub: HubClient) -> Item | None:
        """The one before this; None at the first."""
        return self._load(hub, self._trail[self._at - 1]) if self._at > 0 else None

    def visit(self, hub: HubClient, episode_id: str) -> Item:
        return self._load(hub, episode_id)

    def end_words(self) -> str:
        """Why there is no item, and what to do about it."""
        if not self.progress:
            return "Loading …"
        if self.progress["total"] and not self.progress["left_for_me"]:
            return "✓ Everything in this queue has your verdict. Press / for another filter, or H for the last item."
        if self.filter_text:
            return "No episode matches this filter. Press / to change it; an empty one takes every episode."
        return (
            "Nothing to label yet. Episodes come from playing (press F1), from collecting runs, and from files of "
            "other programs (press I)."
        )

    def _load(self, hub: HubClient, episode_id: str) -> Item:
        item = item_of(hub, episode_id)
        if episode_id in self._trail:
            self._at = self._trail.index(episode_id)
        else:
            self._at += 1
            self._trail.insert(self._at, episode_id)
        return item
