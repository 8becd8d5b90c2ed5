"""Does a recorded trial happen again? Its actions are done once more and what comes back is compared.

Comparing is pure but for the environment that is played; readers of recorded files are in `envs.replay_files`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data.errors import BadInput, EnvironmentCrashed, Refused, Unavailable, UnknownName
from data.types import Episode, Task
from envs import environment_kind
from envs.base import Environment, Options
from envs.replay_report import Divergence, ReplayedTrial, ReplayReport, summarise

OpenEnvironment = Callable[[Task], Environment]

OBSERVATION_CUT = 300
"""A recorded or replayed observation of at least this many characters may have been cut short by either side."""

_BYTES = re.compile(r"\bb(?=['\"])")


@dataclass(frozen=True)
class RecordedTurn:
    """One action and what came of it; None is what the recording does not say."""

    action: str
    observation: str | None = None
    reward: float | None = None
    """What the trial would have scored had it ended here."""
    number: int | None = None
    """Its number in the trial, where turns before it may have been left out."""


@dataclass(frozen=True)
class RecordedTrial:
    """A trial of a recorded file or of an episode."""

    id: str
    env: str
    tasks: tuple[Task, ...]
    """The tasks that it may be of: several where the recording does not say which of the games with one opening."""
    turns: tuple[RecordedTurn, ...]
    scoring: Literal["as_played", "submit_each"] = "as_played"
    """`submit_each`: the recording scored every turn as if its answer had been handed in."""
    tolerance: float = 0.005
    """Rewards closer than this agree; recordings round to two decimals."""
    opening: str | None = None
    options: Options = field(default_factory=dict)
    """Of the environment, as it was played."""
    no_replay: str | None = None
    """Why its observations, or all of it, cannot come again: one sentence."""


def replay_episode(episode: Episode, open_environment: OpenEnvironment) -> ReplayReport:
    """Replay all trials of an episode. Turns that held no action never reached the environment and are left out."""
    return replay(recorded_trials(episode), open_environment)


def recorded_trials(episode: Episode) -> list[RecordedTrial]:
    """The trials of an episode of ours, to be replayed."""
    trials = []
    for trial in episode.trials:
        turns = tuple(
            RecordedTurn(turn.action, turn.observation, turn.reward, turn.index)
            for turn in trial.turns
            if not turn.is_malformed
        )
        identity = f"{episode.id}/{trial.index}"
        trials.append(
            RecordedTrial(identity, episode.task.env, (episode.task,), turns, tolerance=1e-6, options=episode.options)
        )
    return trials


def open_here(task: Task, options: Options) -> Environment:
    """Open a task's environment in this process."""
    return environment_kind(task.env).open(task, options)


def replay_file(
    path: Path,
    tasks_path: Path | None = None,
    options: Options | None = None,
    open_environment: Callable[[Task, Options], Environment] = open_here,
) -> ReplayReport:
    """Replay a recorded file: InterCode results, Reflexion or RetroAct rows, or our own episodes.

    `tasks_path` holds the tasks in the environment's public format, which recordings name but do not hold. `options`
    go over those that the recording was played with, in the environments that have them. `open_environment` may be an
    `EnvironmentPool`'s `open`. Raises BadFile for a file of no known kind, BadInput for an option that none of its
    environments has, and what reading tasks raises; a trial that cannot be opened is a note of the report.
    """
    from envs.replay_files import read_recorded

    recorded, asked = read_recorded(path, tasks_path, options or {})
    known = {trial.env: _option_names(trial.env) for trial in recorded}
    for name in asked:
        if known and not any(name in names for names in known.values()):
            there = ", ".join(sorted({one for names in known.values() for one in names}))
            raise BadInput(
                f"What is played here ({', '.join(sorted(known))}) has no option {name!r}. Known: {there}."
            )

    def opener(trial: RecordedTrial) -> OpenEnvironment:
        mine = {name: value for name, value in asked.items() if name in known[trial.env]}
        return lambda task: open_environment(task, {**trial.options, **mine})

    return summarise([replay_trial(trial, opener(trial)) for trial in recorded])


def _option_names(env: str) -> Set[str]:
    try:
        return environment_kind(env).options.keys()
    except UnknownName:
        return frozenset()


def replay(recorded: Iterable[RecordedTrial], open_environment: OpenEnvironment) -> ReplayReport:
    """Replay trials one after the other."""
    return summarise([replay_trial(trial, open_environment) for trial in recorded])


def replay_trial(recorded: RecordedTrial, open_environment: OpenEnvironment) -> ReplayedTrial:
    """Replay one trial. Where it may be of several tasks, the one counts that agrees the longest."""
    empty = ReplayedTrial(
        id=recorded.id, env=recorded.env, task_id=None, turns=len(recorded.turns), note=recorded.no_replay
    )
    if not recorded.turns or not recorded.tasks:
        return empty.model_copy(update={"note": recorded.no_replay or "The recording has no actions."})
    best: ReplayedTrial | None = None
    for task in recorded.tasks:
        try:
            found = _replay_as(recorded, task, open_environment, empty)
        except (BadInput, EnvironmentCrashed, Refused, Unavailable) as error:
            found = empty.model_copy(update={"task_id": task.id, "note": str(error)})
        if found is None:
            continue
        if best is None or _reach(found) > _reach(best):
            best = found
        if best.first_divergence is None and best.compared:
            break
    return best or empty.model_copy(update={"note": "No task of the file starts as the recording does."})


def same_observation(recorded: str, replayed: str) -> bool:
    """Whether two observations say the same: white space and Python's mark of bytes aside, and a list or text
    that one side has cut short counts as the same as far as it goes."""
    one, two = (_BYTES.sub("", " ".join(text.split())) for text in (recorded, replayed))
    if one == two:
        return True
    short, long = sorted((one, two), key=len)
    return len(short) >= OBSERVATION_CUT and long.startswith(short.rstrip("]…"))


def _replay_as(
    recorded: RecordedTrial, task: Task, open_environment: OpenEnvironment, empty: ReplayedTrial
) -> ReplayedTrial | None:
    """Replay a trial as one of a given task; None when the task starts otherwise."""
    report = empty.model_copy(update={"task_id": task.id})
    if recorded.scoring == "submit_each":
        return _replay_submitting(recorded, task, open_environment, report)
    environment = open_environment(task)
    try:
        opening = environment.start()
        if recorded.opening is not None and not same_observation(recorded.opening, opening):
            return None
        for number, turn in enumerate(recorded.turns, start=1):
            outcome = environment.step(turn.action)
            report = _compare(report, recorded, number, turn, outcome.observation, outcome.reward)
            if outcome.stop is not None and number < len(recorded.turns):
                return _ended_early(report, recorded, number + 1)
        return report
    finally:
        environment.close()


def _replay_submitting(
    recorded: RecordedTrial, task: Task, open_environment: OpenEnvironment, report: ReplayedTrial
) -> ReplayedTrial:
    """Replay each turn in a trial of its own and hand its answer in. No action may change what another one sees."""
    answers: dict[str, tuple[str, float]] = {}
    for number, turn in enumerate(recorded.turns, start=1):
        if turn.action not in answers:
            environment = open_environment(task)
            try:
                environment.start()
                outcome = environment.step(turn.action)
                submitted = outcome if outcome.stop is not None else environment.step("submit")
                answers[turn.action] = (outcome.observation, submitted.reward)
            finally:
                environment.close()
        report = _compare(report, recorded, number, turn, *answers[turn.action])
    return report


def _ended_early(report: ReplayedTrial, recorded: RecordedTrial, number: int) -> ReplayedTrial:
    turn = recorded.turns[number - 1]
    ended = Divergence(
        trial_id=recorded.id,
        turn=turn.number or number,
        action=_cut(turn.action),
        field="end",
        recorded=_cut(turn.observation or ""),
        replayed="The replayed trial had ended.",
    )
    return report.model_copy(update={"first_divergence": report.first_divergence or ended})


def _compare(
    report: ReplayedTrial, recorded: RecordedTrial, number: int, turn: RecordedTurn, observation: str, reward: float
) -> ReplayedTrial:
    """The report with one more turn."""
    update: dict[str, object] = {}
    differing: tuple[Literal["reward", "observation"], str, str] | None = None
    if turn.reward is not None:
        agrees = abs(turn.reward - reward) <= recorded.tolerance + 1e-9
        update |= {"rewards_compared": report.rewards_compared + 1, "rewards_agree": report.rewards_agree + agrees}
        if not agrees:
            differing = ("reward", f"{turn.reward:g}", f"{reward:g}")
    if turn.observation is not None:
        agrees = same_observation(turn.observation, observation)
        update |= {
            "observations_compared": report.observations_compared + 1,
            "observations_agree": report.observations_agree + agrees,
        }
        if not agrees:
            differing = ("observation", turn.observation, observation)
    if differing and report.first_divergence is None:
        field, was, came = differing
        update["first_divergence"] = Divergence(
            trial_id=recorded.id,
            turn=turn.number or number,
            action=_cut(turn.action),
            field=field,
            recorded=_cut(was),
            replayed=_cut(came),
        )
    return report.model_copy(update=update)


def _reach(trial: ReplayedTrial) -> int:
    """How many turns agree before the first divergence."""
    return trial.turns if trial.first_divergence is None else trial.first_divergence.turn


def _cut(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"
