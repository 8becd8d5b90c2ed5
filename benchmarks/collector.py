"""Turns a minute of the collector against looping over the episodes one by one, on one model and one machine.

    python -m benchmarks.collector [--model-dir DIR] [--json]

Both play ALFWorld tasks through the same player. The collector keeps 16 episodes going through the engine; the loop,
as in Reflexion's code, plays one after the other and lets transformers' `generate` encode the whole prompt afresh in
every turn. They take turns, and a ratio is that of one round. vLLM joins when RETRO_VLLM_PYTHON or .venv-vllm is
there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.engine import NAME, default_model_dir, embedded_launch, serve
from data.errors import Unavailable
from data.events import Event, TurnTaken
from data.types import Strategy, Task
from envs import environment_kind
from envs.isolated import EnvironmentPool
from retro_dash.agent.batch import BatchPlan, play_many
from retro_dash.agent.engine_policy import EnginePolicy
from retro_dash.agent.limits import Limits
from retro_dash.agent.policy import OnText, Policy, ShouldStop
from retro_dash.agent.prompts import Message
from retro_dash.agent.sampling import Sampling
from retro_dash.agent.token_server import SampledTokens
from retro_dash.serving.process import EMBEDDED_ENVIRONMENT
from retro_dash.serving.server import TokenEngine
from retro_dash.serving.vllm import find_vllm, vllm_launch

EPISODES, TURNS, TEMPERATURE = 16, 6, 0.7
LIMITS = Limits(reply_tokens=24, malformed_in_a_row=TURNS)
CONTEXT = 8192


class Generate:
    """transformers' `generate` as the player's server of tokens: nothing is kept between two turns."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._torch = torch
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)

    def context_length(self, model: str) -> int:
        return CONTEXT

    def tokenize(self, model: str, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def tokenize_chat(self, model: str, messages: Sequence[Message]) -> list[int]:
        chat = [{"role": message.role, "content": message.content} for message in messages]
        ids: list[int] = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
        return ids

    def sample(
        self,
        model: str,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        max_tokens: int,
        on_text: OnText | None,
        should_stop: ShouldStop | None,
    ) -> SampledTokens:
        began = time.monotonic()
        ids = self._torch.tensor([list(prompt_ids)])
        self._torch.manual_seed(sampling.seed)
        with self._torch.inference_mode():
            out = self._model.generate(
                ids,
                attention_mask=self._torch.ones_like(ids),
                max_new_tokens=max_tokens,
                do_sample=True,
                temperature=sampling.temperature,
                stop_strings=list(sampling.stop),
                tokenizer=self._tokenizer,
            )
        new = out[0, ids.shape[1] :].tolist()
        text = self._tokenizer.decode(new, skip_special_tokens=True)
        for stop in sampling.stop:
            text = text.split(stop)[0]
        reason = "length" if len(new) == max_tokens else "stop"
        # The loop knows no log-probabilities; the player only wants as many as there are tokens.
        return SampledTokens(text, tuple(new), (0.0,) * len(new), reason, time.monotonic() - began)


def main() -> None:
    options = _options()
    os.environ.update(EMBEDDED_ENVIRONMENT)
    tasks = _tasks()
    with ExitStack() as stack:
        served = {"embedded": embedded_launch(options.model_dir)}
        try:
            served["vllm"] = vllm_launch(find_vllm(Path.cwd()), str(options.model_dir), NAME)
        except Unavailable as error:
            print(error, file=sys.stderr)
        clients = {name: stack.enter_context(serve(launch)) for name, launch in served.items()}
        policies: dict[str, Policy] = {
            name: EnginePolicy(NAME, TokenEngine(lambda client=client: client, CONTEXT))  # type: ignore[misc]
            for name, client in clients.items()
        }
        loop = EnginePolicy(NAME, Generate(options.model_dir))
        pool = EnvironmentPool()
        stack.callback(pool.close)
        rates: dict[str, list[float]] = {name: [] for name in [*policies, "loop"]}
        load = os.getloadavg()[0]
        for number in range(options.rounds):
            for name, policy in policies.items():
                rates[name].append(turns_a_minute(policy, tasks, EPISODES, number, pool))
            rates["loop"].append(turns_a_minute(loop, tasks[number : number + 1], 1, number, pool))
    report = {
        "cores": os.cpu_count(),
        "load": [load, os.getloadavg()[0]],
        "episodes": EPISODES,
        "turns_a_minute": {name: round(statistics.median(values)) for name, values in rates.items()},
        "rounds": {name: [round(value) for value in values] for name, values in rates.items()},
        "over_loop": {name: _ratio(rates[name], rates["loop"]) for name in policies},
    }
    print(json.dumps(report, indent=None if options.json else 2))


def turns_a_minute(policy: Policy, tasks: Sequence[Task], parallel: int, seed: int, pool: EnvironmentPool) -> float:
    """Plays one trial of each task and counts the turns that were taken."""
    kind = environment_kind("alfworld")
    plan = BatchPlan(
        f"bench-{seed}", kind, policy, policy, Strategy.NONE, 1, TEMPERATURE, seed, None, LIMITS, parallel
    )
    events: list[Event] = []
    numbers = count()
    began = time.monotonic()
    for _ in play_many(plan, tasks, pool.open, events.extend, lambda: f"ep-{next(numbers)}"):
        pass
    return 60 * sum(isinstance(event.body, TurnTaken) for event in events) / (time.monotonic() - began)


def _tasks() -> list[Task]:
    kind = environment_kind("alfworld")
    tasks = [task for split in kind.splits for task in kind.bundled(split)]
    return [task.model_copy(update={"turn_limit": TURNS}) for task in tasks[:EPISODES]]


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 2)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-dir", type=Path, default=default_model_dir())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one line")
    return parser.parse_args()


if __name__ == "__main__":
    main()
