"""How often: a bucket of requests for each person, and a lock after too many wrong passwords. Kept in memory."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MOST_KEYS = 10_000
"""So many people or addresses are remembered; the ones unseen for longest are forgotten first."""
Clock = Callable[[], float]


class Buckets:
    """Each key may spend `burst` at once and gets `rate` back a second."""

    def __init__(self, rate: float, burst: float, clock: Clock = time.monotonic) -> None:
        self.rate, self.burst, self._clock = rate, burst, clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, key: str) -> float:
        """Take one; returns 0, or the seconds until there is one to take (nothing is taken then)."""
        with self._lock:
            now = self._clock()
            level, seen = self._levels.pop(key, (self.burst, now))
            level = min(self.burst, level + (now - seen) * self.rate)
            is_free = level >= 1
            self._levels[key] = (level - 1 if is_free else level, now)
            if len(self._levels) > MOST_KEYS:
                self._levels.popitem(last=False)
        return 0.0 if is_free else (1 - level) / self.rate


class Attempts:
    """Wrong passwords by key (a user, an address): each one makes the next answer slower, the tenth locks."""

    def __init__(self, most: int = 10, lock_seconds: float = 900.0, clock: Clock = time.monotonic) -> None:
        self.most, self.lock_seconds, self._clock = most, lock_seconds, clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, *keys: str) -> float:
        """Count an attempt before its password is looked at, so that many at once are not more than ten.

        Returns the seconds for which the strictest of the keys is locked, 0 when the attempt may go on.
        """
        with self._lock:
            left = [self._left(key) for key in keys if self._count(key) >= self.most]
            if left:
                return max(left)
            for key in keys:
                self._failures[key] = (self._count(key) + 1, self._clock())
                self._failures.move_to_end(key)
            while len(self._failures) > MOST_KEYS:
                self._failures.popitem(last=False)
        return 0.0

    def delay(self, *keys: str) -> float:
        """Seconds by which to hold back the answer to a wrong password: 0.1, doubling to 2."""
        with self._lock:
            return float(min(2.0, 0.05 * 2 ** max(self._count(key) for key in keys)))

    def succeed(self, user: str, address: str) -> None:
        """The password was right: forget the user's failures, and of the address only this attempt, or else an
        attacker with an account could begin anew as often as he likes."""
        with self._lock:
            self._failures.pop(user, None)
            count, last = self._failures.get(address, (0, 0.0))
            if count > 0:
                self._failures[address] = (count - 1, last)

    def _count(self, key: str) -> int:
        return self._failures.get(key, (0, 0.0))[0] if self._left(key) > 0 else 0

    def _left(self, key: str) -> float:
        _, last = self._failures.get(key, (0, float("-inf")))
        return last + self.lock_seconds - self._clock()
