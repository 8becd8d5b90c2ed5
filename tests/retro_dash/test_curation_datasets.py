"""Labels applied to training, datasets frozen under their hash, exports of what people said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from curation_examples import NOW, fill, make_episode, request, target

from data.errors import BadFile, BadInput, UnknownName
from data.formats import detect_format
from data.formats.entry import About, Entry
from data.store import Store
from data.types import Episode, Label, LabelTarget, Reflection, StopReason, Trial
from envs import environment_kind
from retro_dash.curation import Curation
from retro_dash.datasets import DatasetRequest, Split
from retro_dash.evaluators import parse_evaluator
from retro_dash.exporting import export
from retro_dash.labels import LabelRequest
from retro_dash.training_view import final_values, training_view
from training.episodes import demonstration_samples, reflection_samples
from training.samples import Segment


def label(name: str, value: object, on: LabelTarget | None = None, annotator: str = "kim", id_: str = "l") -> Label:
    fields = {"id": id_, "target": on or target(), "name": name, "value": value, "annotator": annotator, "at": NOW}
    return Label.model_validate(fields)


def demonstrated(*episodes: Episode) -> list[str]:
    """What imitation would learn: role and text of every target, by the real sample maker with words for tokens."""
    words: list[str] = []

    def encode(part: Trial | Reflection) -> list[Segment]:
        segments = [Segment((0,), is_policy=False)]
        is_trial = isinstance(part, Trial)
        targets = [(t.action, t.is_valid) for t in part.turns] if is_trial else [(part.text, bool(part.text))]
        for text, is_target in targets:
            words.append(text)
            segments.append(Segment((len(words),), is_policy=is_target))
        return segments

    found = []
    for episode in episodes:
        for sample in demonstration_samples(episode, encode):
            ids = [i for i, chosen in zip(sample.input_ids, sample.policy_mask, strict=True) if chosen]
            found += [f"{sample.role}: {words[i - 1]}" for i in ids]
    return found


SOLVED = ["planner: search[Nile]", "planner: finish[Nile]"]
ADVICE = "reflector: Compare both rivers before you answer."


def seen(episode: Episode, *labels: Label) -> list[str]:
    return demonstrated(*training_view(episode, final_values(labels)))


def test_without_labels_the_solved_trial_and_the_reflection_before_it_are_imitated():
    assert seen(make_episode("e1")) == [*SOLVED, ADVICE]


def test_a_discarded_episode_is_left_out():
    assert training_view(make_episode("e1"), final_values([label("verdict", "discard")])) == []


def test_a_bad_solved_episode_is_not_imitated_and_keeps_its_reward():
    (view,) = training_view(make_episode("e1"), final_values([label("verdict", "bad")]))
    assert demonstrated(view) == []
    assert [trial.reward for trial in view.trials] == [0.0, 1.0]


def test_a_failed_episode_that_is_called_good_has_its_last_trial_imitated():
    assert seen(make_episode("e1", (0.0, 0.5)), label("verdict", "good"))[:2] == SOLVED
    assert seen(make_episode("e1", (0.0, 0.5))) == []


def test_a_discarded_trial_says_nothing_to_anybody():
    (view,) = training_view(
        make_episode("e1"), final_values([label("verdict", "discard", target(part="trial", trial=2))])
    )
    assert view.trials[1].stop_reason is StopReason.STOPPED
    assert demonstrated(view) == []


def test_a_turn_with_a_negative_step_reward_is_context_only():
    bad = label("step_reward", -1, target(part="turn", trial=2, turn=1))
    assert seen(make_episode("e1"), bad) == ["planner: finish[Nile]", ADVICE]


def test_a_rewritten_turn_of_a_failed_trial_is_the_only_thing_imitated():
    rewrite = label("rewrite", {"action": "search[Amazon]"}, target(part="turn", trial=1, turn=2))
    assert seen(make_episode("e1", (0.0,)), rewrite) == ["planner: search[Amazon]"]


def test_a_rewritten_turn_of_a_later_trial_does_not_prove_the_reflection_before_it():
    rewrite = label("rewrite", {"action": "search[Amazon]"}, target(part="turn", trial=2, turn=1))
    views = training_view(make_episode("e1", (0.0, 0.0)), final_values([rewrite]))
    assert demonstrated(*views) == ["planner: search[Amazon]"]
    assert views[1].reflections != (), "the prompt of the trial holds it"


def test_a_rewritten_reflection_is_imitated_instead_of_the_old_one():
    rewrite = label("rewrite", {"text": "Look both up."}, target(part="reflection", trial=1))
    assert seen(make_episode("e1"), rewrite) == [*SOLVED, "reflector: Look both up."]
    assert seen(make_episode("e1", (0.0, 0.0)), rewrite) == ["reflector: Look both up."]


def test_a_reflection_that_is_called_good_is_imitated_without_proof_and_a_bad_one_is_not():
    on = target(part="reflection", trial=1)
    assert seen(make_episode("e1", (0.0, 0.0)), label("verdict", "good", on)) == [ADVICE]
    assert seen(make_episode("e1"), label("verdict", "bad", on)) == SOLVED


def test_a_reflection_on_a_trial_that_nobody_saw_is_not_imitated():
    episode = make_episode("e1")
    blind = episode.model_copy(
        update={"trials": (episode.trials[0].model_copy(update={"turns": ()}), episode.trials[1])}
    )
    assert seen(blind) == SOLVED


def test_a_bad_reflection_still_counts_for_rl_once():
    from data.types import Completion

    episode = make_episode("e1")
    sampled = Completion(policy="p", text="x", context_ids=(1,), token_ids=(2,), logprobs=(-0.5,))
    reflection = episode.reflections[0].model_copy(update={"completion": sampled})
    episode = episode.model_copy(update={"reflections": (reflection,)})
    views = training_view(episode, final_values([label("verdict", "bad", target(part="reflection", trial=1))]))
    samples = [sample for view in views for sample in reflection_samples(view)]
    assert [(s.reward_before, s.reward) for s in samples] == [(0.0, 1.0)]


def test_the_majority_decides_the_newest_of_equals_and_an_adjudication_over_all():
    good, bad, lee = (
        label("verdict", "good"),
        label("verdict", "bad", annotator="jo"),
        label("verdict", "bad", None, "lee"),
    )
    part = ("episode", None, None)
    assert final_values([bad, lee, good])[part]["verdict"] == "bad"
    assert final_values([bad, good])[part]["verdict"] == "good"
    final = label("adjudication", {"verdict": "expert"}, annotator="chief")
    assert final_values([final, bad, lee])[part]["verdict"] == "expert"


# Datasets


@pytest.fixture
def curation(tmp_path: Path) -> Iterator[Curation]:
    with Store.open(tmp_path) as store:
        episodes = [make_episode(f"e{n}", (0.0, 1.0) if n % 2 else (0.0, 0.0)) for n in range(1, 21)]
        fill(store, *episodes, make_episode("live", (), state="running"))
        yield Curation(tmp_path, store)


def say(curation: Curation, *requests: dict[str, object]) -> None:
    curation.label([LabelRequest.model_validate(one) for one in requests])


def freeze(curation: Curation, **changes: object) -> str:
    return curation.datasets.freeze(DatasetRequest.model_validate({"name": "first", **changes})).hash


def test_the_same_content_has_the_same_hash_and_a_label_changes_it(curation: Curation):
    first = freeze(curation)
    assert freeze(curation, name="another name") == first
    assert len(curation.store.datasets()) == 1
    say(curation, request("good", on=target("e1")))
    assert freeze(curation) != first
    assert freeze(curation, split={"share": 0.5, "seed": 1}) != first


def test_a_dataset_holds_what_the_filter_and_the_evaluators_keep_and_nothing_discarded_or_running(curation: Curation):
    say(curation, request("discard", on=target("e3")))
    hash_ = freeze(curation, evaluators=["success", "turns<=5"])
    ids = {entry.episode.id for entry in curation.datasets.entries(hash_)}
    assert ids == {f"e{n}" for n in range(1, 21, 2)} - {"e3"}
    counts = curation.datasets.details(hash_).version.counts
    assert (counts["episodes"], counts["solved"], counts["trials"]) == (9, 9, 18)


def test_an_episode_frozen_yesterday_does_not_change_with_new_labels(curation: Curation):
    hash_ = freeze(curation)
    say(curation, request("discard", on=target("e1")))
    assert "e1" in {entry.episode.id for entry in curation.datasets.entries(hash_)}


def test_whole_tasks_are_kept_for_evaluation_and_the_seed_decides_which(curation: Curation):
    split = Split(share=0.5, seed=3)
    hash_ = freeze(curation, split=split.model_dump())
    trained = {episode.task.id for episode in curation.datasets.training_episodes(hash_)}
    kept = {f"task-e{n}" for n in range(1, 21)} - trained
    assert 3 < len(kept) < 17
    assert all(split.is_evaluation(task) for task in kept)
    assert kept != {f"task-e{n}" for n in range(1, 21) if Split(share=0.5, seed=4).is_evaluation(f"task-e{n}")}


def test_a_dataset_that_was_changed_by_hand_is_refused(curation: Curation, tmp_path: Path):
    hash_ = freeze(curation)
    path = tmp_path / "datasets" / hash_ / "episodes.jsonl"
    path.write_text(path.read_text().replace("smollm2", "somebody"))
    with pytest.raises(BadFile, match="changed after it was frozen"):
        curation.datasets.entries(hash_)


def test_the_beginning_of_a_hash_is_enough_and_an_unknown_one_is_named(curation: Curation):
    hash_ = freeze(curation)
    assert curation.datasets.details(hash_[:6]).version.hash == hash_
    with pytest.raises(UnknownName, match=r"first"):
        curation.datasets.details("zzz")


def test_an_empty_selection_is_not_frozen(curation: Curation, tmp_path: Path):
    with pytest.raises(BadInput, match="Nothing is left"):
        freeze(curation, filter="env:alfworld")
    assert list((tmp_path / "datasets").iterdir()) == []


def test_the_diff_of_two_versions_names_what_came_went_and_changed(curation: Curation):
    old = freeze(curation, evaluators=["success"])
    say(
        curation,
        request("good", on=target("e1")),
        request("discard", on=target("e3")),
        request("good", on=target("e2")),
    )
    new = freeze(curation, filter="reward>=0 -id:e5")
    diff = curation.datasets.diff(old, new)
    assert diff.removed == ("e3", "e5")
    assert diff.changed == ("e1",)
    assert {"e2", "e4"} <= set(diff.added)
    assert diff.counts["labels"] == (0, 2)
    assert diff.filters == ("", "reward>=0 -id:e5")


def test_a_check_names_what_is_longer_than_training_keeps_and_databases_on_both_sides(curation: Curation):
    def questions(id_: str, split: str) -> Episode:
        episode = make_episode(id_)
        metadata = {"database": "pets"}
        return episode.model_copy(
            update={"task": episode.task.model_copy(update={"split": split, "metadata": metadata})}
        )

    fill(curation.store, questions("sql-1", "train"), questions("sql-2", "dev"))
    request = DatasetRequest(name="x", filter="id:sql-1,sql-2", split=Split(share=0), max_length=10)
    found = {finding.kind: finding.examples for finding in curation.datasets.check(request).findings}
    assert found["database_overlap"] == ("sql-1/trial/1", "sql-1/trial/2", "sql-1/reflection/1")
    assert "sql-2/trial/1" in found["too_long"]
    assert "too_long" not in {
        finding.kind for finding in curation.datasets.check(request.model_copy(update={"max_length": 2048})).findings
    }


def test_the_card_says_hash_filter_and_counts(curation: Curation):
    details = curation.datasets.details(freeze(curation, filter="env:hotpotqa"))
    assert details.version.hash in details.card
    assert "`env:hotpotqa`" in details.card
    assert "| episodes | 20 |" in details.card


@pytest.mark.parametrize(
    ("spec", "passing"),
    [
        ("success", True),
        ("em", True),
        ("f1>=0.9", True),
        ("reward>=0.5", True),
        ("reward<0.5", False),
        ("gain>0", True),
        ("turns<=1", False),
        ("no_repeats", True),
        ("no_malformed", True),
        ("positive_next", True),
    ],
)
def test_evaluators_pass_what_they_say(spec: str, passing: bool):
    assert parse_evaluator(spec)(make_episode("e1", actions=("search[x]", "finish[The Nile]")), ()) is passing


def test_evaluators_fail_what_they_say():
    loop = make_episode("e1", (0.0,), ("look", "look", "look"))
    specs = ("success", "em", "f1>=0", "no_repeats", "positive_next")
    assert [parse_evaluator(spec)(loop, ()) for spec in specs] == [False] * 5


@pytest.mark.parametrize("spec", ["nice", "success>1", "reward", "reward>=x", "reward>=.", ""])
def test_an_evaluator_that_does_not_read_is_refused(spec: str):
    with pytest.raises(BadInput):
        parse_evaluator(spec)


# Exports


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_messages_are_the_prompts_of_play_and_hold_positive_trials_only(tmp_path: Path):
    entries = [Entry(make_episode("e1")), Entry(make_episode("e2", (0.0, 0.0)))]
    made = rows(export("messages", entries, tmp_path / "m.jsonl", About(dataset_hash="h", tagset_version=2)).path)
    assert [(row["role"], row["episode_id"], row["trial"]) for row in made] == [
        ("planner", "e1", 2),
        ("reflector", "e1", 1),
    ]
    assert [m["role"] for m in made[0]["messages"]] == ["user", "assistant", "user", "assistant"]
    assert made[0]["messages"][1]["content"] == "Thought: I try search[Nile].\nAction: search[Nile]"
    assert [m["role"] for m in made[1]["messages"]] == ["system", "user", "assistant"]
    assert {(row["dataset_hash"], row["tagset_version"]) for row in made} == {("h", 2)}


def test_a_rewrite_is_a_preference_of_the_new_text_over_the_old(tmp_path: Path):
    labels = (
        label("rewrite", {"action": "search[Amazon]"}, target(part="turn", trial=1, turn=2)),
        label("rewrite", {"text": "Look both up."}, target(part="reflection", trial=1), id_="m"),
    )
    made = rows(
        export("preference", [Entry(make_episode("e1", (0.0, 0.0)), labels)], tmp_path / "p.jsonl", About()).path
    )
    by_role = {row["role"]: row for row in made}
    assert by_role["planner"]["chosen"][0]["content"].endswith("Action: search[Amazon]")
    assert by_role["planner"]["rejected"][0]["content"].endswith("Action: finish[Nile]")
    assert by_role["reflector"]["chosen"][0]["content"] == "Look both up."
    assert by_role["reflector"]["rejected"][0]["content"] == "Compare both rivers before you answer."
    assert {row["annotators"][0] for row in made} == {"kim"}


def test_two_reflections_on_the_same_failure_are_a_pair_by_what_came_of_them(tmp_path: Path):
    good, bad = make_episode("e1", task_id="t"), make_episode("e2", (0.0, 0.0), task_id="t", advice="Guess again.")
    (row,) = rows(export("preference", [Entry(good), Entry(bad)], tmp_path / "p.jsonl", About()).path)
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == (ADVICE[11:], "Guess again.")


def test_pairs_import_back_as_the_episodes_of_both_answers_in_whichever_order_they_were(tmp_path: Path):
    advice = {"e1": "Guess again.", "e2": "Look both up.", "e3": "Give up.", "e4": "Compare both."}
    ends = {"e1": (0.0, 0.0), "e2": (0.0, 1.0), "e3": (0.0, 0.0), "e4": (0.0, 1.0)}
    given = [Entry(make_episode(id_, ends[id_], task_id="t", advice=advice[id_])) for id_ in ("e3", "e2", "e4", "e1")]
    path = export("preference", given, tmp_path / "p.jsonl", About()).path
    back = [item for item in detect_format(path).read(path) if isinstance(item, Entry)]
    assert {entry.episode.id: entry.episode for entry in back} == {entry.episode.id: entry.episode for entry in given}
    for number, order in enumerate((back, back[::-1])):
        again = rows(export("preference", order, tmp_path / f"{number}.jsonl", About()).path)
        texts = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in again]
        assert texts == [("Look both up.", "Guess again."), ("Compare both.", "Give up.")]


def test_step_rewards_and_the_first_error_become_stepwise_labels(tmp_path: Path):
    actions = ("a", "b", "c")
    first = Entry(make_episode("e1", (0.0,), actions), (label("first_error", 2, target(part="trial", trial=1)),))
    marked = Entry(make_episode("e2", (0.0,), actions), (label("step_reward", 0, target("e2", "turn", 1, 1)),))
    made = rows(export("stepwise", [first, marked], tmp_path / "s.jsonl", About()).path)
    assert [row["labels"] for row in made] == [[True, False], [True]]
    assert [row["step_rewards"] for row in made] == [[1, -1], [0]]
    assert made[0]["completions"][1].startswith("Observation: Seen 1.\nThought:")


def test_an_export_never_overwrites_and_leaves_nothing_behind_when_nothing_fits(tmp_path: Path):
    path = tmp_path / "x.jsonl"
    path.write_text("mine")
    with pytest.raises(BadInput, match="already exists"):
        export("messages", [Entry(make_episode("e1"))], path, About())
    with pytest.raises(BadInput, match="No row"):
        export("stepwise", [Entry(make_episode("e1"))], tmp_path / "y.jsonl", About())
    assert [child.name for child in tmp_path.iterdir()] == ["x.jsonl"]


def test_rl_rows_hold_the_exact_tokens(tmp_path: Path):
    import pyarrow.parquet as pq

    from data.types import Completion

    episode = make_episode("e1", (0.25,), ("go",))
    sampled = Completion(policy="p", text="go", context_ids=(1, 2), token_ids=(3,), logprobs=(-0.5,))
    turn = episode.trials[0].turns[0].model_copy(update={"completion": sampled})
    episode = episode.model_copy(update={"trials": (episode.trials[0].model_copy(update={"turns": (turn,)}),)})
    labels = (label("verdict", "good", annotator="kim"),)
    path = export("rl", [Entry(episode, labels)], tmp_path / "r.parquet", About(dataset_hash="h")).path
    (row,) = pq.read_table(path).to_pylist()
    assert row["annotators"] == ["kim"]
    assert (row["context_ids"], row["token_ids"], row["logprobs"], row["reward"]) == ([1, 2], [3], [-0.5], 0.25)
    assert pq.read_schema(path).metadata[b"dataset_hash"] == b"h"


def test_an_exported_prompt_is_rendered_by_the_prompt_files_when_none_was_recorded(tmp_path: Path):
    episode = make_episode("e1")
    trials = tuple(trial.model_copy(update={"prompt": ""}) for trial in episode.trials)
    made = rows(
        export("messages", [Entry(episode.model_copy(update={"trials": trials}))], tmp_path / "m.jsonl", About()).path
    )
    assert made[0]["messages"][0]["role"] == "system"
    assert environment_kind("hotpotqa").instructions(episode.task, {})[:40] in made[0]["messages"][0]["content"]
    assert "Compare both rivers" in made[0]["messages"][1]["content"]
