"""Output tokens per second of the embedded engine against transformers' `generate`, in one run on one machine.

    python -m benchmarks.engine [--model-dir DIR] [--json]

Requests of one episode's kind: 603 prompt tokens, the first 506 shared, 24 output tokens at temperature 0.7. The
engines take turns within a repeat, so that a busy machine slows all of them; the median over repeats is shown. vLLM
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
from retro_dash.serving.process import EMBEDDED_ENVIRONMENT, EngineProcess, Launch
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
        engines: dict[str, Complete] = {"ours": stack.enter_context(_served(_embedded(options.model_dir)))}
        try:
            launch = vllm_launch(find_vllm(Path.cwd()), str(options.model_dir), NAME)
            engines["vllm"] = stack.enter_context(_served(launch))
        except Unavailable as error:
            print(error, file=sys.stderr)
        if not options.no_generate:
            engines["generate"] = _generate(options.model_dir)
        report = {
            "cores": os.cpu_count(),
            "load_before": os.getloadavg()[0],
            "concurrent": [_measure(engines, count, options.repeats) for count in options.counts],
            "growing_trial_seconds": _measure_trial(engines, options.repeats),
            "load_after": os.getloadavg()[0],
        }
    print(json.dumps(report, indent=None if options.json else 2))


def _measure(engines: dict[str, Complete], count: int, repeats: int) -> dict[str, Any]:
    """Output tokens per second of each engine for `count` requests at once."""
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for repeat in range(repeats + 1):
        # A new prefix each time, so that nothing is cached from the repeat before; the first repeat only warms up.
        shared = _tokens(SHARED, 1000 * count + repeat)
        prompts = [shared + _tokens(OWN, 7 + i) for i in range(count)]
        for name, complete in engines.items():
            began = time.monotonic()
            tokens = complete(prompts, OUTPUT)
            if repeat:
                rates[name].append(tokens / (time.monotonic() - began))
    medians = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    return {"requests": count, "tokens_per_second": medians, "all": rates, **_ratios(medians)}


def _measure_trial(engines: dict[str, Complete], repeats: int) -> dict[str, float]:
    """Seconds for one trial of 12 turns on a prompt of 600 tokens, each turn asked with the whole sequence."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for repeat in range(repeats):
        for name, complete in engines.items():
            sequence = _tokens(600, 31 + repeat)
            began = time.monotonic()
            for turn in range(TURNS):
                complete([sequence], TURN_OUTPUT)
                sequence = sequence + _tokens(TURN_OUTPUT + OBSERVATION, 100 * repeat + turn)
            seconds[name].append(time.monotonic() - began)
    return {name: round(statistics.median(values), 2) for name, values in seconds.items()}


def _ratios(medians: dict[str, float]) -> dict[str, float]:
    return {f"ours_over_{name}": round(medians["ours"] / rate, 2) for name, rate in medians.items() if name != "ours"}


def _tokens(count: int, seed: int) -> list[int]:
    draw = random.Random(seed)
    return [draw.randrange(100, 40_000) for _ in range(count)]


@contextmanager
def _served(launch: Launch) -> Iterator[Complete]:
    with tempfile.TemporaryDirectory() as home:
        process = EngineProcess(Path(home), launch)
        process.start()
        try:
            client = process.wait_until_ready(progress=lambda line: print(line, file=sys.stderr))
            yield lambda prompts, count: _ask(client, prompts, count)
        finally:
            process.stop()


def _ask(client: EngineClient, prompts: Sequence[Sequence[int]], count: int) -> int:
    def one(prompt: Sequence[int]) -> int:
        done = client.complete(prompt, model=NAME, max_tokens=count, temperature=TEMPERATURE, ignore_eos=True)
        return len(done.token_ids or ())

    with ThreadPoolExecutor(len(prompts)) as pool:
        return sum(pool.map(one, prompts))


def _embedded(folder: Path) -> Launch:
    def command(port: int) -> list[str]:
        serve = [sys.executable, "-m", "retro_dash.serving.embedded", "--model-dir", str(folder), "--port", str(port)]
        return [*serve, "--served-model-name", NAME, "--die-with", str(os.getpid())]

    return Launch(command, lambda key: {"RETRO_ENGINE_KEY": key, **EMBEDDED_ENVIRONMENT})


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


def _options() -> argparse.Namespace:
    home = Path(os.environ.get("RETRO_TEST_HOME") or Path(tempfile.gettempdir()) / "retro-test-home")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", type=Path, default=home / "models" / "smollm2-135m-instruct")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-generate", action="store_true")
    parser.add_argument("--json", action="store_true", help="one line")
    return parser.parse_args()


if __name__ == "__main__":
    main()
