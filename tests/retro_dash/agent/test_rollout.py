"""The loop of trials and reflections, on bundled questions with scripted policies."""

from collections.abc import Sequence

import pytest

from data.episodes import apply
from data.errors import BadFile, BadInput, EngineError, EnvironmentCrashed, Refused, StorageError, Unavailable
from data.events import EventBody
from data.types import Completion, Episode, EpisodeState, StopReason, Strategy, Task
from envs import environment_kind
from retro_dash.agent.batch import play_to_end
from retro_dash.agent.briefing import memory
from retro_dash.agent.expert_policy import ExpertPolicy
from retro_dash.agent.fork import fork_episode
from retro_dash.agent.limits import Limits
from retro_dash.agent.policy import Policy
from retro_dash.agent.rollout import Player
from retro_dash.agent.scripted_policy import ScriptedPolicy

KIND = environment_kind("hotpotqa")
NOW = "2026-11-20T00:00:00Z"


def question() -> Task:
    return KIND.bundled("valid")[0]


def episode_of(task: Task, **changes: object) -> Episode:
    values = {"id": "e", "task": task, "planner": "p", "reflector": "r", "run_id": "run", "created_at": NOW}
    return Episode.model_validate({**values, **changes})


class Recorder:
    """Keeps events; refuses to store when told to."""

    def __init__(self) -> None:
        self.bodies: list[EventBody] = []
        self.is_full = False

    def __call__(self, body: EventBody) -> None:
        if self.is_full:
            raise StorageError("The disk is full.")
        self.bodies.append(body)


def player_of(
    replies: Sequence[str] | Policy, recorder: Recorder, reflection: str = "Answer with the right name.", **changes
) -> Player:
    planner = ScriptedPolicy(replies) if isinstance(replies, list) else replies
    return Player(
        episode_of(question(), **changes),
        KIND,
        KIND.open,
        planner,
        ScriptedPolicy([reflection]),
        recorder,
        limits=Limits(malformed_in_a_row=3),
    )


def gold() -> str:
    return str(question().metadata["answer"])


WRONG = "Thought: a guess.\nAction: Finish[nobody at all]"


def test_a_right_answer_solves_the_episode_in_one_trial():
    player = player_of([f"Action: Finish[{gold()}]"], Recorder())
    episode = player.run_episode()
    assert episode.state is EpisodeState.SOLVED
    assert [(t.reward, t.success, t.stop_reason) for t in episode.trials] == [(1.0, True, StopReason.SOLVED)]
    assert episode.reflections == ()


def test_every_failed_trial_but_the_last_is_reflected_on():
    episode = player_of([WRONG], Recorder(), trial_limit=3).run_episode()
    assert episode.state is EpisodeState.FAILED
    assert [t.stop_reason for t in episode.trials] == [StopReason.FAILED] * 3
    assert [r.after_trial for r in episode.reflections] == [1, 2]
    assert [r.gain for r in episode.reflections] == [0.0, 0.0]


def test_the_next_trial_starts_with_the_reflection_in_its_prompt():
    episode = player_of([WRONG], Recorder(), reflection="Look at the second paragraph.", trial_limit=2).run_episode()
    assert "Look at the second paragraph." not in episode.trials[0].prompt
    assert "Look at the second paragraph." in episode.trials[1].prompt


def test_without_memory_the_second_prompt_equals_the_first():
    episode = player_of([WRONG], Recorder(), strategy=Strategy.NONE, trial_limit=2).run_episode()
    assert episode.reflections == ()
    assert episode.trials[0].prompt == episode.trials[1].prompt


def test_last_attempt_shows_the_failed_transcript_instead_of_a_reflection():
    episode = player_of([WRONG], Recorder(), strategy=Strategy.LAST_ATTEMPT, trial_limit=2).run_episode()
    assert episode.reflections == ()
    assert "Finish[nobody at all]" in episode.trials[1].prompt


def test_the_gold_answer_is_in_no_prompt():
    episode = player_of([WRONG], Recorder(), trial_limit=2).run_episode()
    assert all(gold() not in trial.prompt.replace(question().instruction, "") for trial in episode.trials)


def test_memory_keeps_the_last_reflections_that_the_environment_asks_for():
    episode = player_of([WRONG], Recorder(), trial_limit=6).run_episode()
    assert len(memory(episode, KIND, 6)) == 5
    assert len(memory(episode, environment_kind("alfworld"), 6)) == 3


def test_a_malformed_turn_gets_a_correction_and_three_in_a_row_end_the_trial():
    episode = player_of(["I would rather chat."], Recorder(), trial_limit=1).run_episode()
    (trial,) = episode.trials
    assert trial.stop_reason is StopReason.MALFORMED
    assert [turn.is_malformed for turn in trial.turns] == [True, True, True]
    assert "Action:" in trial.turns[0].observation


def test_a_trial_ends_at_its_turn_limit():
    replies = [f"Action: Search[thing {n}]" for n in range(20)]
    task = question().model_copy(update={"turn_limit": 4})
    player = Player(
        episode_of(task, trial_limit=1), KIND, KIND.open, ScriptedPolicy(replies), ScriptedPolicy(["x"]), Recorder()
    )
    (trial,) = player.run_episode().trials
    assert (len(trial.turns), trial.stop_reason) == (4, StopReason.TURN_LIMIT)


def test_the_episode_equals_its_events_applied_one_by_one():
    recorder = Recorder()
    player = player_of([WRONG], recorder, trial_limit=2)
    rebuilt = player.episode
    finished = player.run_episode()
    for body in recorder.bodies:
        rebuilt = apply(rebuilt, body)
    assert rebuilt == finished


def test_a_held_turn_waits_and_an_edited_one_is_marked_as_human():
    player = player_of([WRONG], Recorder())
    player.start_trial()
    proposal = player.propose()
    assert proposal is not None
    assert player.trial is not None
    assert player.trial.turns == ()
    turn = player.act(action=f"Finish[{gold()}]")
    assert turn.author == "human"
    assert turn.edited_from == WRONG
    assert turn.thought == "a guess."
    assert player.episode.state is EpisodeState.SOLVED


def test_accepting_a_held_turn_unchanged_leaves_it_the_planners():
    player = player_of([WRONG], Recorder())
    player.start_trial()
    player.propose()
    assert player.act(thought="a guess.", action="Finish[nobody at all]").author == "planner"


def test_an_action_can_be_forced_without_the_planner():
    player = player_of([WRONG], Recorder())
    player.start_trial()
    turn = player.act(thought="", action=f"Finish[{gold()}]")
    assert (turn.author, turn.edited_from) == ("human", None)


def test_an_empty_forced_action_is_refused():
    player = player_of([WRONG], Recorder())
    player.start_trial()
    with pytest.raises(BadInput, match="empty"):
        player.act(action="  ")


def test_an_edited_reflection_replaces_the_first_and_remembers_it():
    player = player_of([WRONG], Recorder(), reflection="bad advice")
    player.run_trial()
    player.reflect()
    player.edit_reflection("better advice")
    (reflection,) = player.episode.reflections
    assert (reflection.text, reflection.author, reflection.edited_from) == ("better advice", "human", "bad advice")
    assert "better advice" in player.start_trial().prompt


def test_an_emptied_reflection_is_left_out_of_the_prompt():
    player = player_of([WRONG], Recorder(), reflection="bad advice")
    player.run_trial()
    player.reflect()
    player.edit_reflection("")
    assert "bad advice" not in player.start_trial().prompt


def test_a_used_reflection_can_no_longer_be_edited():
    player = player_of([WRONG], Recorder())
    player.run_trial()
    player.reflect()
    player.start_trial()
    with pytest.raises(Refused):
        player.edit_reflection("too late")


def test_nothing_counts_that_could_not_be_stored_and_the_turn_can_be_repeated():
    recorder = Recorder()
    player = player_of(["Action: Search[x]", f"Action: Finish[{gold()}]"], recorder)
    player.step()
    recorder.is_full = True
    with pytest.raises(StorageError):
        player.step()
    assert player.trial is not None
    assert len(player.trial.turns) == 1
    recorder.is_full = False
    assert player.run_episode().state is EpisodeState.SOLVED
    assert [turn.index for turn in player.episode.trials[0].turns] == [1, 2]


def test_a_trial_continues_after_its_environment_and_dialogue_were_lost():
    player = player_of(["Action: Search[x]", f"Action: Finish[{gold()}]"], Recorder())
    player.step()
    player.close()
    assert player.run_episode().state is EpisodeState.SOLVED


def test_a_recording_that_the_environment_does_not_repeat_is_an_error():
    player = player_of(["Action: Search[x]"], Recorder())
    player.step()
    player.close()
    trial = player.episode.trials[0]
    forged = trial.model_copy(update={"turns": (trial.turns[0].model_copy(update={"observation": "forged"}),)})
    player.episode = player.episode.model_copy(update={"trials": (forged,)})
    with pytest.raises(EnvironmentCrashed, match="forged"):
        player.step()


def test_a_fork_shares_the_past_and_leaves_the_parent_alone():
    replies = ["Action: Search[x]", "Action: Search[y]", WRONG]
    parent = player_of(replies, Recorder(), trial_limit=1).run_episode()
    child = fork_episode(parent, 1, 2, episode_id="child", run_id="run2")
    assert (child.parent_id, child.fork_trial, child.fork_turn) == ("e", 1, 2)
    player = Player(child, KIND, KIND.open, ScriptedPolicy(replies), ScriptedPolicy(["x"]), Recorder())
    player.act(action=f"Finish[{gold()}]")
    assert player.episode.state is EpisodeState.SOLVED
    assert [turn.action for turn in player.episode.trials[0].turns] == ["Search[x]", f"Finish[{gold()}]"]
    assert parent.state is EpisodeState.FAILED


def test_a_fork_for_another_planner_forgets_tokens_that_it_did_not_sample():
    parent = player_of([WRONG], Recorder(), trial_limit=1).run_episode()
    trial = parent.trials[0]
    sampled = Completion(policy="scripted", text=WRONG, context_ids=(1,), token_ids=(2,), logprobs=(-0.5,))
    turned = trial.model_copy(update={"turns": (trial.turns[0].model_copy(update={"completion": sampled}),)})
    parent = parent.model_copy(update={"trials": (turned,), "planner": "scripted"})
    same = fork_episode(parent, 1, 2, episode_id="a", run_id="b")
    other = fork_episode(parent, 1, 2, episode_id="a", run_id="b", planner="another")
    assert same.trials[0].turns[0].completion == sampled
    completion = other.trials[0].turns[0].completion
    assert completion is not None
    assert completion.token_ids is None


def test_forking_from_a_turn_that_is_not_there_is_refused():
    parent = player_of([WRONG], Recorder(), trial_limit=1).run_episode()
    with pytest.raises(BadInput, match="turn 9"):
        fork_episode(parent, 1, 9, episode_id="a", run_id="b")


class DeadEngine:
    """A policy whose engine is gone."""

    name = "dead"
    is_expert = False

    def begin(self, briefing, sampling):
        raise EngineError("The engine does not answer.")


def test_a_dead_engine_ends_a_batch_episode_as_an_error():
    player = player_of(ScriptedPolicy([WRONG]), Recorder(), trial_limit=2)
    broken = Player(player.episode, KIND, KIND.open, DeadEngine(), DeadEngine(), Recorder())
    episode = play_to_end(broken)
    assert episode.state is EpisodeState.ERROR
    assert [(t.stop_reason, t.error) for t in episode.trials] == [
        (StopReason.MODEL_ERROR, "The engine does not answer.")
    ]


def test_a_task_whose_files_are_gone_ends_its_own_episode_of_a_batch():
    def gone(task, options):
        raise BadFile("The database of this task is gone.")

    player = player_of(ScriptedPolicy([WRONG]), Recorder(), trial_limit=2)
    episode = play_to_end(Player(player.episode, KIND, gone, ScriptedPolicy([WRONG]), DeadEngine(), Recorder()))
    assert episode.state is EpisodeState.ERROR
    assert [(t.stop_reason, t.error) for t in episode.trials] == [
        (StopReason.ENVIRONMENT_ERROR, "The database of this task is gone.")
    ]


def test_what_no_other_episode_could_do_either_ends_the_batch_and_leaves_the_episode_to_be_played_again():
    def unreachable(task, options):
        raise Unavailable("No server answers.")

    player = player_of(ScriptedPolicy([WRONG]), Recorder(), trial_limit=2)
    player = Player(player.episode, KIND, unreachable, ScriptedPolicy([WRONG]), DeadEngine(), Recorder())
    with pytest.raises(Unavailable, match="No server answers"):
        play_to_end(player)
    assert (player.episode.state, player.episode.trials) == (EpisodeState.STOPPED, ())


def test_half_of_a_character_pair_in_a_reply_becomes_something_that_can_be_stored():
    episode = player_of(["Thought: \ud800\nAction: Search[\udfff]"], Recorder(), trial_limit=1).run_episode()
    turn = episode.trials[0].turns[0]
    assert (turn.thought, turn.action) == ("?", "Search[?]")
    assert episode.model_dump_json()


def test_a_reflector_that_dies_leaves_the_failed_trial_as_it_was():
    recorder = Recorder()
    player = Player(
        episode_of(question(), trial_limit=2), KIND, KIND.open, ScriptedPolicy([WRONG]), DeadEngine(), recorder
    )
    episode = play_to_end(player)
    assert episode.state is EpisodeState.ERROR
    assert [t.stop_reason for t in episode.trials] == [StopReason.FAILED, StopReason.MODEL_ERROR]
    assert episode.trials[0].error is None


class SeedReader(ScriptedPolicy):
    """Notes the seeds that it was to sample with."""

    def begin(self, briefing, sampling):
        self.seeds = [*getattr(self, "seeds", []), sampling.seed]
        return super().begin(briefing, sampling)


def seeds_of(task: Task, seed: int) -> list[int]:
    policy = SeedReader([WRONG])
    Player(episode_of(task, seed=seed, trial_limit=2), KIND, KIND.open, policy, policy, Recorder()).run_episode()
    return policy.seeds


def test_every_task_seed_trial_and_role_samples_with_numbers_of_its_own_and_always_the_same():
    first, second = KIND.bundled("valid")[:2]
    drawn = [*seeds_of(first, 0), *seeds_of(first, 1), *seeds_of(second, 0)]
    assert len(drawn) == len(set(drawn)) == 9
    assert seeds_of(second, 0) == drawn[6:]


def test_stopping_keeps_the_running_trial():
    player = player_of(["Action: Search[x]"], Recorder())
    player.step()
    player.stop()
    assert player.episode.state is EpisodeState.STOPPED
    assert player.episode.trials[0].stop_reason is StopReason.STOPPED
    with pytest.raises(Refused):
        player.step()


def test_the_expert_solves_a_bundled_question():
    player = Player(
        episode_of(question()),
        KIND,
        KIND.open,
        ExpertPolicy(KIND.expert, "planner"),
        ExpertPolicy(KIND.expert, "reflector"),
        Recorder(),
    )
    episode = player.run_episode()
    assert episode.state is EpisodeState.SOLVED
    assert {turn.author for turn in episode.trials[0].turns} == {"expert"}
