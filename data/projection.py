"""Events become rows: the pure half of the store's only write.

A `Projection` takes a batch of events one by one and collects the rows that they add (`inserts`) and the values that
they change in rows already stored (`changes`). It knows an episode by its `Tally`: enough to keep the list's columns
and the reflections' gains right without reading the episode back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from data.cells import as_json, finite, optional_json, utc
from data.errors import BadInput, UnknownName
from data.events import (
    AdapterPublished,
    DatasetFrozen,
    EpisodeFinished,
    EpisodeStarted,
    Event,
    LabelMade,
    MetricsLogged,
    ReflectionWritten,
    RunCreated,
    RunStateChanged,
    TrialFinished,
    TrialStarted,
    TurnTaken,
)
from data.names import Stored
from data.tally import Tally, TrialTally
from data.types import Completion, Episode, Label, Reflection, RunState, Trial, Turn

Row = tuple[Any, ...]
ENDED_RUNS = {RunState.FINISHED, RunState.FAILED, RunState.CANCELLED}


class Change(NamedTuple):
    """New values for stored rows: `UPDATE table SET values WHERE keys`."""

    table: str
    values: dict[str, Any]
    keys: dict[str, Any]


class Projection:
    """The rows that a batch of events adds and changes. Raises BadInput at the first event that does not fit."""

    def __init__(self, stored: Stored, first_position: int) -> None:
        self.inserts: dict[str, list[Row]] = defaultdict(list)
        self.changes: list[Change] = []
        self.applied: list[Event] = []
        self.next_position = first_position
        self._stored = stored
        self._new_episodes: dict[str, Episode] = {}
        self._changed_episodes: set[str] = set()

    def take(self, events: Iterable[Event]) -> None:
        """Project every event that was not applied before."""
        for event in events:
            identity = (event.run_id, event.seq)
            if identity in self._stored.seqs:
                continue
            self._stored.seqs.add(identity)
            where = self._take(event)
            self.applied.append(event)
            self._insert("events", self._position(), *identity, event.body.kind, utc(event.at), *where)
        self._finish()

    def _take(self, event: Event) -> tuple[str | None, int | None, int | None]:
        """Project one event; return the episode, trial and turn that it is about."""
        match event.body:
            case EpisodeStarted(episode=episode):
                self._start_episode(episode)
                return episode.id, None, None
            case TrialStarted(episode_id=id_, trial=trial):
                self._add_trial(id_, self._change(id_), trial)
                return id_, trial.index, None
            case TurnTaken(episode_id=id_, trial=index, turn=turn):
                self._add_turn(id_, self._change(id_), index, turn)
                return id_, index, turn.index
            case TrialFinished(episode_id=id_, trial=index):
                self._finish_trial(event.body)
                return id_, index, None
            case ReflectionWritten(episode_id=id_, reflection=reflection):
                self._add_reflection(id_, self._change(id_), reflection)
                return id_, reflection.after_trial, None
            case EpisodeFinished(episode_id=id_, state=state):
                self._change(id_).state = state
                return id_, None, None
            case LabelMade(label=label):
                self._add_label(label)
                return label.target.episode_id, label.target.trial, label.target.turn
            case _:
                self._take_of_run(event)
                return None, None, None

    def _take_of_run(self, event: Event) -> None:
        match event.body:
            case RunCreated(run=run):
                if run.id in self._stored.runs:
                    raise BadInput(f"There is already a run called {run.id!r}.")
                self._stored.runs.add(run.id)
                times = (utc(run.created_at), utc(run.started_at), utc(run.finished_at))
                self._insert("runs", run.id, run.kind, run.name, as_json(run.config), run.state.value,
                             run.dataset_hash, run.parent_id, run.error, *times)  # fmt: skip
            case RunStateChanged():
                self._change_run(event.run_id, event.body, event.at)
            case MetricsLogged(step=step, values=values):
                for name, value in values.items():
                    self._insert("metrics", event.run_id, name, step, value, utc(event.at))
            case AdapterPublished(adapter=adapter):
                if adapter.name in self._stored.adapters:
                    raise BadInput(
                        f"There is already an adapter called {adapter.name!r}; every version needs a new name."
                    )
                self._stored.adapters.add(adapter.name)
                self._insert("adapters", adapter.name, adapter.role, adapter.base_model, adapter.path,
                             adapter.is_full_weights, adapter.run_id, adapter.dataset_hash,
                             as_json(adapter.scores), utc(adapter.created_at))  # fmt: skip
            case DatasetFrozen(dataset=dataset) if dataset.hash not in self._stored.datasets:
                self._stored.datasets.add(dataset.hash)
                self._insert("datasets", dataset.hash, dataset.name, dataset.filter, dataset.episode_ids,
                             dataset.label_ids, as_json(dataset.counts), utc(dataset.created_at))  # fmt: skip

    def _change_run(self, run_id: str, change: RunStateChanged, at: datetime) -> None:
        if run_id not in self._stored.runs:
            raise UnknownName("run", run_id)
        values: dict[str, Any] = {"state": change.state.value, "error": change.error}
        if change.state is RunState.RUNNING:
            values["started_at"] = utc(at)
        if change.state in ENDED_RUNS:
            values["finished_at"] = utc(at)
        self.changes.append(Change("runs", values, {"id": run_id}))

    def _start_episode(self, episode: Episode) -> None:
        if episode.id in self._stored.tallies:
            raise BadInput(f"There is already an episode called {episode.id!r}.")
        tally = Tally(self._position(), episode.state)
        self._stored.tallies[episode.id] = tally
        self._new_episodes[episode.id] = episode
        for trial in episode.trials:
            self._add_trial(episode.id, tally, trial)
        for reflection in episode.reflections:
            self._add_reflection(episode.id, tally, reflection)

    def _change(self, episode_id: str) -> Tally:
        """The tally of a known episode, noted as changed."""
        if episode_id not in self._stored.tallies:
            raise UnknownName("episode", episode_id)
        self._changed_episodes.add(episode_id)
        return self._stored.tallies[episode_id]

    def _add_trial(self, episode_id: str, tally: Tally, trial: Trial) -> None:
        if trial.index in tally.trials:
            raise BadInput(f"Episode {episode_id} already has a trial {trial.index}.")
        reward = finite(trial.reward, f"The reward of trial {trial.index} of episode {episode_id}")
        tally.trials[trial.index] = TrialTally(0, 0, reward, trial.success, trial.stop_reason)
        stop_reason = trial.stop_reason and trial.stop_reason.value
        self._insert("trials", tally.number, trial.index, trial.prompt, trial.opening, reward, trial.success,
                     stop_reason, trial.error, optional_json(trial.view),
                     utc(trial.started_at), utc(trial.finished_at))  # fmt: skip
        for turn in trial.turns:
            self._add_turn(episode_id, tally, trial.index, turn)

    def _add_turn(self, episode_id: str, tally: Tally, index: int, turn: Turn) -> None:
        trial = tally.trial(episode_id, index)
        if turn.index <= trial.last_turn:
            raise BadInput(f"Trial {index} of episode {episode_id} already has a turn {turn.index}.")
        trial.turns += 1
        trial.last_turn = turn.index
        self._insert("turns", tally.number, index, turn.index, turn.thought, turn.action, turn.observation,
                     turn.reward, turn.author, turn.edited_from, turn.is_valid, turn.is_malformed,
                     optional_json(turn.view), turn.seconds, *completion_columns(turn.completion))  # fmt: skip

    def _finish_trial(self, end: TrialFinished) -> None:
        tally = self._change(end.episode_id)
        trial = tally.trial(end.episode_id, end.trial)
        trial.reward = finite(end.reward, f"The reward of trial {end.trial} of episode {end.episode_id}")
        trial.success, trial.stop_reason = end.success, end.stop_reason
        values = {"reward": end.reward, "success": end.success, "stop_reason": end.stop_reason.value,
                  "error": end.error, "finished_at": utc(end.finished_at)}  # fmt: skip
        self.changes.append(Change("trials", values, {"episode": tally.number, "trial": end.trial}))
        for after_trial in (end.trial - 1, end.trial):
            if after_trial in tally.gains and (gain := tally.gain(after_trial)) is not None:
                tally.gains[after_trial] = gain
                keys = {"episode": tally.number, "after_trial": after_trial}
                self.changes.append(Change("reflections", {"gain": gain}, keys))

    def _add_reflection(self, episode_id: str, tally: Tally, reflection: Reflection) -> None:
        tally.trial(episode_id, reflection.after_trial)
        gain = tally.gain(reflection.after_trial)
        gain = reflection.gain if gain is None else gain
        tally.gains[reflection.after_trial] = gain
        self._insert("reflections", self._position(), tally.number, reflection.after_trial, reflection.text,
                     reflection.author, reflection.edited_from, reflection.prompt, gain,
                     utc(reflection.created_at), *completion_columns(reflection.completion))  # fmt: skip

    def _add_label(self, label: Label) -> None:
        """A label that is already there was sent again by an unsure client: nothing to add."""
        known = self._stored.labels
        if label.id in known:
            return
        root, effect = label.id, 1
        if label.undoes is not None:
            root, undone_effect = known.get(label.undoes, (label.undoes, 1))
            effect = -undone_effect
        known[label.id] = (root, effect)
        target = label.target
        self._insert("labels", self._position(), label.id, target.episode_id, target.part, target.trial,
                     target.turn, label.name, as_json(label.value), label.annotator, utc(label.at),
                     label.undoes, root, effect)  # fmt: skip

    def _finish(self) -> None:
        """Write each episode's own row once, after all that the batch did to it."""
        for id_, episode in self._new_episodes.items():
            self.inserts["episodes"].append(episode_row(episode, self._stored.tallies[id_]))
        for id_ in self._changed_episodes - self._new_episodes.keys():
            self.changes.append(Change("episodes", self._stored.tallies[id_].columns(), {"id": id_}))

    def _insert(self, table: str, *row: Any) -> None:
        self.inserts[table].append(row)

    def _position(self) -> int:
        self.next_position += 1
        return self.next_position - 1


def episode_row(episode: Episode, tally: Tally) -> Row:
    """One row of `episodes`, in the order of its columns."""
    task, e = episode.task, episode
    return (
        tally.number, e.id, e.run_id, task.env, task.split, task.id, task.instruction, task.turn_limit,
        as_json(task.metadata), e.planner, e.reflector, e.strategy.value, e.trial_limit, e.temperature, e.seed,
        as_json(e.options), e.parent_id, e.fork_trial, e.fork_turn, e.source, utc(e.created_at),
        *tally.columns().values(),
    )  # fmt: skip


def completion_columns(completion: Completion | None) -> Row:
    """A completion, in the order of its columns: what pages show first, then the tokens."""
    if completion is None:
        return (None,) * 8
    c = completion
    return (c.policy, c.text, c.finish_reason, c.temperature, c.seconds, c.context_ids, c.token_ids, c.logprobs)
