"""It learns: a model made from scratch imitates, then learns by RetroAct what its teacher did not know, and its own
reflections help it.

One set of 0.1 million weights is planner and reflector. The stages are those of `benchmarks/learning.py`, which
`benchmarks/methods.py` compares methods with. Figures with their seeds are printed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from benchmarks.learning import (
    DEMONSTRATED,
    ENGINE,
    EXPLORED,
    HELD_OUT,
    RETROACT,
    TRIALS,
    Seeds,
    explore,
    held_out_rooms,
    imitate,
    learn,
    play,
)
from data.types import Episode, Strategy
from retro_dash.agent.policy import Policy
from retro_dash.scores import Interval, Scores, compare, score
from retro_dash.serving.local import LocalEngine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SEEDS = Seeds()


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
    start = imitate(folder, SEEDS)
    with LocalEngine(start.model, dtype="float32", limits=ENGINE) as engine:
        engine.load_adapter("imitation", start.weights)
        samples = [*start.demonstrations, *explore(engine, "imitation", SEEDS)]
        settings = {**RETROACT, "start_adapters": {"both": str(start.weights)}}
        trained = learn("retroact", samples, start.model, folder / "rl", settings)
        engine.load_adapter("retroact", trained.artefacts["both"])
        imitation, retroact = (evaluate(engine.policy(name)) for name in ("imitation", "retroact"))
    return Learned(imitation, retroact, seconds=time.process_time() - started)


def evaluate(policy: Policy) -> Agent:
    hurried, unhurried = held_out_rooms(looks=1), held_out_rooms(looks=4)
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
        print(f"\n{DEMONSTRATED} rooms demonstrated, {EXPLORED} explored, held out {HELD_OUT}; {SEEDS}; ", end="")
        print(f"{learned.seconds:.0f} processor seconds in all.")
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
