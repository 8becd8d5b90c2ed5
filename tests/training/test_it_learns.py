"""It learns: a model made from scratch imitates, then learns by RetroAct what its teacher did not know, and its own
reflections help it.

One set of 0.1 million weights is planner and reflector. Everything goes through the product: play, samples, the
loop, the engine. Figures with their seeds are printed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from habit_rooms import NAMES, BlindSearcher, make_rooms

from data.types import Episode, Strategy, Task
from envs import environment_kind
from envs.alfworld import open_game
from retro_dash.agent.batch import BatchPlan, play_many
from retro_dash.agent.briefing import brief_planner, brief_reflector
from retro_dash.agent.encode import EpisodeEncoder
from retro_dash.agent.expert_policy import ExpertPolicy
from retro_dash.agent.limits import Limits
from retro_dash.agent.policy import Policy
from retro_dash.agent.reply import format_reply
from retro_dash.local_tokenizer import LocalTokenizer
from retro_dash.scores import Interval, Scores, compare, score
from retro_dash.serving.local import LocalEngine
from retro_dash.serving.scheduler import Limits as EngineLimits
from training.config import parse_config
from training.episodes import demonstration_samples, sampled_samples
from training.samples import Sample
from training.tiny import create_model
from training.train import train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KIND = environment_kind("alfworld")
LIMITS = Limits(reply_tokens=16, reflection_tokens=24)
ENGINE = EngineLimits(kv_bytes=8 * 2**20, step_tokens=4096)
TRIALS = 3
DEMONSTRATED, EXPLORED, HELD_OUT = (1, 9000), (2, 800), (3, 200)
"""(seed, number) of the rooms of each stage."""
HABIT = 0.65
SHARED: dict[str, object] = {
    "shared_adapter": True,
    "lora": {"enabled": False},
    "budget": {"checkpoint_every": 10_000, "diagnostics_every": 50},
}
BATCH = {"tokens_per_pack": 4096, "max_length": 1024, "precision": "fp32"}
IMITATION: dict[str, object] = {
    "optimiser": {"learning_rate": 3e-3, "schedule": "cosine"},
    "batch": {**BATCH, "epochs": 4, "tokens_per_step": 1024},
}
RETROACT: dict[str, object] = {
    "optimiser": {"learning_rate": 3e-4},
    "batch": {**BATCH, "epochs": 4, "tokens_per_step": 4096},
}
NUMBERS = count()


def play(
    tasks: Sequence[Task],
    planner: Policy,
    reflector: Policy,
    strategy: Strategy = Strategy.REFLEXION,
    temperature: float = 0.0,
) -> list[Episode]:
    """Up to three trials of every task; greedy unless a temperature is given."""
    plan = BatchPlan(
        run_id="learning",
        kind=KIND,
        planner=planner,
        reflector=reflector,
        strategy=strategy,
        trial_limit=TRIALS,
        limits=LIMITS,
        parallel=1 if planner.is_expert else 64,
        temperature=temperature,
    )
    return list(play_many(plan, tasks, open_game, lambda events: None, lambda: f"ep-{next(NUMBERS)}"))


def demonstrate(tasks: Sequence[Task]) -> list[Episode]:
    expert = BlindSearcher()
    return play(tasks, ExpertPolicy(expert, "planner"), ExpertPolicy(expert, "reflector"))


def texts(episodes: Sequence[Episode]) -> Iterator[str]:
    """All that is said in the episodes, message by message."""
    for episode in episodes:
        for trial in episode.trials:
            yield from (message.content for message in brief_planner(episode, KIND, trial, LIMITS).messages)
            for turn in trial.turns:
                yield from (format_reply(turn.thought, turn.action), turn.observation)
        for reflection in episode.reflections:
            messages = brief_reflector(episode, KIND, episode.trials[reflection.after_trial - 1], LIMITS).messages
            yield from (*(message.content for message in messages), reflection.text)


def encode(episodes: Sequence[Episode], model: Path) -> list[Sample]:
    encoder = EpisodeEncoder(model.name, LocalTokenizer(model), LIMITS)
    return [
        sample
        for episode in episodes
        for sample in demonstration_samples(episode, lambda part, e=episode: encoder.encode(e, KIND, part))
    ]


@dataclass(frozen=True)
class Agent:
    """How one set of weights did on the held-out rooms, greedily, up to three trials."""

    unhurried: list[Episode]
    """With turns enough to look everywhere."""
    reflecting: list[Episode]
    """With turns for one look, and its own reflections between trials."""
    plain: list[Episode]
    """The same without reflections."""
    sampled: list[Episode]
    """Without reflections, but at temperature 1, so that a trial is not the one before over again."""


@dataclass(frozen=True)
class Learned:
    imitation: Agent
    retroact: Agent
    seconds: float
    """Of one processor, for everything."""


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """Imitate the expert, explore, train by RetroAct, evaluate both."""
    folder, started = tmp_path_factory.mktemp("learning"), time.process_time()
    shown = demonstrate(make_rooms(*DEMONSTRATED, habit=0.0, looks=(1, 2, 3, 4)))
    model = create_model(
        folder / "tiny", texts(shown[:300]), vocabulary=3000, names=NAMES, width=64, head_size=16, layers=2,
        context=1024,
    )  # fmt: skip
    demonstrations = encode(shown, model)
    imitation = learn("sft", demonstrations, model, folder / "imitation", IMITATION)
    with LocalEngine(model, dtype="float32", limits=ENGINE) as engine:
        engine.load_adapter("imitation", imitation)
        explored = play(
            make_rooms(*EXPLORED, habit=HABIT, looks=(1,)), *[engine.policy("imitation")] * 2, temperature=1.0
        )
        fresh = [sample for episode in explored for sample in sampled_samples(episode)]
        settings = {**RETROACT, "start_adapters": {"both": str(imitation)}}
        engine.load_adapter("retroact", learn("retroact", [*demonstrations, *fresh], model, folder / "rl", settings))
        agents = [evaluate(engine.policy(name)) for name in ("imitation", "retroact")]
    return Learned(*agents, seconds=time.process_time() - started)


def learn(method: str, samples: Sequence[Sample], model: Path, folder: Path, settings: dict[str, object]) -> Path:
    config = parse_config({"method": method, **SHARED, **settings})
    return train(config, samples, model, folder, lambda step, metrics: None).artefacts["both"]


def evaluate(policy: Policy) -> Agent:
    hurried = make_rooms(*HELD_OUT, habit=HABIT, looks=(1,), held_out=True)
    unhurried = make_rooms(*HELD_OUT, habit=HABIT, looks=(4,), held_out=True)
    return Agent(
        play(unhurried, policy, policy, Strategy.NONE),
        play(hurried, policy, policy),
        play(hurried, policy, policy, Strategy.NONE),
        play(hurried, policy, policy, Strategy.NONE, temperature=1.0),
    )


def scores(episodes: Sequence[Episode]) -> Scores:
    return score(episodes, TRIALS, "success")


def percent(interval: Interval) -> str:
    return f"{interval.mean:.1%} [{interval.low:.1%}, {interval.high:.1%}]"


def report(capsys: pytest.CaptureFixture[str], learned: Learned, **figures: Interval) -> None:
    """Show the figures of a test that passes, too."""
    with capsys.disabled():
        print(f"\nSeeds and rooms: demonstrated {DEMONSTRATED}, explored {EXPLORED}, held out {HELD_OUT}; ", end="")
        print(f"weights 0; {learned.seconds:.0f} processor seconds in all.")
        for name, interval in figures.items():
            print(f"  {name.replace('_', ' ')}: {percent(interval)}")


def test_imitation_solves_three_quarters_of_the_held_out_rooms(
    learned: Learned, capsys: pytest.CaptureFixture[str]
) -> None:
    unhurried, later = (scores(agent.unhurried).initial for agent in (learned.imitation, learned.retroact))
    report(capsys, learned, imitation_with_turns_for_all_looks=unhurried, retroact_with_turns_for_all_looks=later)
    assert unhurried.mean >= 0.75


def test_retroact_then_solves_more_at_the_first_trial_than_imitation(
    learned: Learned, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = scores(learned.imitation.plain).initial, scores(learned.retroact.plain).initial
    gain = compare(learned.imitation.plain, learned.retroact.plain, 1, "success").difference
    report(capsys, learned, imitation_with_one_look=before, retroact_with_one_look=after, gain=gain)
    assert gain.low > 0.1


@pytest.mark.parametrize("name", ["imitation", "retroact"])
def test_the_third_trial_with_reflections_beats_the_first_and_the_agent_without_reflections(
    learned: Learned, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    agent: Agent = getattr(learned, name)
    reflecting = scores(agent.reflecting)
    gain = compare(agent.plain, agent.reflecting, TRIALS, "success").difference
    trials = {f"{name}_with_reflections,_trial_{k}": one for k, one in enumerate(reflecting.by_trial, 1)}
    report(capsys, learned, **trials, without_reflections_trial_3=scores(agent.plain).final, gain=gain)
    assert reflecting.final.low > reflecting.initial.high
    assert gain.low > 0.1


def test_reflecting_beats_trying_again_at_random(learned: Learned, capsys: pytest.CaptureFixture[str]) -> None:
    """At temperature 1 a trial is not the one before over again, so trying three times alone helps."""
    gains = {}
    for name in ("imitation", "retroact"):
        agent: Agent = getattr(learned, name)
        gains[name] = compare(agent.sampled, agent.reflecting, TRIALS, "success").difference
        by_chance = {f"{name}_at_temperature_1_without_reflections,_trial_3": scores(agent.sampled).final}
        report(capsys, learned, **by_chance, gain_by_reflections=gains[name])
    assert gains["imitation"].low > 0.1
    assert gains["retroact"].low > 0
