"""Replays: what agrees, where it first differs, and what cannot be replayed at all."""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from trial_player import play_episode

from data.errors import BadFile, BadInput
from data.types import Episode, Reflection, Task, Turn
from envs.base import EnvironmentKind
from envs.experts.hotpotqa import HotpotqaExpert
from envs.hotpotqa import KIND, bundled
from envs.intercode_bash import KIND as BASH
from envs.intercode_sql import KIND as SQL
from envs.isolated import EnvironmentPool
from envs.replay import (
    RecordedTrial,
    RecordedTurn,
    open_here,
    replay,
    replay_episode,
    replay_file,
    same_observation,
)

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("RETRO_SHARED_DATA", ROOT.parent / "shared" / "data"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def open_default(task: Task) -> Any:
    return open_here(task, {})


@pytest.fixture
def episode() -> Episode:
    """Two trials of a question: one fails, one solves."""
    task = bundled("valid")[0]
    trials, texts = play_episode(KIND, task, {}, HotpotqaExpert(mistake_rate=1.0), 2)
    reflection = Reflection(after_trial=1, text=texts[0], author="expert", created_at=NOW)
    return Episode(
        id="e-1", task=task, planner="expert", reflector="expert", trials=tuple(trials), reflections=(reflection,),
        run_id="r-1", created_at=NOW,
    )  # fmt: skip


def with_turn(episode: Episode, trial: int, turn: int, **fields: Any) -> Episode:
    """The episode with one turn changed."""
    trials = list(episode.trials)
    turns = list(trials[trial - 1].turns)
    turns[turn - 1] = turns[turn - 1].model_copy(update=fields)
    trials[trial - 1] = trials[trial - 1].model_copy(update={"turns": tuple(turns)})
    return episode.model_copy(update={"trials": tuple(trials)})


def test_an_episode_of_ours_is_reproducible(episode: Episode) -> None:
    report = replay_episode(episode, open_default)
    turns = sum(len(trial.turns) for trial in episode.trials)
    assert report.is_reproducible
    assert report.compared == report.rewards_agree == report.observations_agree == turns
    assert report.first_divergence is None
    assert [(trial.id, trial.turns) for trial in report.trials] == [
        (f"e-1/{trial.index}", len(trial.turns)) for trial in episode.trials
    ]


def test_an_exported_episode_replays_with_the_options_that_it_was_played_with(tmp_path: Path) -> None:
    task, options = bundled("valid")[0], {"dialect": "reflexion", "reward": "em"}
    trials, _ = play_episode(KIND, task, options, HotpotqaExpert(), 1)
    played = Episode(
        id="e-1", task=task, planner="expert", reflector="expert", trials=tuple(trials), run_id="r-1", created_at=NOW,
        options=dict(options),
    )  # fmt: skip
    path = tmp_path / "episodes.jsonl"
    path.write_text(json.dumps({"format": "retro-dash/1", "episode": played.model_dump(mode="json")}))
    assert replay_file(path).is_reproducible
    assert not replay_file(path, options={"dialect": "retroact"}).is_reproducible


def needs(kind: EnvironmentKind) -> None:
    if not kind.check().works:
        pytest.skip(kind.check().detail)


def played_here(kind: EnvironmentKind, task: Task, options: dict[str, Any], name: str = "e-1") -> Episode:
    """An episode of the expert with these options."""
    trials, _ = play_episode(kind, task, options, kind.expert, 1)
    assert trials[0].success
    return Episode(
        id=name, task=task, planner="expert", reflector="expert", trials=tuple(trials), run_id="r-1", created_at=NOW,
        options=options,
    )  # fmt: skip


def exported(folder: Path, *episodes: Episode) -> Path:
    path = folder / "episodes.jsonl"
    rows = [{"format": "retro-dash/1", "episode": episode.model_dump(mode="json")} for episode in episodes]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def on_a_dump(folder: Path) -> Episode:
    """Played on a dump that only the option names."""
    needs(SQL)
    dump = folder / "zoo.sql"
    dump.write_text("USE zoo; CREATE TABLE a (x int); INSERT INTO a VALUES (1), (2);")
    gold: dict[str, Any] = {"database": "zoo", "gold": "SELECT x FROM a", "source": None}
    task = Task(id="z", env=SQL.name, split="x", instruction="All?", metadata=gold)
    return played_here(SQL, task, {"database": str(dump)}, "e-sql")


def on_trees(folder: Path) -> Episode:
    """Played on a file tree that only the option's folder has."""
    needs(BASH)
    trees = folder / "trees"
    trees.mkdir()
    entry = {"path": "/den/a.txt", "type": "file", "text": "one\ntwo\n"}
    (trees / "den.json").write_text(json.dumps({"entries": [entry]}))
    gold: dict[str, Any] = {"gold": "wc -l /den/a.txt", "tree": "den"}
    task = Task(id="d", env=BASH.name, split="x", instruction="How many lines?", metadata=gold)
    return played_here(BASH, task, {"trees": str(trees)}, "e-bash")


def test_an_episode_replays_on_the_database_or_the_trees_that_its_options_name(tmp_path: Path) -> None:
    path = exported(tmp_path, on_a_dump(tmp_path), on_trees(tmp_path))
    with EnvironmentPool() as pool:
        report = replay_file(path, open_environment=pool.open)
    assert report.is_reproducible, report.summary
    assert {trial.env for trial in report.trials} == {"intercode_sql", "intercode_bash"}


def test_what_an_episode_names_and_is_not_here_is_a_note_and_can_be_named_anew(tmp_path: Path) -> None:
    path = exported(tmp_path, on_a_dump(tmp_path), on_trees(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    for name in ("zoo.sql", "trees"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    gone = replay_file(path)
    assert (gone.compared, gone.trials_not_replayed, gone.is_reproducible) == (0, 2, False)
    assert gone.summary.startswith("Nothing could be played again. The SQL dump ")
    assert any("trees is" in note and "must be a folder" in note for note in gone.notes)
    # Each option goes to the environment that has it.
    here = {"database": str(tmp_path / "elsewhere" / "zoo.sql"), "trees": str(tmp_path / "elsewhere" / "trees")}
    assert replay_file(path, options=here).is_reproducible


def test_an_option_that_no_environment_of_the_file_has_is_refused(episode: Episode, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\(hotpotqa\) has no option 'database'. Known: dialect, reward"):
        replay_file(exported(tmp_path, episode), options={"database": "zoo.sql"})


def test_the_summary_says_what_differs_first_in_numbers_that_the_page_shows(episode: Episode) -> None:
    first = episode.trials[0]
    noise = Turn(index=1, thought="", action="", observation="Write an action.", reward=0.0, is_malformed=True)
    turns = [turn.model_copy(update={"index": turn.index + 1}) for turn in first.turns]
    turns[1] = turns[1].model_copy(update={"observation": "It was \x1b[2J otherwise."})
    noisy = episode.model_copy(update={"trials": (first.model_copy(update={"turns": (noise, *turns)}),)})
    report = replay_episode(noisy, open_default)
    count = len(turns)
    assert report.summary.startswith(
        f"{count - 1} of {count} observations and {count} of {count} rewards agree. First difference: turn 3 of "
        "e-1/1, “"
    )
    assert "the observation was “It was \ufffd[2J otherwise.” and is now “" in report.summary
    actions = sum(len(trial.turns) for trial in episode.trials)
    assert replay_episode(episode, open_default).summary == (
        f"All {actions} actions that were played again gave what was recorded."
    )


def test_an_episode_replays_in_processes_of_its_own(episode: Episode) -> None:
    with EnvironmentPool() as pool:
        assert replay_episode(episode, lambda task: pool.open(task, {})).is_reproducible


def test_the_first_difference_is_shown_with_both_sides(episode: Episode) -> None:
    changed = with_turn(with_turn(episode, 2, 3, reward=0.5), 2, 2, observation="Something else.")
    report = replay_episode(changed, open_default)
    assert not report.is_reproducible
    turns = report.observations_compared
    assert (report.observations_agree, report.rewards_agree) == (turns - 1, turns - 1)
    first = report.first_divergence
    assert first is not None
    assert (first.trial_id, first.turn, first.field, first.recorded) == ("e-1/2", 2, "observation", "Something else.")
    seen = episode.trials[1].turns[1].observation
    assert first.replayed == (seen if len(seen) <= 200 else seen[:199] + "…")
    assert first.action == episode.trials[1].turns[1].action


def test_a_reward_that_differs_is_a_difference(episode: Episode) -> None:
    first = replay_episode(with_turn(episode, 2, 3, reward=0.5), open_default).first_divergence
    assert first is not None
    assert (first.field, first.recorded, first.replayed) == ("reward", "0.5", "1")


def test_a_replay_that_ends_early_says_where(episode: Episode) -> None:
    last = episode.trials[1]
    extra = Turn(index=len(last.turns) + 1, thought="", action="Search[x]", observation="y", reward=1.0)
    longer = episode.model_copy(update={"trials": (last.model_copy(update={"turns": (*last.turns, extra)}),)})
    first = replay_episode(longer, open_default).first_divergence
    assert first is not None
    assert (first.field, first.turn) == ("end", len(last.turns) + 1)


def test_turns_without_an_action_never_reached_the_environment(episode: Episode) -> None:
    first = episode.trials[0]
    noise = Turn(index=1, thought="", action="", observation="Write an action.", reward=0.0, is_malformed=True)
    noisy = episode.model_copy(update={"trials": (first.model_copy(update={"turns": (noise, *first.turns)}),)})
    assert replay_episode(noisy, open_default).is_reproducible


def test_an_episode_without_turns_is_not_called_reproducible(episode: Episode) -> None:
    empty = episode.trials[0].model_copy(update={"turns": ()})
    report = replay_episode(episode.model_copy(update={"trials": (empty,)}), open_default)
    assert not report.is_reproducible
    assert report.notes == {"The recording has no actions.": 1}
    assert not replay_episode(episode.model_copy(update={"trials": ()}), open_default).is_reproducible


def test_a_broken_environment_is_a_note_and_not_the_end(episode: Episode) -> None:
    with EnvironmentPool(deadline=0.000001) as pool:
        report = replay_episode(episode, lambda task: pool.open(task, {}))
    assert report.trials_not_replayed == 2
    assert "longer than" in next(iter(report.notes))


def test_of_several_tasks_the_one_counts_that_agrees_the_longest() -> None:
    tasks = bundled("valid")[:4]
    environment = open_default(tasks[2])
    environment.start()
    title = str(tasks[2].metadata["context"][0][0])  # type: ignore[index]
    turns = tuple(
        RecordedTurn(action, environment.step(action).observation, 0.0) for action in (f"Search[{title}]", "jump")
    )
    report = replay([RecordedTrial("t", "hotpotqa", tuple(tasks), turns)], open_default)
    assert report.trials[0].task_id == tasks[2].id
    assert report.is_reproducible
    opened = RecordedTrial("t", "hotpotqa", tuple(tasks), turns, opening="Question: none of them")
    report = replay([opened], open_default)
    assert report.notes == {"No task of the file starts as the recording does.": 1}


@pytest.mark.parametrize(
    ("recorded", "replayed", "same"),
    [
        ("a  b\n", "a b", True),
        ("a b", "a c", False),
        ("[('ID', b'int', b'')]", "[('ID', 'int', '')]", True),
        ("b", "", False),
        ("[" + "(1,), " * 80 + "(2,)]", "[" + "(1,), " * 60 + "(1,)]", True),
        ("[" + "(1,), " * 80 + "(2,)]", "[(1,), (1,)]", False),
        ("x" * 400, "x" * 350, True),
        ("x" * 400, "x" * 349 + "y", False),
    ],
)
def test_observations_agree_up_to_blanks_marks_of_bytes_and_cuts(recorded: str, replayed: str, same: bool) -> None:
    assert same_observation(recorded, replayed) is same
    assert same_observation(replayed, recorded) is same


def test_a_file_of_episodes_is_replayed_without_tasks(episode: Episode, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(episode.model_dump_json())
    (tmp_path / "many.jsonl.gz").write_bytes(gzip.compress((episode.model_dump_json() + "\n").encode() * 3))
    assert replay_file(tmp_path / "one.json").is_reproducible
    report = replay_file(tmp_path / "many.jsonl.gz")
    assert (report.trials_replayed, report.is_reproducible) == (6, True)
    # In another dialect the same actions say other things.
    assert not replay_file(tmp_path / "one.json", options={"dialect": "reflexion"}).is_reproducible


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"colour": "red"}]', "is no recording that can be replayed: its first row has colour"),
        ("[]", "holds no list of recorded trials"),
        ("[1]", "holds no list of recorded trials"),
        ("{broken", "is not JSON"),
        ('[{"task": {}, "trials": []}]', "the episode None does not parse"),
    ],
)
def test_a_file_of_no_known_kind_is_one_sentence(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "recorded.json").write_text(content)
    with pytest.raises(BadFile) as error:
        replay_file(tmp_path / "recorded.json")
    assert said in str(error.value)
    with pytest.raises(BadFile, match=r"missing\.json"):
        replay_file(tmp_path / "missing.json")


def intercode_row(task: Task, actions: list[str], rewards: list[float], **history: Any) -> dict[str, Any]:
    turns = {"actions": actions, "observations": [""] * len(actions), "rewards": rewards, **history}
    return {"environment": "ic_sql", "task_id": 0, "query": task.instruction, "turn_history": turns}


def test_intercode_rows_are_scored_after_every_turn_or_as_they_were_played(tmp_path: Path) -> None:
    needs(SQL)
    task = SQL.bundled("valid")[0]
    gold = str(task.metadata["gold"])
    rows = [
        # Without thoughts, rewards are those of handing in each answer at once.
        intercode_row(task, ["SELECT 'nonsense'", gold], [0.0, 1.0]),
        # With thoughts, a reward comes with submit only.
        intercode_row(task, [f"execute[{gold}]", "submit"], [0, 1.0], thoughts=["", ""]),
        {**intercode_row(task, ["SELECT 1"], [0.0]), "query": "What is not asked anywhere?"},
    ]
    (tmp_path / "results.json").write_text(json.dumps({str(number): row for number, row in enumerate(rows)}))
    tasks = [{"query": task.instruction, "gold": gold, "db": task.metadata["database"], "id": task.id}]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    from envs.sql_tasks import bundled_dump

    options = {"database": str(bundled_dump())}
    report = replay_file(tmp_path / "results.json", tmp_path / "tasks.json", options)
    assert (report.rewards_compared, report.rewards_agree) == (4, 4)
    assert (report.trials_replayed, report.trials_not_replayed) == (2, 1)
    assert report.notes == {"Its task is not among the tasks; give the file that has it as tasks.": 1}


def shared(path: str) -> Path:
    if not (SHARED / path).exists():
        pytest.skip(f"{SHARED / path} is not here")
    return SHARED / path


def test_reflexions_questions_are_scored_again_but_not_replayed() -> None:
    path = shared("hotpotqa/reflexion_react_reflexion_7_trials.jsonl.gz")
    report = replay_file(path)
    # 464 runs, 120 of them halted; every verdict of Reflexion is the exact match.
    assert (report.rewards_compared, report.rewards_agree) == (344, 344)
    assert report.observations_compared == 0
    assert not report.is_reproducible
    assert sorted(report.notes.values()) == [120, 344]
    assert all("live Wikipedia" in note for note in report.notes)


def test_reflexions_household_logs_hold_no_actions() -> None:
    report = replay_file(shared("alfworld/reflexion_base_run_logs/env_results_trial_0.json"))
    assert report.compared == 0
    assert report.notes == {"The recording holds no actions, only whether the task was solved.": 89}


def test_retroacts_household_rows_replay_in_the_simulator(tmp_path: Path) -> None:
    rows = gzip.decompress(shared("alfworld/retroact_sft.jsonl.gz").read_bytes()).decode().splitlines()[:25]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    wanted = {json.loads(row)["input"].rpartition("Your task is to: ")[2].rstrip("> \n.") for row in rows}
    games = gzip.decompress(shared("alfworld/games_train.jsonl.gz").read_bytes()).decode().splitlines()
    mine = [game for game in games if json.loads(game)["task"].rstrip(".") in wanted]
    (tmp_path / "games.jsonl").write_text("\n".join(mine))
    report = replay_file(tmp_path / "rows.jsonl", tmp_path / "games.jsonl")
    assert report.trials_replayed >= 14
    assert report.observations_agree >= 0.99 * report.observations_compared
    assert report.rewards_agree >= 0.95 * report.rewards_compared
