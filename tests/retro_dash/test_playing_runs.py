"""Collection and evaluation in their run folders: nothing is played twice, and reports say what the episodes say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from run_examples import make_run, rooms

from data.episodes import apply
from data.errors import BadConfig
from data.events import EpisodeFinished, EpisodeStarted, MetricsLogged
from data.types import Episode, RunState
from retro_dash.collecting import collect
from retro_dash.evaluating import evaluate
from retro_dash.run_config import CollectConfig, EvaluateConfig, parse_run_config
from retro_dash.run_folder import EventLog, RunFolder, all_events
from retro_dash.scores import score
from retro_dash.settings import load_settings
from retro_dash.worker import work

TASKS = rooms(6)
LINES = [task.model_dump_json() for task in TASKS]
COLLECT: dict[str, object] = {"env": "alfworld", "parallel": 1}
EVALUATE: dict[str, object] = {
    "env": "alfworld",
    "parallel": 2,
    "trials": 3,
    "seeds": [0, 1],
    "arms": [
        {"name": "no memory", "planner": "expert", "strategy": "none"},
        {"name": "reflexion", "planner": "expert"},
    ],
}


def episodes_of(folder: RunFolder) -> list[Episode]:
    """Every episode of the run, rebuilt from its events."""
    found: dict[str, Episode] = {}
    for event in all_events(folder.events):
        if isinstance(event.body, EpisodeStarted):
            found[event.body.episode.id] = event.body.episode
        elif (name := getattr(event.body, "episode_id", None)) in found:
            found[name] = apply(found[name], event.body)
    return list(found.values())


def stop_after(folder: RunFolder, finished: int) -> Callable[[], bool]:
    """True once so many episodes of the run have finished."""

    def should_stop() -> bool:
        return sum(isinstance(event.body, EpisodeFinished) for event in all_events(folder.events)) >= finished

    return should_stop


def whole(folder: RunFolder) -> Counter[tuple[str, str, int]]:
    """How often each (task, strategy, seed) was played to its end."""
    ended = [e for e in episodes_of(folder) if e.state in ("solved", "failed")]
    return Counter((e.task.id, str(e.strategy), e.seed) for e in ended)


def test_a_collection_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "collect", COLLECT, LINES)
    config, events = parse_run_config(folder.config(), "test"), EventLog(folder)
    assert isinstance(config, CollectConfig)
    collect(config, folder, events, load_settings({"home": tmp_path}), stop_after(folder, 2))
    events.close()
    before = {e.id for e in episodes_of(folder) if e.state == "solved"}
    assert 2 <= len(before) < 6
    assert work(folder) is RunState.FINISHED
    assert whole(folder) == Counter((task.id, "reflexion", 0) for task in TASKS)
    assert before <= {e.id for e in episodes_of(folder)}


def test_an_evaluation_goes_on_where_it_was_stopped_and_counts_every_step_once(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "evaluate", EVALUATE, LINES)
    config, events = parse_run_config(folder.config(), "test"), EventLog(folder)
    assert isinstance(config, EvaluateConfig)
    assert evaluate(config, folder, events, load_settings({"home": tmp_path}), stop_after(folder, 8)) is None
    events.close()
    assert not folder.report.exists()
    assert work(folder) is RunState.FINISHED
    expected = {(task.id, strategy, seed) for task in TASKS for strategy in ("none", "reflexion") for seed in (0, 1)}
    assert whole(folder) == Counter(expected)
    bodies = [event.body for event in all_events(folder.events)]
    points = Counter((n, b.step) for b in bodies if isinstance(b, MetricsLogged) for n in b.values)
    assert points == Counter((f"{arm}/solved", step) for arm in ("no memory", "reflexion") for step in range(1, 13))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = make_run(tmp_path_factory.mktemp("home"), "evaluate", EVALUATE, LINES)
    assert work(folder) is RunState.FINISHED
    return folder


def test_the_report_says_what_its_episodes_say(evaluated: RunFolder) -> None:
    report = json.loads(evaluated.report.read_text())
    for arm, strategy in zip(report["arms"], ("none", "reflexion"), strict=True):
        of_arm = [e for e in episodes_of(evaluated) if e.strategy == strategy]
        firsts = [float(e.trials[0].success) for e in of_arm]
        lasts = [float(e.trials[-1].success) for e in of_arm]
        assert arm["success"]["initial"]["mean"] == pytest.approx(sum(firsts) / 12)
        assert arm["success"]["final"]["mean"] == pytest.approx(sum(lasts) / 12)
        assert arm["success"]["average"]["mean"] == pytest.approx(score(of_arm, 3, "success").average.mean)
        assert arm["errors"] == 0
    assert report["tasks"] == 6
    assert report["arms"][1]["compared"]["difference"]["mean"] == pytest.approx(
        report["arms"][1]["reward"]["final"]["mean"] - report["arms"][0]["reward"]["final"]["mean"]
    )


def test_the_report_has_a_table_and_a_figure_that_need_no_network(evaluated: RunFolder) -> None:
    table, page = (evaluated.report.with_suffix(suffix).read_text() for suffix in (".md", ".html"))
    assert "| reflexion | " in table
    assert '"name":"reflexion"' in page
    assert "<script src=" not in page


def test_a_finished_evaluation_is_not_played_again(evaluated: RunFolder) -> None:
    lines = evaluated.events.read_text().count("\n")
    assert work(evaluated) is RunState.FINISHED
    assert whole(evaluated).total() == 24
    assert evaluated.events.read_text().count("\n") == lines + 2


def test_shuffled_reflections_are_those_of_another_task(tmp_path: Path) -> None:
    arms = [*EVALUATE["arms"], {"name": "shuffled", "planner": "expert", "reflector": "shuffled:reflexion"}]  # type: ignore[misc]
    folder = make_run(tmp_path, "evaluate", {**EVALUATE, "seeds": [0], "arms": arms}, LINES)
    assert work(folder) is RunState.FINISHED
    episodes = episodes_of(folder)
    wrote = {r.text: (e.task.id, r.after_trial) for e in episodes if e.reflector == "expert" for r in e.reflections}
    shuffled = [e for e in episodes if e.reflector == "shuffled:reflexion"]
    assert len(shuffled) == len(TASKS)
    given = [((e.task.id, r.after_trial), wrote[r.text]) for e in shuffled for r in e.reflections]
    assert given
    assert all(about != task for (task, _), (about, _) in given)
    assert all(trial == 1 for (_, after), (_, trial) in given if after == 1)


def test_only_an_earlier_arm_is_shuffled() -> None:
    with pytest.raises(BadConfig, match=r"'shuffled:later', which is no earlier arm \(earlier: none\)"):
        parse_run_config(
            {
                **EVALUATE,
                "kind": "evaluate",
                "arms": [{"name": "a", "planner": "expert", "reflector": "shuffled:later"}],
            },
            "test",
        )
