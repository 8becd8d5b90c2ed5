"""How long until a label is acknowledged, with 25 annotators and 25 viewers on one hub?

    python -m benchmarks.labels --json [--annotators 25] [--viewers 25] [--seconds 20] [--episodes 2000]

A real hub process over HTTP on this machine, whose clients share its cores. Every annotator labels an episode every
`--think` seconds; every viewer opens a page of 50 episodes or one episode every second, and follows all events as
they happen. A label is acknowledged when it is on the disk. Two rounds: `annotating` at that pace, and `rushing`, in
which no annotator pauses. Milliseconds; `heard` is the share of labels that viewers heard of, `cpu` how many cores
the hub and its clients (this process) kept busy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.events import EpisodeStarted, Event
from data.store import Store
from data.types import Episode, EpisodeState, StopReason, Task, Trial, Turn

ROOT = Path(__file__).resolve().parents[1]
NOW = datetime(2026, 11, 20, tzinfo=UTC)
VERDICTS = ("expert", "good", "bad", "discard")


def make_episodes(count: int) -> Iterator[Episode]:
    """Episodes of one trial with ten turns."""
    for number in range(count):
        turns = tuple(
            Turn(
                index=k, thought="I look at it once more.", action=f"look {k}", observation="A room. " * 8, reward=0.0
            )
            for k in range(1, 11)
        )
        at = NOW + timedelta(seconds=number)
        trial = Trial(
            index=1, prompt="You act.", opening="A room.", turns=turns, stop_reason=StopReason.FAILED,
            started_at=at, finished_at=at,
        )  # fmt: skip
        yield Episode(
            id=f"e{number}", task=Task(id=f"t{number}", env="alfworld", split="valid", instruction="Put a mug away."),
            planner="base", reflector="base", trials=(trial,), state=EpisodeState.FAILED, run_id="r", created_at=at,
        )  # fmt: skip


def fill(home: Path, count: int) -> None:
    with Store.open(home) as store:
        events = [
            Event(run_id="r", seq=number, at=NOW, body=EpisodeStarted(episode=episode))
            for number, episode in enumerate(make_episodes(count))
        ]
        for start in range(0, count, 500):
            store.append(events[start : start + 500])


@contextmanager
def running_hub(home: Path) -> Iterator[dict[str, Any]]:
    """A hub process on the home; gives what its `hub.json` says."""
    words = ["web", "--home", str(home), "--port", "0", "--no-browser", "--engine", "none"]
    process = subprocess.Popen(
        [sys.executable, "-m", "retro_dash.cli", *words], cwd=ROOT, stdout=subprocess.DEVNULL, env={**os.environ}
    )
    try:
        yield _address(home, process)
    finally:
        process.terminate()
        process.wait(30)


def _address(home: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            known: dict[str, Any] = json.loads((home / "hub.json").read_text())
            if httpx.get(f"{known['url']}/health", trust_env=False).status_code == 200:
                return known
        except (OSError, ValueError, httpx.HTTPError):
            pass
        time.sleep(0.1)
    raise SystemExit("The hub did not start.")


async def annotate(http: httpx.AsyncClient, who: int, until: float, think: float, waits: list[float]) -> None:
    dice = random.Random(who)
    await asyncio.sleep(dice.random() * think)
    while time.monotonic() < until:
        label = {
            "id": uuid4().hex, "target": {"episode_id": f"e{dice.randrange(500)}", "part": "episode"},
            "name": "verdict", "value": dice.choice(VERDICTS), "annotator": f"annotator {who}",
        }  # fmt: skip
        start = time.perf_counter()
        (await http.post("/labels", json={"labels": [label]})).raise_for_status()
        waits.append(1000 * (time.perf_counter() - start))
        await asyncio.sleep(think)


async def view(http: httpx.AsyncClient, who: int, until: float, pause: float, waits: list[float]) -> None:
    dice = random.Random(1000 + who)
    await asyncio.sleep(dice.random() * pause)
    while time.monotonic() < until:
        path = dice.choice(("/episodes?limit=50", "/status", f"/episodes/e{dice.randrange(500)}"))
        start = time.perf_counter()
        (await http.get(path)).raise_for_status()
        waits.append(1000 * (time.perf_counter() - start))
        await asyncio.sleep(pause)


async def follow(http: httpx.AsyncClient, heard: list[int]) -> None:
    """Count the labels that happen, until the stream is closed."""
    async with http.stream("GET", "/events", timeout=None) as answer:
        async for line in answer.aiter_lines():
            heard[0] += '"kind":"label_made"' in line


async def round_of(address: dict[str, Any], arguments: argparse.Namespace, think: float) -> dict[str, Any]:
    acknowledged: list[float] = []
    viewed: list[float] = []
    heard = [0]
    hub = psutil.Process(address["pid"])
    # The hub ends a connection that is idle for five seconds; none is used that it may be ending just now.
    limits = httpx.Limits(max_connections=None, keepalive_expiry=2.0)
    async with httpx.AsyncClient(
        base_url=f"{address['url']}/api/v1",
        headers={"authorization": f"Bearer {address['token']}"},
        limits=limits,
        timeout=60,
        trust_env=False,
    ) as http:
        watching = [asyncio.create_task(follow(http, heard)) for _ in range(arguments.viewers)]
        await asyncio.sleep(1.0)
        busy = cpu_seconds(hub), cpu_seconds(psutil.Process())
        until = time.monotonic() + arguments.seconds
        await asyncio.gather(
            *(annotate(http, who, until, think, acknowledged) for who in range(arguments.annotators)),
            *(view(http, who, until, 1.0, viewed) for who in range(arguments.viewers)),
        )
        cores = [
            round((cpu_seconds(process) - before) / arguments.seconds, 2)
            for process, before in zip((hub, psutil.Process()), busy, strict=True)
        ]
        await asyncio.sleep(1.0)
        for one in watching:
            one.cancel()
    return {
        "labels_per_second": round(len(acknowledged) / arguments.seconds, 1),
        "acknowledged_ms": percentiles(acknowledged),
        "viewed_ms": percentiles(viewed),
        "heard": heard[0] / max(1, len(acknowledged) * arguments.viewers),
        "cpu": {"hub": cores[0], "clients": cores[1]},
    }


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def percentiles(waits: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(waits, n=100)
    return {name: round(cuts[place], 1) for name, place in (("p50", 49), ("p95", 94), ("p99", 98))} | {
        "max": round(max(waits), 1),
        "count": len(waits),
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="retro-labels-") as folder:
        home = Path(folder)
        fill(home, arguments.episodes)
        with running_hub(home) as address:
            return {
                "annotators": arguments.annotators,
                "viewers": arguments.viewers,
                "episodes": arguments.episodes,
                "cores": os.cpu_count(),
                "annotating": asyncio.run(round_of(address, arguments, arguments.think)),
                "rushing": asyncio.run(round_of(address, arguments, 0.0)),
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotators", type=int, default=25)
    parser.add_argument("--viewers", type=int, default=25)
    parser.add_argument("--seconds", type=float, default=20, help="of each of the two rounds")
    parser.add_argument("--think", type=float, default=1.0, help="seconds between two labels of one annotator")
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    found = measure(parser.parse_args())
    print(json.dumps(found) if "--json" in sys.argv else json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
