"""What a background run is told: frozen when the run is made, stored as `config.json` of its folder."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, model_validator

from data.errors import BadConfig
from data.types import Strategy
from retro_dash.agent.policies import EXPERT
from retro_dash.agent.shuffled import SHUFFLED
from retro_dash.scores import Measure
from training.config import TrainConfig


class RunSection(BaseModel):
    # The docstrings of the fields are the hints of every form that is made from these models.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Playing(RunSection):
    """How episodes are played, whatever for. Tasks come from `dataset.jsonl`."""

    env: str
    model: str = "smollm2-135m-instruct"
    """What the engine serves when a policy needs one: a name in the home's models, a folder, or a hub id."""
    adapters: dict[str, str] = Field(default_factory=dict)
    """Adapters to load into the engine: name to folder."""
    parallel: int = Field(default=8, ge=1)
    """Episodes played at the same time."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Environment options."""


class CollectConfig(Playing):
    """Play every task and keep the episodes."""

    kind: Literal["collect"] = "collect"
    planner: str = EXPERT
    reflector: str = EXPERT
    strategy: Strategy = Strategy.REFLEXION
    trials: int = Field(default=3, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    seed: int = 0


class Arm(RunSection):
    """One method of an evaluation."""

    name: str
    planner: str
    reflector: str = EXPERT
    """`shuffled:ARM` gives what an earlier arm wrote about other tasks."""
    strategy: Strategy = Strategy.REFLEXION
    temperature: float = Field(default=0.0, ge=0)


class EvaluateConfig(Playing):
    """Play every task with every arm and seed, and report IR, FR and AR."""

    kind: Literal["evaluate"] = "evaluate"
    arms: tuple[Arm, ...] = Field(min_length=1)
    """The first is what the others are compared with."""
    trials: int = Field(default=10, ge=1)
    seeds: tuple[int, ...] = (0,)
    measure: Measure = "reward"

    @model_validator(mode="after")
    def _shuffles_what_is_there(self) -> Self:
        for number, arm in enumerate(self.arms):
            earlier = [before.name for before in self.arms[:number]]
            if arm.reflector.startswith(SHUFFLED) and arm.reflector.removeprefix(SHUFFLED) not in earlier:
                known = ", ".join(earlier) or "none"
                raise ValueError(f"{arm.name} shuffles {arm.reflector!r}, which is no earlier arm (earlier: {known})")
        return self


class Exploration(RunSection):
    """Iterations of explore and train (RetroAct, Algorithm 1) on the tasks of the dataset's episodes."""

    iterations: int = Field(default=1, ge=1)
    trials: int = Field(default=3, ge=1)
    temperature: float = Field(default=1.0, gt=0)
    repeats: int = Field(default=1, ge=1)
    """Episodes per task and iteration; with more than one, the group baseline compares them."""
    tasks: int | None = Field(default=None, ge=1)
    """Tasks per iteration, drawn with the seed; None means all."""
    parallel: int = Field(default=16, ge=1)


class TrainRunConfig(RunSection):
    """Train on the episodes of `dataset.jsonl`."""

    kind: Literal["train"] = "train"
    model: str = "smollm2-135m-instruct"
    train: TrainConfig = TrainConfig()
    exploration: Exploration | None = None
    memory: Literal["share", "pause"] = "share"
    """`pause`: the dashboard's engine lets go of its memory while the run trains, and serves again when it has ended.
    Requests in flight finish first."""


RunConfig = Annotated[CollectConfig | EvaluateConfig | TrainRunConfig, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[CollectConfig | EvaluateConfig | TrainRunConfig] = TypeAdapter(RunConfig)


def parse_run_config(given: object, source: str) -> CollectConfig | EvaluateConfig | TrainRunConfig:
    """Validate a run's config. Raises BadConfig that names the key, the value and what is allowed."""
    try:
        return _ADAPTER.validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "kind"
        raise BadConfig(f"{source}: {where}: {first['msg']} (got {str(first['input'])[:80]!r}).") from error
