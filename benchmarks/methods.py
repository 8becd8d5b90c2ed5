"""Which method learns most from one imitation start and one exploration, on rooms with a hidden habit?

    python -m benchmarks.methods --json --seeds 3 [--out methods.jsonl] [--cells imitation retroact ...]

Each seed makes its own demonstrations, imitation, exploration and training order; every method of a seed starts from
the same weights and the same samples, and all play the same 200 held-out rooms. A cell (seed, method) that is in
`--out` is not run again. `retroact` is trained exactly as in `tests/training/test_it_learns.py`; `SETTINGS` says what
the others have otherwise. Nothing is chosen by a score on the held-out rooms.

Intervals are 95 % bootstraps over rooms of the mean over seeds: they say nothing about other seeds, for which each
seed's own score stands beside them. Processor seconds are of this process.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.learning import (
    BATCH,
    ENGINE,
    RETROACT,
    TRIALS,
    Imitated,
    Seeds,
    explore,
    held_out_rooms,
    imitate,
    learn,
    play,
)
from data.types import Strategy
from retro_dash.agent.policy import Policy
from retro_dash.scores import bootstrap, score_table
from retro_dash.serving.local import LocalEngine
from training.config import METHOD_SETTINGS, Job, merge, parse_config
from training.credit import select_positives
from training.samples import Sample

SEEDS = (Seeds(), Seeds(11, 12, 1), Seeds(21, 22, 2))
REFERENCE = "retroact"
KEPT = "samples.pickle"
EPOCHS_ENOUGH = 60
"""For a run that ends with its token budget, which has the schedule end there too."""
SAME_TOKENS: dict[str, Any] = {"batch": {**BATCH, "tokens_per_step": 4096, "epochs": EPOCHS_ENOUGH}}
"""As many tokens as `retroact` was trained on; the budget is added where it is known."""
HALF_STEPS: dict[str, Any] = {"batch": {**BATCH, "tokens_per_step": 2048, "epochs": 4}}
"""Without regulariser rows half the tokens make as many steps over the same sampled rows."""
OWN_OPTIMISER: dict[str, Any] = {
    "optimiser": {"learning_rate": 3e-4, "warmup_steps": 10, "cap_warmup": True, "betas": (0.9, 0.95)},
    "batch": {**SAME_TOKENS["batch"], "rows_per_step": None},
}
"""A preset's credit and loss with the optimiser and the steps of `retroact`, so that these two alone differ."""


@dataclass(frozen=True)
class Training:
    """How a cell's weights are made."""

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Laid over RETROACT."""
    same_tokens: bool = False
    even: bool = False
    """Give as many demonstrations of each role as there are positive samples, not all."""


SETTINGS: dict[str, Training] = {
    "retroact": Training("retroact"),
    "longer imitation": Training("sft", SAME_TOKENS, same_tokens=True),
    "expert iteration": Training("expert_iteration", SAME_TOKENS, same_tokens=True),
    "retroact λ=0": Training("retroact", {**HALF_STEPS, "loss": {"il_coefficient": 0.0}}),
    "retroact λ=2": Training("retroact", {"loss": {"il_coefficient": 2.0}}),
    "released": Training("retroact", {**OWN_OPTIMISER, "preset": "released"}, same_tokens=True),
    "rl planner": Training("rl_planner", {"shared_adapter": False}),
    "ppo": Training("ppo", HALF_STEPS),
    "rl reflector": Training("rl_reflector", {"shared_adapter": False}),
    "expert iteration, even": Training("expert_iteration", SAME_TOKENS, same_tokens=True, even=True),
    "paper": Training("retroact", {**OWN_OPTIMISER, "preset": "paper"}, same_tokens=True),
}
PAIRS: dict[str, tuple[str, str]] = {
    "imitation": ("imitation", "imitation"),
    "rl planner": ("rl planner", "imitation"),
    "rl reflector": ("imitation", "rl reflector"),
    "retroact, two sets": ("rl planner", "rl reflector"),
}
"""(planner's training, reflector's) where they differ, and what is not trained. Jobs with weights of their own share
nothing, so RetroAct with two sets is what `rl_planner` and `rl_reflector` make, and these are the papers' 2 x 2."""
CELLS = (
    "imitation", "retroact", "longer imitation", "expert iteration", "retroact λ=0", "retroact λ=2", "released",
    "rl planner", "ppo", "rl reflector", "retroact, two sets", "expert iteration, even", "paper",
)  # fmt: skip
"""Dearest to the question first. `retroact` comes before those that get its tokens."""


@dataclass
class Repetition:
    """One seed: what its methods start from, and the weights made of it."""

    number: int
    start: Imitated
    samples: list[Sample]
    folder: Path
    engine: LocalEngine
    tokens: int | None = None
    """That `retroact` was trained on."""
    trained: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Facts of the trainings whose weights the engine holds."""

    def weights(self, name: str) -> Policy:
        """The policy that this training makes, trained now if it was not yet."""
        if name not in self.trained:
            path, facts = (self.start.weights, {}) if name == "imitation" else self._train(SETTINGS[name], name)
            self.engine.load_adapter(name, path)
            self.trained[name] = facts
        return self.engine.policy(name)

    def _train(self, training: Training, name: str) -> tuple[Path, dict[str, Any]]:
        job: Job = METHOD_SETTINGS.get(training.method, {}).get("roles", ("both",))[0]
        settings = merge(RETROACT, dict(training.settings))
        settings = merge(
            settings, {"start_adapters": {job: str(self.start.weights)}, "seed": SEEDS[self.number].weights}
        )
        if training.same_tokens:
            assert self.tokens is not None, "retroact is run first"
            settings = merge(settings, {"budget": {"max_tokens": self.tokens}})
        logged: list[tuple[int, Mapping[str, float]]] = []
        samples = even_demonstrations(self.samples, self.number) if training.even else self.samples
        started = time.process_time()
        outcome = learn(
            training.method, samples, self.start.model, self.folder / name, settings,
            lambda step, metrics: logged.append((step, dict(metrics))),
        )  # fmt: skip
        seconds = time.process_time() - started
        facts = {"steps": outcome.steps, "tokens": outcome.tokens, "training_seconds": round(seconds, 1)}
        return outcome.artefacts[job], {**facts, "metrics": summarise(logged)}


def even_demonstrations(samples: Sequence[Sample], seed: int) -> list[Sample]:
    """The sampled rows, and for each role as many demonstrations as it has positive ones."""
    sampled = [sample for sample in samples if sample.rl_weight > 0]
    chosen = list(sampled)
    for role in ("planner", "reflector"):
        positive = select_positives([s for s in sampled if s.role == role], parse_config({}).credit)
        shown = [sample for sample in samples if sample.rl_weight == 0 and sample.role == role]
        chosen += random.Random(seed).sample(shown, min(len(positive), len(shown)))
    return chosen


def summarise(logged: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, Any]:
    """Metrics before the first step, and their means over the last tenth of the steps."""
    steps = [metrics for step, metrics in logged if step > 0]
    last = steps[-max(1, len(steps) // 10) :]
    names = sorted({name for metrics in last for name in metrics})
    means = {name: round(fmean([m[name] for m in last if name in m]), 5) for name in names}
    return {"start": next((dict(m) for step, m in logged if step == 0), {}), "end": means}


def imitated(number: int, folder: Path) -> tuple[Imitated, list[Sample]]:
    """The start of a seed's methods and their samples; no samples as long as nothing was explored."""
    kept = folder / KEPT
    if kept.exists():
        start, samples = pickle.loads(kept.read_bytes())
        return start, samples
    return imitate(folder, SEEDS[number]), []


def explored(repetition: Repetition) -> list[Sample]:
    """All samples of a seed, kept for a later process."""
    start = repetition.start
    samples = [*start.demonstrations, *explore(repetition.engine, "imitation", SEEDS[repetition.number])]
    (repetition.folder / KEPT).write_bytes(pickle.dumps((replace(start, demonstrations=[]), samples)))
    return samples


def count_samples(samples: Sequence[Sample]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for sample in samples:
        kinds = ["demonstrated" if sample.rl_weight == 0 else "sampled"]
        if sample.rl_weight > 0 and sample.reward > (sample.reward_before or 0.0):
            kinds.append("sampled, positive")
        for kind in kinds:
            name = f"{sample.role} {kind}"
            counts[name] = counts.get(name, 0) + 1
    return counts


def evaluate(planner: Policy, reflector: Policy) -> dict[str, list[int]]:
    """Success (0 or 1) in every held-out room."""
    hurried = held_out_rooms(looks=1)
    reflecting = score_table(play(hurried, planner, reflector), TRIALS, "success")
    again = play(hurried, planner, reflector, Strategy.NONE, temperature=1.0)
    unhurried = play(held_out_rooms(looks=4), planner, reflector, Strategy.NONE)
    found = {
        "first": reflecting[:, 0],
        "second, reflecting": reflecting[:, 1],
        "third, reflecting": reflecting[:, 2],
        "third, sampled again": score_table(again, TRIALS, "success")[:, 2],
        "unhurried": score_table(unhurried, 1, "success")[:, 0],
    }
    return {name: [int(value) for value in values] for name, values in found.items()}


def run_cell(repetition: Repetition, cell: str) -> dict[str, Any]:
    """Train what the cell needs, play the held-out rooms."""
    names = PAIRS.get(cell, (cell, cell))
    planner, reflector = (repetition.weights(name) for name in names)
    facts = {name: repetition.trained[name] for name in dict.fromkeys(names)}
    started = time.process_time()
    scores = evaluate(planner, reflector)
    seconds = round(time.process_time() - started, 1)
    return {"trained": facts, "scores": scores, "evaluation_seconds": seconds}


def run_cells(cells: Sequence[str], seeds: int, out: Path, work: Path) -> list[dict[str, Any]]:
    """Run what `out` does not hold yet, seed after seed, and return all its rows."""
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    for number in range(seeds):
        done = {row["cell"]: row for row in rows if row["seed"] == number}
        if any(cell not in done for cell in cells):
            rows += run_seed(number, cells, done, out, work / f"seed-{number}")
    return rows


def run_seed(
    number: int, cells: Sequence[str], done: dict[str, dict[str, Any]], out: Path, folder: Path
) -> list[dict[str, Any]]:
    """Run the cells of one seed that are not done; returns their rows."""
    started, new = time.process_time(), []
    start, samples = imitated(number, folder)
    seconds = round(time.process_time() - started, 1)
    with LocalEngine(start.model, dtype="float32", limits=ENGINE) as engine:
        repetition = Repetition(number, start, samples, folder, engine)
        repetition.weights("imitation")
        repetition.samples = samples or explored(repetition)
        if "start" not in done:
            facts = {"imitation_seconds": seconds, "seconds": round(time.process_time() - started, 1)}
            new.append(
                append(out, {"seed": number, "cell": "start", **facts, "samples": count_samples(repetition.samples)})
            )
        for cell in cells:
            if cell not in done:
                if REFERENCE in done:
                    repetition.tokens = done[REFERENCE]["trained"][REFERENCE]["tokens"]
                done[cell] = append(out, {"seed": number, "cell": cell, **run_cell(repetition, cell)})
                new.append(done[cell])
    return new


def append(out: Path, row: dict[str, Any]) -> dict[str, Any]:
    with out.open("a") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return row


# -- the comparison -----------------------------------------------------------------------------------------------


def report(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every cell's scores, and its differences to imitation and to `retroact` on the seeds that both have."""
    tables: dict[str, dict[int, dict[str, Any]]] = {}
    for row in rows:
        if row["cell"] != "start":
            tables.setdefault(row["cell"], {})[row["seed"]] = row["scores"]
    cells = {}
    for cell, table in tables.items():
        measures = list(next(iter(table.values())))
        cells[cell] = {
            "seeds": sorted(table),
            "scores": {name: describe([table[seed][name] for seed in sorted(table)]) for name in measures},
            **{
                f"minus {other}": {name: difference(table, tables[other], name) for name in measures}
                for other in ("imitation", REFERENCE)
                if other in tables and other != cell and tables[other].keys() & table.keys()
            },
        }
    starts = [row for row in rows if row["cell"] == "start"]
    return {"rooms": len(held_out_rooms(looks=1)), "cells": cells, "starts": starts}


def describe(by_seed: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Mean over seeds with its interval over rooms, and each seed's mean."""
    values = np.asarray(by_seed, dtype=np.float64)
    interval = bootstrap(values.mean(axis=0))
    return {**interval.model_dump(), "by_seed": [round(float(mean), 4) for mean in values.mean(axis=1)]}


def difference(one: Mapping[int, Any], other: Mapping[int, Any], name: str) -> dict[str, Any]:
    """Paired by seed and room."""
    both = sorted(one.keys() & other.keys())
    return describe([np.subtract(one[seed][name], other[seed][name]).tolist() for seed in both])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, len(SEEDS) + 1))
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS, metavar="CELL", help="; ".join(CELLS))
    parser.add_argument("--out", type=Path, help="results, a JSON line a cell; its folder also keeps the weights")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="retro-methods-") as folder:
        out = options.out or Path(folder) / "methods.jsonl"
        rows = run_cells(options.cells, options.seeds, out, out.with_suffix(""))
    found = report(rows)
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
        return
    for cell, facts in found["cells"].items():
        scores = "   ".join(
            f"{name} {one['mean']:.1%} [{one['low']:.1%}, {one['high']:.1%}] {one['by_seed']}"
            for name, one in facts["scores"].items()
        )
        print(f"{cell:24} {scores}")


if __name__ == "__main__":
    main()
