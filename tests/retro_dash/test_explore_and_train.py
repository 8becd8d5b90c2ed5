"""Algorithm 1 in one run: imitate, explore, train, explore, train; killed in between, and gone on with."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from run_examples import (
    expert_episodes,
    logged_steps,
    make_home,
    make_train_run,
    rooms,
    sequence_numbers,
    start_worker,
    states,
)

from data.events import AdapterPublished, EpisodeStarted, MetricsLogged
from data.types import Adapter, Episode
from retro_dash.exploration import games_of, learnable_roles
from retro_dash.run_folder import RunFolder, all_events
from training.config import parse_config
from training.samples import Sample

TRAIN = {
    "method": "retroact",
    "roles": ["planner"],
    "lora": {"enabled": False},
    # Rooms known by heart are compared with those that nobody has solved.
    "credit": {"baseline": "batch"},
    "optimiser": {"learning_rate": 3e-3},
    "batch": {"epochs": 60, "tokens_per_step": 1200, "tokens_per_pack": 2048, "max_length": 1600},
    "budget": {"checkpoint_every": 20, "max_tokens": 280_000},
    # The last bits of bf16 weigh more in a model of 0.1 million parameters.
    "loss": {"log_ratio_tolerance": 0.2},
}
EXPLORATION = {"iterations": 2, "trials": 2, "temperature": 0.5, "repeats": 2, "parallel": 16}


def sample(role: str, reward: float, group: str, before: float | None = None) -> Sample:
    given = {"role": role, "group": group, "reward": reward, "reward_before": before, "rl_weight": 1.0}
    return Sample(id="s", input_ids=(1, 2), policy_mask=(False, True), **given)


def test_a_role_is_trained_when_a_group_of_its_samples_differs_in_reward() -> None:
    config = parse_config({"method": "retroact"})
    samples = [sample("planner", 0.0, "a"), sample("planner", 1.0, "a"), sample("reflector", 1.0, "a", before=1.0)]
    assert learnable_roles(samples, config) == ("planner",)
    # Equal within every group, which is what the group baseline compares.
    apart = [samples[0], replace(samples[1], group="b")]
    assert learnable_roles(apart, config) == ()
    assert learnable_roles(apart, parse_config({"credit": {"baseline": "batch"}})) == ("planner",)


def test_a_task_is_explored_as_it_was_played_last() -> None:
    first, second = expert_episodes(rooms(2))
    later = first.model_copy(update={"options": {"slack": 1}})
    assert [(game.task.id, game.options) for game in games_of([first, second, later])] == [
        (first.task.id, {"slack": 1}),
        (second.task.id, second.options),
    ]


def adapters(folder: RunFolder) -> list[Adapter]:
    return [e.body.adapter for e in all_events(folder.events) if isinstance(e.body, AdapterPublished)]


def played(folder: RunFolder) -> Counter[str]:
    return Counter(e.body.episode.planner for e in all_events(folder.events) if isinstance(e.body, EpisodeStarted))


def values(folder: RunFolder, name: str) -> list[tuple[int, float]]:
    bodies = [event.body for event in all_events(folder.events)]
    return [(b.step, b.values[name]) for b in bodies if isinstance(b, MetricsLogged) and name in b.values]


def kill_when(folder: RunFolder, has_come: Callable[[RunFolder], bool]) -> None:
    """Let the worker go on until its folder shows that something has come, then kill it."""
    worker, until = start_worker(folder), time.monotonic() + 240
    while not has_come(folder):
        assert worker.poll() is None, states(folder)
        assert time.monotonic() < until, folder.log.read_text()
        time.sleep(0.02)
    worker.kill()
    worker.wait()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Episode]]:
    """A model that will know some rooms by heart, and others that nobody has solved before it: its rewards differ."""
    shown, unsolved = expert_episodes(rooms(8)), expert_episodes(rooms(6, seed=9))
    episodes = [*shown, *(without_success(episode) for episode in unsolved)]
    return make_home(tmp_path_factory.mktemp("home"), episodes), episodes


def without_success(episode: Episode) -> Episode:
    trials = tuple(trial.model_copy(update={"success": False, "reward": 0.0}) for trial in episode.trials)
    return episode.model_copy(update={"trials": trials})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_iterations_are_done_once_each_however_often_the_worker_is_killed(
    home: tuple[Path, list[Episode]],
) -> None:
    folder = make_train_run(*home, **TRAIN, exploration=EXPLORATION)
    name = f"planner@{folder.run_id}"
    kill_when(folder, lambda run: len(adapters(run)) == 1)  # Between imitation and the first exploration.
    kill_when(folder, lambda run: played(run).total() >= 5)  # In the middle of that.
    kill_when(folder, lambda run: len(adapters(run)) == 2)  # Between the two iterations.
    worker = start_worker(folder)
    assert worker.wait(240) == 0, folder.log.read_text()
    assert states(folder)[-1] == ("finished", None)
    assert [adapter.name for adapter in adapters(folder)] == [name, f"{name}-1", f"{name}-2"]
    assert [step for step, _ in values(folder, "explore/solved")] == [1, 2]
    # What was finished when the worker was killed is not played again; what was not is.
    games = len(home[1]) * EXPLORATION["repeats"]
    assert games <= played(folder)[f"{name}-explore1"] <= games + EXPLORATION["parallel"]
    assert played(folder)[f"{name}-explore2"] == games
    for prefix in ("", "iteration1/", "iteration2/"):
        steps = logged_steps(folder, "planner", prefix)
        assert list(steps) == list(range(1, max(steps) + 1))
        assert set(steps.values()) == {1}
    # The second iteration trains on the samples of both, the first ones an iteration old.
    ages = [value for _, value in values(folder, "iteration2/planner/sample_age")]
    assert {age for _, age in values(folder, "iteration1/planner/sample_age")} == {0.0}
    assert 0 < max(ages) <= 1
    assert values(folder, "iteration2/planner/step0_abs_log_ratio")
    assert sequence_numbers(folder) == list(range(len(sequence_numbers(folder))))
    assert json.loads((folder.path / "iteration-2" / "plan" / "planner.json").read_text())["steps"]
