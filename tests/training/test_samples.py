"""Episodes become token sequences with masks; long, empty and repeated ones are dealt with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from data.errors import TrainingError
from data.types import Completion, Episode, Reflection, StopReason, Task, Trial, Turn
from training.episodes import demonstration_samples, reflection_samples, sampled_samples, trial_samples
from training.samples import Sample, Segment, all_output_tokens, check_vocabulary, clean, truncate

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def turn(index: int, context: tuple[int, ...], chosen: tuple[int, ...], **more: object) -> Turn:
    completion = Completion(
        policy="p", text="t", context_ids=context, token_ids=chosen, logprobs=tuple(-float(i) for i in chosen)
    )
    fields = {"completion": completion, **more}
    return Turn(index=index, thought="", action="a", observation="o", reward=0.0, **fields)


def episode(*, edited: bool = False, last_reward: float = 1.0) -> Episode:
    second = turn(2, (5,), (6,), author="human", edited_from="x") if edited else turn(2, (5,), (6,), is_valid=False)
    trials = (
        Trial(index=1, prompt="", opening="", turns=(turn(1, (1,), (2, 3)),), reward=0.25, started_at=NOW,
              stop_reason=StopReason.TURN_LIMIT),
        Trial(index=2, prompt="", opening="", turns=(turn(1, (1, 4), (2, 3)), second, turn(3, (7, 8), (9,))),
              reward=last_reward, success=last_reward == 1.0, started_at=NOW, stop_reason=StopReason.SOLVED),
    )  # fmt: skip
    wrote = Completion(policy="r", text="f", context_ids=(20, 21), token_ids=(22, 23), logprobs=(-0.1, -0.2))
    reflection = Reflection(after_trial=1, text="f", author="reflector", completion=wrote, created_at=NOW)
    return Episode(
        id="e", task=Task(id="task", env="x", split="s", instruction="i"), planner="p", reflector="r",
        trials=trials, reflections=(reflection,), run_id="run", created_at=NOW,
    )  # fmt: skip


def test_a_trial_is_one_growing_sequence_with_its_sampled_tokens_masked() -> None:
    first, second = trial_samples(episode(), age=2)
    assert second.input_ids == (1, 4, 2, 3, 5, 6, 7, 8, 9)
    assert second.policy_mask == (False, False, True, True, False, True, False, False, True)
    assert second.old_logprobs == (0, 0, -2, -3, 0, -6, 0, 0, -9)
    assert second.turns == (0, 0, 1, 1, 1, 2, 2, 2, 3)
    assert (first.reward, second.reward, second.group, second.age, second.rl_weight) == (0.25, 1.0, "task", 2, 1.0)


def test_what_a_person_wrote_is_context_for_the_policy() -> None:
    second = trial_samples(episode(edited=True))[1]
    assert second.policy_mask == (False, False, True, True, False, False, False, False, True)
    assert second.old_logprobs == (0, 0, -2, -3, 0, 0, 0, 0, -9)


def with_second_turn(**changes: object) -> Episode:
    """The second trial's second turn without token ids: its tokens are in the third turn's context."""
    whole = episode()
    first, second, third = whole.trials[1].turns
    wordy = Completion(policy=str(changes.pop("policy", "human")), text="mine")
    second = second.model_copy(update={"completion": wordy, **changes})
    third = third.model_copy(update={"completion": third.completion.model_copy(update={"context_ids": (5, 6, 7, 8)})})
    trial = whole.trials[1].model_copy(update={"turns": (first, second, third)})
    return whole.model_copy(update={"trials": (whole.trials[0], trial)})


@pytest.mark.parametrize(
    "changes",
    [{"author": "human"}, {"author": "human", "edited_from": "x"}, {"author": "expert", "policy": "expert"},
     {"policy": "the planner before the fork"}],
)  # fmt: skip
def test_words_without_ids_are_read_from_the_next_context(changes: dict[str, object]) -> None:
    _, second, _ = sampled_samples(with_second_turn(**changes))
    assert second.input_ids == (1, 4, 2, 3, 5, 6, 7, 8, 9)
    assert second.policy_mask == (False, False, True, True, False, False, False, False, True)
    assert second.old_logprobs == (0, 0, -2, -3, 0, 0, 0, 0, -9)


def test_a_trial_that_only_people_played_teaches_the_policy_nothing() -> None:
    whole = with_second_turn(author="human")
    by_hand = whole.trials[1].model_copy(update={"turns": whole.trials[1].turns[1:2]})
    samples = trial_samples(whole.model_copy(update={"trials": (whole.trials[0], by_hand)}))
    assert [sample.id for sample in samples] == ["e/trial/1"]


def test_a_chat_servers_own_words_are_nothing_for_rl() -> None:
    assert [s.role for s in sampled_samples(with_second_turn(policy="p"))] == ["reflector"]


def test_a_reflection_carries_the_rewards_on_both_sides() -> None:
    (sample,) = reflection_samples(episode())
    assert sample.input_ids == (20, 21, 22, 23)
    assert (sample.reward_before, sample.reward, sample.role) == (0.25, 1.0, "reflector")


@pytest.mark.parametrize("why", [None, StopReason.STOPPED, StopReason.MODEL_ERROR, StopReason.ENVIRONMENT_ERROR])
def test_a_trial_that_was_not_played_out_rewards_and_blames_nobody(why: StopReason | None) -> None:
    whole = episode()
    cut = whole.trials[1].model_copy(update={"stop_reason": why})
    broken = whole.model_copy(update={"trials": (whole.trials[0], cut)})
    assert [sample.id for sample in trial_samples(broken)] == ["e/trial/1"]
    assert reflection_samples(broken) == []


def test_demonstrations_imitate_valid_turns_of_solved_trials_and_reflections_proved_right() -> None:
    planner, reflector = demonstration_samples(episode())
    assert planner.policy_mask == (False, False, True, True, False, False, False, False, True)
    assert planner.old_logprobs is None
    assert (planner.il_weight, planner.rl_weight, reflector.role) == (1.0, 0.0, "reflector")
    assert demonstration_samples(episode(last_reward=0.5)) == []


def test_text_only_experts_are_rendered_by_the_encoder_of_the_caller() -> None:
    def encode(part: Trial | Reflection) -> Sequence[Segment]:
        return [Segment((1, 2), is_policy=False), Segment((3,), is_policy=True)]

    trial = Trial(
        index=1, prompt="", opening="", success=True, started_at=NOW, stop_reason=StopReason.SOLVED,
        turns=(Turn(index=1, thought="", action="a", observation="", reward=1.0, author="expert"),),
    )  # fmt: skip
    expert = episode().model_copy(update={"trials": (trial,), "reflections": ()})
    assert demonstration_samples(expert, encode)[0].input_ids == (1, 2, 3)
    with pytest.raises(TrainingError, match="no encoder"):
        demonstration_samples(expert)


def test_sampled_trials_without_logprobs_are_refused_for_rl_with_a_reason() -> None:
    whole = episode()
    bare = whole.trials[0].turns[0].completion.model_copy(update={"logprobs": None})
    broken = whole.trials[0].model_copy(
        update={"turns": (whole.trials[0].turns[0].model_copy(update={"completion": bare}),)}
    )
    with pytest.raises(TrainingError, match="imitation only"):
        trial_samples(whole.model_copy(update={"trials": (broken,)}))


def sequence(mask: str, **more: object) -> Sample:
    """`.` is context, `#` a policy token; token ids count from 0."""
    chosen = tuple(mark == "#" for mark in mask)
    return Sample("s", "planner", "g", tuple(range(len(mask))), chosen, **{"il_weight": 1.0, **more})


def test_truncation_takes_the_oldest_observations_and_never_a_target() -> None:
    long = sequence("...##....##....##")
    assert truncate(long, 13).input_ids == (0, 1, 2, 3, 4, 9, 10, 11, 12, 13, 14, 15, 16)
    assert truncate(long, 11).input_ids == (0, 1, 2, 3, 4, 9, 10, 13, 14, 15, 16)


def test_truncation_takes_the_middle_of_the_prompt_when_observations_are_not_enough() -> None:
    assert truncate(sequence("............##"), 10).input_ids == (0, 1, 2, 7, 8, 9, 10, 11, 12, 13)
    assert truncate(sequence("...##....##....##"), 7).input_ids == (0, 3, 4, 9, 10, 15, 16)
    assert truncate(sequence("...##....##....##"), 6) is None


def test_a_truncated_sample_forgets_logprobs_that_no_longer_hold() -> None:
    short = truncate(sequence("....##", old_logprobs=(0.0,) * 6, advantages=(1.0,) * 6), 4)
    assert short.old_logprobs is None
    assert short.was_truncated
    assert len(short.advantages) == 4


def test_cleaning_counts_what_it_leaves_out() -> None:
    rows = [
        sequence("..##"),
        sequence("..##"),
        sequence("...."),
        sequence("#..."),
        sequence("....#####"),
        sequence(".........##"),
    ]
    cleaned = clean(rows, 5)
    assert [row.input_ids for row in cleaned.samples] == [(0, 1, 2, 3), (0, 7, 8, 9, 10)]
    counts = cleaned.counts
    assert (counts.kept, counts.duplicate, counts.empty, counts.oversize, counts.truncated) == (2, 1, 2, 1, 1)


def test_equal_sampled_trials_are_not_duplicates() -> None:
    rows = [sequence("..##", il_weight=0.0, rl_weight=1.0)] * 2
    assert clean(rows, 9).counts.kept == 2


def test_released_mask_covers_everything_after_the_first_sampled_token() -> None:
    assert all_output_tokens(sequence("..#..#.")).policy_mask == (False, False, True, True, True, True, True)


def test_tokens_of_another_vocabulary_and_impossible_logprobs_are_refused() -> None:
    with pytest.raises(TrainingError, match="holds token 3, and the model's vocabulary has 3"):
        check_vocabulary([sequence("..##")], 3)
    with pytest.raises(TrainingError, match="log-probability"):
        check_vocabulary([sequence(".#", old_logprobs=(0.0, 0.5))], 9)
    with pytest.raises(TrainingError, match="log-probability"):
        check_vocabulary([sequence(".#", old_logprobs=(0.0, float("nan")))], 9)


def test_fields_of_another_length_are_refused() -> None:
    with pytest.raises(TrainingError, match="advantages has 1 entries for 2 tokens"):
        sequence(".#", advantages=(1.0,))
