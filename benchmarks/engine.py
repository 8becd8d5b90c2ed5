"""Output tokens per second of the embedded engine against transformers' `generate`, in one run on one machine.

    python -m benchmarks.engine [--model-dir DIR] [--json]

Requests of one episode's kind: 603 prompt tokens, the first 506 shared, 24 output tokens at temperature 0.7. Every
round has prompts of its own, so nothing is cached from the round before. The engines take turns within a round, in
another order each time, so that a busy machine slows all of them; a ratio is the median of the rounds' ratios. vLLM
joins when RETRO_VLLM_PYTHON or .venv-vllm is there. A second scenario lets one trial grow over 12 turns.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from data.errors import Unavailable
from retro_dash.serving.client import EngineClient
from retro_dash.serving.model import EMBEDDED_MODEL
from retro_dash.serving.process import EMBEDDED_ENVIRONMENT, EngineProcess, Launch, embedded_environment
from retro_dash.serving.vllm import find_vllm, vllm_launch

SHARED, OWN, OUTPUT, TEMPERATURE = 506, 97, 24, 0.7
TURNS, OBSERVATION, TURN_OUTPUT = 12, 40, 16
NAME = "model"
Complete = Callable[[Sequence[Sequence[int]], int], int]
"""Prompts and output tokens of each; returns the tokens that came back."""


def main() -> None:
    options = _options()
    os.environ.update(
        EMBEDDED_ENVIRONMENT
    )  # `generate` gets what our engine gets; OpenMP reads it when torch is loaded
    with ExitStack() as stack:
        engines: dict[str, Complete] = {"ours": stack.enter_context(_served(embedded_launch(options.model_dir)))}
        try:
            launch = vllm_launch(find_vllm(Path.cwd()), str(options.model_dir), NAME)
            engines["vllm"] = stack.enter_context(_served(launch))
        except Unavailable as error:
            print(error, file=sys.stderr)
        if not options.no_generate:
            engines["generate"] = _generate(options.model_dir)
        for complete in engines.values():
            complete([_tokens(SHARED, 1), _tokens(SHARED, 2)], 4)  # what is made at the first request
        report = {
            "cores": os.cpu_count(),
            "load_before": os.getloadavg()[0],
            "concurrent": [_measure(engines, count) for count in options.counts],
            "growing_trial": _measure_trial(engines),
            "load_after": os.getloadavg()[0],
        }
    print(json.dumps(report, indent=None if options.json else 2))


def _measure(engines: dict[str, Complete], count: int) -> dict[str, Any]:
    """Output tokens per second of each engine for `count` requests at once."""

    def prompts(number: int) -> list[list[int]]:
        shared = _tokens(SHARED, 1000 * count + number)
        return [shared + _tokens(OWN, 7 + i) for i in range(count)]

    seconds = _rounds(engines, lambda complete, number: complete(prompts(number), OUTPUT))
    rates = {name: [count * OUTPUT / value for value in values] for name, values in seconds.items()}
    return {
        "requests": count,
        "rounds": len(seconds["ours"]),
        "tokens_per_second": _medians(rates),
        **_ratios(seconds),
    }


def _measure_trial(engines: dict[str, Complete]) -> dict[str, Any]:
    """Seconds for one trial of 12 turns on a prompt of 600 tokens, each turn asked with the whole sequence."""

    def play(complete: Complete, number: int) -> None:
        sequence = _tokens(600, 31 + number)
        for turn in range(TURNS):
            complete([sequence], TURN_OUTPUT)
            sequence = sequence + _tokens(TURN_OUTPUT + OBSERVATION, 100 * number + turn)

    seconds = _rounds(engines, play)
    return {"turns": TURNS, "rounds": len(seconds["ours"]), "seconds": _medians(seconds), **_ratios(seconds)}


def _rounds(engines: dict[str, Complete], work: Callable[[Complete, int], object]) -> dict[str, list[float]]:
    """Seconds of `work` in every round, engine by engine; rounds go on for a minute, or until there are nine."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    until = time.monotonic() + 60
    for number in range(9):
        if number and time.monotonic() > until:
            break
        names = list(engines)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.monotonic()
            work(engines[name], number)
            seconds[name].append(time.monotonic() - began)
    return seconds


def _medians(values: dict[str, list[float]]) -> dict[str, float]:
    return {name: round(statistics.median(some), 2) for name, some in values.items()}


def _ratios(seconds: dict[str, list[float]]) -> dict[str, float]:
    """How many times as fast as each other engine ours was, in the middle round."""
    return {
        f"ours_over_{name}": round(statistics.median(b / a for a, b in zip(seconds["ours"], theirs, strict=True)), 2)
        for name, theirs in seconds.items()
        if name != "ours"
    }


def _tokens(count: int, seed: int) -> list[int]:
    draw = random.Random(seed)
    return [draw.randrange(100, 40_000) for _ in range(count)]


@contextmanager
def serve(launch: Launch) -> Iterator[EngineClient]:
    """The client of a server that runs as long as the context."""
    with tempfile.TemporaryDirectory() as home:
        process = EngineProcess(Path(home), launch)
        process.start()
        try:
            yield process.wait_until_ready(progress=lambda line: print(line, file=sys.stderr))
        finally:
            process.stop()


@contextmanager
def _served(launch: Launch) -> Iterator[Complete]:
    with serve(launch) as client:
        yield lambda prompts, count: _ask(client, prompts, count)


def _ask(client: EngineClient, prompts: Sequence[Sequence[int]], count: int) -> int:
    def one(prompt: Sequence[int]) -> int:
        done = client.complete(prompt, model=NAME, max_tokens=count, temperature=TEMPERATURE, ignore_eos=True)
        return len(done.token_ids or ())

    with ThreadPoolExecutor(len(prompts)) as pool:
        return sum(pool.map(one, prompts))


def embedded_launch(folder: Path) -> Launch:
    """The embedded engine as the hub starts it, serving `folder` as `NAME`."""

    def command(port: int) -> list[str]:
        serve = [sys.executable, "-m", "retro_dash.serving.embedded", "--model-dir", str(folder), "--port", str(port)]
        return [*serve, "--served-model-name", NAME, "--die-with", str(os.getpid())]

    return Launch(command, embedded_environment)


def _generate(folder: Path) -> Complete:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.eval()

    def complete(prompts: Sequence[Sequence[int]], count: int) -> int:
        ids = torch.tensor([list(prompt) for prompt in prompts])
        wishes = {"do_sample": True, "temperature": TEMPERATURE, "eos_token_id": None, "pad_token_id": 0}
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, **wishes)
        return int(out.shape[0] * (out.shape[1] - ids.shape[1]))

    return complete


def default_model_dir() -> Path:
    """Where the tests prepare the embedded model."""
    home = Path(os.environ.get("RETRO_TEST_HOME") or Path(tempfile.gettempdir()) / "retro-test-home")
    return home / "models" / EMBEDDED_MODEL


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", type=Path, default=default_model_dir())
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--no-generate", action="store_true")
    parser.add_argument("--json", action="store_true", help="one line")
    return parser.parse_args()


if __name__ == "__main__":
    main()
