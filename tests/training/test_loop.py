"""The loop end to end on a tiny model: methods, resume, kills, and what it refuses."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from data.errors import BadFile, BadInput, Refused, TrainingError
from training.config import TrainConfig, parse_config
from training.folders import problem_of
from training.forward import score
from training.loop import train_jobs
from training.lora import open_model
from training.samples import Sample, Segment, sample_from_segments

BATCH = {"tokens_per_step": 150, "tokens_per_pack": 100, "max_length": 64, "precision": "fp32", "epochs": 4}


def config(**given: object) -> TrainConfig:
    return parse_config(
        {"batch": BATCH, "budget": {"checkpoint_every": 2}, "optimiser": {"learning_rate": 0.01}, **given}
    )


class Log:
    """Keeps what the loop logs."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, dict[str, float]]] = []

    def __call__(self, step: int, metrics: Mapping[str, float]) -> None:
        self.lines.append((step, dict(metrics)))

    def curve(self, name: str) -> list[tuple[int, float]]:
        return [(step, metrics[name]) for step, metrics in self.lines if name in metrics]


def stop_after(count: int) -> Callable[[], bool]:
    """True from the (count + 1)th time that it is asked on: the loop asks once a step."""
    left = iter(range(count))
    return lambda: next(left, None) is None


@pytest.mark.parametrize("lora", [True, False])
def test_imitation_brings_the_loss_of_its_rows_down(
    model_dir: Path, samples: list[Sample], tmp_path: Path, lora: bool
) -> None:
    log = Log()
    outcome = train_jobs(config(method="sft", lora={"enabled": lora}), samples, model_dir, tmp_path, log)
    for role in ("planner", "reflector"):
        curve = log.curve(f"{role}/il_loss")
        assert curve[-1][1] < curve[0][1] - 0.2
        assert problem_of(outcome.artefacts[role]) is None
        assert not list(outcome.artefacts[role].rglob("*.bin"))


def test_policy_gradient_makes_good_rows_likelier_and_bad_rows_less_likely(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    chosen = config(method="rl_planner", loss={"il_coefficient": 0.0}, credit={"turn_discount": 1.0})
    outcome = train_jobs(chosen, samples, model_dir, tmp_path, Log())
    rows = [s for s in samples if s.role == "planner" and s.rl_weight]
    scored = score(open_model(model_dir, chosen, outcome.artefacts["planner"]), rows, 200)
    change = [
        float(now.mean()) - sum(row.old_logprobs) / row.policy_tokens for row, now in zip(rows, scored, strict=True)
    ]
    good = [c for c, row in zip(change, rows, strict=True) if row.reward == 1.0]
    bad = [c for c, row in zip(change, rows, strict=True) if row.reward == 0.0]
    assert min(len(good), len(bad)) >= 3
    assert sum(good) / len(good) > 0.1
    assert sum(bad) / len(bad) < -0.02


@pytest.mark.parametrize("method", ["retroact", "expert_iteration", "ppo", "rl_reflector"])
@pytest.mark.parametrize("preset", ["paper", "released", "fixed"])
def test_every_method_runs_in_every_preset_and_starts_on_policy(
    model_dir: Path, samples: list[Sample], tmp_path: Path, method: str, preset: str
) -> None:
    log = Log()
    batch = {**BATCH, "epochs": 1, "rows_per_step": 6}
    chosen = parse_config({"method": method, "preset": preset, "batch": batch})
    outcome = train_jobs(chosen, samples, model_dir, tmp_path, log)
    assert set(outcome.artefacts) == set(chosen.jobs)
    for _, metrics in log.lines:
        assert all(value == value for value in metrics.values())
    for role in chosen.roles if method != "expert_iteration" else ():
        if preset == "fixed":
            assert log.curve(f"{role}/step0_abs_log_ratio")[0][1] < 1e-5
            assert log.curve(f"{role}/abs_log_ratio")[0][1] < 1e-5


def test_one_adapter_for_both_roles_trains_both(model_dir: Path, samples: list[Sample], tmp_path: Path) -> None:
    log = Log()
    outcome = train_jobs(config(shared_adapter=True), samples, model_dir, tmp_path, log)
    assert list(outcome.artefacts) == ["both"]
    assert log.curve("planner/rl_loss")
    assert log.curve("reflector/rl_loss")


def test_a_stopped_and_resumed_run_gives_the_curve_and_weights_of_an_unbroken_one(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    # Dropout is on: its random stream must be the same too.
    chosen = config(lora={"dropout": 0.1}, loss={"kl_coefficient": 0.1, "log_ratio_tolerance": 0.5})
    whole, broken = Log(), Log()
    unbroken = train_jobs(chosen, samples, model_dir, tmp_path / "whole", whole)
    for steps in (3, 1, 4, 2):
        outcome = train_jobs(chosen, samples, model_dir, tmp_path / "broken", broken, stop_after(steps))
        assert outcome.was_stopped
    resumed = train_jobs(chosen, samples, model_dir, tmp_path / "broken", broken)
    for name in (
        "planner/rl_loss",
        "planner/il_loss",
        "reflector/rl_loss",
        "planner/gradient_norm",
        "planner/tokens",
    ):
        assert [step for step, _ in broken.curve(name)] == [step for step, _ in whole.curve(name)]
        assert [v for _, v in broken.curve(name)] == pytest.approx([v for _, v in whole.curve(name)], abs=1e-6)
    for job, folder in unbroken.artefacts.items():
        expected = load_file(folder / "adapter_model.safetensors")
        found = load_file(resumed.artefacts[job] / "adapter_model.safetensors")
        for key, tensor in expected.items():
            torch.testing.assert_close(found[key], tensor, atol=1e-6, rtol=0)


def test_a_finished_run_that_is_made_longer_gives_the_curve_and_weights_of_a_long_one(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    steady = {"learning_rate": 0.01, "schedule": "constant", "warmup_steps": 0}
    short, long = (config(optimiser=steady, batch={**BATCH, "epochs": epochs}) for epochs in (2, 5))
    whole, first, second = Log(), Log(), Log()
    unbroken = train_jobs(long, samples, model_dir, tmp_path / "whole", whole)
    train_jobs(short, samples, model_dir, tmp_path / "short", first)
    shutil.copytree(tmp_path / "short" / "checkpoints", tmp_path / "longer" / "checkpoints")
    longer = train_jobs(long, samples, model_dir, tmp_path / "longer", second)
    for name in ("planner/rl_loss", "reflector/rl_loss", "planner/tokens"):
        steps, values = zip(*(first.curve(name) + second.curve(name)), strict=True)
        assert list(steps) == [step for step, _ in whole.curve(name)]
        assert list(values) == pytest.approx([value for _, value in whole.curve(name)], abs=1e-6)
    expected = load_file(unbroken.artefacts["planner"] / "adapter_model.safetensors")
    found = load_file(longer.artefacts["planner"] / "adapter_model.safetensors")
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, atol=1e-6, rtol=0)
    again = Log()
    train_jobs(long, samples, model_dir, tmp_path / "longer", again)
    assert again.lines == []


def test_the_plan_names_the_samples_of_every_step(model_dir: Path, samples: list[Sample], tmp_path: Path) -> None:
    log = Log()
    train_jobs(config(method="sft"), samples, model_dir, tmp_path, log)
    plan = json.loads((tmp_path / "plan" / "planner.json").read_text())
    assert len(plan["steps"]) == len(log.curve("planner/il_loss"))
    named = {plan["samples"][index] for step in plan["steps"] for index in step}
    assert named == {sample.id for sample in samples if sample.role == "planner" and sample.il_weight > 0}


def test_splitting_a_step_into_packs_changes_nothing(model_dir: Path, samples: list[Sample], tmp_path: Path) -> None:
    logs = []
    for tokens_per_pack in (64, 10_000):
        log = Log()
        batch = {**BATCH, "tokens_per_pack": tokens_per_pack}
        train_jobs(config(batch=batch), samples, model_dir, tmp_path / str(tokens_per_pack), log)
        logs.append(log)
    for name in ("planner/rl_loss", "planner/gradient_norm", "reflector/il_loss"):
        assert [v for _, v in logs[0].curve(name)] == pytest.approx([v for _, v in logs[1].curve(name)], abs=2e-4)


def test_sigterm_saves_and_ends(model_dir: Path, samples: list[Sample], tmp_path: Path) -> None:
    def log(step: int, metrics: Mapping[str, float]) -> None:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    outcome = train_jobs(config(method="rl_planner"), samples, model_dir, tmp_path, log)
    assert (outcome.was_stopped, outcome.steps) == (True, 3)
    assert problem_of(tmp_path / "checkpoints" / "planner" / "step-3") is None
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_time_and_token_budgets_end_a_run_early_and_publish(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    by_tokens = config(method="rl_planner", budget={"max_tokens": 400})
    outcome = train_jobs(by_tokens, samples, model_dir, tmp_path / "a", Log())
    assert 0 < outcome.tokens <= 400
    by_time = config(method="rl_planner", budget={"max_seconds": 1e-6})
    outcome = train_jobs(by_time, samples, model_dir, tmp_path / "b", Log())
    assert outcome.steps == 1
    assert outcome.artefacts


def test_a_loss_that_is_no_number_stops_names_the_batch_and_keeps_the_last_good_state(
    samples: list[Sample], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    broken = make_model(bad_token=59)
    poisoned = Sample("poisoned", "planner", "g", (1, 59, 3), (False, False, True), il_weight=1.0)
    rows = [*(s for s in samples if s.il_weight and s.role == "planner"), poisoned]
    log = Log()
    with pytest.raises(TrainingError, match=r"the loss is nan on samples .*poisoned") as error:
        train_jobs(
            config(method="sft", roles=("planner",), batch={**BATCH, "rows_per_step": 2}), rows, broken, tmp_path, log
        )
    taken = max(step for step, _ in log.lines)
    kept = tmp_path / "checkpoints" / "planner" / f"step-{taken}"
    assert str(kept) in str(error.value)
    assert problem_of(kept) is None
    assert all(bool(t.isfinite().all()) for t in load_file(kept / "state.safetensors").values())


def test_a_run_refuses_to_start_off_policy_and_says_by_how_much(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    shifted = [
        replace(
            s, old_logprobs=tuple(x - 0.5 if m else x for x, m in zip(s.old_logprobs, s.policy_mask, strict=True))
        )
        if s.old_logprobs
        else s
        for s in samples
    ]
    with pytest.raises(TrainingError, match=r"mean \|log ratio\| is 0\.5000 nats"):
        train_jobs(config(), shifted, model_dir, tmp_path, Log())
    older = [replace(s, age=1) for s in shifted]
    assert train_jobs(config(), older, model_dir, tmp_path, Log()).artefacts


def test_missing_logprobs_are_refused_unless_the_starting_weights_may_fill_them(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    bare = [replace(s, old_logprobs=None) for s in samples]
    with pytest.raises(TrainingError, match="no behaviour log-probabilities"):
        train_jobs(config(), bare, model_dir, tmp_path, Log())
    log = Log()
    train_jobs(config(loss={"rescore_behaviour": True}), bare, model_dir, tmp_path, log)
    assert log.curve("planner/abs_log_ratio")[0][1] < 1e-5


def test_empty_data_and_samples_beyond_the_context_are_refused(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="dataset is empty"):
        train_jobs(config(), [], model_dir, tmp_path, Log())
    long = sample_from_segments(
        [Segment((1,) * 150, is_policy=False), Segment((2,), is_policy=True)],
        name="long", role="planner", group="g", il_weight=1.0,
    )  # fmt: skip
    wide = {**BATCH, "max_length": 200, "tokens_per_pack": 400}
    with pytest.raises(TrainingError, match=r"151 tokens and the model's context has 128: set batch\.max_length"):
        train_jobs(config(method="sft", roles=("planner",), batch=wide), [long], model_dir, tmp_path, Log())
    target_only = sample_from_segments(
        [Segment((1,), is_policy=False), Segment((2,) * 150, is_policy=True)],
        name="all target", role="planner", group="g", il_weight=1.0,
    )  # fmt: skip
    with pytest.raises(TrainingError, match=r"more policy tokens than batch\.max_length"):
        train_jobs(config(method="sft", roles=("planner",)), [target_only], model_dir, tmp_path, Log())


def test_a_run_goes_on_from_its_adapter_and_refuses_one_of_another_base(
    model_dir: Path, samples: list[Sample], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    first = train_jobs(config(method="sft", roles=("planner",)), samples, model_dir, tmp_path / "a", Log())
    start = {"planner": str(first.artefacts["planner"])}
    again, log = config(method="sft", roles=("planner",), start_adapters=start), Log()
    train_jobs(again, samples, model_dir, tmp_path / "b", log)
    cold = Log()
    train_jobs(config(method="sft", roles=("planner",)), samples, model_dir, tmp_path / "c", cold)
    assert log.curve("planner/il_loss")[0][1] < cold.curve("planner/il_loss")[0][1] - 0.2
    with pytest.raises(BadInput, match="was trained on another base model"):
        train_jobs(again, samples, make_model(seed=5), tmp_path / "d", Log())


def test_a_foreign_adapter_of_other_shapes_a_damaged_one_and_a_pickle_are_refused(
    model_dir: Path, samples: list[Sample], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    chosen = config(method="sft", roles=("planner",))
    folder = train_jobs(chosen, samples, model_dir, tmp_path / "a", Log()).artefacts["planner"]
    (folder / "base_model.json").unlink()
    with pytest.raises(BadFile, match=r"damaged: base_model\.json is missing"):
        open_model(model_dir, chosen, folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(BadInput, match="does not fit the base model"):
        open_model(make_model(width=64), chosen, folder)
    (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(BadFile, match="is a pickle"):
        open_model(model_dir, chosen, folder)


def test_a_checkpoint_of_another_dataset_is_refused(model_dir: Path, samples: list[Sample], tmp_path: Path) -> None:
    train_jobs(config(), samples, model_dir, tmp_path, Log(), stop_after(2))
    with pytest.raises(Refused, match="another config or dataset"):
        train_jobs(config(seed=1), samples, model_dir, tmp_path, Log())


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    log = Log()
    chosen = config(method="rl_planner")
    train_jobs(chosen, samples, model_dir, tmp_path, log, stop_after(4))
    damaged = tmp_path / "checkpoints" / "planner" / "step-4" / "state.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(bytes(content))
    again = Log()
    train_jobs(chosen, samples, model_dir, tmp_path, again)
    assert again.lines[0][0] == 3


def _train_into_a_file(model: str, run: str, limit_after: int | None) -> None:
    """Child process: train, appending every metric line to `metrics.jsonl` as a worker does."""
    torch.set_num_threads(1)
    from tiny_models import random_samples, sampled_by

    lines = Path(run, "metrics.jsonl")
    whole = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    last = {job: max(s for s, j in whole if j == job) for job in {j for _, j in whole}}
    with lines.open("a") as stream:

        def log(step: int, metrics: Mapping[str, float]) -> None:
            job = next(iter(metrics)).split("/")[0]
            os.write(stream.fileno(), (json.dumps([step, job]) + "\n").encode())
            if step == limit_after:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))

        rows = sampled_by(Path(model), random_samples(36))
        chosen = config(batch={**BATCH, "epochs": 100}, budget={"checkpoint_every": 3})
        try:
            train_jobs(chosen, rows, Path(model), Path(run), log, last_logged=last)
        except TrainingError as error:
            Path(run, "error.txt").write_text(str(error)[:2000])


def _start(model: Path, run: Path, limit_after: int | None = None) -> multiprocessing.process.BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.loop"])
    process = context.Process(target=_train_into_a_file, args=(str(model), str(run), limit_after))
    process.start()
    return process


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_and_repeat_no_step(model_dir: Path, tmp_path: Path) -> None:
    draw, metrics = random.Random(1), tmp_path / "metrics.jsonl"
    for _ in range(20):
        # Told by its steps, not by the clock, so that no machine is too fast for twenty kills.
        target = draw.randrange(5) + (metrics.read_text().count("\n") if metrics.exists() else 0)
        process = _start(model_dir, tmp_path)
        while not metrics.exists() or metrics.read_text().count("\n") < target:
            assert process.is_alive(), "the run was over before it was killed often enough"
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.1))
        assert process.is_alive(), "the run was over before it was killed often enough"
        process.kill()
        process.join()
    process = _start(model_dir, tmp_path)
    process.join(120)
    assert process.exitcode == 0
    lines = [tuple(json.loads(line)) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for job in ("planner", "reflector"):
        steps = [step for step, name in lines if name == job]
        assert steps == list(range(max(steps) + 1))
        assert max(steps) > 50


@pytest.mark.slow
def test_a_full_disk_stops_loudly_and_leaves_the_last_checkpoint_whole(model_dir: Path, tmp_path: Path) -> None:
    process = _start(model_dir, tmp_path, limit_after=4)
    process.join(120)
    assert "could not be written" in (tmp_path / "error.txt").read_text()
    left = [path.name for path in (tmp_path / "checkpoints" / "planner").iterdir()]
    assert left == ["step-3"]
    assert problem_of(tmp_path / "checkpoints" / "planner" / "step-3") is None
