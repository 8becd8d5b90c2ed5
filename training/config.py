"""What a training run is told: one frozen model, read from TOML, unknown keys refused.

A **preset** says whose science is computed; it fills in what the file leaves out, and what the file says wins:

- `paper`: the equations of RetroAct (arXiv 2503.01490) as written: plain gain, clipped coefficient, policy tokens.
- `released`: what its code computes, defects included (whole-trajectory tokens, mean over all positions, product
  reward, frozen role-blind regulariser), so that it can be compared.
- `fixed` (default): what is right.

A **method** then fixes what makes it that method (`METHOD_SETTINGS`).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.errors import BadConfig

Method = Literal["sft", "retroact", "rl_planner", "rl_reflector", "expert_iteration", "ppo", "retroformer"]
Preset = Literal["paper", "released", "fixed"]
Role = Literal["planner", "reflector"]
Job = Literal["planner", "reflector", "both"]
"""What one pass of the loop trains: one role's adapter, or one adapter for both roles."""


class Section(BaseModel):
    # The docstrings of the fields are the hints of every form that is made from these models.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class CreditConfig(Section):
    """How rewards become advantages (`credit.py`)."""

    reflector_reward: Literal["gain", "product"] = "gain"
    """`gain` is equation 6; `product` is the released code's (cur − last)(last + α)/α."""
    alpha: float = Field(default=1.0, gt=0)
    """α of the product; infinity gives the plain gain."""
    baseline: Literal["none", "batch", "group"] = "group"
    """Subtracted from rewards: nothing, the role's mean, or the mean of the task's other samples."""
    whiten: bool = True
    """Divide a role's advantages by their standard deviation."""
    turn_discount: float = Field(default=0.99, gt=0, le=1)
    """A turn's advantage is the trial's times this for every turn after it; 1 gives every token the same."""
    drop_nonpositive: bool = False
    """Leave out RL rows whose reward is not positive, as the released pipeline does."""


class LossConfig(Section):
    """How weighted terms become a loss (`losses.py`)."""

    policy_gradient: Literal["coefficient_clip", "ppo_min_clip", "literal_eq7"] = "coefficient_clip"
    epsilon: float = Field(default=0.3, gt=0, lt=1)
    """Half-width of the clip band around a ratio of 1."""
    negative_guard: bool = True
    """A negative advantage stops pushing once the ratio is under 1 − ε, so that the loss is bounded below."""
    denominator: Literal["policy_tokens", "sequences", "all_positions"] = "policy_tokens"
    """What a mean is over, for each role and term: policy tokens, sequences (of token means), or every position."""
    tokens: Literal["policy", "all_output"] = "policy"
    """`all_output` also trains on observations after the first policy token, as the released code does."""
    il_coefficient: float = Field(default=1.0, ge=0)
    """λ: weight of the imitation term beside the RL term."""
    kl_coefficient: float = Field(default=0.0, ge=0)
    """β: weight of the KL divergence to the weights that the run started from, on RL tokens."""
    planner_weight: float = Field(default=1.0, ge=0)
    reflector_weight: float = Field(default=1.0, ge=0)
    regulariser: Literal["role_matched", "frozen_any_role"] = "role_matched"
    """Which imitation row goes with an RL row: one of its role, redrawn each epoch, or (released) any, drawn once."""
    log_ratio_tolerance: float = Field(default=0.05, gt=0)
    """A run refuses to start when the mean |log ratio| of fresh samples is above this at step 0 (nats). The embedded
    engine and the loop differ by about 0.001 on the same bf16 weights."""
    rescore_behaviour: bool = False
    """Compute missing behaviour log-probabilities with the starting weights, as the released code does."""


class OptimiserConfig(Section):
    learning_rate: float = Field(default=2e-4, gt=0)
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Decay after warm-up, to zero for linear and cosine."""
    warmup_steps: int = Field(default=10, ge=0)
    """Optimiser steps of linear warm-up, never more than a tenth of the run unless `cap_warmup` is off."""
    cap_warmup: bool = True
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this global norm."""


class LoraConfig(Section):
    enabled: bool = True
    """False is full fine-tuning: every weight is trained."""
    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ("all-linear",)
    """Names of linear layers, or `all-linear`."""


class BatchConfig(Section):
    epochs: int = Field(default=3, ge=1)
    tokens_per_step: int = Field(default=8192, ge=1)
    """Tokens in one optimiser step, RL and imitation rows together."""
    tokens_per_pack: int = Field(default=2048, ge=1)
    """Tokens in one forward and backward pass; this bounds memory."""
    rows_per_step: int | None = Field(default=None, ge=1)
    """RL rows (with their regulariser rows), or imitation rows, in a step; overrides `tokens_per_step`."""
    max_length: int = Field(default=2048, ge=2)
    """Tokens of one sample. Longer ones lose context, oldest observations first, never targets."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of weights and activations; `auto` is bf16 where the machine computes with it. Log-probabilities and the
    optimiser's state are float32 always."""
    gradient_checkpointing: bool = False
    processes: int = Field(default=1, ge=1)
    """Processes of this machine that share every step, one GPU each where there are any. Choose `tokens_per_step` at
    least as many times as large as `tokens_per_pack`."""


class BudgetConfig(Section):
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens to train on; the schedule ends there."""
    max_seconds: float | None = Field(default=None, gt=0)
    """Wall-clock seconds of training; the run ends early, as finished, when they are over."""
    checkpoint_every: int = Field(default=50, ge=1)
    """Optimiser steps between checkpoints."""
    diagnostics_every: int = Field(default=20, ge=1)
    """Optimiser steps between the costlier metrics (separate RL and IL gradients, entropy, histogram)."""


class RetroformerConfig(Section):
    """Retroformer (arXiv 2308.02151): ratings, SFT on the positive, reward model, PPO with KL."""

    min_rating: float = 0.0
    """A reflection is positive when its rating (gain) is above this."""
    reward_loss: Literal["pairwise", "regression"] = "pairwise"
    """Pairwise compares reflections of one task; regression predicts the rating. Without pairs: regression."""
    reward_epochs: int = Field(default=2, ge=1)
    ppo_iterations: int = Field(default=4, ge=1)
    prompts_per_iteration: int = Field(default=16, ge=1)
    samples_per_prompt: int = Field(default=4, ge=2)
    max_new_tokens: int = Field(default=128, ge=1)


class TrainConfig(Section):
    """One training run. `[sections]` in TOML are the fields that hold models."""

    method: Method = "retroact"
    preset: Preset = "fixed"
    roles: tuple[Role, ...] = ("planner", "reflector")
    """Who is trained."""
    shared_adapter: bool = False
    """One adapter for both roles (the paper's single-agent form) instead of one each."""
    start_adapters: dict[Job, str] = Field(default_factory=dict)
    """Folder of the adapter (or full weights) that each job goes on from; without one it starts from the base."""
    seed: int = 0
    credit: CreditConfig = CreditConfig()
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    lora: LoraConfig = LoraConfig()
    batch: BatchConfig = BatchConfig()
    budget: BudgetConfig = BudgetConfig()
    retroformer: RetroformerConfig = RetroformerConfig()

    @model_validator(mode="before")
    @classmethod
    def fill_in(cls, given: Any) -> Any:
        """Lay the preset under what was given, and the method's fixed settings over it."""
        if not isinstance(given, dict):
            return given
        method, preset = given.get("method", "retroact"), given.get("preset", "fixed")
        below = merge(PRESETS.get(preset, {}), STAGES.get((preset, method), {}))
        return merge(merge(below, given), METHOD_SETTINGS.get(method, {}))

    @model_validator(mode="after")
    def check(self) -> Self:
        if not self.roles:
            raise ValueError("roles is empty: name planner, reflector or both")
        if self.batch.max_length > self.batch.tokens_per_pack:
            raise ValueError(
                f"batch.max_length ({self.batch.max_length}) is above batch.tokens_per_pack "
                f"({self.batch.tokens_per_pack}): a longest sample would not fit into a pack"
            )
        if self.method == "retroformer" and self.batch.processes > 1:
            raise ValueError("method retroformer trains in one process: set batch.processes to 1")
        return self

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The passes of the loop, in order."""
        return ("both",) if self.shared_adapter else self.roles


PAPER_HYPER_PARAMETERS: dict[str, Any] = {
    "optimiser": {"learning_rate": 1e-4, "warmup_steps": 100, "cap_warmup": False, "betas": (0.9, 0.999)},
    "lora": {"rank": 8, "alpha": 16, "dropout": 0.05, "targets": ("q_proj", "v_proj")},
    "batch": {"rows_per_step": 1, "epochs": 3, "max_length": 2048},
}
PRESETS: dict[str, dict[str, Any]] = {
    "fixed": {},
    "paper": {
        **PAPER_HYPER_PARAMETERS,
        "credit": {"reflector_reward": "gain", "baseline": "none", "whiten": False, "turn_discount": 1.0},
        "loss": {"negative_guard": False, "denominator": "policy_tokens"},
    },
    "released": {
        **PAPER_HYPER_PARAMETERS,
        "credit": {
            "reflector_reward": "product",
            "alpha": 1.0,
            "baseline": "none",
            "whiten": False,
            "turn_discount": 1.0,
            "drop_nonpositive": True,
        },
        "loss": {
            "negative_guard": False,
            "denominator": "all_positions",
            "tokens": "all_output",
            "regulariser": "frozen_any_role",
            "rescore_behaviour": True,
        },
    },
}
STAGES: dict[tuple[str, str], dict[str, Any]] = {
    ("paper", "sft"): {"batch": {"epochs": 5}},
    ("released", "sft"): {"batch": {"epochs": 5}},
}
METHOD_SETTINGS: dict[str, dict[str, Any]] = {
    "rl_planner": {"roles": ("planner",)},
    "rl_reflector": {"roles": ("reflector",)},
    "ppo": {"loss": {"policy_gradient": "ppo_min_clip", "il_coefficient": 0.0}},
    "retroformer": {"roles": ("reflector",), "shared_adapter": False},
}


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one nested dict over another."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def imitation_of(config: TrainConfig) -> TrainConfig:
    """The same run as imitation only: what explore-train iterations begin with (Algorithm 1)."""
    return TrainConfig.model_validate({**config.model_dump(exclude={"method"}), "method": "sft"})


def parse_config(given: dict[str, Any], source: str = "the training config") -> TrainConfig:
    """Validate a config.

    Raises BadConfig with one sentence for every wrong key.
    """
    try:
        return TrainConfig.model_validate(given)
    except ValidationError as error:
        raise BadConfig(f"{source} is wrong. " + " ".join(_sentence(problem) for problem in error.errors())) from None


def load_config(path: Path) -> TrainConfig:
    """Read a TOML file. Raises BadConfig when it is missing, is no TOML or is wrong."""
    try:
        given = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadConfig(f"The config {path} cannot be read: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"The config {path} is not TOML: {error}.") from error
    return parse_config(given, str(path))


def _sentence(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "config"
    if problem["type"] == "extra_forbidden":
        return f"Unknown key {where}. Known: {', '.join(_known_keys(problem['loc'][:-1]))}."
    if problem["type"] == "value_error":
        return f"{problem['msg'].removeprefix('Value error, ')}."
    return f"{where} = {problem['input']!r}: {problem['msg']}."


def _known_keys(path: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = TrainConfig
    for part in path:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return sorted(model.model_fields)


METHODS: tuple[str, ...] = get_args(Method)
