"""The known defects F1 to F13 of the reference's trainer: `fixed` has none of them; where `released` computes the
same thing on purpose, the test shows the difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import random_samples, sampled_by
from transformers import AutoModelForCausalLM, GPTNeoXConfig

from data.errors import TrainingError
from training.attention import use_packed_attention
from training.config import TrainConfig, parse_config
from training.credit import pair_regulariser, spread_over_turns
from training.forward import policy_logprobs, score
from training.loop import train_jobs
from training.lora import open_model
from training.losses import TokenTerms, policy_gradient_loss, token_weights
from training.packing import make_pack, policy_positions
from training.samples import Sample, Segment, clean, sample_from_segments, truncate
from training.schedule import learning_rate

FIXED, RELEASED = parse_config({}), parse_config({"preset": "released"})


def row(name: str, prompt: int, output: int, role: str = "planner") -> Sample:
    mask = (False,) * prompt + (True,) * output
    return Sample(name, role, "g", (1,) * (prompt + output), mask, (0.0,) * len(mask), rl_weight=1.0)


def test_f1_prompt_length_does_not_weigh_tokens() -> None:
    for prompt in (5, 500):
        ((_, weight),) = token_weights([row("a", prompt, 10)], FIXED.loss)
        assert weight == pytest.approx(0.1)
    (((_, short),), ((_, long),)) = (token_weights([row("a", n, 10)], RELEASED.loss) for n in (5, 500))
    assert short / long == pytest.approx(509 / 14)


def test_f2_environment_text_is_not_trained_on() -> None:
    trial = [
        Segment((1,), False),
        Segment((2, 3), True, (-1, -1)),
        Segment((4, 5, 6), False),
        Segment((7,), True, (-1,)),
    ]
    sample = sample_from_segments(trial, name="a", role="planner", group="g", rl_weight=1.0)
    (fixed,) = clean([sample], 99, FIXED.loss.tokens).samples
    (released,) = clean([sample], 99, RELEASED.loss.tokens).samples
    assert [fixed.input_ids[i] for i in policy_positions(fixed)] == [2, 3, 7]
    assert [released.input_ids[i] for i in policy_positions(released)] == [2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("form", ["coefficient_clip", "ppo_min_clip", "literal_eq7"])
def test_f3_every_form_of_clipping_runs(form: str) -> None:
    terms = TokenTerms(torch.zeros(3), torch.ones(3), torch.zeros(3), torch.ones(3))
    settings = FIXED.loss.model_copy(update={"policy_gradient": form})
    assert policy_gradient_loss(torch.tensor([-0.1, 0.0, 0.1]), terms, settings).isfinite()


def test_f4_f5_rows_of_different_lengths_share_a_pass_and_change_nothing(model_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    use_packed_attention(model)
    rows = random_samples(8)
    together = policy_logprobs(model, make_pack(rows, range(8)))
    alone = torch.cat([policy_logprobs(model, make_pack(rows, [i])) for i in range(8)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_f6_recorded_and_computed_logprobs_are_of_the_same_tokens(model_dir: Path) -> None:
    rows = [s for s in sampled_by(model_dir, random_samples(12)) if s.rl_weight]
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    use_packed_attention(model)
    for sample, scored in zip(rows, score(model, rows, 300), strict=True):
        recorded = torch.tensor([sample.old_logprobs[i] for i in policy_positions(sample)])
        torch.testing.assert_close(scored, recorded, atol=1e-5, rtol=1e-5)
        assert (scored - recorded.roll(1)).abs().mean() > 0.1 or len(recorded) == 1


def test_f7_ratios_are_float32_in_a_bf16_model(model_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16)
    use_packed_attention(model)
    rows = [s for s in random_samples(12) if s.rl_weight]
    (first, again) = (torch.cat(score(model, rows, 300)) for _ in range(2))
    assert first.dtype == torch.float32
    assert (first - again).abs().max() == 0
    assert (first - first.bfloat16().float()).abs().max() > 1e-3


def run(config: TrainConfig, rows: list[Sample], model_dir: Path, folder: Path) -> list[Mapping[str, float]]:
    lines: list[Mapping[str, float]] = []
    train_jobs(config, rows, model_dir, folder, lambda step, metrics: lines.append(metrics))
    return lines


def test_f8_dropout_does_not_move_the_ratio(model_dir: Path, samples: list[Sample], tmp_path: Path) -> None:
    """An adapter that was trained with dropout is gone on with, in training mode, without it."""
    settings = {"method": "sft", "roles": ("planner",), "batch": {"precision": "fp32", "epochs": 20}}
    with_dropout = parse_config({**settings, "lora": {"dropout": 0.5}, "optimiser": {"learning_rate": 0.02}})
    run(with_dropout, samples, model_dir, tmp_path)
    pack = make_pack(samples, range(8))
    spread = {}
    for name, config in (("none", parse_config(settings)), ("some", with_dropout)):
        model = open_model(model_dir, config, tmp_path / "adapters" / "planner").train()
        with torch.no_grad():
            spread[name] = (policy_logprobs(model, pack) - policy_logprobs(model, pack)).abs().max().item()
    assert FIXED.lora.dropout == 0.0
    assert spread["none"] == 0.0
    assert spread["some"] > 0.01


def test_f9_negative_advantages_are_bounded() -> None:
    def loss_at(log_ratio: float, config: TrainConfig) -> float:
        terms = TokenTerms(torch.tensor([-1.0]), torch.tensor([-1.0]), torch.zeros(1), torch.ones(1))
        return policy_gradient_loss(torch.tensor([-1.0 + log_ratio]), terms, config.loss).item()

    assert loss_at(-1000.0, FIXED) == 0.0
    assert loss_at(-1000.0, RELEASED) < -600
    assert FIXED.credit.baseline != "none"


def test_f10_ratio_kl_and_entropy_are_logged_and_the_start_is_checked(
    model_dir: Path, samples: list[Sample], tmp_path: Path
) -> None:
    config = parse_config({"method": "rl_planner", "batch": {"precision": "fp32"}})
    names = {name for metrics in run(config, samples, model_dir, tmp_path) for name in metrics}
    assert {"planner/kl_behaviour", "planner/entropy", "planner/step0_abs_log_ratio", "planner/clip_low"} <= names


def test_f10_credit_differs_between_turns_pairing_between_epochs_and_warm_up_is_short() -> None:
    turns = spread_over_turns(1.0, [0, 1, 2, 3], 4, FIXED.credit.turn_discount)
    assert turns[1] < turns[2] < turns[3] == 1.0
    rows = random_samples(60)
    rl, il = [i for i, s in enumerate(rows) if s.rl_weight], [i for i, s in enumerate(rows) if s.il_weight]
    assert pair_regulariser(rl, il, rows, 0, 0, FIXED.loss.regulariser) != pair_regulariser(
        rl, il, rows, 1, 0, FIXED.loss.regulariser
    )
    assert learning_rate(5, 50, FIXED.optimiser) == pytest.approx(FIXED.optimiser.learning_rate)
    assert learning_rate(5, 50, RELEASED.optimiser) == pytest.approx(0.06 * RELEASED.optimiser.learning_rate)


def test_f11_another_architecture_trains_and_no_token_is_special(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        GPTNeoXConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, vocab_size=60, intermediate_size=64,
            max_position_embeddings=128, initializer_range=0.2,
        )
    )  # fmt: skip
    model.save_pretrained(tmp_path / "neox")
    rows = sampled_by(tmp_path / "neox", random_samples(12))
    # Token 0 is what padding is made of elsewhere: here it is a token like any other, and a target.
    rows.append(Sample("zeros", "planner", "z", (0, 0, 0), (False, True, True), il_weight=1.0))
    config = parse_config({"method": "rl_planner", "batch": {"precision": "fp32"}})
    assert len(run(config, rows, tmp_path / "neox", tmp_path / "run")) > 1


def test_f12_training_from_other_weights_than_sampled_is_refused(
    model_dir: Path, samples: list[Sample], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    other = make_model(seed=9)
    with pytest.raises(TrainingError, match="do not agree with the policy that made the samples"):
        run(parse_config({"batch": {"precision": "fp32"}}), samples, other, tmp_path)


def test_f13_a_long_reflector_prompt_is_cut_and_its_reflection_is_kept() -> None:
    long = row("reflection", 3000, 60, "reflector")
    short = truncate(replace(long, input_ids=tuple(range(3060))), FIXED.batch.max_length)
    assert len(short.input_ids) == FIXED.batch.max_length
    assert short.policy_tokens == 60
    assert short.input_ids[-60:] == tuple(range(3000, 3060))
    assert math.isclose(token_weights([short], FIXED.loss)[0][1], 1 / 60)
