"""How busy vLLM is, counted from the Prometheus metrics that it publishes, in the words of the embedded engine."""

from __future__ import annotations

import re
from collections import defaultdict, deque

_SAMPLE = re.compile(r"^(vllm:\w+)(?:\{.*\})? (\S+)$", re.MULTILINE)
_RATE_SECONDS = 10.0


class Throughput:
    """Tokens per second over the last seconds, from a total that only grows."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def rate(self, total: float, now: float) -> float:
        """`now` in seconds of a clock that never goes back."""
        self._seen.append((now, total))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _RATE_SECONDS:
            self._seen.popleft()
        since, before = self._seen[0]
        return (total - before) / (now - since) if now > since else 0.0


def read_vllm_metrics(text: str, throughput: Throughput, now: float) -> dict[str, float | int]:
    """Running, waiting, tokens per second and the share of prompt tokens from the cache; empty for other metrics."""
    totals: defaultdict[str, float] = defaultdict(float)
    for name, value in _SAMPLE.findall(text):
        totals[name.removeprefix("vllm:")] += float(value)
    if "num_requests_running" not in totals:
        return {}
    asked = totals["prefix_cache_queries_total"]
    return {
        "running": int(totals["num_requests_running"]),
        "waiting": int(totals["num_requests_waiting"]),
        "tokens_per_second": throughput.rate(totals["generation_tokens_total"], now),
        "prefix_hit_rate": totals["prefix_cache_hits_total"] / asked if asked else 0.0,
    }
