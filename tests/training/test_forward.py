"""Packed passes give what plain padded passes of the same model give, in values and gradients."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, GPTNeoXConfig, LlamaConfig, PreTrainedConfig, Qwen2Config

from data.errors import Unavailable
from training.attention import use_packed_attention
from training.forward import Head, entropy, head_of, hidden_states, policy_logprobs, score, token_logprobs
from training.packing import make_pack, plan_packs, policy_positions
from training.samples import Sample

SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "vocab_size": 97}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama, grouped heads": LlamaConfig(
        **SIZES, intermediate_size=96, num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=512
    ),
    "qwen2, biased": Qwen2Config(
        **SIZES, intermediate_size=96, num_key_value_heads=6, tie_word_embeddings=False, max_position_embeddings=512
    ),
    "gpt-neox, other layout": GPTNeoXConfig(**SIZES, intermediate_size=96, max_position_embeddings=512),
}


def build(config: PreTrainedConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(copy.deepcopy(config)).float()


def make_samples(lengths: list[int]) -> list[Sample]:
    generator = random.Random(3)
    samples = []
    for number, length in enumerate(lengths):
        ids = tuple(generator.randrange(97) for _ in range(length))
        mask = (*(generator.random() < 0.3 for _ in range(length - 1)), True)
        samples.append(Sample(str(number), "planner", "g", ids, mask))
    return samples


def padded_logprobs(model: torch.nn.Module, samples: list[Sample]) -> list[torch.Tensor]:
    """The plain way: right padding, an attention mask, full float32 logits."""
    width = max(len(sample.input_ids) for sample in samples)
    ids = torch.tensor([sample.input_ids + (0,) * (width - len(sample.input_ids)) for sample in samples])
    mask = torch.tensor([[i < len(sample.input_ids) for i in range(width)] for sample in samples]).long()
    logprobs = torch.log_softmax(model(input_ids=ids, attention_mask=mask).logits.float(), dim=-1)
    rows = []
    for row, sample in enumerate(samples):
        positions = torch.tensor(policy_positions(sample))
        rows.append(logprobs[row, positions - 1, ids[row, positions]])
    return rows


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("frozen_head", [True, False])
def test_packed_equals_padded_in_values_and_gradients(name: str, frozen_head: bool) -> None:
    model, samples = build(CONFIGS[name]), make_samples([5, 300, 130, 2, 77, 128])
    model.get_output_embeddings().weight.requires_grad_(not frozen_head)
    weights = [torch.linspace(-1, 1, len(policy_positions(sample))) for sample in samples]

    expected = padded_logprobs(model, samples)
    sum((w * row).sum() for w, row in zip(weights, expected, strict=True)).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    use_packed_attention(model)
    for rows in plan_packs([len(sample.input_ids) for sample in samples], 400):
        pack = make_pack(samples, rows)
        logprobs = policy_logprobs(model, pack)
        torch.testing.assert_close(logprobs, torch.cat([expected[row] for row in rows]), atol=2e-5, rtol=1e-5)
        (torch.cat([weights[row] for row in rows]) * logprobs).sum().backward()
    packed = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert packed.keys() == gradients.keys()
    assert gradients, "no gradient was compared"
    for parameter, gradient in gradients.items():
        torch.testing.assert_close(packed[parameter], gradient, atol=3e-5, rtol=1e-4)


def test_a_sample_does_not_see_its_neighbours_in_the_pack() -> None:
    model = build(CONFIGS["llama, grouped heads"])
    use_packed_attention(model)
    first, second, other = make_samples([40, 60, 50])
    beside_second = policy_logprobs(model, make_pack([first, second], [0, 1]))
    beside_other = policy_logprobs(model, make_pack([other, second], [0, 1]))
    n = len(policy_positions(second))
    torch.testing.assert_close(beside_second[-n:], beside_other[-n:], atol=1e-6, rtol=0)


def test_scoring_gives_every_sample_its_own_tokens_in_order() -> None:
    model, samples = build(CONFIGS["llama, grouped heads"]), make_samples([9, 33, 70, 12])
    expected = padded_logprobs(model, samples)
    use_packed_attention(model)
    for scored, want in zip(score(model, samples, 80), expected, strict=True):
        torch.testing.assert_close(scored, want.detach(), atol=2e-5, rtol=1e-5)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    model, samples = build(CONFIGS["llama, grouped heads"]), make_samples([40, 150])
    use_packed_attention(model)
    pack = make_pack(samples, [0, 1])
    policy_logprobs(model, pack).sum().backward()
    plain = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.train()
    model.activation_checkpointing_enable()
    policy_logprobs(model, pack).sum().backward()
    for before, parameter in zip(plain, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, before, atol=1e-6, rtol=1e-5)


def test_capped_and_scaled_logits_have_the_gradient_of_the_plain_formula() -> None:
    torch.manual_seed(1)
    hidden = torch.randn(7, 12, requires_grad=True)
    weight, targets = torch.randn(31, 12), torch.arange(7)
    head = head_of(build(CONFIGS["llama, grouped heads"]))
    capped = type(head)(weight=weight, bias=None, scale=0.7, softcap=5.0)
    plain = torch.log_softmax(5 * torch.tanh(0.7 * hidden @ weight.T / 5), -1)[torch.arange(7), targets]
    (want,) = torch.autograd.grad(plain.sum(), hidden)
    got_values = token_logprobs(hidden, capped, targets)
    (got,) = torch.autograd.grad(got_values.sum(), hidden)
    torch.testing.assert_close(got_values, plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_bf16_weights_give_log_probabilities_to_a_thousandth_of_a_nat() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = (2 * torch.randn(64, 96, generator=generator)).bfloat16()
    weight = (0.5 * torch.randn(500, 96, generator=generator)).bfloat16()
    targets = torch.randint(0, 500, (64,), generator=generator)
    exact = torch.log_softmax(hidden.double() @ weight.double().t(), dim=-1).gather(1, targets[:, None])[:, 0]
    rounded = torch.log_softmax((hidden @ weight.t()).double(), dim=-1).gather(1, targets[:, None])[:, 0]
    ours = token_logprobs(hidden, Head(weight, None, 1.0, None), targets)
    assert (rounded - exact).abs().max() > 0.01
    assert (ours - exact).abs().max() < 0.001


def test_entropy_of_a_uniform_head_is_the_log_of_the_vocabulary() -> None:
    head = head_of(build(CONFIGS["llama, grouped heads"]))
    flat = type(head)(weight=torch.zeros(50, 4), bias=None, scale=1.0, softcap=None)
    torch.testing.assert_close(entropy(torch.randn(3, 4), flat), torch.full((3,), 50.0).log())


def test_models_with_score_capping_in_attention_are_refused_with_a_sentence() -> None:
    config = Gemma2Config(**SIZES, intermediate_size=96, num_key_value_heads=2, head_dim=8)
    model = build(config)
    use_packed_attention(model)
    with pytest.raises(Unavailable, match="no score capping"):
        hidden_states(model, make_pack(make_samples([9]), [0]))


def test_first_fit_decreasing_fills_packs_and_never_overfills_one() -> None:
    # 7 + 3 fill the first, 6 + 4 the second; 12 is over the limit and goes alone.
    assert plan_packs([3, 7, 4, 6, 12], 10) == [[4], [1, 0], [3, 2]]
