"""How fast and how small is training, against the reference's way and against TRL, in one run on the same rows?

    python -m benchmarks.training --json                 # SmolLM2-135M from RETRO_TEST_HOME, LoRA r=8 on all layers
    RETRO_TRL_PYTHON=/path/to/venv/bin/python …          # an interpreter with trl, when this one has none

Every contender trains the same trajectories (64 to 1,024 tokens, log-normal, mean about 300, a fifth of them policy
tokens), four RL and four imitation rows a step, in a process of its own, so that peak memory is its own. TRL, which
has no RL term here, imitates all eight. Tokens are counted without padding.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

ROWS = 4
"""RL rows, and imitation rows, in a step."""
ROOT = Path(__file__).resolve().parents[1]
SMOLLM = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "rope_theta": 100000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
Row = tuple[list[int], list[bool]]
"""Token ids and policy mask of one trajectory."""


def make_rows(count: int, seed: int = 0) -> list[Row]:
    """Trajectories of a turn-taking agent: a prompt, then 10 policy tokens in every 50."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        length = int(min(1024, max(64, draw.lognormvariate(math.log(300) - 0.18, 0.6))))
        ids = [draw.randrange(1000, 40000) for _ in range(length)]
        rows.append((ids, [i % 50 >= 40 for i in range(length)]))
    return rows


def find_model() -> Path | None:
    home = Path(os.environ.get("RETRO_TEST_HOME", Path(os.environ.get("TMPDIR", "/tmp")) / "retro-test-home"))
    folder = home / "models" / "smollm2-135m-instruct"
    return folder if (folder / "model.safetensors").exists() else None


def load(dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM, LlamaConfig

    folder = find_model()
    if folder:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    return AutoModelForCausalLM.from_config(LlamaConfig(**SMOLLM)).to(dtype)


class Clock:
    """Wall-clock and processor seconds of steps. The latter mean more on a machine that has other work."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []

    def begin(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def end(self) -> None:
        self.seconds.append(time.perf_counter() - self.wall)
        self.cpu_seconds.append(time.process_time() - self.cpu)

    def times(self) -> dict[str, list[float]]:
        """Of all steps but the first, which warms up."""
        return {"seconds": self.seconds[1:], "cpu_seconds": self.cpu_seconds[1:]}


def time_steps(take_step: Callable[[int], None], steps: int) -> dict[str, list[float]]:
    """Times of each step after one to warm up."""
    clock = Clock()
    for number in [0, *range(steps)]:
        clock.begin()
        take_step(number)
        clock.end()
    return clock.times()


# -- contenders ---------------------------------------------------------------------------------------------------


def run_ours(steps: int) -> dict[str, Any]:
    """One packed pass over RL and imitation rows, as the loop does it."""
    from training.optimiser import MasterAdamW
    from training.step import accumulate_gradients

    model, config, batches = prepare_ours(steps)
    optimiser = MasterAdamW(model, config.optimiser)

    def take_step(number: int) -> None:
        accumulate_gradients(model, optimiser, batches[number], config, is_detailed=False)
        optimiser.step(1e-4)

    times = time_steps(take_step, steps)
    peak = peak_gigabytes()
    return {**times, "peak_gb": peak, "profile": profile_shares(lambda: take_step(0))}


def prepare_ours(steps: int) -> tuple[Any, Any, list[list[Any]]]:
    from training.config import parse_config
    from training.lora import open_model
    from training.samples import Sample
    from training.step import Row as StepRow

    config = parse_config({"batch": {"tokens_per_pack": 1024, "max_length": 1024}})
    folder = find_model()
    if folder is None:
        folder = Path(os.environ["RETRO_BENCH_MODEL"])
    model = open_model(folder, config).train()
    batches = []
    for number, rows in enumerate(batches_of(steps)):
        samples = [
            Sample(
                f"{number}/{i}",
                "planner",
                "g",
                tuple(ids),
                tuple(mask),
                old_logprobs=tuple(-10.0 if m else 0.0 for m in mask),
                advantages=(1.0,) * len(ids),
                rl_weight=float(i < ROWS),
                il_weight=float(i >= ROWS),
            )
            for i, (ids, mask) in enumerate(rows)
        ]
        batches.append([StepRow(sample) for sample in samples])
    return model, config, batches


def run_reference(steps: int, batch: int) -> dict[str, Any]:
    """The released loss, op by op: two left-padded forwards, full float32 logits, means over all positions."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(load(torch.bfloat16), LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    model.to(torch.bfloat16).train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def token_logprobs(rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(ids) for ids, _ in rows)
        padded = torch.tensor([[0] * (width - len(ids)) + ids for ids, _ in rows])
        chosen = torch.tensor([[False] * (width - len(ids)) + mask for ids, mask in rows])
        attention = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids, _ in rows])
        logits = model(input_ids=padded, attention_mask=attention).logits.float()[:, :-1]
        logprobs = torch.log_softmax(logits, dim=-1).gather(2, padded[:, 1:, None])[:, :, 0]
        return logprobs, chosen[:, 1:]

    batches = batches_of(steps)

    def take_step(number: int) -> None:
        rows = batches[number]
        for low in range(0, ROWS, batch):
            logprobs, chosen = token_logprobs(rows[low : low + batch])
            ratio = (logprobs - torch.full_like(logprobs, -10.0)).exp().clamp(0.7, 1.3).detach()
            loss = -(ratio * logprobs * chosen).mean()
            regular, targets = token_logprobs(rows[ROWS + low : ROWS + low + batch])
            loss = loss - (regular * targets).mean()
            (loss * batch / ROWS).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return {**time_steps(take_step, steps), "peak_gb": peak_gigabytes()}


def run_trl(steps: int) -> dict[str, Any]:
    """TRL's SFTTrainer, padding-free, bf16, without its default gradient checkpointing (which would be slower)."""
    import tempfile

    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    clock = Clock()

    class Timed(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            clock.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.end()

    batches = batches_of(steps)
    rows = [row for batch in [batches[0], *batches] for row in batch]
    table = {
        "input_ids": [ids for ids, _ in rows],
        "labels": [[t if m else -100 for t, m in zip(ids, mask, strict=True)] for ids, mask in rows],
    }
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            output_dir=folder, per_device_train_batch_size=2 * ROWS, max_steps=steps + 1, padding_free=True,
            bf16=True, use_cpu=True, activation_checkpointing=False, report_to=[], disable_tqdm=True,
            save_strategy="no",
            dataset_kwargs={"skip_prepare_dataset": True}, max_length=None, train_sampling_strategy="sequential",
            learning_rate=1e-4, logging_strategy="no", remove_unused_columns=False,
        )  # fmt: skip
        trainer = SFTTrainer(
            model=load(torch.bfloat16),
            args=settings,
            train_dataset=Dataset.from_dict(table),
            processing_class=PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file()), pad_token="<|im_end|>"),
            peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[Timed()],
        )
        trainer.train()
    return {**clock.times(), "peak_gb": peak_gigabytes()}


def tokenizer_file() -> Path:
    folder = find_model()
    if folder is None:
        raise SystemExit("TRL needs the tokenizer of SmolLM2-135M: set RETRO_TEST_HOME.")
    return folder / "tokenizer.json"


def run_gemm(steps: int) -> dict[str, Any]:
    """Peak of the machine's bf16 matrix product, in GFLOP/s, on a size of this model's."""
    a, b = torch.randn(2048, 576).bfloat16(), torch.randn(576, 1536).bfloat16()

    def multiply(_: int) -> None:
        for _ in range(20):
            torch.mm(a, b)

    seconds = time_steps(multiply, 4 * steps)["seconds"]
    return {"gflops": 20 * 2 * 2048 * 576 * 1536 / min(seconds) / 1e9}


# -- measuring ----------------------------------------------------------------------------------------------------


def batches_of(steps: int) -> list[list[Row]]:
    rows = make_rows(steps * 2 * ROWS)
    return [rows[i * 2 * ROWS : (i + 1) * 2 * ROWS] for i in range(steps)]


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def profile_shares(take_step: Callable[[], None]) -> dict[str, float]:
    """Share of one step's operator time: projections, attention, head and elementwise work."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        take_step()
    groups = {"aten::mm": "matrix products", "aten::addmm": "matrix products", "aten::bmm": "attention"}
    shares: dict[str, float] = {}
    for event in profiler.key_averages():
        name = groups.get(event.key, "attention" if "softmax" in event.key else "elementwise and rest")
        shares[name] = shares.get(name, 0.0) + event.self_cpu_time_total
    total = sum(shares.values())
    return {name: round(value / total, 3) for name, value in shares.items()}


def tokens_per_trial(turns: int = 12, prompt: int = 600, tokens: int = 56) -> dict[str, float]:
    """Tokens to train one trial on: as one masked sequence, and as one sample a turn."""
    whole = prompt + turns * tokens
    by_turn = sum(prompt + turn * tokens for turn in range(1, turns + 1))
    return {"one_sequence": whole, "one_sample_a_turn": by_turn, "ratio": round(by_turn / whole, 2)}


def theoretical_flops(batches: Sequence[Sequence[Row]], layer_parameters: float, head_parameters: float) -> float:
    """Fewest operations with frozen weights: 4 for each layer parameter and token, 4 for each head one and target."""
    tokens = sum(len(ids) for batch in batches for ids, _ in batch)
    targets = sum(sum(mask) for batch in batches for _, mask in batch)
    return 4 * (tokens * layer_parameters + targets * head_parameters)


CONTENDERS: dict[str, Callable[[int], dict[str, Any]]] = {
    "ours": run_ours,
    "reference_batch_1": lambda steps: run_reference(steps, 1),
    "reference_batch_4": lambda steps: run_reference(steps, 4),
    "trl": run_trl,
    "gemm": run_gemm,
}


REFERENCES = ("reference_batch_1", "reference_batch_4")
"""As published (batch 1, hence no padding), and with the batch of a step padded to its longest row."""


def run_apart(name: str, steps: int, threads: int, python: str) -> dict[str, Any]:
    """Run one contender in its own process; `{"skipped": reason}` when it cannot run."""
    # As a module: a script's own folder would hide the package `training` behind this file.
    command = [python, "-m", "benchmarks.training", "--contender", name, "--steps", str(steps)]
    command += ["--threads", str(threads)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        return {
            "skipped": finished.stderr.strip().splitlines()[-1] if finished.stderr else "it failed without a word"
        }
    result: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
    return result


def compare(steps: int, rounds: int, threads: int) -> dict[str, Any]:
    """All contenders, in turns, so that other work on the machine meets them alike; each keeps its best round."""
    trl_python = os.environ.get("RETRO_TRL_PYTHON", sys.executable)
    tokens = sum(len(ids) for batch in batches_of(steps) for ids, _ in batch)
    best: dict[str, dict[str, Any]] = {}
    for _ in range(rounds):
        for name in CONTENDERS:
            result = run_apart(name, steps, threads, trl_python if name == "trl" else sys.executable)
            if "seconds" in result:
                result["tokens_per_second"] = round(tokens / sum(result.pop("seconds")), 1)
                result["tokens_per_cpu_second"] = round(tokens / sum(result.pop("cpu_seconds")), 1)
            key = "gflops" if name == "gemm" else "tokens_per_second"
            if name not in best or result.get(key, 0) > best[name].get(key, 0):
                best[name] = result
    return {"tokens": tokens, "model": "smollm2-135m" if find_model() else "random weights", **summary(best, steps)}


def summary(best: dict[str, dict[str, Any]], steps: int) -> dict[str, Any]:
    ours, speed = best["ours"], best["ours"].get("tokens_per_second", 0.0)
    out: dict[str, Any] = {"contenders": best, "tokens_per_trial": tokens_per_trial()}
    for name, other in best.items():
        if name not in ("ours", "gemm") and "tokens_per_second" in other:
            out[f"ratio_to_{name}"] = round(speed / other["tokens_per_second"], 2)
            out[f"cpu_ratio_to_{name}"] = round(ours["tokens_per_cpu_second"] / other["tokens_per_cpu_second"], 2)
            out[f"memory_share_of_{name}"] = round(ours["peak_gb"] / other["peak_gb"], 2)
    # Against the faster of the reference's two forms, so that the ratio flatters nobody.
    out["ratio_to_reference"] = min(out.get(f"ratio_to_{name}", math.inf) for name in REFERENCES)
    if "gflops" in best["gemm"]:
        layers = 30 * (576 * (576 * 2 + 192 * 2) + 3 * 576 * 1536)
        batches = batches_of(steps)
        flops = theoretical_flops(batches, layers, 49152 * 576)
        tokens = sum(len(ids) for batch in batches for ids, _ in batch)
        out["gemm_peak_share"] = round(flops / tokens * speed / (best["gemm"]["gflops"] * 1e9), 3)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.contender:
        print(json.dumps(CONTENDERS[options.contender](options.steps)))
        return
    report = compare(options.steps, options.rounds, options.threads)
    if options.json:
        print(json.dumps(report, indent=1))
        return
    for name, result in report["contenders"].items():
        print(f"{name:20} {json.dumps(result)}")
    for name, value in report.items():
        if name != "contenders":
            print(f"{name:28} {value}")


if __name__ == "__main__":
    main()
