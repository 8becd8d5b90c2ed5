"""What goes into the store comes out, once, whole, and counted right."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta, timezone
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_examples import (
    NOW,
    Numbered,
    empty_episode,
    episodes,
    label_made,
    played_episode,
    reflection_written,
    trial_finished,
    trial_started,
    turn_taken,
)

from data.episodes import apply, with_gains, without_tokens
from data.errors import BadInput, StorageError, UnknownName
from data.events import (
    AdapterPublished,
    DatasetFrozen,
    EpisodeStarted,
    MetricsLogged,
    RunCreated,
    RunStateChanged,
)
from data.inserts import FRAME_ROWS
from data.store import Store
from data.types import (
    Adapter,
    Completion,
    DatasetVersion,
    Episode,
    EpisodeState,
    LabelTarget,
    Reflection,
    Run,
    RunState,
    Task,
    Trial,
    Turn,
)

with_one_store = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=40
)


@with_one_store
@given(episode=episodes())
def test_a_whole_episode_comes_back_equal(store: Store, episode) -> None:
    episode = episode.model_copy(update={"id": uuid.uuid4().hex})
    run = Numbered(uuid.uuid4().hex)
    assert store.append([run(EpisodeStarted(episode=episode))]) == 1
    assert store.episode(episode.id, with_tokens=True) == with_gains(episode)
    assert store.episode(episode.id) == without_tokens(with_gains(episode))


@with_one_store
@given(episode=episodes(), left_out=st.integers(1, 3))
def test_the_parts_of_an_episode_are_known_without_reading_it(store: Store, episode, left_out: int) -> None:
    trials = tuple(
        trial.model_copy(update={"turns": tuple(turn for turn in trial.turns if turn.index != left_out)})
        for trial in episode.trials
    )
    episode = episode.model_copy(update={"id": uuid.uuid4().hex, "trials": trials})
    store.append([Numbered(uuid.uuid4().hex)(EpisodeStarted(episode=episode))])
    assert store.parts(episode.id) == {
        ("episode", None, None),
        *(("trial", trial.index, None) for trial in trials),
        *(("turn", trial.index, turn.index) for trial in trials for turn in trial.turns),
        *(("reflection", reflection.after_trial, None) for reflection in episode.reflections),
    }
    with pytest.raises(UnknownName):
        store.parts("nothing")


@with_one_store
@given(episode=episodes())
def test_the_generated_episodes_fill_every_field(episode) -> None:
    assert episode.model_fields_set == set(Episode.model_fields)
    assert episode.task.model_fields_set == set(Task.model_fields)
    for trial in episode.trials:
        assert trial.model_fields_set == set(Trial.model_fields)
        assert all(turn.model_fields_set == set(Turn.model_fields) for turn in trial.turns)
        found = [turn.completion for turn in trial.turns if turn.completion]
        assert all(completion.model_fields_set == set(Completion.model_fields) for completion in found)
    for reflection in episode.reflections:
        assert reflection.model_fields_set == set(Reflection.model_fields) - {"gain"}


@with_one_store
@given(example=episodes())
def test_many_episodes_in_one_batch_come_back_equal(store: Store, example) -> None:
    batch = [example.model_copy(update={"id": uuid.uuid4().hex}) for _ in range(FRAME_ROWS)]
    run = Numbered(uuid.uuid4().hex)
    assert store.append([run(EpisodeStarted(episode=episode)) for episode in batch]) == len(batch)
    assert [store.episode(episode.id, with_tokens=True) for episode in batch] == [with_gains(e) for e in batch]


@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_live_episode_equals_its_events_applied_in_memory_however_they_are_batched(store: Store, size: int) -> None:
    bodies = played_episode((0.0, 0.5, 1.0))
    run = Numbered("play")
    events = [run(body) for body in bodies]
    for start in range(0, len(events), size):
        store.append(events[start : start + size])
    assert store.episode("e1", with_tokens=True) == reduce(apply, bodies, None)
    row = store.episode_rows().rows[0]
    assert [(trial.reward, trial.success, trial.turns) for trial in row.trials] == [
        (0.0, False, 1),
        (0.5, False, 1),
        (1.0, True, 1),
    ]
    assert (row.state, row.turn_count, row.first_reward, row.last_reward) == (EpisodeState.SOLVED, 3, 0.0, 1.0)


def test_appending_the_same_events_again_changes_nothing(store: Store) -> None:
    run = Numbered("play")
    events = [run(body) for body in played_episode((0.0, 1.0))]
    assert store.append(events) == len(events)
    before, page = store.episode("e1", with_tokens=True), store.episode_rows()
    assert store.append(events) == 0
    assert store.append(events[3:] + events[:3]) == 0
    assert store.episode("e1", with_tokens=True) == before
    assert store.episode_rows() == page
    assert len(store.events_since(0)) == len(events)


def test_an_event_that_comes_twice_in_one_batch_counts_once(store: Store) -> None:
    run = Numbered("play")
    started, trial = run(EpisodeStarted(episode=empty_episode())), run(trial_started(1))
    turn = run(turn_taken(1, 1))
    assert store.append([started, trial, turn, turn]) == 3
    assert len(store.episode("e1").trials[0].turns) == 1


def test_a_batch_with_new_and_known_events_adds_the_new_ones(store: Store) -> None:
    run = Numbered("play")
    events = [run(body) for body in played_episode((0.0,))]
    store.append(events[:3])
    assert store.append(events) == len(events) - 3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (turn_taken(7, 1), "Episode e1 has no trial 7; it has 1."),
        (turn_taken(1, 1), "Trial 1 of episode e1 already has a turn 1."),
        (trial_started(1), "Episode e1 already has a trial 1."),
        (EpisodeStarted(episode=empty_episode()), "There is already an episode called 'e1'."),
        (turn_taken(1, 1, "nowhere"), "There is no episode called 'nowhere'."),
        (reflection_written(3), "Episode e1 has no trial 3; it has 1."),
        (trial_finished(1, float("nan")), "The reward of trial 1 of episode e1 is nan; it must be a finite number."),
        (RunStateChanged(state=RunState.RUNNING), "There is no run called 'play'."),
        (EpisodeStarted(episode=empty_episode("e2", seed=2**80)), "A value does not fit the store"),
        (label_made("l1", float("inf")), "A value cannot be stored as JSON"),
    ],
)
def test_a_bad_event_in_the_middle_leaves_nothing(store: Store, bad, message: str) -> None:
    run = Numbered("play")
    store.append([run(EpisodeStarted(episode=empty_episode())), run(trial_started(1)), run(turn_taken(1, 1))])
    before = store.episode("e1")
    batch = [run(turn_taken(1, 2)), run(label_made("l0")), run(bad), run(turn_taken(1, 3))]
    with pytest.raises(BadInput, match=message.replace("(", r"\(")):
        store.append(batch)
    assert store.episode("e1") == before
    assert store.last_seq("play") == 2
    assert store.labels() == ()
    assert not (store.home / "journal/labels.jsonl").read_text() if (store.home / "journal").exists() else True
    assert store.append([batch[0], batch[3]]) == 2


def test_gains_are_the_next_reward_minus_the_last(store: Store) -> None:
    run = Numbered("play")
    store.append([run(body) for body in played_episode((0.25, 1.0, 0.5))])
    assert [reflection.gain for reflection in store.episode("e1").reflections] == [0.75, -0.5]
    assert store.episode_rows().rows[0].best_gain == 0.75


def test_a_gain_is_unknown_until_the_next_trial_has_ended(store: Store) -> None:
    run = Numbered("play")
    bodies = played_episode((0.25, 0.75))
    store.append([run(body) for body in bodies[:-2]])
    assert store.episode("e1").reflections[0].gain is None
    assert store.episode_rows("gain>0").total == 0
    store.append([run(body) for body in bodies[-2:]])
    assert store.episode("e1").reflections[0].gain == 0.5
    assert store.episode_rows("gain=0.5").total == 1


def test_a_reflection_edited_by_a_person_replaces_the_one_before(store: Store) -> None:
    run = Numbered("play")
    bodies = played_episode((0.0,))[:-1]
    store.append([run(body) for body in [*bodies, reflection_written(1, "first"), reflection_written(1, "second")]])
    assert [reflection.text for reflection in store.episode("e1").reflections] == ["second"]
    store.append([run(trial_started(2)), run(trial_finished(2, 1.0))])
    assert store.episode("e1").reflections[0].gain == 1.0


def test_tokens_come_only_when_asked_for(store: Store) -> None:
    run = Numbered("play")
    store.append([run(body) for body in played_episode((0.0,))])
    assert store.episode("e1").trials[0].turns[0].completion.token_ids is None
    assert store.episode("e1", with_tokens=True).trials[0].turns[0].completion.token_ids == (5, 6)
    assert store.turns("e1", 1, with_tokens=True)[0].completion.logprobs == (-0.5, -0.25)


def test_a_window_of_turns_is_read_by_itself(store: Store) -> None:
    run = Numbered("play")
    turns = [run(turn_taken(1, index)) for index in range(1, 41)]
    store.append([run(EpisodeStarted(episode=empty_episode())), run(trial_started(1))])
    store.append(turns)
    assert [turn.index for turn in store.turns("e1", 1, 5, 8)] == [5, 6, 7]
    assert [turn.index for turn in store.turns("e1", 1, 39)] == [39, 40]
    assert store.turns("e1", 2) == ()
    with pytest.raises(UnknownName, match="There is no episode called 'e9'"):
        store.turns("e9", 1)
    with pytest.raises(UnknownName, match="There is no episode called 'e9'"):
        store.episode("e9")


def test_times_are_kept_as_instants(store: Store) -> None:
    tokyo = datetime(2026, 11, 20, 9, 30, 0, 123456, tzinfo=timezone(timedelta(hours=9)))
    store.append([Numbered("play")(EpisodeStarted(episode=empty_episode(created_at=tokyo)))])
    found = store.episode("e1").created_at
    assert found == tokyo
    assert found.tzinfo is UTC
    assert found.hour == 0


# Labels -------------------------------------------------------------------------------------------------------------


def test_undo_takes_a_label_back_and_undoing_the_undo_puts_it_back(store: Store) -> None:
    run = Numbered("labels")
    store.append([run(label_made("good", "good")), run(label_made("expert", "expert"))])
    assert [label.value for label in store.current_labels("e1")] == ["expert"]
    store.append([run(label_made("undo", undoes="expert"))])
    assert [label.value for label in store.current_labels("e1")] == ["good"]
    store.append([run(label_made("redo", undoes="undo"))])
    assert [label.value for label in store.current_labels("e1")] == ["expert"]
    store.append([run(label_made("undo2", undoes="redo")), run(label_made("undo3", undoes="good"))])
    assert store.current_labels("e1") == ()
    assert [label.id for label in store.labels("e1")] == ["good", "expert", "undo", "redo", "undo2", "undo3"]


def test_every_annotator_and_target_has_labels_of_its_own(store: Store) -> None:
    run = Numbered("labels")
    turn = LabelTarget(episode_id="e1", part="turn", trial=1, turn=2)
    store.append([
        run(label_made("a", "good")), run(label_made("b", "bad", annotator="lee")),
        run(label_made("c", 1, name="step_reward", target=turn)),
        run(label_made("d", -1, name="step_reward", target=turn)),
        run(label_made("e", ["loop", "late"], name="tags")),
    ])  # fmt: skip
    standing = {(label.annotator, label.name, label.target.part): label.value for label in store.current_labels()}
    assert standing == {
        ("kim", "verdict", "episode"): "good",
        ("lee", "verdict", "episode"): "bad",
        ("kim", "step_reward", "turn"): -1,
        ("kim", "tags", "episode"): ["loop", "late"],
    }
    assert [label.id for label in store.current_labels(annotator="lee")] == ["b"]
    assert [label.id for label in store.current_labels(part="turn", turn=2)] == ["d"]


def test_a_label_sent_again_under_a_new_number_is_there_once(store: Store) -> None:
    run = Numbered("labels")
    store.append([run(label_made("a"))])
    store.append([run(label_made("a"))])
    assert [label.id for label in store.labels()] == ["a"]


def test_labels_show_in_the_list_and_its_filters(store: Store) -> None:
    run = Numbered("play")
    store.append([run(EpisodeStarted(episode=empty_episode(f"e{index}"))) for index in (1, 2)])
    store.append([run(label_made("a", "expert")), run(label_made("b", ["it's", "loop"], name="tags"))])
    assert [row.id for row in store.episode_rows("label:expert").rows] == ["e1"]
    assert [row.id for row in store.episode_rows('tag:"it\'s" annotator:KIM').rows] == ["e1"]
    assert [row.id for row in store.episode_rows("label:none").rows] == ["e2"]
    assert {label.name: label.value for label in store.episode_rows("label:expert").rows[0].labels} == {
        "verdict": "expert",
        "tags": ["it's", "loop"],
    }
    assert store.facets().values["tag"] == ("it's", "loop")
    store.append([run(label_made("c", undoes="a"))])
    assert store.episode_rows("label:expert").total == 0


# Runs, curves, adapters, datasets, following ------------------------------------------------------------------------


def test_a_run_takes_its_state_and_times_from_its_events(store: Store) -> None:
    run = Numbered("train-1")
    made = Run(id="train-1", kind="train", config={"steps": 3}, state=RunState.QUEUED, created_at=NOW)
    store.append([run(RunCreated(run=made))])
    assert store.run("train-1") == made
    store.append([run(RunStateChanged(state=RunState.RUNNING))])
    store.append([run(RunStateChanged(state=RunState.FAILED, error="The loss is NaN."))])
    found = store.run("train-1")
    assert (found.state, found.error) == (RunState.FAILED, "The loss is NaN.")
    assert found.started_at == NOW + timedelta(seconds=1)
    assert found.finished_at == NOW + timedelta(seconds=2)
    assert [r.id for r in store.runs(kinds=["train"], states=["failed"])] == ["train-1"]
    assert store.runs(kinds=["collect"]) == ()
    with pytest.raises(UnknownName, match=r"There is no run called 'train-2'\. Known: train-1\."):
        store.run("train-2")


def test_a_thinned_curve_keeps_its_ends_and_its_spikes(store: Store) -> None:
    run = Numbered("train-1")
    values = [float(step % 10) for step in range(2000)]
    values[777], values[1234] = 1000.0, -1000.0
    store.append([run(MetricsLogged(step=step, values={"loss": value})) for step, value in enumerate(values)])
    (series,) = store.metrics("train-1", ["loss"], max_points=50)
    assert series.total == 2000
    assert 40 <= len(series.points) <= 52
    assert [series.points[0].step, series.points[-1].step] == [0, 1999]
    assert {777: 1000.0, 1234: -1000.0}.items() <= {point.step: point.value for point in series.points}.items()
    (whole,) = store.metrics("train-1", max_points=5000)
    assert [point.value for point in whole.points] == values


def test_a_metric_that_is_not_a_number_is_kept(store: Store) -> None:
    store.append([Numbered("train-1")(MetricsLogged(step=1, values={"loss": float("nan")}))])
    (series,) = store.metrics("train-1")
    assert series.points[0].value != series.points[0].value


def test_adapters_and_datasets_come_back_equal_and_a_name_is_used_once(store: Store) -> None:
    run = Numbered("train-1")
    adapter = Adapter(
        name="planner-v1", role="planner", base_model="smollm2", path="/x", scores={"AR": 0.5}, created_at=NOW
    )
    dataset = DatasetVersion(
        hash="abc", name="gold", filter="label:expert", episode_ids=("e1", "e2"), counts={"n": 2}, created_at=NOW
    )
    store.append([run(AdapterPublished(adapter=adapter)), run(DatasetFrozen(dataset=dataset))])
    assert store.adapters() == (adapter,)
    assert store.datasets() == (dataset,)
    store.append([run(DatasetFrozen(dataset=dataset))])
    assert store.datasets() == (dataset,)
    with pytest.raises(BadInput, match="There is already an adapter called 'planner-v1'"):
        store.append([run(AdapterPublished(adapter=adapter))])


def test_a_follower_sees_every_event_once_and_in_order(store: Store) -> None:
    run = Numbered("play")
    events = [run(body) for body in played_episode((0.0, 1.0))]
    seen, position = [], 0
    for event in events:
        store.append([event])
        for found in store.events_since(position, limit=2):
            seen.append((found.seq, found.kind, found.trial, found.turn))
            position = found.position
    assert [entry[0] for entry in seen] == [event.seq for event in events]
    assert (2, "turn_taken", 1, 1) in seen
    assert position == store.last_position()
    assert store.events_since(0, run_id="other") == ()
    assert len(store.events_since(0, episode_id="e1")) == len(events)


def test_the_numbers_of_a_run_are_known(store: Store) -> None:
    assert store.last_seq("play") is None
    run = Numbered("play")
    store.append([run(EpisodeStarted(episode=empty_episode()))])
    assert store.last_seq("play") == 0
    assert store.running_episodes() == ("e1",)
    assert store.known_episodes(["e1", "e2"]) == {"e1"}


def test_positions_go_on_after_a_restart(tmp_path: Path) -> None:
    run = Numbered("play")
    with Store.open(tmp_path) as store:
        store.append([run(EpisodeStarted(episode=empty_episode())), run(trial_started(1))])
        last = store.last_position()
    with Store.open(tmp_path) as store:
        store.append([run(turn_taken(1, 1))])
        assert [event.kind for event in store.events_since(last)] == ["turn_taken"]
        assert len(store.episode("e1").trials[0].turns) == 1


def test_many_threads_read_and_write_at_once(store: Store) -> None:
    problems: list[BaseException] = []

    def work(name: str) -> None:
        try:
            run = Numbered(name)
            for body in played_episode((0.0, 1.0), name, run_id=name):
                store.append([run(body)])
                store.episode(name)
                store.episode_rows("text:nile")
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(f"thread-{index}",)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert store.episode_rows("outcome:solved turns:2").total == 8


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.close()
    store.close()
    with pytest.raises(StorageError, match="is closed"):
        store.episode_rows()
    with pytest.raises(StorageError, match="is closed"):
        store.append([Numbered("play")(EpisodeStarted(episode=empty_episode()))])
