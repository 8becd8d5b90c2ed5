"""A training run lives in its folder: it publishes what it made, survives any end, and says what was wrong."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_process import Hub
from run_examples import (
    expert_episodes,
    logged_steps,
    losses,
    make_home,
    make_run,
    make_train_run,
    model_episodes,
    rooms,
    sequence_numbers,
    start_worker,
    states,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.errors import EngineError, Refused
from data.events import AdapterPublished
from data.types import Episode, RunState
from retro_dash import cli
from retro_dash.agent.sampling import Sampling
from retro_dash.run_folder import RunFolder, all_events
from retro_dash.serving.local import LocalEngine
from retro_dash.worker import main, work
from training.tiny import create_model

Home = tuple[Path, list[Episode]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    episodes = expert_episodes(rooms(12))
    return make_home(tmp_path_factory.mktemp("home"), episodes), episodes


@pytest.fixture(scope="module")
def unbroken(home: Home) -> RunFolder:
    folder = make_train_run(*home)
    assert work(folder) is RunState.FINISHED
    return folder


def published(folder: RunFolder) -> dict[str, Path]:
    bodies = [event.body for event in all_events(folder.events)]
    return {body.adapter.name: Path(body.adapter.path) for body in bodies if isinstance(body, AdapterPublished)}


def check_complete(folder: RunFolder, like: RunFolder) -> None:
    """Every step once and with the losses of the unbroken run, every artefact published once, no number missing."""
    assert states(folder)[-1] == ("finished", None)
    for job in ("planner", "reflector"):
        steps = logged_steps(folder, job)
        assert steps == logged_steps(like, job)
        assert set(steps.values()) == {1}
        assert losses(folder, job) == pytest.approx(losses(like, job), abs=1e-6)
    names = [e.body.adapter.name for e in all_events(folder.events) if isinstance(e.body, AdapterPublished)]
    assert sorted(names) == [f"planner@{folder.run_id}", f"reflector@{folder.run_id}"]
    numbers = sequence_numbers(folder)
    assert numbers == list(range(len(numbers)))


# -- what it makes ------------------------------------------------------------------------------------------------


def test_imitation_publishes_weights_that_the_engine_serves(home: Home, unbroken: RunFolder) -> None:
    check_complete(unbroken, unbroken)
    assert losses(unbroken, "planner")[-1] < losses(unbroken, "planner")[0]
    with LocalEngine(home[0] / "models" / "tiny", dtype="float32") as engine:
        for name, path in published(unbroken).items():
            engine.load_adapter(name, path)
        assert set(engine.model_names()) == {"tiny", *published(unbroken)}


def test_a_prompt_beyond_the_context_is_refused_with_a_sentence(home: Home) -> None:
    with LocalEngine(home[0] / "models" / "tiny", dtype="float32") as engine:
        context = engine.context_length("tiny")
        with pytest.raises(EngineError, match=f"more than the context of {context} together"):
            engine.sample("tiny", [1] * context, Sampling(0.0, 0, 16), 16, None, None)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks transformers for it.
def test_lora_publishes_adapters_that_the_engine_serves(home: Home) -> None:
    folder = make_train_run(*home, lora={"enabled": True}, roles=["planner"])
    assert work(folder) is RunState.FINISHED
    ((name, path),) = published(folder).items()
    assert (path / "adapter_model.safetensors").is_file()
    with LocalEngine(home[0] / "models" / "tiny", dtype="float32") as engine:
        engine.load_adapter(name, path)


def test_a_finished_run_is_left_as_it_is(home: Home, unbroken: RunFolder) -> None:
    before = [losses(unbroken, job) for job in ("planner", "reflector")]
    assert work(unbroken) is RunState.FINISHED
    assert [losses(unbroken, job) for job in ("planner", "reflector")] == before
    check_complete(unbroken, unbroken)


def test_tensorboard_files_hold_the_same_numbers(unbroken: RunFolder) -> None:
    read = EventAccumulator(str(unbroken.path / "tensorboard"))
    read.Reload()
    points = [(point.step, point.value) for point in read.Scalars("planner/il_loss")]
    assert [step for step, _ in points] == sorted(logged_steps(unbroken, "planner"))
    assert [value for _, value in points] == pytest.approx(losses(unbroken, "planner"), rel=1e-6)


# -- how it ends --------------------------------------------------------------------------------------------------


def wait_for(folder: RunFolder, steps: int) -> None:
    until = time.monotonic() + 120
    while sum(logged_steps(folder, "planner").values()) < steps:
        assert time.monotonic() < until, folder.log.read_text()
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_is_saved_and_cancelled_and_goes_on_later(
    home: Home, unbroken: RunFolder, number: signal.Signals
) -> None:
    folder = make_train_run(*home)
    worker = start_worker(folder)
    wait_for(folder, 3)
    worker.send_signal(number)
    assert worker.wait(60) == 0
    assert states(folder)[-1] == ("cancelled", None)
    assert work(folder) is RunState.FINISHED
    check_complete(folder, unbroken)


LONG = {"batch": {"epochs": 16, "tokens_per_step": 800, "tokens_per_pack": 2048, "max_length": 1600}}


@pytest.fixture(scope="module")
def long_unbroken(home: Home) -> RunFolder:
    folder = make_train_run(*home, **LONG)
    finish(folder)
    return folder


def finish(folder: RunFolder) -> None:
    """In a process of its own, with the threads of the others: over many steps the last bit of a sum matters."""
    assert start_worker(folder).wait(240) == 0, folder.log.read_text()


def kill_at_work(folder: RunFolder, kills: int, seed: int) -> None:
    """Kill the worker so often, each time at another moment: while it begins, or when it has taken some more steps.

    It is told by its steps and not by the clock when to die, so that no machine is too fast for all the kills.
    """
    draw, beginning = random.Random(seed), 0.0
    for _ in range(kills):
        begun, taken, started = len(states(folder)), sum_of_steps(folder), time.monotonic()
        worker = start_worker(folder)
        while len(states(folder)) == begun:
            assert worker.poll() is None, folder.log.read_text()
            time.sleep(0.01)
        if beginning and draw.random() < 0.5:
            time.sleep(max(0.0, started + beginning * draw.random() - time.monotonic()))
        else:
            more = draw.randrange(1, 4)
            while sum_of_steps(folder) < taken + more:
                assert worker.poll() is None, "the run was over before it was killed often enough"
                time.sleep(0.01)
            beginning = beginning or time.monotonic() - started
            time.sleep(draw.random() * 0.05)
        assert worker.poll() is None, "the run was over before it was killed often enough"
        worker.kill()
        worker.wait()


def sum_of_steps(folder: RunFolder) -> int:
    return sum(sum(logged_steps(folder, job).values()) for job in ("planner", "reflector"))


def test_a_run_killed_at_any_moment_goes_on_without_a_gap(home: Home, long_unbroken: RunFolder) -> None:
    folder = make_train_run(*home, **LONG)
    kill_at_work(folder, 3, seed=1)
    finish(folder)
    check_complete(folder, long_unbroken)


@pytest.mark.slow
@pytest.mark.timeout(600)  # Twenty starts of a worker, on a machine that may have other work.
def test_twenty_kills_while_it_works_leave_no_gap_either(home: Home, long_unbroken: RunFolder) -> None:
    folder = make_train_run(*home, **LONG)
    kill_at_work(folder, 20, seed=2)
    finish(folder)
    check_complete(folder, long_unbroken)


# -- explore and train --------------------------------------------------------------------------------------------


def test_exploration_that_always_earns_the_same_says_so(home: Home) -> None:
    folder = make_train_run(
        home[0], home[1][:2], method="retroact", exploration={"iterations": 1, "trials": 1, "temperature": 1.0}
    )
    assert work(folder) is RunState.FAILED
    assert "every trial of a task earned the same reward" in str(states(folder)[-1][1])


# -- bad input ----------------------------------------------------------------------------------------------------


def without_success(episodes: list[Episode]) -> list[Episode]:
    trials = [tuple(t.model_copy(update={"success": False, "reward": 0.0}) for t in e.trials) for e in episodes]
    return [e.model_copy(update={"trials": t}) for e, t in zip(episodes, trials, strict=True)]


def talkative(episode: Episode) -> Episode:
    """The episode with a first observation of more than 2,048 tokens."""
    last = episode.trials[-1]
    first = last.turns[0].model_copy(update={"observation": "You see a mug 1. " * 600})
    whole = last.model_copy(update={"turns": (first, *last.turns[1:])})
    return episode.model_copy(update={"trials": (*episode.trials[:-1], whole)})


def foreign_adapter(home: Path, episodes: list[Episode]) -> Path:
    """Weights of another model, made by a run of another home."""
    other = make_home(home / "other", episodes)
    create_model(other / "models" / "tiny", ["another model"], width=32, layers=1)
    folder = make_train_run(other, episodes[:2], roles=["planner"], lora={"enabled": True})
    assert work(folder) is RunState.FINISHED
    return next(iter(published(folder).values()))


BAD: dict[str, tuple[Callable[[Path, list[Episode]], RunFolder], str, int]] = {
    "no dataset": (lambda home, _: make_train_run(home, []), "holds no episodes", 8),
    "no positives": (
        lambda home, episodes: make_train_run(home, without_success(episodes)),
        "no successful trial",
        8,
    ),
    "nothing sampled": (
        lambda home, episodes: make_train_run(home, episodes, method="retroact"),
        "needs sampled trials or reflections",
        8,
    ),
    "another base": (
        lambda home, episodes: make_train_run(
            home,
            episodes,
            roles=["planner"],
            lora={"enabled": True},
            start_adapters={"planner": str(foreign_adapter(home, episodes))},
        ),
        "base",
        8,
    ),
    "longer than the context": (
        lambda home, episodes: make_train_run(
            home, [talkative(episodes[0])], batch={"max_length": 9000, "tokens_per_pack": 9000, "epochs": 1}
        ),
        "max_length",
        8,
    ),
    "targets longer than max_length": (
        lambda home, episodes: make_train_run(home, episodes, batch={"max_length": 16, "epochs": 1}),
        "max_length",
        8,
    ),
    "no such model": (
        lambda home, _: make_run(home, "train", {"model": "missing", "train": {"method": "sft"}}, []),
        "There is no model folder 'missing'",
        8,
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_run_that_cannot_work_fails_with_the_sentence(home: Home, what: str) -> None:
    make, sentence, code = BAD[what]
    folder = make(*home)
    assert main([str(folder.path)]) == code
    state, error = states(folder)[-1]
    assert state == "failed"
    assert sentence in str(error)


def test_equal_rewards_are_refused_with_what_to_change(home: Home) -> None:
    with LocalEngine(home[0] / "models" / "tiny", dtype="float32") as engine:
        sampled = model_episodes(engine.policy("tiny"), rooms(3))
    folder = make_train_run(home[0], [*home[1], *sampled], method="rl_planner")
    assert work(folder) is RunState.FAILED
    assert "rewards are equal (0)" in str(states(folder)[-1][1])


def test_an_unknown_key_is_named_before_anything_runs(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_train_run(*home, batch={"epoch": 3})
    assert main([str(folder.path)]) == 2
    assert "epoch" in caplog.text
    assert states(folder) == []


@pytest.mark.slow
def test_a_run_that_wants_the_engine_paused_is_refused_beside_a_dashboard_that_has_one(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = make_home(tmp_path / "home", home[1])
    config, episodes = tmp_path / "train.toml", tmp_path / "episodes.jsonl"
    config.write_text('method = "sft"\nmodel = "tiny"\nmemory = "pause"\n')
    episodes.write_text("".join(f"{episode.model_dump_json()}\n" for episode in home[1]))
    hub = Hub(mine, "--engine", "embedded", "--model", "tiny")
    hub.start()
    try:
        until = time.monotonic() + 60
        while not hub.api().get("/machine").json()["room"]["engine"]:
            assert time.monotonic() < until
            time.sleep(0.1)
        words = ["train", str(config), "--episodes", str(episodes), "--home", str(mine)]
        assert cli.main(words) == Refused.exit_code
        assert f'memory = "pause", and the engine of the dashboard at {hub.url} holds' in capsys.readouterr().err
        assert hub.api().get("/runs", params={"kind": "train"}).json() == []
    finally:
        hub.end()
