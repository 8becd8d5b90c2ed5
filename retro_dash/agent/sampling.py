"""How a policy's text is sampled: temperature, room, and a seed of its own for every trial of every task."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from data.types import Episode
from retro_dash.agent.limits import Limits
from retro_dash.agent.reply import STOP_TEXTS


@dataclass(frozen=True)
class Sampling:
    """How text is sampled in one dialogue."""

    temperature: float = 0.0
    seed: int = 0
    reply_tokens: int = 128
    """Tokens one reply may have."""
    stop: tuple[str, ...] = STOP_TEXTS


def planner_sampling(episode: Episode, trial: int, limits: Limits) -> Sampling:
    """For the turns of the episode's trial number `trial`."""
    return Sampling(episode.temperature, _seed(episode, trial), limits.reply_tokens)


def reflector_sampling(episode: Episode, trial: int, limits: Limits) -> Sampling:
    """For the reflection after trial number `trial`."""
    return Sampling(episode.temperature, _seed(episode, trial) + 500, limits.reflection_tokens, stop=())


def _seed(episode: Episode, trial: int) -> int:
    """Tasks draw numbers of their own, or all episodes of a batch would explore the same way."""
    return (episode.seed * 1_000_003 + trial * 1_009 + crc32(episode.task.id.encode())) % 2**31
