"""Which curves belong into one chart, which charts matter for a run, and how a curve is drawn: as on the pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data.rows import MetricSeries
from retro_dash.tui.chart import Curve
from retro_dash.tui.text import one_line


class Chart(NamedTuple):
    key: str
    title: str
    pattern: str


CHARTS = (
    Chart("solved", "Solved so far", r"/solved$"),
    Chart("planner_loss", "Planner · loss terms", r"^planner/(il|rl|kl)_loss$"),
    Chart("reflector_loss", "Reflector · loss terms", r"^reflector/(sft/)?(il|rl|kl)_loss$"),
    Chart("ratio", "Importance ratio and clipped share", r"/(ratio_mean|clip_high|clip_low)$"),
    Chart("gradient", "Gradient norms", r"/((rl_|il_)?gradient_norm)$"),
    Chart("throughput", "Tokens per second", r"/tokens_per_second$"),
    Chart("entropy", "Entropy of the policy (nats)", r"/entropy$"),
    Chart("kl", "KL to the behaviour policy (nats)", r"/(kl_behaviour|step0_abs_log_ratio)$"),
    Chart("reward", "Reward", r"/(reward/mean|ppo_reward|rewards?)$"),
    Chart("sample_size", "Effective sample size", r"/effective_sample_size$"),
    Chart("system", "Load of the machine", r"/system/\w+_share$"),
    Chart("learning_rate", "Learning rate", r"/learning_rate$"),
)
FIRST = {
    "sft": ("planner_loss", "reflector_loss", "gradient", "throughput"),
    "play": ("solved",),
    "rl": ("solved", "planner_loss", "reflector_loss", "ratio", "gradient", "entropy"),
}
_ITERATION = re.compile(r"^iteration(\d+)/(.*)$")


def split(name: str) -> tuple[str, str]:
    """ "iteration2/planner/rl_loss" is ("iteration 2", "planner/rl_loss")."""
    found = _ITERATION.match(name)
    return (f"iteration {found.group(1)}", found.group(2)) if found else ("", name)


def belongs(chart: Chart, name: str) -> bool:
    return re.search(chart.pattern, split(name)[1]) is not None


def charts_of(kind: str, config: Mapping[str, Any], names: Sequence[str]) -> list[Chart]:
    """Every chart that these names fill: first those that matter for the run, then the others, then single curves."""
    train = config.get("train")
    method = train.get("method") if isinstance(train, dict) else None
    order = FIRST["play"] if kind != "train" else FIRST["sft" if method in ("sft", "expert_iteration") else "rl"]
    filled = [chart for chart in CHARTS if any(belongs(chart, name) for name in names)]
    filled.sort(key=lambda chart: order.index(chart.key) if chart.key in order else len(order))
    rest = [name for name in names if not any(belongs(chart, name) for chart in filled)]
    return [*filled, *(Chart(name, one_line(name), f"^{re.escape(split(name)[1])}$") for name in rest)]


def curves_of(chart: Chart, series: Sequence[MetricSeries], other: str = "") -> list[Curve]:
    """The curves of a chart; those of another run (`other`, its name) without a colour of their own."""
    own = [one for one in series if belongs(chart, one.name)]
    # A term that is zero all along is no term of this method.
    real = [one for one in own if any(point.value for point in one.points)]
    curves = []
    for one in real or own:
        hue, label, is_dotted = drawn_as(one.name)
        steps, values = [point.step for point in one.points], [point.value for point in one.points]
        label, hue = (f"{other}: {label}", "dim") if other else (label, hue)
        curves.append(Curve(label, hue, steps, values, is_dotted))
    return curves


def limits(chart: Chart) -> tuple[float, float] | None:
    return (0.0, 1.0) if chart.key == "solved" else None


def drawn_as(name: str) -> tuple[str, str, bool]:
    """Whose colour, the label, and whether the line is dotted (the reflector's is)."""
    iteration, rest = split(name)
    role, last = rest.split("/")[0], rest.rsplit("/", 1)[-1]
    term = next((term for term in ("il", "rl", "kl") if rest.endswith(f"{term}_loss") or f"/{term}_" in rest), "")
    hues = {
        "il": "human",
        "rl": "planner",
        "kl": "dim",
        "solved": "success",
        "clip_low": "failure",
        "clip_high": "human",
        "cpu_share": "planner",
        "memory_share": "reflector",
        "gpu_share": "expert",
        "gpu_memory_share": "human",
    }
    hue = hues.get(term) or hues.get(last) or ("reflector" if role == "reflector" else "planner")
    words = {"il": "IL (imitation)", "rl": "RL (policy gradient)", "kl": "KL"}
    label = words[term] if term and rest.endswith("_loss") else f"{one_line(role)} {one_line(last).replace('_', ' ')}"
    return hue, " · ".join(part for part in (iteration, label) if part), role == "reflector"
