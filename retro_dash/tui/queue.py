"""The episodes of an annotator's queue, one at a time; those that were seen stay within reach."""

from __future__ import annotations

from typing import Any, NamedTuple

from data.types import Label
from retro_dash.client import HubClient
from retro_dash.tui.columns import whole_episode

MOST_SKIPPED = 200
"""As many as the hub takes."""


class Item(NamedTuple):
    """An episode with its alignment and every label that was ever said of it."""

    episode: dict[str, Any]
    alignment: dict[str, Any]
    labels: list[Label]


class Queue:
    """One sitting over one filter."""

    def __init__(self, filter_text: str = "") -> None:
        self.filter_text = filter_text
        self.progress: dict[str, Any] = {}
        self._trail: list[str] = []
        self._at = -1

    def next(self, hub: HubClient, annotator: str) -> Item | None:
        """The one after this: where we were before, a new one, or one that was passed over. None at the end."""
        if self._at < len(self._trail) - 1:
            return self._load(hub, self._trail[self._at + 1])
        self.progress = hub.label_queue(annotator, self.filter_text, skip=self._trail[-MOST_SKIPPED:])
        if not self.progress["items"] and self.progress["left_for_me"]:
            self.progress = hub.label_queue(annotator, self.filter_text)
        items = self.progress["items"]
        return self._load(hub, items[0]["episode_id"]) if items else None

    def back(self, hub: HubClient) -> Item | None:
        """The one before this; None at the first."""
        return self._load(hub, self._trail[self._at - 1]) if self._at > 0 else None

    def visit(self, hub: HubClient, episode_id: str) -> Item:
        return self._load(hub, episode_id)

    def end_words(self) -> str:
        """Why there is no item."""
        if not self.progress:
            return "Loading …"
        is_done = self.progress["total"] and not self.progress["left_for_me"]
        left = "No episode matches. Press / for another filter."
        return "Everything in this queue has your verdict." if is_done else left

    def _load(self, hub: HubClient, episode_id: str) -> Item:
        item = Item(*whole_episode(hub, episode_id), hub.labels(episode_id, history=True))
        if episode_id in self._trail:
            self._at = self._trail.index(episode_id)
        else:
            self._at += 1
            self._trail.insert(self._at, episode_id)
        return item
